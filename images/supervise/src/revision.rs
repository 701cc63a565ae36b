//! The revisions of MCP, and by which of them a message is judged. Pure.
//!
//! Up to 2025-11-25 a client begins with `initialize`, and repeats the revision in a header. From 2026-07-28 on each message names it, and
//! headers repeat what the message says. One port serves both.

use serde_json::{Map, Value, json};

use crate::json_rpc::{Fault, HEADER_MISMATCH, UNSUPPORTED_VERSION};

/// What is served, the oldest first. 2024-11-05 is spoken over this transport by clients that know only its messages.
pub const SUPPORTED: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN];
/// The first revision without `initialize`.
const MODERN: &str = "2026-07-28";
/// The newest one with it.
const NEWEST_LEGACY: &str = "2025-11-25";
/// Where a message names its revision.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The headers that repeat what a message says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'h> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'h str>,
    /// `Mcp-Method`.
    pub method: Option<&'h str>,
    /// `Mcp-Name`.
    pub name: Option<&'h str>,
}

/// How a message is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// With `initialize`.
    Legacy,
    /// Without.
    Modern,
}

/// Judges a request's revision, and what its headers say.
pub fn era(headers: &Headers<'_>, method: &str, params: &Map<String, Value>) -> Result<Era, Fault> {
    let named = params.get("_meta").and_then(|meta| meta.get(VERSION_KEY)).and_then(Value::as_str);
    if let Some(version) = named.or(headers.version).filter(|version| !SUPPORTED.contains(version)) {
        // `initialize` names its revision in its parameters, and is answered with one that is served.
        if method != "initialize" {
            let data = json!({ "supported": SUPPORTED, "requested": version.chars().take(32).collect::<String>() });
            return Err(Fault { data: Some(data), ..Fault::new(UNSUPPORTED_VERSION, "this revision of MCP is not served") });
        }
    }
    let is_modern = named == Some(MODERN) || (named.is_none() && (headers.version == Some(MODERN) || method == "server/discover"));
    if !is_modern {
        return Ok(Era::Legacy);
    }
    let mismatch = |header: &str| Fault::new(HEADER_MISMATCH, format!("the header `{header}` does not say what the message says"));
    // A client that only asks what is served may not know the headers yet.
    let asks_first = method == "server/discover" && headers.version.is_none() && headers.method.is_none();
    if !asks_first {
        if headers.version.is_some() && named.is_some() && headers.version != named {
            return Err(mismatch("MCP-Protocol-Version"));
        }
        if headers.method != Some(method) {
            return Err(mismatch("Mcp-Method"));
        }
        let name = params.get("name").and_then(Value::as_str);
        if method == "tools/call" && headers.name != name {
            return Err(mismatch("Mcp-Name"));
        }
    }
    Ok(Era::Modern)
}

/// The revision that `initialize` is answered with: the client's own, if it is served, else the newest with `initialize`.
pub fn negotiated(params: &Map<String, Value>) -> &'static str {
    let wanted = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    SUPPORTED.iter().copied().find(|version| *version == wanted && *version != MODERN).unwrap_or(NEWEST_LEGACY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(headers: [Option<&str>; 3], method: &str, version: Option<&str>, name: Option<&str>) -> Result<Era, i64> {
        let mut params = Map::new();
        if let Some(version) = version {
            params.insert("_meta".into(), json!({ VERSION_KEY: version }));
        }
        if let Some(name) = name {
            params.insert("name".into(), name.into());
        }
        let [version, header_method, name] = headers;
        era(&Headers { version, method: header_method, name }, method, &params).map_err(|fault| fault.code)
    }

    #[test]
    fn both_eras_are_told_apart_and_headers_must_agree() {
        let new = Some("2026-07-28");
        for (headers, method, version, name, expected) in [
            ([None, None, None], "initialize", None, None, Ok(Era::Legacy)),
            ([None, None, None], "tools/list", None, None, Ok(Era::Legacy)),
            ([Some("2025-06-18"), None, None], "tools/list", None, None, Ok(Era::Legacy)),
            ([Some("1900-01-01"), None, None], "tools/list", None, None, Err(UNSUPPORTED_VERSION)),
            ([Some("1900-01-01"), None, None], "initialize", None, None, Ok(Era::Legacy)),
            ([None, None, None], "server/discover", None, None, Ok(Era::Modern)),
            ([new, Some("server/discover"), None], "server/discover", new, None, Ok(Era::Modern)),
            ([new, Some("tools/list"), None], "tools/list", new, None, Ok(Era::Modern)),
            ([new, None, None], "tools/list", new, None, Err(HEADER_MISMATCH)),
            ([new, Some("tools/call"), None], "tools/list", new, None, Err(HEADER_MISMATCH)),
            ([Some("2025-11-25"), Some("tools/list"), None], "tools/list", new, None, Err(HEADER_MISMATCH)),
            ([new, Some("tools/call"), Some("a")], "tools/call", new, Some("a"), Ok(Era::Modern)),
            ([new, Some("tools/call"), Some("b")], "tools/call", new, Some("a"), Err(HEADER_MISMATCH)),
            ([new, Some("tools/call"), None], "tools/call", new, Some("a"), Err(HEADER_MISMATCH)),
            ([new, Some("tools/list"), None], "tools/list", Some("2099-01-01"), None, Err(UNSUPPORTED_VERSION)),
        ] {
            assert_eq!(judged(headers, method, version, name), expected, "{headers:?} {method} {version:?}");
        }
    }

    #[test]
    fn initialize_is_answered_with_a_revision_that_has_it() {
        let answered = |version: &str| negotiated(&Map::from_iter([("protocolVersion".to_owned(), version.into())]));
        assert_eq!(
            ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28", "1.0"].map(answered),
            ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2025-11-25", "2025-11-25"]
        );
    }
}
