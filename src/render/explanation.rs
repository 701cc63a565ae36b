//! Explains the verdict on one request.

use std::fmt::Write;

use bottle_contract::Untrusted;
use bottle_contract::event::Event;
use bottle_contract::reason::Reason;

/// The events of one request with their sidecars, in the order of the timeline.
pub type RequestEvents<'a> = [(&'a str, &'a Event)];

/// The verdict on the request: the reason of the refusal that decided, and who gave it. A sidecar that only passed on
/// its sibling's verdict did not decide.
pub fn refusal<'a>(events: &RequestEvents<'a>) -> Option<(&'a str, Reason, &'a Event)> {
    let refusals = || events.iter().filter_map(|(component, event)| Some((*component, event.reason?, *event)));
    refusals().find(|(_, _, event)| event.rule.is_some() || event.place.is_some()).or_else(|| refusals().next())
}

/// All of it, for people.
pub fn explain(bottle: &str, id: &str, events: &RequestEvents<'_>) -> String {
    let mut out = String::new();
    let mut row = |name: &str, text: &str| {
        let _ = writeln!(out, "{}", format!("  {name:<10} {text}").trim_end());
    };
    row("asked", &asked(events));
    for (component, event) in events {
        for (index, line) in decision(event).iter().enumerate() {
            row(if index == 0 { component } else { "" }, line);
        }
    }
    match refusal(events) {
        None => row("verdict", "allowed"),
        Some((component, reason, event)) => {
            row("verdict", &format!("refused by {component}: {reason}"));
            row("agent may", reason.hint());
            for (index, line) in operator(reason, event).lines().enumerate() {
                row(if index == 0 { "you may" } else { "" }, line);
            }
        }
    }
    format!("request {}, bottle {bottle}\n{out}", Untrusted::new(id))
}

/// What was asked, from whichever sidecar may say it: of a request that held a secret, none says where it stood.
fn asked(events: &RequestEvents<'_>) -> String {
    let first = |field: fn(&Event) -> Option<&String>| {
        events.iter().find_map(|(_, event)| field(event)).map(|text| Untrusted::new(text).to_string())
    };
    let method = first(|event| event.method.as_ref()).unwrap_or_else(|| "(a method that is not repeated)".to_owned());
    let origin = first(|event| event.origin.as_ref());
    let path = first(|event| event.path.as_ref());
    let time = events.first().map_or("", |(_, event)| event.time.as_str());
    let target = match (origin, path) {
        (None, None) => "of a target that is not repeated".to_owned(),
        (Some(origin), path) => format!("{origin}{}", path.unwrap_or_default()),
        (None, Some(path)) => path,
    };
    format!("{method} {target}, answered by {}", Untrusted::new(time))
}

/// What one sidecar did.
fn decision(event: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    let shown = |text: &Option<String>| text.as_deref().map(|text| Untrusted::new(text).to_string());
    let (rule, place, message) = (shown(&event.rule), shown(&event.place), shown(&event.message));
    match event.reason {
        Some(reason) => {
            lines.push(format!("refused it: {reason}"));
            lines.extend(message.map(|message| format!("because {message}")));
            lines.extend(rule.map(|rule| format!("by the rule {rule}")));
            lines.extend(place.map(|place| format!("for what stands in {}", describe_place(&place))));
            lines.extend(shown(&event.masked).map(|masked| format!("which is {masked}")));
            lines.extend(shown(&event.digest).map(|digest| format!("with the SHA-256 {digest}")));
        }
        None if event.event == "redacted" => {
            let value = shown(&event.masked).map_or_else(|| "values".to_owned(), |masked| format!("the value {masked}"));
            let place = place.map_or_else(String::new, |place| format!(" in {}", describe_place(&place)));
            let rule = rule.map_or_else(String::new, |rule| format!(", by the rule {rule}"));
            lines.push(format!("replaced {value}{place}{rule}"));
        }
        None => {
            let by = rule.map_or_else(String::new, |rule| format!(", by the entry {rule}"));
            match &event.event[..] {
                "request" => lines.push(format!("let it pass{by}")),
                "tunnel" => lines.push(format!("opened a tunnel{by}")),
                "answer_suspicious" => lines.push(format!("noted that the answer may try to instruct the agent{by}")),
                other => lines.push(format!("noted {}{by}", Untrusted::new(other))),
            }
            lines.extend(message.map(|message| format!("it says: {message}")));
            lines.extend(place.map(|place| format!("in {}", describe_place(&place))));
        }
    }
    lines.extend(shown(&event.injected).map(|header| format!("with a credential put into `{header}`")));
    lines.extend(shown(&event.dialled).map(|address| format!("dialled {address}")));
    if let Some(status) = event.status {
        let micros = event.micros.map_or_else(String::new, |micros| format!(" after {:.1} ms", micros as f64 / 1000.0));
        let bytes = |what: &str, count: Option<u64>| count.map_or_else(String::new, |count| format!(", {count} bytes {what}"));
        lines.push(format!("status {status}{micros}{}{}", bytes("sent", event.sent), bytes("received", event.received)));
    }
    lines
}

