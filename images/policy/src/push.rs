//! Refuses a git push over HTTPS, which would bypass git-gate, in every spelling that some server accepts.
//!
//! A push is two requests (gitprotocol-http(5)): `GET …/info/refs?service=git-receive-pack`, then `POST …/git-receive-pack` with its own
//! media type. Servers strip path parameters, merge slashes, ignore case and decode repeatedly. But none of them accepts a push without
//! the service's name in the request.

use std::borrow::Cow;

use bottle_contract::reason::Reason;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::place::Place;
use crate::refused::Refused;

/// The service that receives a push.
const SERVICE: &str = "git-receive-pack";

/// The common part of the media types of request and response.
const MEDIA_TYPE: &str = "x-git-receive-pack-re";

/// Refuses both requests of a push.
pub fn refuse(method: &str, path: &str, query: &str, headers: &HeaderMap) -> Result<(), Refused> {
    match place(method, path, query, headers) {
        None => Ok(()),
        Some(place) => Err(Refused::new(Reason::GitPushBypass, "a git push over HTTPS bypasses git-gate").place(place)),
    }
}

/// The place that identifies the request as part of a push.
fn place(method: &str, path: &str, query: &str, headers: &HeaderMap) -> Option<Place> {
    let media_type = |value: &[u8]| value.to_ascii_lowercase().windows(MEDIA_TYPE.len()).any(|part| part == MEDIA_TYPE.as_bytes());
    if let Some((name, _)) = headers.iter().find(|(_, value)| media_type(value.as_bytes())) {
        return Some(Place::Header(name.clone()));
    }
    let (path, query) = (decoded(path), decoded(query));
    let reads_only = matches!(method, "GET" | "HEAD") && !headers.keys().any(overrides_method) && !query.contains("_method");
    // Pages about the service are allowed: no server accepts a push in a GET.
    let names_service = |segment: &str| segment.contains(SERVICE) && (!reads_only || name_of(segment) == SERVICE);
    if path.split(['/', '\\']).any(names_service) {
        return Some(Place::Path);
    }
    let is_discovery = path.split_once("info").is_some_and(|(_, rest)| rest.contains("refs"));
    let asks_for_service = |pair: &str| pair.contains(SERVICE) && (is_discovery || pair.contains("service="));
    query.split(['&', ';', '?']).any(asks_for_service).then_some(Place::Query)
}

/// A segment without its parameters, and without the trailing dots that some file systems ignore.
fn name_of(segment: &str) -> &str {
    let name = segment.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next().unwrap_or_default();
    name.trim_end_matches('.')
}

/// `x-http-method-override` and its variants.
fn overrides_method(name: &HeaderName) -> bool {
    name.as_str().contains("method") && !name.as_str().starts_with("access-control-")
}

/// Levels of nested escapes; no server decodes that often.
const MAX_ROUNDS: usize = 8;

/// Decodes percent escapes until none is left, in lower case. A result that is not UTF-8 matches nothing.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_ROUNDS {
        let Cow::Owned(shorter) = Cow::from(percent_decode_str(&text)) else { break };
        text = Cow::Owned(String::from_utf8_lossy(&shorter).into_owned());
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        text = Cow::Owned(text.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_push(method: &str, target: &str, fields: &[(&str, &str)]) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        refuse(method, path, query, &headers).is_err()
    }

    // covers: A02
    #[test]
    fn a_push_is_refused_in_every_spelling() {
        for target in [
            "/a.git/git-receive-pack",
            "/a.git/git-receive-pack/",
            "/a.git/git-receive-pack//",
            "/a.git//git-receive-pack",
            "/a.git/git-receive-pack;x=1",
            "/a.git/git-receive-pack;x=1/",
            "/a.git/git-receive-pack%3Bx",
            "/a.git/git-receive-pack%253bx",
            "/a.git/;x/git-receive-pack",
            "/a.git/git-receive-pack.",
            "/a.git/git-receive-pack%20",
            "/a.git/git-receive-pack%00",
            "/a.git/git-receive-pack%2F",
            "/a.git/git-receive-pack%3Fx",
            "/a.git/git-receive-pack%23x",
            "/a.git%2Fgit-receive-pack",
            "/a.git%5Cgit-receive-pack",
            "/a.git/GIT-Receive-Pack",
            "/a.git/git%2Dreceive%2dpack",
            "/a.git/%67it-receive-pack",
            "/a.git/%2567it-receive-pack",
            "/a.git/%25%36%37it-receive-pack",
            "/a.git/git-receive-pack/x",
            "/a.git/xgit-receive-packx",
        ] {
            assert!(is_push("POST", target, &[]), "{target}");
            assert!(is_push("PUT", target, &[]), "{target}");
            assert!(is_push("GET", target, &[("x_http_method_override", "POST")]), "{target}");
            assert!(is_push("GET", &format!("{target}?_method=POST"), &[]), "{target}");
            assert!(is_push("GET", &format!("{target}?%5Fmethod=POST"), &[]), "{target}");
        }
        for target in [
            "/a.git/info/refs?service=git-receive-pack",
            "/a.git/info/refs?x=y&service=git%2Dreceive-pack",
            "/a.git/info/refs?service=git%252Dreceive-pack",
            "/a.git/info/refs?service=GIT-receive-pack",
            "/a.git/info/refs?service=git-upload-pack&service=git-receive-pack",
            "/a.git/info/refs?service=git-upload-pack;service=git-receive-pack",
            "/a.git/info/refs?%73ervice=git-receive-pack",
            "/a.git/info/refs?service%3Dgit-receive-pack",
            "/a.git/info/refs?service=git-receive-pack%00",
            "/a.git/info/refs?Service=%20git-receive-pack",
            "/a.git/info/refs?service[]=git-receive-pack",
            "/a.git/info/refs;x?service=git-receive-pack",
            "/a.git/info;x/refs?service=git-receive-pack",
            "/a.git/info//refs?service=git-receive-pack",
            "/a.git/info%2Frefs?service=git-receive-pack",
            "/a.git/INFO/refs/?service=git-receive-pack",
            "/a.git/x?service=git-receive-pack",
        ] {
            assert!(is_push("GET", target, &[]), "{target}");
            assert!(is_push("HEAD", target, &[]), "{target}");
        }
        for value in [
            "application/x-git-receive-pack-request",
            "Application/X-Git-Receive-Pack-Request; charset=utf-8",
            "text/plain, application/x-git-receive-pack-request",
            "\"application/x-git-receive-pack-request\"",
        ] {
            assert!(is_push("POST", "/hidden", &[("content-type", value)]), "{value}");
            assert!(is_push("POST", "/hidden", &[("content-type", "text/plain"), ("content-type", value)]), "{value}");
        }
        assert!(is_push("POST", "/hidden", &[("accept", "application/x-git-receive-pack-result")]));
    }

    #[test]
    fn a_fetch_and_pages_about_git_are_no_push() {
        for (method, target, fields) in [
            ("GET", "/a.git/info/refs?service=git-upload-pack", &[("git-protocol", "version=2")][..]),
            ("POST", "/a.git/git-upload-pack", &[("content-type", "application/x-git-upload-pack-request")]),
            ("GET", "/docs/git-receive-pack.html", &[]),
            ("GET", "/man/git-receive-pack.1.en", &[]),
            ("GET", "/search?q=git-receive-pack", &[]),
            ("GET", "/docs/git-push", &[("referer", "https://git.test/docs/git-receive-pack")]),
            ("GET", "/docs/git-receive-pack.html", &[("access-control-request-method", "GET")]),
        ] {
            assert!(!is_push(method, target, fields), "{method} {target}");
        }
    }
}
