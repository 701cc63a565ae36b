//! Ways to write a secret so that its receiver can still read it.

use std::io::Write;

/// A way, and how it is done.
pub(crate) type Encoding = (String, Box<dyn Fn(&[u8]) -> Vec<u8>>);

fn named(name: impl Into<String>, encode: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Encoding {
    (name.into(), Box::new(encode))
}

/// Ways that hide any token.
pub(crate) fn all() -> Vec<Encoding> {
    let mut list = vec![named("plain", |s| s.to_vec())];
    for (alphabet, url) in [("standard", false), ("url", true)] {
        for padded in [true, false] {
            for before in 0..3 {
                let pad = if padded { "padded" } else { "unpadded" };
                list.push(named(format!("base64 {alphabet} {pad} alignment {before}"), move |s| {
                    base64(&[&b"{=="[..before], s].concat(), url, padded)
                }));
            }
        }
    }
    for junk in 1..4 {
        list.push(named(format!("base64 behind {junk} stray digits"), move |s| [&b"XYZ"[..junk], &base64(s, false, true)].concat()));
    }
    list.push(named("base64 in a path", |s| [b"/files/", &base64(s, true, false)[..]].concat()));
    list.push(named("base64 wrapped at 24", |s| wrapped(&base64(s, false, true), 24, b"\n")));
    list.push(named("base64 wrapped with CRLF", |s| wrapped(&base64(s, false, true), 26, b"\r\n")));
    list.push(named("base64 wrapped in a JSON string", |s| wrapped(&base64(s, false, true), 32, b"\\n")));
    list.push(named("base64 wrapped and indented", |s| wrapped(&base64(s, false, true), 28, b"\n    ")));
    list.push(named("base64 with escaped slashes", |s| replaced(&base64(s, false, true), b'/', b"\\/")));
    list.push(named("base64 with percent signs", |s| replaced(&replaced(&base64(s, false, true), b'+', b"%2B"), b'/', b"%2F")));
    for rounds in 2..5 {
        list.push(named(format!("base64 {rounds} times"), move |s| (0..rounds).fold(s.to_vec(), |text, _| base64(&text, false, true))));
    }
    list.push(named("base32", base32));
    list.push(named("base32 lower case", |s| base32(s).to_ascii_lowercase()));
    list.push(named("base32 alignment 2", |s| base32(&[b"{=", s].concat())));
    list.push(named("hex lower case", |s| hex(s, "", "", false)));
    list.push(named("hex upper case", |s| hex(s, "", "", true)));
    list.push(named("hex behind a stray digit", |s| [b"a", &hex(s, "", "", false)[..]].concat()));
    for (name, before, between) in [
        ("colons", "", ":"),
        ("hyphens", "", "-"),
        ("spaces", "", " "),
        ("commas", "", ", "),
        ("line ends", "", "\n"),
        ("backslash x", "\\x", ""),
        ("0x and commas", "0x", ", "),
        ("0x and commas without spaces", "0x", ","),
        ("percent signs", "%", ""),
        ("equals signs", "=", ""),
    ] {
        list.push(named(format!("hex with {name}"), move |s| hex(s, before, between, false)));
        list.push(named(format!("upper case hex with {name}"), move |s| hex(s, before, between, true)));
    }
    for rounds in 1..=5 {
        list.push(named(format!("percent {rounds} times"), move |s| {
            (0..rounds).fold(s.to_vec(), |text, round| if round == 0 { hex(&text, "%", "", true) } else { replaced(&text, b'%', b"%25") })
        }));
    }
    list.push(named("percent for one letter in three", |s| every(s, 3, |b| format!("%{b:02x}"))));
    list.push(named("percent for the third letter only", |s| nth(s, 2, |b| format!("%{b:02X}"))));
    list.push(named("JSON u escapes", |s| every(s, 1, |b| format!("\\u{b:04x}"))));
    list.push(named("JSON u escapes, upper case", |s| every(s, 1, |b| format!("\\u{b:04X}"))));
    list.push(named("JSON u escape of one letter in four", |s| every(s, 4, |b| format!("\\u{b:04x}"))));
    list.push(named("JSON u escape of the second letter", |s| nth(s, 1, |b| format!("\\u{b:04x}"))));
    list.push(named("JSON escapes, escaped again", |s| replaced(&every(s, 1, |b| format!("\\u{b:04x}")), b'\\', b"\\\\")));
    list.push(named("braced u escapes", |s| every(s, 1, |b| format!("\\u{{{b:x}}}"))));
    list.push(named("octal escapes", |s| every(s, 1, |b| format!("\\{b:o}"))));
    list.push(named("HTML decimal", |s| every(s, 1, |b| format!("&#{b};"))));
    list.push(named("HTML decimal with zeros", |s| every(s, 1, |b| format!("&#{b:06};"))));
    list.push(named("HTML hexadecimal", |s| every(s, 1, |b| format!("&#x{b:x};"))));
    list.push(named("HTML without semicolons", |s| every(s, 2, |b| format!("&#x{b:x};"))));
    list.push(named("HTML, escaped again", |s| replaced(&every(s, 1, |b| format!("&#{b};")), b'&', b"&amp;")));
    list.push(named("quoted-printable", |s| hex(s, "=", "", true)));
    list.push(named("quoted-printable with soft line ends", |s| wrapped(s, 9, b"=\r\n")));
    list.push(named("UTF-16 little-endian", |s| s.iter().flat_map(|&b| [b, 0]).collect()));
    list.push(named("UTF-16 big-endian", |s| s.iter().flat_map(|&b| [0, b]).collect()));
    list.push(named("UTF-16 with a mark", |s| [0xff, 0xfe].into_iter().chain(s.iter().flat_map(|&b| [b, 0])).collect()));
    list.push(named("UTF-16 in base64", |s| base64(&s.iter().flat_map(|&b| [b, 0]).collect::<Vec<_>>(), false, true)));
    list.push(named("gzip", gzip));
    list.push(named("gzip in base64", |s| base64(&gzip(s), false, true)));
    list.push(named("gzip in hex", |s| hex(&gzip(s), "", "", false)));
    list.push(named("gzip twice", |s| gzip(&gzip(s))));
    list.push(named("zlib in base64", |s| base64(&zlib(s), false, true)));
    list.push(named("gzip in base32", |s| base32(&gzip(s))));
    list.push(named("zlib in base32", |s| base32(&zlib(s))));
    list.push(named("zip", zip));
    list.push(named("zip in base64", |s| base64(&zip(s), false, true)));
    list.push(named("zstd", |s| ruzstd::encoding::compress_to_vec(s, ruzstd::encoding::CompressionLevel::Fastest)));
    list.push(named("hex in base64", |s| base64(&hex(s, "", "", false), false, true)));
    list.push(named("base64 in hex", |s| hex(&base64(s, false, true), "", "", false)));
    list.push(named("base32 in base64", |s| base64(&base32(s), false, true)));
    list.push(named("base64 in JSON escapes", |s| every(&base64(s, false, true), 1, |b| format!("\\u{b:04x}"))));
    list.push(named("base64 in percent signs", |s| hex(&base64(s, false, true), "%", "", true)));
    list.push(named("percent in base64", |s| base64(&hex(s, "%", "", true), false, true)));
    list.push(named("base64 in HTML", |s| every(&base64(s, false, true), 1, |b| format!("&#{b};"))));
    for (name, mark) in [
        ("zero-width spaces", "\u{200b}"),
        ("zero-width joiners", "\u{200d}"),
        ("byte order marks", "\u{feff}"),
        ("soft hyphens", "\u{ad}"),
        ("right-to-left overrides", "\u{202e}"),
        ("word joiners", "\u{2060}"),
        ("variation selectors", "\u{fe0f}"),
        ("tag characters", "\u{e0041}"),
        ("combining marks", "\u{301}"),
    ] {
        list.push(named(format!("{name} between letters"), move |s| every(s, 1, |b| format!("{}{mark}", b as char))));
        list.push(named(format!("{name} behind the second letter"), move |s| nth(s, 1, |b| format!("{}{mark}", b as char))));
    }
    list.push(named("fullwidth letters", |s| every(s, 1, |b| char::from_u32(u32::from(b) + 0xfee0).unwrap().to_string())));
    list.push(named("one letter in five fullwidth", |s| every(s, 5, |b| char::from_u32(u32::from(b) + 0xfee0).unwrap().to_string())));
    list.push(named("mathematical letters", |s| {
        every(s, 1, |b| match b {
            b'A'..=b'Z' => char::from_u32(0x1d400 + u32::from(b - b'A')).unwrap().to_string(),
            b'a'..=b'z' => char::from_u32(0x1d41a + u32::from(b - b'a')).unwrap().to_string(),
            b'0'..=b'9' => char::from_u32(0x1d7ce + u32::from(b - b'0')).unwrap().to_string(),
            _ => (b as char).to_string(),
        })
    }));
    list.push(named("cyrillic lookalikes", |s| {
        every(s, 1, |b| {
            let at = "aeopcyxABEKMHOPCTX".bytes().position(|l| l == b);
            at.map_or(b as char, |at| "аеорсухАВЕКМНОРСТХ".chars().nth(at).unwrap()).to_string()
        })
    }));
    list
}

/// Ways that hide a secret whose fingerprint is known: no rule could tell them from noise.
pub(crate) fn of_known() -> Vec<Encoding> {
    vec![
        named("reversed", |s| s.iter().rev().copied().collect()),
        named("rot13", |s| {
            let turn = |b: u8, a: u8| (b - a + 13) % 26 + a;
            s.iter()
                .map(|&b| {
                    if b.is_ascii_lowercase() {
                        turn(b, b'a')
                    } else if b.is_ascii_uppercase() {
                        turn(b, b'A')
                    } else {
                        b
                    }
                })
                .collect()
        }),
        named("lower case", |s| s.to_ascii_lowercase()),
        named("upper case", |s| s.to_ascii_uppercase()),
        named("in the middle of letters", |s| [b"abcXYZ019", s, b"zzz999AAA"].concat()),
        named("base64 in the middle of digits", |s| [b"abcXYZ01", &base64(s, false, false)[..], b"zzz999AAA"].concat()),
        named("reversed in base64", |s| base64(&s.iter().rev().copied().collect::<Vec<_>>(), false, true)),
        named("lower case base32 in labels", |s| [&base32(s).to_ascii_lowercase()[..], b".dns.test"].concat()),
    ]
}

pub(crate) fn base64(bytes: &[u8], url: bool, padded: bool) -> Vec<u8> {
    let mut alphabet = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if url {
        alphabet[62..].copy_from_slice(b"-_");
    }
    let mut out = Vec::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            if i <= group.len() {
                out.push(alphabet[(bits >> (18 - 6 * i) & 63) as usize]);
            } else if padded {
                out.push(b'=');
            }
        }
    }
    out
}