/// Describes a place of a message.
fn describe_place(place: &str) -> String {
    match place {
        "head" => "the head of the request".to_owned(),
        "path" | "query" | "host" | "method" | "body" => format!("the {place}"),
        "upstream" => "the answer, or the way to the origin".to_owned(),
        _ if place.starts_with("body[") || place.starts_with("body.") && !place.contains(['@', ':']) => {
            let field = place.trim_start_matches("body").trim_start_matches('.');
            format!("the field `{field}` of the body")
        }
        _ => match (place.strip_prefix("header:"), place.split_once('@'), place.split_once(':')) {
            (Some(header), ..) => format!("the header `{header}`"),
            (_, Some((form, byte)), _) => format!("the {}, byte {byte}", form.replace("body.decoded", "decoded body")),
            (.., Some((form, view))) => format!("the {}: its {view}, joined", form.replace("body.decoded", "decoded body")),
            _ => place.to_owned(),
        },
    }
}

/// Text as a scalar of YAML's flow style. JSON's strings are all of them YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::to_string(&Untrusted::new(text).to_string()).unwrap_or_default()
}

/// What the operator may do about a refusal; lines behind the first stand in the manifest as they are.
fn operator(reason: Reason, event: &Event) -> String {
    let origin = event.origin.as_deref().map_or_else(|| "the host".to_owned(), |origin| Untrusted::new(origin).to_string());
    let host = origin.split_once("://").map_or(origin.as_str(), |(_, authority)| authority);
    match reason {
        Reason::HostNotListed | Reason::PortNotListed => {
            format!("allow it, if its agent should reach it, with a line under `routes` of the bottle:\n- {{ host: {} }}", quoted(host))
        }
        Reason::MethodNotAllowed | Reason::PathNotAllowed => format!(
            "allow it, if its agent should do this, with an entry under `matches` of the route for {host}:\n\
             - {{ methods: [{}], paths: [{}] }}",
            event.method.as_deref().map_or_else(String::new, |method| Untrusted::new(method).to_string()),
            event.path.as_deref().map_or_else(String::new, quoted)
        ),
        Reason::AddressNotPublic => {
            let address = event.origin.as_deref().and_then(|origin| origin.strip_prefix("http://")).map_or(443, |_| 80);
            format!(
                "name the address in the route, if you know it to be the right one:\n- {{ host: {}, connect: \"ADDRESS:{address}\" }}",
                quoted(host)
            )
        }
        Reason::SecretDetected if event.digest.is_some() => {
            "take it out of what the agent sends; `bottle allow --finding` lets it pass, if it is no secret".to_owned()
        }
        Reason::SecretDetected => {
            "look for what the agent was about to send; `bottle check --body FILE` tells what is found in a file".to_owned()
        }
        Reason::UpstreamTls => "add the origin's authority to `egress.trust`, if it is your own".to_owned(),
        Reason::GitPushBypass => "declare the repository under `git` in the bottle".to_owned(),
        Reason::SidecarGone | Reason::Internal => "`bottle logs` shows what became of the sidecar".to_owned(),
        Reason::MetadataAddress | Reason::SelfRequest => "nothing: there is no exception".to_owned(),
        _ => "look at what the agent does; `bottle logs` shows what came before".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bottle_contract::event::Level;

    use super::*;

    fn event(slug: &str, edit: impl FnOnce(&mut Event)) -> Event {
        let mut event = Event::new("2026-01-02T03:04:05.678Z".into(), Level::Info, slug);
        edit(&mut event);
        event
    }

    #[test]
    fn a_request_that_passed_is_told_from_end_to_end() {
        let egress = event("request", |e| {
            (e.method, e.origin, e.path) = (Some("GET".into()), Some("https://api.test".into()), Some("/v1/x".into()));
            (e.rule, e.injected, e.status) = (Some("api.test".into()), Some("authorization".into()), Some(200));
            (e.sent, e.received, e.micros) = (Some(0), Some(1024), Some(12_345));
        });
        let pipelock = event("request", |e| (e.rule, e.dialled) = (Some("*.test".into()), Some("192.0.2.7:443".into())));
        assert_eq!(
            explain("web", "1-2", &[("pipelock", &pipelock), ("egress", &egress)]),
            "request 1-2, bottle web\n\
             \x20 asked      GET https://api.test/v1/x, answered by 2026-01-02T03:04:05.678Z\n\
             \x20 pipelock   let it pass, by the entry *.test\n\
             \x20            dialled 192.0.2.7:443\n\
             \x20 egress     let it pass, by the entry api.test\n\
             \x20            with a credential put into `authorization`\n\
             \x20            status 200 after 12.3 ms, 0 bytes sent, 1024 bytes received\n\
             \x20 verdict    allowed\n"
        );
    }

    #[test]
    fn the_one_who_decided_is_named_and_hostile_text_is_inert() {
        let passed_on =
            event("refused", |e| (e.reason, e.message) = (Some(Reason::SecretDetected), Some("refused by the next sidecar".into())));
        let decided = event("refused", |e| {
            (e.reason, e.rule, e.place) = (Some(Reason::SecretDetected), Some("github-pat".into()), Some("header:x-\u{1b}[2J".into()));
        });
        let events = [("egress", &passed_on), ("pipelock", &decided)];
        assert_eq!(refusal(&events).map(|(component, reason, _)| (component, reason)), Some(("pipelock", Reason::SecretDetected)));
        let text = explain("web", "1-\u{9b}", &events);
        assert!(text.contains("  pipelock   refused it: secret_detected\n             by the rule github-pat\n"), "{text}");
        assert!(text.contains("the header `x-\\u{1b}[2J`"), "{text}");
        assert!(text.contains(&format!("agent may  {}", Reason::SecretDetected.hint())), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }

    // covers: V04
    #[test]
    fn a_redaction_and_a_refusal_name_the_field_and_the_value_without_the_value() {
        let redacted = event("redacted", |e| {
            (e.rule, e.place) = (Some("private-key".into()), Some("body.messages[3].content".into()));
            e.masked = Some("----… (1704 bytes)".into());
        });
        let refused = event("refused", |e| {
            (e.reason, e.rule, e.place) = (Some(Reason::SecretDetected), Some("github-pat".into()), Some("body[0].text".into()));
            (e.masked, e.digest) = (Some("ghp_… (40 bytes)".into()), Some("ab".repeat(32)));
        });
        let text = explain("web", "1-2", &[("pipelock", &redacted), ("pipelock", &refused)]);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines[2..7],
            [
                "pipelock   replaced the value ----… (1704 bytes) in the field `messages[3].content` of the body, by the rule private-key",
                "pipelock   refused it: secret_detected",
                "by the rule github-pat",
                "for what stands in the field `[0].text` of the body",
                "which is ghp_… (40 bytes)",
            ]
        );
        assert_eq!(describe_place("body.decoded@40"), "the decoded body, byte 40");
        assert_eq!(describe_place("body:json values"), "the body: its json values, joined");
    }

    // covers: W21
    #[test]
    fn the_person_reads_the_lines_that_would_allow_it() {
        let lines = |reason, origin: &str, path: Option<&str>| {
            let refused = event("refused", |e| {
                (e.method, e.origin, e.path) = (Some("POST".into()), Some(origin.into()), path.map(Into::into));
                e.reason = Some(reason);
            });
            let text = explain("web", "1-2", &[("egress", &refused)]);
            text.lines().last().unwrap().trim().to_owned()
        };
        assert_eq!(lines(Reason::HostNotListed, "https://new.test", None), "- { host: \"new.test\" }");
        assert_eq!(lines(Reason::PortNotListed, "https://new.test:8443", None), "- { host: \"new.test:8443\" }");
        let narrow = lines(Reason::PathNotAllowed, "https://api.test", Some("/v2/\"x\u{1b}"));
        assert_eq!(narrow, "- { methods: [POST], paths: [\"/v2/\\\"x\\\\u{1b}\"] }");
        assert_eq!(lines(Reason::AddressNotPublic, "https://nas.test", None), "- { host: \"nas.test\", connect: \"ADDRESS:443\" }");
    }
}
