//! Places in a message.

/// A place, and the message that has the secret there.
pub(crate) type Position = (&'static str, fn(&[u8]) -> Vec<u8>);

fn between(before: &[u8], secret: &[u8], after: &[u8]) -> Vec<u8> {
    [before, secret, after].concat()
}

/// All places.
pub(crate) const ALL: &[Position] = &[
    ("alone", |s| s.to_vec()),
    ("path", |s| between(b"/v1/", s, b"/x")),
    ("query value", |s| between(b"/search?a=1&q=", s, b"&b=2")),
    ("query name", |s| between(b"/search?", s, b"=1")),
    ("header value", |s| between(b"x-note: ", s, b"\r\n")),
    ("bearer header", |s| between(b"authorization: Bearer ", s, b"\r\n")),
    ("user agent", |s| between(b"user-agent: curl/8 (", s, b")\r\n")),
    ("cookie", |s| between(b"cookie: a=b; sid=", s, b"; c=d")),
    ("JSON value", |s| between(b"{\"model\":\"m\",\"text\":\"", s, b"\"}")),
    ("JSON key", |s| between(b"{\"", s, b"\":1}")),
    ("second of two equal JSON keys", |s| between(b"{\"a\":\"x\",\"a\":\"", s, b"\"}")),
    ("JSON string behind an escaped line end", |s| between(b"{\"t\":\"see:\\n", s, b"\\n\"}")),
    ("JSON within JSON", |s| between(b"{\"body\":\"{\\\"k\\\":\\\"", s, b"\\\"}\"}")),
    ("form value", |s| between(b"a=1&note=", s, b"&z=9")),
    ("multipart field", |s| between(b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", s, b"\r\n--b--\r\n")),
    ("multipart file name", |s| between(b"--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"", s, b"\"\r\n\r\nx\r\n--b--\r\n")),
    ("multipart part header", |s| between(b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\nX-Note: ", s, b"\r\n\r\nx\r\n--b--\r\n")),
    ("XML text", |s| between(b"<?xml version=\"1.0\"?><a><b>", s, b"</b></a>")),
    ("XML attribute", |s| between(b"<a href='", s, b"'/>")),
    ("XML comment", |s| between(b"<a><!-- ", s, b" --></a>")),
    ("source code", |s| between(b"const client = new Client({ key: '", s, b"', retries: 3 });\n")),
    ("shell", |s| between(b"curl -H 'X-Key: ", s, b"' https://host.test/\n")),
    ("environment file", |s| between(b"DEBUG=1\nAPI_KEY=", s, b"\nPORT=80\n")),
    ("YAML", |s| between(b"env:\n  - name: KEY\n    value: ", s, b"\n")),
    ("markdown", |s| between(b"Use this:\n\n```\n", s, b"\n```\n")),
    ("commit", |s| between(b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b.test> 1700000000 +0000\n\nfix ", s, b"\n")),
    ("behind a byte order mark", |s| between(b"\xef\xbb\xbf", s, b"\n")),
    ("behind invalid UTF-8", |s| between(b"\xff\xfe\xc0\xaf ", s, b" \xff")),
    ("behind binary", |s| between(b"\x00\x01\x02\x03\x7f\x80 ", s, b" \x00\x00\x01")),
    ("among other scripts", |s| between("鍵は「".as_bytes(), s, "」です".as_bytes())),
    ("behind an allow comment", |s| between(b"key = '", s, b"' # gitleaks:allow")),
    ("at a window's end", |s| between(&[b"lorem ipsum dolor ".repeat(7281), vec![b' '; 131_060 - 7281 * 18]].concat(), s, b" end")),
];
