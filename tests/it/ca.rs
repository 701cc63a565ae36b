//! Certificate authorities, judged by OpenSSL and by the programs that an agent runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use bottle::ca::Authority;
use bottle::files::{Dir, PRIVATE, PUBLIC};

use crate::support::has;

/// An authority on disk, and a leaf for `localhost` that it signed.
struct Signed {
    dir: tempfile::TempDir,
}

impl Signed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::generate("bottle web egress", SystemTime::now()).unwrap();
        let place = Dir::open(dir.path()).unwrap();
        place.write_new("cert.pem", authority.cert_pem.as_bytes(), PUBLIC).unwrap();
        place.write_new("key.pem", authority.key_pem.as_bytes(), PRIVATE).unwrap();
        let extensions = "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n\
                          basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n";
        fs::write(dir.path().join("extensions"), extensions).unwrap();
        let signed = Self { dir };
        signed.openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj /CN=localhost -out leaf.csr");
        signed.openssl("x509 -req -in leaf.csr -CA cert.pem -CAkey key.pem -days 2 -extfile extensions -out leaf.pem");
        signed
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn try_openssl(&self, words: &str) -> Output {
        Command::new("openssl").args(words.split(' ')).current_dir(self.path()).output().unwrap()
    }

    fn openssl(&self, words: &str) -> String {
        let output = self.try_openssl(words);
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

// covers: F15
#[test]
fn openssl_finds_an_authority_that_signs_leaves_and_nothing_else() {
    let signed = Signed::new();
    signed.openssl("verify -x509_strict -purpose sslserver -CAfile cert.pem leaf.pem");
    let text = signed.openssl("x509 -in cert.pem -noout -text");
    for expected in
        ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "ASN1 OID: prime256v1", "ecdsa-with-SHA256", "Subject: CN = bottle web egress"]
    {
        assert!(text.contains(expected) || text.replace(" = ", "=").contains(&expected.replace(" = ", "=")), "{expected} in\n{text}");
    }
    assert_eq!(text.matches("critical").count(), 2, "basic constraints and key usage:\n{text}");
    // An authority below this one is refused: path length 0.
    fs::write(signed.path().join("sub"), "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n").unwrap();
    signed.openssl("req -new -key leaf.key -subj /CN=below -out sub.csr");
    signed.openssl("x509 -req -in sub.csr -CA cert.pem -CAkey key.pem -days 2 -extfile sub -out sub.pem");
    signed.openssl("x509 -req -in leaf.csr -CA sub.pem -CAkey leaf.key -days 2 -extfile extensions -out below.pem");
    let refused = signed.try_openssl("verify -CAfile cert.pem -untrusted sub.pem below.pem");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("path length constraint exceeded"), "{refused:?}");
}

// covers: F15
#[test]
fn the_key_identifier_is_the_sha1_of_the_public_key() {
    let signed = Signed::new();
    let colons = |text: String| {
        text.lines().find(|line| line.contains(':') && !line.contains("X509v3")).unwrap().trim().replace(':', "").to_lowercase()
    };
    let ski = colons(signed.openssl("x509 -in cert.pem -noout -ext subjectKeyIdentifier"));
    let aki = colons(signed.openssl("x509 -in leaf.pem -noout -ext authorityKeyIdentifier"));
    fs::write(signed.path().join("public.pem"), signed.openssl("x509 -in cert.pem -noout -pubkey")).unwrap();
    signed.openssl("pkey -pubin -in public.pem -outform DER -out public.der");
    // The last 65 bytes of a P-256 key in DER are the uncompressed point, the content of the bit string.
    let der = fs::read(signed.path().join("public.der")).unwrap();
    fs::write(signed.path().join("point"), &der[der.len() - 65..]).unwrap();
    let sha1 = signed.openssl("dgst -sha1 -r point");
    assert_eq!([ski.as_str(), aki.as_str()], [&sha1[..40]; 2]);
}

