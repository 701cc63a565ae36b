//! A grant of the operator's: in one running bottle, until it ends.

use std::io::Write;

use bottle_contract::host::split_port;
use bottle_contract::route::{DEFAULT_PORTS, Match, Route};
use bottle_contract::{Grant, Untrusted};
use bottle_policy::reach;

use super::{Args, Running};
use crate::commands::cannot_write;
use crate::control_socket::grant_command::GrantRoute;
use crate::control_socket::{Request, Response};
use crate::error::{Error, Result};

/// Allows each host, and says what that opens.
pub(super) fn run(args: &Args, bottle: &Running, out: &mut dyn Write) -> Result<()> {
    // All of them are read before the first is granted.
    let routes = args.hosts.iter().map(|host| route(host, args.read_only)).collect::<Result<Vec<_>>>()?;
    for (host, route) in args.hosts.iter().zip(routes) {
        let Response::Policy(before) = bottle.ask(&Request::Policy)? else { return Err(bottle.unexpected()) };
        let mut after = before.reach.clone();
        after.grants.push(Grant { id: String::new(), route: route.clone(), uses: args.uses });
        let opens = reach::beyond(&before.reach, &after);
        if opens.is_empty() {
            writeln!(out, "{} may reach {} already", bottle.id, Untrusted::new(host)).map_err(cannot_write)?;
            continue;
        }
        let request = GrantRoute { route, seconds: args.time.map(|time| time.as_secs().max(1)), uses: args.uses };
        let Response::InForce { generation } = bottle.ask(&Request::Grant(request))? else { return Err(bottle.unexpected()) };
        writeln!(out, "{} reaches more{} (generation {generation}):", bottle.id, limits(args)).map_err(cannot_write)?;
        opens.iter().try_for_each(|line| writeln!(out, "  {line}")).map_err(cannot_write)?;
    }
    Ok(())
}

/// When the grant ends.
fn limits(args: &Args) -> String {
    let time = args.time.map(|time| format!("for {}", crate::clock::span(time)));
    let uses = args.uses.map(|uses| format!("for {uses} {}", if uses == 1 { "request" } else { "requests" }));
    match (time, uses) {
        (Some(time), Some(uses)) => format!(" {time} or {uses}"),
        (Some(one), None) | (None, Some(one)) => format!(" {one}"),
        (None, None) => " until it ends".to_owned(),
    }
}

fn route(text: &str, read_only: bool) -> Result<Route> {
    let wrong = |cause: String| {
        let what = format!("`{}` is no host", Untrusted::new(text));
        Error::usage(what, cause, "write `name`, `*.suffix`, or `name:port`")
    };
    let (host, port) = split_port(text).ok_or_else(|| wrong("the port is not a plain number".to_owned()))?;
    let host = host.parse().map_err(|e: bottle_contract::host::HostError| wrong(e.to_string()))?;
    let methods = ["GET", "HEAD"].map(str::to_owned).to_vec();
    let matches = if read_only { vec![Match { methods, paths: Vec::new() }] } else { Vec::new() };
    Ok(Route { host, ports: port.map_or(DEFAULT_PORTS.to_vec(), |port| vec![port]), matches, auth: None, ask: false })
}
