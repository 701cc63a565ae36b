//! The proxy's own pages: what the agent may reach, and how the proxy is.

use bottle_contract::names::EGRESS;
use bottle_contract::route::Route;
use bottle_wire::reload::Reloadable;
use bottle_wire::{Body, body};
use http::{Response, header};
use serde_json::{Value, json};

use crate::egress_policy::EgressPolicy;

/// The page at `http://egress:9099{path}`.
pub(crate) fn page(policy: &Reloadable<EgressPolicy>, host: &str, path: &str) -> Option<Response<Body>> {
    if host != EGRESS.0 && host != "localhost" && host != "127.0.0.1" {
        return None;
    }
    let current = policy.current();
    let page = match path {
        "/_bottle/routes" => json!({
            "generation": current.config.generation,
            "routes": current.config.routes.iter().map(visible).collect::<Vec<_>>(),
            "grants": current.config.grants.iter().map(|grant| visible(&grant.route)).collect::<Vec<_>>(),
        }),
        "/_bottle/health" => json!({
            "component": EGRESS.0,
            "generation": current.config.generation,
            "reload_failed": policy.last_error(),
        }),
        _ => return None,
    };
    let mut response = Response::new(body::full(format!("{page}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Some(response)
}

/// A route as the agent may see it: that a credential is put in, not where it comes from.
fn visible(route: &Route) -> Value {
    json!({
        "host": route.host,
        "ports": route.ports,
        "matches": route.matches,
        "ask": route.ask,
        "auth": route.auth.as_ref().map(|auth| json!({ "header": auth.header, "scheme": auth.scheme })),
    })
}
