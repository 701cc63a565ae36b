//! `bottle demo`: runs a script that plays a compromised agent in a bottle, against a local origin, and reports what both sides saw.

mod home;
mod origin;

use std::io::Write;
use std::path::Path;

use bottle_contract::demo::{HOST, Request};
use zeroize::Zeroizing;

use self::home::Home;
use self::origin::Origin;
use super::{Format, NO, audit, cannot_write, start};
use crate::agent_program;
use crate::backend::kind::Kind;
use crate::error::{Error, OrFail, Result};
use crate::files::random_hex;
use crate::lifecycle::outcome;
use crate::manifest::model::{self, Resolved};
use crate::manifest::{self, Library, Source};
use crate::signals::Signals;
use crate::store::Layout;

/// Watch a hostile agent in a bottle
///
/// A script plays a compromised agent: it calls hosts that are not listed, leaks a key, and looks for credentials and for the host. The other
/// end is a server on this machine. Nothing else is reached, and nothing is left behind. Exit code 0 if each step ended as bottle promises.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {}

/// The agent and its bottle; also the bottle's id.
const NAME: &str = "demo";
/// The variable that the route names. It is not in the environment.
const TOKEN: &str = "DEMO_TOKEN";
/// The agent's script.
const SCRIPT: &str = include_str!("demo/agent.sh");
/// The programs that the script needs, and their packages.
const NEEDED: [(&str, &str); 5] = [("curl", "curl"), ("grep", "grep"), ("sed", "sed"), ("find", "findutils"), ("base64", "coreutils")];
/// The grace of the script, in seconds.
const GRACE: u64 = 2;

/// What a newcomer does then.
const NEXT: &str = "
Nothing of it is left. Next: `bottle doctor` checks this machine, and `bottle start claude` in a repository starts an agent.
";

/// Runs the demonstration; returns 0 if it succeeded.
pub fn run(_: Args, out: &mut dyn Write) -> Result<u8> {
    needs(&|name| agent_program::look_up_inside(name).is_some())?;
    let mut signals = Signals::listen().or_fail("cannot listen for signals", "raise `ulimit -n`")?;
    let home = Home::create()?;
    let result = show(&home, &mut signals, out);
    // The first failure is the one to report.
    let removed = home.remove();
    result.and_then(|code| removed.map(|()| code))
}

/// Refuses to run without the script's programs.
fn needs(has: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some((program, package)) = NEEDED.into_iter().find(|(program, _)| !has(program)) else { return Ok(()) };
    let what = format!("the demonstration needs `{program}`, which is not installed");
    Err(Error::failed(what, "its script runs the programs of this machine", format!("install `{package}`, then run `bottle demo` again")))
}

fn show(home: &Home, signals: &mut Signals, out: &mut dyn Write) -> Result<u8> {
    let origin = Origin::start()?;
    home.write("ca.pem", &origin.ready.certificate)?;
    let token = token()?;
    let resolved = resolve(home.path(), &origin.ready.address.to_string())?;
    if let Some(signal) =
        signals.take().into_iter().find(|signal| matches!(*signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT))
    {
        let code = u8::try_from(128 + signal).unwrap_or(crate::error::FAILED);
        return Err(Error { code, ..Error::failed("not started", outcome::name(signal), "run `bottle demo` again") });
    }
    let host = |name: &str| (name == TOKEN).then(|| token.to_string());
    let again = resolved.clone();
    let surroundings = start::Surroundings { variable: &host, resolve: &|| Ok(again.clone()), records_stay: false };
    let code = start::resolved(&start_arguments(), &home.layout, resolved, home.work(), &surroundings, out)?;
    let requests = origin.end()?;
    if code > NO {
        // It failed, and reported why.
        return Ok(code);
    }
    let succeeded = report(&requests, &token, &home.layout, out)?;
    if succeeded && code == 0 {
        write!(out, "{NEXT}").map_err(cannot_write)?;
    }
    Ok(if succeeded { code } else { NO })
}

/// Reports the requests at the origin, and whether the timeline is intact; false if either is wrong.
fn report(requests: &[Request], token: &str, layout: &Layout, out: &mut dyn Write) -> Result<bool> {
    let (seen, promised) = seen(requests, token);
    write!(out, "What the other side saw:\n   -> {seen}\n   -> the record of it: ").map_err(cannot_write)?;
    let verify = audit::Args { action: audit::Action::Verify { id: NAME.to_owned(), head: None } };
    Ok(audit::run(&verify, layout, out)? == 0 && promised)
}