// covers: F17
#[test]
fn clocks_may_be_a_day_off() {
    let signed = Signed::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    for (hours, holds) in [(-25, false), (-23, true), (0, true), (24 * 29, true), (24 * 31, false)] {
        let at = now + hours * 3600;
        assert_eq!(signed.try_openssl(&format!("verify -attime {at} -CAfile cert.pem cert.pem")).status.success(), holds, "{hours} hours");
    }
}

#[test]
fn every_authority_has_its_own_key_and_serial() {
    let serials: Vec<String> = (0..20)
        .map(|_| {
            let signed = tempfile::tempdir().unwrap();
            fs::write(signed.path().join("cert.pem"), Authority::generate("x", SystemTime::now()).unwrap().cert_pem).unwrap();
            let output =
                Command::new("openssl").args(["x509", "-in", "cert.pem", "-noout", "-serial"]).current_dir(signed.path()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().trim_start_matches("serial=").to_owned()
        })
        .collect();
    assert!(serials.iter().all(|serial| serial.len() == 40 && serial.as_bytes()[0] < b'8'), "{serials:?}");
    assert_eq!(serials.iter().collect::<std::collections::BTreeSet<_>>().len(), 20);
}

#[test]
fn a_name_that_x509_cannot_hold_is_refused_and_a_key_is_never_shown() {
    for name in [String::new(), "x".repeat(65)] {
        assert!(Authority::generate(&name, SystemTime::now()).is_err());
    }
    let authority = Authority::generate(&"é".repeat(64), SystemTime::now()).unwrap();
    assert!(!format!("{authority:?}").contains("PRIVATE"));
    assert!(authority.key_pem.contains("PRIVATE KEY"));
}

/// A TLS server on loopback with the leaf, ended when dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn new(signed: &Signed) -> Self {
        let mut process = Command::new("openssl")
            .args("s_server -accept 127.0.0.1:0 -cert leaf.pem -key leaf.key -www".split(' '))
            .current_dir(signed.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let accept = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ").map(str::to_owned)).unwrap();
        let port = accept.rsplit(':').next().unwrap().trim().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// covers: F18
#[test]
fn the_programs_of_an_agent_accept_the_authority_and_nothing_else() {
    let signed = Signed::new();
    let ca = fs::read_to_string(signed.path().join("cert.pem")).unwrap();
    let other = Authority::generate("somebody else", SystemTime::now()).unwrap();
    fs::write(signed.path().join("bundle.pem"), &ca).unwrap();
    fs::write(signed.path().join("other.pem"), &other.cert_pem).unwrap();
    let server = Server::new(&signed);
    let url = format!("https://localhost:{}/", server.port);
    let run = |tool: &str, args: &[&str], bundle: &str| {
        let bundle = signed.path().join(bundle);
        let mut command = Command::new(tool);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", signed.path());
        command
            .env("SSL_CERT_FILE", &bundle)
            .env("NODE_EXTRA_CA_CERTS", &bundle)
            .env("CURL_CA_BUNDLE", &bundle)
            .env("GIT_SSL_CAINFO", &bundle);
        command.env("URL", &url).output().unwrap()
    };
    let python = "import os, urllib.request; urllib.request.urlopen(os.environ['URL']).read()";
    let node = "require('https').get(process.env.URL, r => r.resume()).on('error', e => { console.error(e.code); process.exit(1) })";
    for (tool, args) in [("curl", &["-sS", &url][..]), ("python3", &["-c", python]), ("node", &["-e", node])] {
        if has(tool) {
            let output = run(tool, args, "bundle.pem");
            assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(!run(tool, args, "other.pem").status.success(), "{tool} accepts anything");
        }
    }
    if has("git") {
        // The server is no git server: git complains about the answer when TLS was fine, and about TLS when not.
        let args = ["-c", "http.proxy=", "ls-remote", &url];
        let words = |bundle| String::from_utf8_lossy(&run("git", &args, bundle).stderr).to_lowercase();
        assert!(words("bundle.pem").contains("info/refs") && !words("bundle.pem").contains("certificate"), "{}", words("bundle.pem"));
        assert!(words("other.pem").contains("certificate"), "{}", words("other.pem"));
    }
}
