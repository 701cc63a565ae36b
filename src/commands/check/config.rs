//! A `pipelock.yaml`, read whole: every key, and every file that it names.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bottle_contract::Untrusted;
use bottle_contract::names;
use bottle_contract::pipelock::PipelockConfig;
use bottle_policy::authority::Authority;
use bottle_policy::table::Table;

use crate::commands::Format;
use crate::error::{Error, Result, Source};
use crate::yaml;

/// A file at most: what the door itself reads.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads the configuration, its authority and the certificates that it trusts.
pub(super) fn read(path: &Path) -> Result<Table> {
    let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
    let wrong = |why: Source, hint: &str| Error::usage(format!("{shown} is no configuration of pipelock"), why, hint);
    let text = bounded(path).map_err(|e| wrong(e.into(), "name a file that you can read"))?;
    let config = parse(&text).map_err(|why| wrong(why.into(), "see `pipelock.yaml` in the documentation for the keys"))?;
    let file = |name: &str| inside(name, path);
    if config.tls_interception.enabled {
        let tls = &config.tls_interception;
        let hint = "`tls_interception` names the authority's files: make it anew if they do not fit";
        let certificate = bounded(&file(&tls.ca_cert)).map_err(|e| wrong(format!("`ca_cert`: {e}").into(), hint))?;
        let key = zeroize::Zeroizing::new(bounded(&file(&tls.ca_key)).map_err(|e| wrong(format!("`ca_key`: {e}").into(), hint))?);
        let authority = Authority::from_pem(&certificate, &key).map_err(|e| wrong(e.into(), hint))?;
        let now = time::OffsetDateTime::from(SystemTime::now());
        if authority.not_before > now || authority.not_after < now {
            return Err(wrong("the authority's certificate is not valid now".into(), hint));
        }
    }
    let parent = config.x_bottle.parent.iter().filter_map(|parent| parent.ca.as_ref());
    for name in config.x_bottle.trust.iter().chain(parent) {
        let hint = "name a PEM file of certificates";
        let text = bounded(&file(name)).map_err(|e| wrong(format!("`{}`: {e}", Untrusted::new(name)).into(), hint))?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(wrong(format!("`{}` holds no certificate", Untrusted::new(name)).into(), hint));
        }
    }
    Table::new(config).map_err(|why| wrong(why.into(), "what weakens the door is no configuration"))
}

/// JSON as the supervisor writes it, or YAML as a person does.
fn parse(text: &str) -> std::result::Result<PipelockConfig, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| e.to_string());
    }
    yaml::parse(text).map_err(|problem| format!("line {}, column {}: {}; {}", problem.line, problem.column, problem.what, problem.hint))
}

/// Where a file is that the configuration names as its sidecar sees it: beside the configuration.
fn inside(name: &str, config: &Path) -> PathBuf {
    let name = Path::new(name);
    let here = config.parent().unwrap_or(Path::new("."));
    if let Ok(rest) = name.strip_prefix(names::CONFIG_DIR) {
        return here.join(rest);
    }
    match name.strip_prefix(names::CA_DIR) {
        Ok(rest) => here.join("../ca").join(rest),
        Err(_) => here.join(name),
    }
}

fn bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(fs::File::open(path)?, MAX_CONFIG_BYTES + 1), &mut text)?;
    if text.len() as u64 > MAX_CONFIG_BYTES { Err(io::Error::other("larger than 16 MiB")) } else { Ok(text) }
}

/// What the configuration lets pass.
pub(super) fn tell(table: &Table, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let hosts: Vec<String> = table.hosts().map(ToString::to_string).collect();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::json!({ "bottle": table.bottle, "generation": table.generation, "hosts": hosts }))?,
        Format::Text if hosts.is_empty() => writeln!(out, "good: it lets nothing pass")?,
        Format::Text => writeln!(out, "good: it lists {}", hosts.join(", "))?,
    }
    Ok(0)
}