/// Describes the requests at the origin, and whether there is exactly the allowed one with the real token.
fn seen(requests: &[Request], token: &str) -> (String, bool) {
    let real = |request: &&Request| request.authorization == [format!("Bearer {token}")];
    let allowed = |request: &&Request| request.method == "GET" && request.target == "/echo";
    if requests.len() == 1 && requests.iter().find(real).filter(allowed).is_some() {
        // Enough of it to distinguish two runs.
        return (format!("the origin got the real token ({}…), and 1 request in all", &token[..9]), true);
    }
    let (all, with) = (requests.len(), requests.iter().filter(real).count());
    (format!("NOT AS PROMISED: the origin got {all} requests, {with} of them with the real token; one `GET /echo` was allowed"), false)
}

/// The agent and its bottle, which are not in any library.
fn resolve(home: &Path, address: &str) -> Result<Resolved> {
    let bottle = include_str!("demo/bottle.md").replace("HOST", HOST).replace("ADDRESS", address);
    let source = |kind, file: &str, text: &str| {
        let origin = model::Origin::Home(home.join(file));
        Source { kind, name: NAME.to_owned(), origin, content: Ok(text.as_bytes().to_vec()) }
    };
    let agent = source(manifest::Kind::Agent, "agent.md", include_str!("demo/agent.md"));
    let bottle = source(manifest::Kind::Bottle, "bottle.md", &bottle);
    Library::new(None, vec![agent, bottle], Vec::new()).resolve(NAME)
}

fn start_arguments() -> start::Args {
    start::Args {
        agent: NAME.to_owned(),
        command: ["/bin/sh", "-c", SCRIPT, NAME].map(str::to_owned).to_vec(),
        yes: true,
        headless: true,
        prompt: None,
        stream: false,
        model: None,
        name: Some(NAME.to_owned()),
        grace: GRACE,
        // A container could not reach this machine's loopback.
        backend: Some(Kind::Embedded),
        allow_private_directory: false,
        dry_run: false,
        format: Format::Text,
        unfiltered: false,
    }
}

/// A random token.
fn token() -> Result<Zeroizing<String>> {
    let random = || random_hex().or_bug("cannot make a token");
    Ok(Zeroizing::new(format!("demo-{}{}", *Zeroizing::new(random()?), *Zeroizing::new(random()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, authorization: &[&str]) -> Request {
        let authorization = authorization.iter().map(|value| (*value).to_owned()).collect();
        Request { method: method.to_owned(), target: target.to_owned(), authorization }
    }

    #[test]
    fn only_the_one_allowed_request_with_the_real_token_is_as_promised() {
        let good = || request("GET", "/echo", &["Bearer demo-0123456789"]);
        let token = "demo-0123456789";
        assert_eq!(seen(&[good()], token), ("the origin got the real token (demo-0123…), and 1 request in all".to_owned(), true));
        for (requests, said) in [
            (vec![], "0 requests, 0"),
            (vec![good(), good()], "2 requests, 2"),
            (vec![good(), request("POST", "/echo", &[])], "2 requests, 1"),
            (vec![request("GET", "/admin", &["Bearer demo-0123456789"])], "1 requests, 1"),
            (vec![request("POST", "/echo", &["Bearer demo-0123456789"])], "1 requests, 1"),
            (vec![request("GET", "/echo", &["Bearer placeholder"])], "1 requests, 0"),
            (vec![request("GET", "/echo", &["Bearer demo-0123456789", "Bearer x"])], "1 requests, 0"),
        ] {
            let text = format!("NOT AS PROMISED: the origin got {said} of them with the real token; one `GET /echo` was allowed");
            assert_eq!(seen(&requests, token), (text, false));
        }
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        assert_eq!(needs(&|_| true), Ok(()));
        let error = needs(&|name| name != "find").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error: the demonstration needs `find`, which is not installed\ncause: its script runs the programs of this machine\n\
             hint:  install `findutils`, then run `bottle demo` again"
        );
    }

    #[test]
    fn its_bottle_has_one_route_and_is_in_no_library() {
        let resolved = resolve(Path::new("/home"), "127.0.0.1:9").unwrap();
        let [route] = &*resolved.bottle.egress.routes else { panic!("{:?}", resolved.bottle.egress.routes) };
        assert_eq!((route.host.to_string(), route.auth.as_ref().unwrap().token_ref.as_str()), (HOST.to_owned(), TOKEN));
        assert_eq!(resolved.bottle.egress.trust, [Path::new("/home/ca.pem")]);
        assert!(Library::new(None, Vec::new(), Vec::new()).resolve(NAME).is_err());
    }
}
