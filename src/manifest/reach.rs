//! What a bottle may reach, manifest by manifest: presets and routes add to the parent's, and one of the same host replaces it whole.

use super::host_path::Base;
use super::model::{Egress, Route, RouteOrigin};
use super::provider::Provider;
use super::{preset, raw, route};
use crate::yaml::Problem;

/// Adds what one manifest says. A table that is written and says nothing denies everything, whatever the parent allows.
pub fn add(egress: &mut Egress, raw: &raw::Egress, bottle: &str, provider: Option<&Provider>, base: Base<'_>) -> Result<(), Problem> {
    let is_empty = |list: Option<usize>| list == Some(0);
    let (presets, routes) = (raw.presets.as_ref().map(Vec::len), raw.routes.as_ref().map(Vec::len));
    let denies = (is_empty(routes) || is_empty(presets)) && presets.unwrap_or(0) + routes.unwrap_or(0) == 0;
    if denies || is_empty(routes) || raw.replace.as_ref().is_some_and(|replace| replace.value) {
        egress.routes.clear();
        egress.ask = false;
    }
    if let Some(default) = &raw.default {
        egress.ask = matches!(default.value, raw::EgressDefault::Ask);
    }
    for name in raw.presets.iter().flatten() {
        for row in preset::routes(name, provider)? {
            put(&mut egress.routes, Route { from: origin(bottle, Some(&name.value)), ..row });
        }
    }
    // The rows of one manifest are of different hosts, so each is compared with the parent's and the presets' alone.
    let earlier = egress.routes.len();
    for row in route::parse_routes(raw.routes.as_deref().unwrap_or_default(), base)? {
        let row = Route { from: origin(bottle, None), ..row };
        let Some(at) = egress.routes[..earlier].iter().position(|other| other.host == row.host) else {
            egress.routes.push(row);
            continue;
        };
        let other = std::mem::replace(&mut egress.routes[at], row.clone());
        let pair = (bottle.to_owned(), other.from.bottle.clone());
        if other.from.bottle != bottle && (Route { from: row.from.clone(), ..other }) == row && !egress.repeated.contains(&pair) {
            egress.repeated.push(pair);
        }
    }
    Ok(())
}

fn origin(bottle: &str, preset: Option<&str>) -> RouteOrigin {
    RouteOrigin { bottle: bottle.to_owned(), preset: preset.map(str::to_owned) }
}

/// In the place of the one of the same host, or at the end.
fn put(routes: &mut Vec<Route>, row: Route) {
    match routes.iter_mut().find(|other| other.host == row.host) {
        Some(other) => *other = row,
        None => routes.push(row),
    }
}
