//! A Python index (PEP 503), an npm registry and a cargo registry (the Cargo Book, "Registry Index"), with packages made at start.

use std::error::Error;
use std::io::{Cursor, Write};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::exchange::{Arrival, Body, failure, json, reply};

const WHEEL: &str = "bottle_sample-1.0-py3-none-any.whl";
/// The two npm packages: their names differ in the scope, and with it in how clients spell their paths.
const NPM: [&str; 2] = ["bottle-sample", "@bottle/sample"];
const CRATE: &str = "bottle-sample";

/// Made once: the same bytes at every start.
pub(crate) struct Packages {
    wheel: Bytes,
    tarballs: [Bytes; 2],
    crate_file: Bytes,
}

impl Packages {
    pub(crate) fn build() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let tarballs = [npm_package(NPM[0])?.into(), npm_package(NPM[1])?.into()];
        Ok(Self { wheel: wheel()?.into(), tarballs, crate_file: crate_file()?.into() })
    }

    pub(crate) fn python_index(&self, arrival: &Arrival) -> Response<Body> {
        let links = match arrival.parts.uri.path() {
            "/simple/" => r#"<a href="/simple/bottle-sample/">bottle-sample</a>"#.to_owned(),
            "/simple/bottle-sample/" => {
                let digest = HEXLOWER.encode(&Sha256::digest(&self.wheel));
                format!(r#"<a href="https://files.pythonhosted.test/packages/{WHEEL}#sha256={digest}">{WHEEL}</a>"#)
            }
            _ => return failure(StatusCode::NOT_FOUND, "no such project"),
        };
        reply(StatusCode::OK, "text/html; charset=utf-8", format!("<!DOCTYPE html>\n<html><body>\n{links}\n</body></html>\n"))
    }

    pub(crate) fn python_file(&self, arrival: &Arrival) -> Response<Body> {
        match arrival.parts.uri.path().strip_prefix("/packages/") {
            Some(WHEEL) => reply(StatusCode::OK, "application/octet-stream", self.wheel.clone()),
            _ => failure(StatusCode::NOT_FOUND, "no such file"),
        }
    }

    pub(crate) fn npm(&self, arrival: &Arrival) -> Response<Body> {
        // npm asks for a scoped package with its slash encoded.
        let path = arrival.parts.uri.path().trim_start_matches('/').replace("%2f", "/").replace("%2F", "/");
        for (name, tarball) in NPM.into_iter().zip(&self.tarballs) {
            if path == name {
                return json(StatusCode::OK, &packument(name, &arrival.host, tarball));
            }
            if path == tarball_path(name) {
                return reply(StatusCode::OK, "application/octet-stream", tarball.clone());
            }
        }
        json(StatusCode::NOT_FOUND, &json!({"error": "Not found"}))
    }

    pub(crate) fn crates(&self, arrival: &Arrival) -> Response<Body> {
        match arrival.parts.uri.path() {
            "/index/config.json" => json(StatusCode::OK, &json!({"dl": format!("https://{}/files", arrival.host)})),
            // Below the first two and the next two letters of the name.
            "/index/bo/tt/bottle-sample" => {
                let cksum = HEXLOWER.encode(&Sha256::digest(&self.crate_file));
                let line = json!({"name": CRATE, "vers": "1.0.0", "deps": [], "cksum": cksum, "features": {}, "yanked": false});
                reply(StatusCode::OK, "text/plain", format!("{line}\n"))
            }
            "/files/bottle-sample/1.0.0/download" => reply(StatusCode::OK, "application/gzip", self.crate_file.clone()),
            _ => failure(StatusCode::NOT_FOUND, "no such crate"),
        }
    }
}

fn tarball_path(name: &str) -> String {
    format!("{name}/-/{}-1.0.0.tgz", name.rsplit('/').next().unwrap_or(name))
}

fn packument(name: &str, host: &str, tarball: &[u8]) -> Value {
    let integrity = format!("sha512-{}", BASE64.encode(&Sha512::digest(tarball)));
    let tarball = format!("https://{host}/{}", tarball_path(name));
    let version = json!({"name": name, "version": "1.0.0", "main": "index.js", "dist": {"tarball": tarball, "integrity": integrity}});
    json!({"_id": name, "name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}})
}

fn wheel() -> zip::result::ZipResult<Vec<u8>> {
    let mut files = vec![
        ("bottle_sample/__init__.py", "def answer():\n    return 42\n".to_owned()),
        ("bottle_sample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: bottle-sample\nVersion: 1.0\n".to_owned()),
        (
            "bottle_sample-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: bottle\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
    ];
    let mut listed: String = files
        .iter()
        .map(|(name, content)| format!("{name},sha256={},{}\n", BASE64URL_NOPAD.encode(&Sha256::digest(content)), content.len()))
        .collect();
    listed.push_str("bottle_sample-1.0.dist-info/RECORD,,\n");
    files.push(("bottle_sample-1.0.dist-info/RECORD", listed));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(name, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored))?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

fn npm_package(name: &str) -> std::io::Result<Vec<u8>> {
    let package = json!({"name": name, "version": "1.0.0", "main": "index.js"}).to_string();
    tarball(&[("package/package.json", &package), ("package/index.js", "module.exports = () => 42;\n")])
}

fn crate_file() -> std::io::Result<Vec<u8>> {
    let manifest = format!("[package]\nname = \"{CRATE}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
    tarball(&[("bottle-sample-1.0.0/Cargo.toml", &manifest), ("bottle-sample-1.0.0/src/lib.rs", "pub fn answer() -> u32 {\n    42\n}\n")])
}

fn tarball(files: &[(&str, &str)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
