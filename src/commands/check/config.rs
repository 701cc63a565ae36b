//! Validates a `pipelock.yaml`: every key, and every file that it names.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bottle_authority::Authority;
use bottle_contract::Untrusted;
use bottle_contract::names;
use bottle_contract::pipelock::PipelockConfig;
use bottle_policy::pipelock_policy::PipelockPolicy;

use crate::commands::Format;
use crate::error::{Error, Result, Source};
use crate::yaml;

/// The size limit of pipelock itself.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads the configuration, its authority and the certificates that it trusts.
pub(super) fn read(path: &Path) -> Result<PipelockPolicy> {
    let escaped = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
    let wrong = |why: Source, hint: &str| Error::usage(format!("{escaped} is not a configuration of pipelock"), why, hint);
    let text = bounded(path).map_err(|e| wrong(e.into(), "name a file that you can read"))?;
    let config = parse(&text).map_err(|why| wrong(why.into(), "see `pipelock.yaml` in the documentation for the keys"))?;
    let file = |name: &str| inside(name, path);
    if config.tls_interception.enabled {
        let tls = &config.tls_interception;
        let hint = "`tls_interception` names the authority's files: create a new authority if they do not match";
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
            return Err(wrong(format!("`{}` contains no certificate", Untrusted::new(name)).into(), hint));
        }
    }
    PipelockPolicy::new(config).map_err(|why| wrong(why.into(), "settings that would weaken pipelock are rejected"))
}

/// JSON as the supervisor writes it, or YAML as a person does.
fn parse(text: &str) -> std::result::Result<PipelockConfig, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| e.to_string());
    }
    yaml::parse(text).map_err(|problem| format!("line {}, column {}: {}; {}", problem.line, problem.column, problem.what, problem.hint))
}

/// The path of a file that the configuration names by its path in the sidecar: beside the configuration.
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

/// Reports what the configuration allows.
pub(super) fn write(policy: &PipelockPolicy, format: Format, out: &mut dyn Write) -> io::Result<u8> {
    let hosts: Vec<String> = policy.hosts().map(ToString::to_string).collect();
    match format {
        Format::Json => {
            writeln!(out, "{}", serde_json::json!({ "bottle": policy.bottle, "generation": policy.generation, "hosts": hosts }))?
        }
        Format::Text if hosts.is_empty() => writeln!(out, "good: it allows nothing")?,
        Format::Text => writeln!(out, "good: it lists {}", hosts.join(", "))?,
    }
    Ok(0)
}
