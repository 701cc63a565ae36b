//! Private keys of real shape, and what tools put around their lines.

use super::dice::Dice;
use super::encodings::base64;

/// A key, as its file has it.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Its kind can be told from its first bytes, so the BEGIN line may be missing.
    pub(crate) has_a_head: bool,
    pub(crate) pem: String,
}

/// What is put around the lines of a key: its name, and how it is done.
pub(crate) type Frame = (&'static str, fn(&str) -> String);

/// One of each kind. Behind the head all bytes are random.
pub(crate) fn all(seed: u64) -> Vec<Key> {
    let dice = &mut Dice::new(seed);
    let rsa = b"\x30\x82\x04\xa3\x02\x01\x00\x02\x82\x01\x01\x00";
    let rsa_pkcs8 = b"\x30\x82\x04\xbd\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82\x04\xa7";
    let ec_pkcs8 =
        b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
    let encrypted = b"\x30\x82\x05\x1c\x30\x4e\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d\x30\x41";
    let ed25519 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let openssh = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01\0\0\x01\x97\0\0\0\x07ssh-rsa";
    let mut key = |name, label: &str, headers: &str, head: &[u8], length: usize, width: usize| {
        let body = base64(&[head, &dice.bytes(length)].concat(), false, true);
        let lines: Vec<_> = body.chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN {label}-----\n{headers}{}\n-----END {label}-----\n", lines.join("\n"));
        Key { name, has_a_head: !head.is_empty(), pem }
    };
    vec![
        key("RSA", "RSA PRIVATE KEY", "", rsa, 1180, 64),
        key("DSA", "DSA PRIVATE KEY", "", b"\x30\x82\x01\xbb\x02\x01\x00\x02\x81\x81\x00", 436, 64),
        key("EC", "EC PRIVATE KEY", "", b"\x30\x77\x02\x01\x01\x04\x20", 114, 64),
        key("RSA in PKCS #8", "PRIVATE KEY", "", rsa_pkcs8, 1190, 64),
        key("EC in PKCS #8", "PRIVATE KEY", "", ec_pkcs8, 102, 64),
        key("Ed25519", "PRIVATE KEY", "", ed25519, 32, 64),
        key("encrypted PKCS #8", "ENCRYPTED PRIVATE KEY", "", encrypted, 1290, 64),
        key("OpenSSH", "OPENSSH PRIVATE KEY", "", openssh, 1700, 70),
        key(
            "encrypted RSA",
            "RSA PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0B6E1E1FA2B4C86D0FF5C1A1D9A0F0A2\n\n",
            b"",
            1192,
            64,
        ),
        key("PGP", "PGP PRIVATE KEY BLOCK", "\n", b"", 900, 64),
        key("RSA in one line", "RSA PRIVATE KEY", "", rsa, 1180, 4096),
        key("RSA in narrow lines", "RSA PRIVATE KEY", "", rsa, 1180, 24),
        key("Ed25519 in narrow lines", "PRIVATE KEY", "", ed25519, 32, 40),
    ]
}

fn lines(pem: &str, line: impl Fn(usize, &str) -> String) -> String {
    pem.lines().enumerate().map(|(i, text)| line(i + 1, text)).collect()
}

fn json(text: &str) -> String {
    serde_json::json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result", "content": text }] }] }).to_string()
}

/// What tools, editors and programs put around lines.
pub(crate) const FRAMES: &[Frame] = &[
    ("as it is", str::to_owned),
    ("numbered by Claude Code's Read", |pem| lines(pem, |i, line| format!("{i:>6}\u{2192}{line}\n"))),
    ("numbered by Claude Code's Read, in JSON", |pem| json(&lines(pem, |i, line| format!("{i:>6}\u{2192}{line}\n")))),
    ("numbered by Claude Code's Read, in ASCII JSON", |pem| {
        json(&lines(pem, |i, line| format!("{i:>6}\u{2192}{line}\n"))).replace('\u{2192}', "\\u2192")
    }),
    ("numbered with tabs, in JSON", |pem| json(&lines(pem, |i, line| format!("{i}\t{line}\n")))),
    ("numbered with tabs, in JSON in JSON", |pem| json(&json(&lines(pem, |i, line| format!("{i}\t{line}\n"))))),
    ("cat -n", |pem| lines(pem, |i, line| format!("{i:>6}\t{line}\n"))),
    ("grep -n", |pem| lines(pem, |i, line| format!("{i}:{line}\n"))),
    ("grep -rn", |pem| lines(pem, |i, line| format!("/home/ann/projects/shop/deploy/keys/production/server.key:{i}:{line}\n"))),
    ("grep -rn in a long directory", |pem| {
        let path =
            "/srv/builds/agent/workspace/shop-backend/infrastructure/environments/production/eu-central-1/secrets/tls/server_key.pem";
        lines(pem, |i, line| format!("{path}:{i}:{line}\n"))
    }),
    ("time stamps", |pem| lines(pem, |i, line| format!("2026-11-30T12:14:{i:02}.123456Z app[4711] INFO {line}\n"))),
    ("a log in JSON", |pem| {
        lines(pem, |i, line| format!("{{\"ts\":\"2026-11-30T12:14:{i:02}Z\",\"level\":\"info\",\"msg\":\"{line}\"}}\n"))
    }),
    ("comment of two slashes", |pem| lines(pem, |_, line| format!("// {line}\n"))),
    ("comment of two slashes without a space", |pem| lines(pem, |_, line| format!("//{line}\n"))),
    ("comment of a number sign", |pem| lines(pem, |_, line| format!("# {line}\n"))),
    ("block comment", |pem| lines(pem, |_, line| format!(" * {line}\n"))),
    ("quoted mail", |pem| lines(pem, |_, line| format!("> {line}\n"))),
    ("quoted mail without a space", |pem| lines(pem, |_, line| format!(">{line}\n"))),
    ("added in a diff", |pem| lines(pem, |_, line| format!("+{line}\n"))),
    ("removed in a diff", |pem| lines(pem, |_, line| format!("-{line}\n"))),
    ("added in a diff, in JSON", |pem| json(&lines(pem, |_, line| format!("+{line}\n")))),
    ("a table", |pem| lines(pem, |_, line| format!("| {line} |\n"))),
    ("indented in YAML", |pem| lines(pem, |_, line| format!("            {line}\n"))),
    ("far indented", |pem| lines(pem, |_, line| format!("{}{line}\n", " ".repeat(90)))),
    ("a list of strings", |pem| lines(pem, |_, line| format!("      \"{line}\",\n"))),
    ("strings in C", |pem| lines(pem, |_, line| format!("\"{line}\\n\"\n"))),
    ("strings in JavaScript", |pem| lines(pem, |_, line| format!("  '{line}\\n' +\n"))),
    ("strings in Go", |pem| lines(pem, |_, line| format!("\t\"{line}\\r\\n\" +\n"))),
    ("continued lines", |pem| lines(pem, |_, line| format!("{line} \\\n"))),
    ("a shell's heredoc of echo", |pem| lines(pem, |_, line| format!("echo '{line}' >> key.pem\n"))),
    ("escaped line ends", |pem| pem.replace('\n', "\\n")),
    ("CRLF", |pem| pem.replace('\n', "\r\n")),
    ("numbered, with CRLF", |pem| lines(pem, |i, line| format!("{i:>6}\u{2192}{line}\r\n"))),
    ("git blame", |pem| lines(pem, |i, line| format!("^4b825dc (Ann Example 2026-11-30 12:14:03 +0100 {i:>3}) {line}\n"))),
    ("compose's logs", |pem| lines(pem, |_, line| format!("shop-backend-1  | {line}\n"))),
    ("HTML", |pem| lines(pem, |i, line| format!("<tr><td class=\"n\" id=\"L{i}\">{i}</td><td>{line}</td></tr>\n"))),
    ("escaped in HTML", |pem| lines(pem, |_, line| format!("&gt; {line}<br>\n"))),
    ("between other lines", |pem| lines(pem, |i, line| format!("{line}\n[{i}] still running\n"))),
    ("number behind each line", |pem| lines(pem, |i, line| format!("{line}  # {i}\n"))),
    ("coloured", |pem| lines(pem, |i, line| format!("\u{1b}[32m{i}\u{1b}[0m:{line}\u{1b}[0m\n"))),
];
