//! Harmless messages that look like secrets to a careless eye.

use super::dice::Dice;
use super::encodings::{base64, gzip};

const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";

/// A kind of message, and one of its kind.
type Kind = (&'static str, fn(&mut Dice) -> Vec<u8>);

/// Each kind is made several times, each time with other random parts.
pub(crate) fn all(times: usize) -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    for (name, make) in KINDS {
        for round in 0..times {
            let mut dice = Dice::new(round as u64 * 7919 + name.len() as u64);
            messages.push((format!("{name} {round}"), make(&mut dice)));
        }
    }
    messages
}

fn uuid(d: &mut Dice) -> String {
    format!("{}-{}-4{}-a{}-{}", d.text(HEX, 8), d.text(HEX, 4), d.text(HEX, 3), d.text(HEX, 3), d.text(HEX, 12))
}

fn chat(text: &str) -> Vec<u8> {
    serde_json::json!({ "model": "claude", "max_tokens": 1024, "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }] })
        .to_string()
        .into_bytes()
}

fn picture(d: &mut Dice, bytes: usize) -> String {
    let body = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x02\0\x08\x06\0\0\0".to_vec(), d.bytes(bytes)].concat();
    String::from_utf8(base64(&body, false, true)).unwrap()
}

const KINDS: &[Kind] = &[
    ("npm metadata request", |d| {
        format!(
            "GET /@babel%2fcore/-/core-7.{}.{}.tgz HTTP/1.1\r\nhost: registry.npmjs.org\r\nnpm-session: {}\r\n\r\n",
            d.below(30),
            d.below(9),
            d.text(HEX, 16)
        )
        .into_bytes()
    }),
    ("npm lock file", |d| {
        let mut text = String::from("{\"lockfileVersion\":3,\"packages\":{");
        for i in 0..30 {
            let sum = String::from_utf8(base64(&d.bytes(64), false, true)).unwrap();
            text += &format!(
                "\"node_modules/p{i}\":{{\"version\":\"1.{i}.0\",\"resolved\":\"https://registry.npmjs.org/p{i}/-/p{i}-1.{i}.0.tgz\",\"integrity\":\"sha512-{sum}\"}},"
            );
        }
        (text + "\"\":{}}}").into_bytes()
    }),
    ("npm publish of types", |d| {
        chat(&format!(
            "npm_config_cache=/home/u/.npm npm_lifecycle_event=build npm_package_version=1.{}.0 npm_node_execpath=/usr/bin/node",
            d.below(9)
        ))
    }),
    ("pip download", |d| {
        format!(
            "GET /packages/{}/{}/{}/requests-2.{}.0-py3-none-any.whl#sha256={} HTTP/1.1\r\nhost: files.pythonhosted.org\r\n",
            d.text(HEX, 2),
            d.text(HEX, 2),
            d.text(HEX, 60),
            d.below(40),
            d.text(HEX, 64)
        )
        .into_bytes()
    }),
    ("requirements with hashes", |d| {
        (0..20)
            .map(|i| format!("package{i}==1.{i} \\\n    --hash=sha256:{} \\\n    --hash=sha256:{}\n", d.text(HEX, 64), d.text(HEX, 64)))
            .collect::<String>()
            .into_bytes()
    }),
    ("cargo lock file", |d| {
        (0..30).map(|i| format!("[[package]]\nname = \"crate{i}\"\nversion = \"0.{i}.1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{}\"\n\n", d.text(HEX, 64))).collect::<String>().into_bytes()
    }),
    ("go.sum", |d| {
        (0..30)
            .map(|i| format!("golang.org/x/mod v0.{i}.0 h1:{}\n", String::from_utf8(base64(&d.bytes(32), false, true)).unwrap()))
            .collect::<String>()
            .into_bytes()
    }),
    ("docker manifest", |d| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"sha256:{}"}},"layers":[{{"digest":"sha256:{}"}},{{"digest":"sha256:{}"}}]}}"#,
            d.text(HEX, 64),
            d.text(HEX, 64),
            d.text(HEX, 64)
        )
        .into_bytes()
    }),
    ("git upload-pack request", |d| {
        (0..40).map(|i| format!("0032{} {}\n", if i < 20 { "want" } else { "have" }, d.text(HEX, 40))).collect::<String>().into_bytes()
    }),
    ("git log", |d| {
        (0..15).map(|i| format!("commit {}\nAuthor: Ann <ann@example.org>\nDate:   Mon Jan {} 10:0{}:17 2026 +0100\n\n    Bump the card layout, keep task-{} and risk-{i}\n\n", d.text(HEX, 40), 1 + i, i % 10, d.below(999))).collect::<String>().into_bytes()
    }),
    ("git diff", |d| {
        format!("diff --git a/src/auth.rs b/src/auth.rs\nindex {}..{} 100644\n--- a/src/auth.rs\n+++ b/src/auth.rs\n@@ -1,4 +1,4 @@\n-let token = env::var(\"GITHUB_TOKEN\")?;\n+let token = config.github_token.clone().ok_or(Error::MissingToken)?;\n", d.text(HEX, 7), d.text(HEX, 7)).into_bytes()
    }),
    ("pack file", |d| [b"PACK\0\0\0\x02\0\0\0\x20".to_vec(), d.bytes(6000)].concat()),
    ("uuid list", |d| (0..80).map(|_| uuid(d) + "\n").collect::<String>().into_bytes()),
    ("sha list", |d| (0..80).map(|i| format!("{}  file{i}.txt\n", d.text(HEX, [32, 40, 64, 128][i % 4]))).collect::<String>().into_bytes()),
    ("etags and request ids", |d| {
        format!(
            "etag: \"{}\"\r\nx-request-id: {}\r\nx-amz-id-2: {}\r\nx-amz-request-id: {}\r\ncf-ray: {}-FRA\r\nx-trace: 1-{}-{}\r\n",
            d.text(HEX, 32),
            uuid(d),
            String::from_utf8(base64(&d.bytes(48), false, true)).unwrap(),
            d.text("0123456789ABCDEF", 16),
            d.text(HEX, 16),
            d.text(HEX, 8),
            d.text(HEX, 24)
        )
        .into_bytes()
    }),
    ("traceparent", |d| {
        format!(
            "traceparent: 00-{}-{}-01\r\nbaggage: sentry-trace_id={},sentry-public_key={}\r\n",
            d.text(HEX, 32),
            d.text(HEX, 16),
            d.text(HEX, 32),
            d.text(HEX, 32)
        )
        .into_bytes()
    }),
    ("question about keys", |_| {
        chat(
            "How do GitHub tokens look? I know ghp_, gho_ and github_pat_ prefixes, `sk-ant-…` for Anthropic, AKIA… for AWS, xoxb- for Slack, and that JWTs begin with eyJ. What is glpat-?",
        )
    }),
    ("placeholder keys", |_| {
        chat(
            "export GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nexport OPENAI_API_KEY=sk-XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\nANTHROPIC_API_KEY=sk-ant-your-key-here-0000000000000000000000000000\nAWS_SECRET_ACCESS_KEY=<your secret access key>\nSLACK_BOT_TOKEN=xoxb-your-token-goes-here\nstripe: sk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
        )
    }),
    ("documented example keys", |_| {
        chat(
            &[
                "aws_access_key_id = AKIA",
                "IOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
                "EXAMPLEKEY\nThe sample JWT is eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
                "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
            ]
            .concat(),
        )
    }),
    ("truncated keys", |d| {
        chat(&format!(
            "The log shows `Authorization: Bearer ghp_{}…` and `sk-ant-api03-{}***`; both are redacted.",
            d.text(ALNUM, 6),
            d.text(ALNUM, 5)
        ))
    }),
    ("private key header without a key", |_| {
        chat(
            "The file must begin with -----BEGIN OPENSSH PRIVATE KEY----- and end with -----END OPENSSH PRIVATE KEY-----. For RSA it is\n-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\n",
        )
    }),
    ("numbered placeholder of a private key", |_| {
        chat(
            "     1\u{2192}-----BEGIN RSA PRIVATE KEY-----\n     2\u{2192}MIIEpAIBAAKCAQEA...\n     3\u{2192}<your key goes here>\n     4\u{2192}-----END RSA PRIVATE KEY-----\n",
        )
    }),
    ("shortened private key", |_| {
        chat("1\t-----BEGIN PRIVATE KEY-----\n2\tMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ...\n3\t-----END PRIVATE KEY-----\n")
    }),
    ("placeholder of one letter", |_| {
        chat(&format!("1\t-----BEGIN RSA PRIVATE KEY-----\n2\tMIIEpAIBAAKCAQEA{0}\n3\t{1}\n4\t{1}\n", "x".repeat(48), "x".repeat(64)))
    }),
    ("private key header, then a signature", |d| {
        let signature = String::from_utf8(base64(&d.bytes(420), false, true)).unwrap();
        let text = "It must begin with -----BEGIN OPENSSH PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----.";
        format!(
            r#"{{"role":"assistant","content":[{{"type":"text","text":"{text}"}},{{"type":"thinking","thinking":"The key must be read from its file.","signature":"{signature}"}}]}}"#
        )
        .into_bytes()
    }),
    ("private key header, then checksums", |d| {
        let sum = |d: &mut Dice, bytes| String::from_utf8(base64(&d.bytes(bytes), false, true)).unwrap();
        format!(
            "     1\u{2192}-----BEGIN OPENSSH PRIVATE KEY-----\n$ ssh-keygen -l\n256 SHA256:{} ann@host\n256 SHA256:{} bob@host\n\
             ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} ann@host\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} bob@host\n\
             golang.org/x/mod v0.1.0 h1:{}\ngolang.org/x/net v0.1.0 h1:{}\n{}\n{}\n\"integrity\": \"sha512-{}\"\n\"integrity\": \"sha512-{}\"\n\
             <link integrity=\"sha384-{}\">\n<link integrity=\"sha384-{}\">\n",
            d.text(ALNUM, 43),
            d.text(ALNUM, 43),
            d.text(ALNUM, 43),
            d.text(ALNUM, 43),
            sum(d, 32),
            sum(d, 32),
            d.text(HEX, 64),
            d.text(HEX, 64),
            sum(d, 64),
            sum(d, 64),
            sum(d, 48),
            sum(d, 48),
        )
        .into_bytes()
    }),
    ("code that looks for private keys", |_| {
        chat(
            "    12\u{2192}    if (text.startsWith(\"-----BEGIN PRIVATE KEY-----\")) {\n    13\u{2192}        return parsePkcs8EncodedPrivateKeySpecificationVersion1(text);\n    14\u{2192}        return parsePkcs1EncodedPrivateKeySpecificationVersion2(text);\nsrc/main/java/org/example/security/KeyReader2/PemPrivateKeyFileParser.java\nsrc/main/java/org/example/security/KeyReader2/PemPrivateKeyFileWriter.java\n",
        )
    }),
    ("numbered certificates, requests and public keys", |d| {
        let mut text = String::from("-----BEGIN PRIVATE KEY-----\n(not shown)\n-----END PRIVATE KEY-----\n");
        for (label, head) in [
            ("CERTIFICATE", &b"\x30\x82\x03\x77\x30\x82\x02\x5f\xa0\x03\x02\x01\x02\x02\x04"[..]),
            ("CERTIFICATE REQUEST", b"\x30\x82\x02\xbc\x30\x82\x01\xa4\x02\x01\x00\x30"),
            ("PUBLIC KEY", b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00"),
            ("RSA PUBLIC KEY", b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00"),
            ("PGP PUBLIC KEY BLOCK", b"\x99\x01\x0d\x04"),
            ("PKCS7", b"\x30\x82\x03\x77\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"),
        ] {
            let body = base64(&[head, &d.bytes(700)].concat(), false, true);
            let lines = body.chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
            let lines = std::iter::once(format!("-----BEGIN {label}-----")).chain(lines).chain([format!("-----END {label}-----")]);
            text.extend(lines.enumerate().map(|(i, line)| format!("{:>6}\u{2192}{line}\n", i + 1)));
        }
        chat(&text)
    }),
    ("certificate", |d| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            String::from_utf8(base64(&d.bytes(800), false, true))
                .unwrap()
                .as_bytes()
                .chunks(64)
                .map(|l| String::from_utf8_lossy(l).into_owned())
                .collect::<Vec<_>>()
                .join("\n")
        )
        .into_bytes()
    }),
    ("public keys", |d| {
        format!(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} ann@host\nssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{} bob@host\nage1{}\n",
            d.text(ALNUM, 43),
            d.text(ALNUM, 340),
            d.text("qpzry9x8gf2tvdw0s3jn54khce6mua7l", 58)
        )
        .into_bytes()
    }),
    ("word list", |d| {
        let words = [
            "abandon", "ability", "able", "about", "above", "absent", "absorb", "abstract", "absurd", "abuse", "access", "accident",
            "zone", "zoo", "legal", "winner", "thank", "year", "wave", "sausage", "worth", "useful",
        ];
        chat(&(0..24).map(|_| *d.one(&words)).collect::<Vec<_>>().join(" "))
    }),
    ("tool ids", |d| {
        chat(&format!(
            "toolu_{} msg_{} req_{} call_{} chatcmpl-{} resp_{} run_{} asst_{} thread_{}",
            d.text(ALNUM, 24),
            d.text(ALNUM, 24),
            d.text(ALNUM, 24),
            d.text(ALNUM, 24),
            d.text(ALNUM, 29),
            d.text(HEX, 48),
            d.text(ALNUM, 24),
            d.text(ALNUM, 24),
            d.text(ALNUM, 24)
        ))
    }),
    ("thinking signature", |d| {
        serde_json::json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "The user wants the tests to pass.", "signature": String::from_utf8(base64(&d.bytes(420), false, true)).unwrap() }] }).to_string().into_bytes()
    }),
    ("picture in a message", |d| {
        serde_json::json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": picture(d, 30_000) } })
            .to_string()
            .into_bytes()
    }),
    ("data URL", |d| format!("<img src=\"data:image/png;base64,{}\" alt=\"x\">", picture(d, 4000)).into_bytes()),
    ("source map", |d| {
        serde_json::json!({ "version": 3, "sources": ["../src/index.ts"], "mappings": (0..300).map(|_| format!("{}{}", d.text("ABCDEFGIQSUWYacegikmoqsu", 4), d.one(&[",", ";", ";;"]))).collect::<String>() }).to_string().into_bytes()
    }),
    ("minified bundle", |d| {
        (0..120)
            .map(|_| {
                format!(
                    "function {}({},{}){{return {}.exports=Object.assign({{}},{}.p,\"static/js/{}.{}.chunk.js\")}}",
                    d.text("abcdefghijkl", 1),
                    d.text("mnop", 1),
                    d.text("qrst", 1),
                    d.text("uvwx", 1),
                    d.text("yz", 1),
                    d.below(999),
                    d.text(HEX, 8)
                )
            })
            .collect::<String>()
            .into_bytes()
    }),
    ("random numbers", |d| (0..400).map(|_| format!("{}, ", d.next())).collect::<String>().into_bytes()),
    ("sixteen-digit ids", |d| (0..400).map(|_| format!("{{\"id\":{}}},", d.text("123456789", 16))).collect::<String>().into_bytes()),
    ("embedding", |d| (0..400).map(|_| format!("-0.{},", d.text("0123456789", 8))).collect::<String>().into_bytes()),
    ("hex dump", |d| {
        (0..40)
            .map(|i| {
                format!(
                    "{:08x}: {}\n",
                    i * 16,
                    d.bytes(16).chunks(2).map(|p| format!("{:02x}{:02x}", p[0], p[1])).collect::<Vec<_>>().join(" ")
                )
            })
            .collect::<String>()
            .into_bytes()
    }),
    ("network addresses", |d| {
        (0..60).map(|_| format!("{}\n", (0..6).map(|_| d.text(HEX, 2)).collect::<Vec<_>>().join(":"))).collect::<String>().into_bytes()
    }),
    ("fingerprints", |d| {
        (0..20)
            .map(|_| {
                format!(
                    "SHA256:{} {}\n",
                    String::from_utf8(base64(&d.bytes(32), false, false)).unwrap(),
                    (0..20).map(|_| d.text("0123456789ABCDEF", 2)).collect::<Vec<_>>().join(":")
                )
            })
            .collect::<String>()
            .into_bytes()
    }),
    ("signed download", |d| {
        format!("/bucket/object?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={}", d.text(HEX, 64)).into_bytes()
    }),
    ("analytics identifiers", |d| {
        format!(
            "G-{} UA-{}-1 pk_live_{} pk.eyJ1IjoiYW5uIn0 phc_{} client_id={}.apps.googleusercontent.com",
            d.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 10),
            d.text("0123456789", 8),
            d.text(ALNUM, 24),
            d.text(ALNUM, 43),
            d.text("0123456789", 12)
        )
        .into_bytes()
    }),
    ("code that handles tokens", |_| {
        b"if (token.startsWith('ghp_') || token.startsWith('github_pat_')) { validate(token, /^ghp_[A-Za-z0-9]{36}$/); }\nconst PREFIXES = ['sk-ant-', 'sk-proj-', 'xoxb-', 'xoxp-', 'AKIA', 'ASIA', 'AIza', 'glpat-', 'npm_', 'hf_', 'SG.', 'key-', 'rk_live_', 'whsec_'];\n".to_vec()
    }),
    ("local databases", |_| {
        b"DATABASE_URL=postgres://postgres:postgres@localhost:5432/app\nREDIS_URL=redis://:password@127.0.0.1:6379/0\nMONGO=mongodb://root:example@mongo:27017\nmysql://user:${DB_PASSWORD}@db/app amqp://guest:guest@rabbit:5672".to_vec()
    }),
    ("form of a login", |_| b"username=ann&password=correct+horse+battery+staple&remember=1&csrf=".to_vec()),
    ("camel case", |d| {
        (0..60)
            .map(|_| {
                format!(
                    "{}{}{}Factory.getInstance().{}For{}Of{}();\n",
                    d.one(&["abstract", "simple", "internal"]),
                    d.one(&["Transaction", "Connection", "Authentication"]),
                    d.one(&["Configuration", "Initialization", "Serialization"]),
                    d.one(&["createDescriptor", "resolveDependency"]),
                    d.one(&["Container", "Component"]),
                    d.one(&["Repository", "Environment"])
                )
            })
            .collect::<String>()
            .into_bytes()
    }),
    ("long paths", |d| {
        (0..40)
            .map(|i| {
                format!(
                    "/usr/local/lib/node_modules/@types/react-dom/node_modules/package{i}/dist/esm/{}/index.d.ts:12:{}\n",
                    d.one(&["internal/helpers", "shared/utilities", "components/navigation"]),
                    d.below(99)
                )
            })
            .collect::<String>()
            .into_bytes()
    }),
    ("Java stack trace", |d| {
        (0..30).map(|_| format!("\tat org.springframework.web.servlet.mvc.method.annotation.ServletInvocableHandlerMethod.invokeAndHandle(ServletInvocableHandlerMethod.java:{})\n", d.below(999))).collect::<String>().into_bytes()
    }),
    ("Russian", |_| {
        chat(
            "Привет! Как настроить токен доступа? Ключ API лежит в переменной окружения API_KEY, пароль не нужен. Он может быть длиннее сорока символов.",
        )
    }),
    ("Japanese", |_| chat("ＡＰＩキーは環境変数に入れてください。トークンの形式は「ｇｈｐ＿」で始まります。全角のＡＢＣと１２３。")),
    ("Greek and mathematics", |_| chat("Έστω 𝑓(𝑥) = 𝛼𝑥² + 𝛽, όπου 𝛼 ∈ ℝ. Η τιμή κλειδιού είναι άγνωστη; ½ ≤ ⅔, ①②③, ™ ℃ ℓ.")),
    ("emoji", |_| chat("👩‍👩‍👧‍👦 shipped it 🚀🏳️‍🌈, family tests ✅ — “done” … naïve café résumé Ångström 1️⃣2️⃣3️⃣")),
    ("percent-encoded search", |d| {
        format!("/search?q=how%20to%20rotate%20an%20API%20key%3F&lang=%E6%97%A5%E6%9C%AC%E8%AA%9E&r=%2Fhome%2F{}", d.below(99)).into_bytes()
    }),
    ("HTML page", |_| {
        "<p>Tom &amp; Jerry &lt;b&gt; &quot;keys&quot; &#39;tokens&#39; &nbsp;&copy; 2026 &#8212; &#x27;end&#x27;</p>"
            .repeat(20)
            .into_bytes()
    }),
    ("mail", |_| {
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nDear =C3=84nn,=20\r\nthe rate is 5=E2=82=AC and this line is longer than seventy-six characters, so=\r\n it is broken.\r\n".to_vec()
    }),
    ("gzip of text", |d| gzip(&(0..200).map(|_| uuid(d) + " the quick brown fox\n").collect::<String>().into_bytes())),
    ("protocol buffers", |d| {
        (0..60).flat_map(|i| [vec![0x0a, 36], uuid(d).into_bytes(), vec![0x12, 8], d.bytes(8), vec![0x18, i]].concat()).collect()
    }),
    ("UTF-16 text", |_| "The key to the house is under the mat. ".repeat(10).encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ("invoice", |d| {
        chat(&format!(
            "Invoice {}: order card {} of 4, phone +49 30 {} {}, tracking 1Z{} and 9400 1{} 00",
            d.below(99_999),
            d.below(4),
            d.text("0123456789", 4),
            d.text("0123456789", 4),
            d.text("0123456789ABCDEF", 16),
            d.text("0123456789", 13)
        ))
    }),
    ("test card and bank numbers", |_| {
        chat("Use card 4242 4242 4242 4242 or 4111 1111 1111 1111, exp 12/34, and IBAN DE89 3704 0044 0532 0130 00.")
    }),
    ("web push", |d| {
        format!(
            "Crypto-Key: p256ecdsa={}\r\nhttps://fcm.googleapis.com/fcm/send/{}:APA91b{}\r\n",
            String::from_utf8(base64(&d.bytes(65), true, false)).unwrap(),
            d.text(ALNUM, 11),
            d.text(ALNUM, 134)
        )
        .into_bytes()
    }),
    ("solidity addresses", |d| {
        (0..30).map(|_| format!("0x{} 0x{}\n", d.text("0123456789abcdefABCDEF", 40), d.text(HEX, 64))).collect::<String>().into_bytes()
    }),
    ("cookies", |d| {
        format!(
            "cookie: _ga=GA1.2.{}.{}; session={}; _gid={}; csrftoken={}\r\n",
            d.below(1 << 30),
            d.below(1 << 30),
            d.text(ALNUM, 43),
            d.text(HEX, 32),
            d.text(ALNUM, 64)
        )
        .into_bytes()
    }),
];