fn base32(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in bytes.chunks(5) {
        let bits = group.iter().fold(0u64, |bits, &b| bits << 8 | u64::from(b)) << (8 * (5 - group.len()));
        out.extend((0..(group.len() * 8).div_ceil(5)).map(|i| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(bits >> (35 - 5 * i) & 31) as usize]));
    }
    out
}

fn hex(bytes: &[u8], before: &str, between: &str, upper: bool) -> Vec<u8> {
    let one = |b: &u8| if upper { format!("{before}{b:02X}") } else { format!("{before}{b:02x}") };
    bytes.iter().map(one).collect::<Vec<_>>().join(between).into_bytes()
}

fn every(bytes: &[u8], step: usize, encode: impl Fn(u8) -> String) -> Vec<u8> {
    bytes.iter().enumerate().flat_map(|(i, &b)| if i % step == 0 { encode(b).into_bytes() } else { vec![b] }).collect()
}

fn nth(bytes: &[u8], n: usize, encode: impl Fn(u8) -> String) -> Vec<u8> {
    bytes.iter().enumerate().flat_map(|(i, &b)| if i == n { encode(b).into_bytes() } else { vec![b] }).collect()
}

fn wrapped(text: &[u8], width: usize, between: &[u8]) -> Vec<u8> {
    text.chunks(width).collect::<Vec<_>>().join(between)
}

fn replaced(text: &[u8], from: u8, to: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|&b| if b == from { to.to_vec() } else { vec![b] }).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive's local file header and one deflated file.
fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    let data = encoder.finish().unwrap();
    let mut out = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend((data.len() as u32).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(b"\x05\0\0\0a.txt");
    out.extend(data);
    out
}
