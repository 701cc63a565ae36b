//! The side of a sidecar that holds a request.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use bottle_contract::ask::{FromHolder, HeldRequest, ToHolder};
use bottle_contract::reason::Reason;
use bottle_contract::supervise::{FromClient, Reply, ToSupervisor};

use crate::support::{DEADLINE, Supervise};

fn question() -> HeldRequest {
    HeldRequest {
        component: "egress".into(),
        request_id: "1-1".into(),
        generation: 1,
        reason: Reason::HostNotListed,
        method: "GET".into(),
        https: true,
        host: "a.test".into(),
        port: 443,
        path: "/x".into(),
        query_sha256: None,
        headers: vec!["accept".into()],
        body_bytes: Some(0),
        body_sha256: None,
    }
}

struct Holder(BufReader<UnixStream>);

impl Holder {
    fn connect(supervise: &Supervise) -> Self {
        let stream = UnixStream::connect(&supervise.link).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, message: &FromHolder) {
        writeln!(self.0.get_mut(), "{}", serde_json::to_string(message).unwrap()).unwrap();
    }

    /// `None` at the end of the connection.
    fn hear(&mut self) -> Option<ToHolder> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("something in time");
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }
}

#[test]
fn a_question_and_its_answers_pass_unchanged() {
    let mut supervise = Supervise::start();
    let mut holder = Holder::connect(&supervise);
    holder.say(&FromHolder::Ask(Box::new(question())));
    let FromClient { client, says } = supervise.supervisor.heard();
    assert_eq!(says, ToSupervisor::Ask(question()));
    for reply in [ToHolder::Asked { ask: "web.1".into() }, ToHolder::Denied { ask: "web.1".into(), reason: Some("no".into()) }] {
        supervise.supervisor.tell(client, Reply::Held(reply.clone()));
        assert_eq!(holder.hear(), Some(reply));
    }
    holder.say(&FromHolder::Released);
    assert_eq!(supervise.supervisor.heard(), FromClient { client, says: ToSupervisor::Released });
    assert_eq!(supervise.supervisor.heard(), FromClient { client, says: ToSupervisor::Left });
}

#[test]
fn a_holder_that_leaves_withdraws_its_question() {
    let mut supervise = Supervise::start();
    let mut holder = Holder::connect(&supervise);
    holder.say(&FromHolder::Ask(Box::new(question())));
    let client = supervise.supervisor.heard().client;
    drop(holder);
    assert_eq!(supervise.supervisor.heard(), FromClient { client, says: ToSupervisor::Left });
}

#[test]
fn what_is_no_question_is_not_passed_on() {
    let mut supervise = Supervise::start();
    for hostile in ["{}\n", "\"released\"\n", "x\n", "\n"] {
        let mut holder = Holder::connect(&supervise);
        holder.0.get_mut().write_all(hostile.as_bytes()).unwrap();
        assert_eq!(holder.hear(), None, "{hostile:?}");
    }
    let mut holder = Holder::connect(&supervise);
    holder.say(&FromHolder::Ask(Box::new(question())));
    assert_eq!(supervise.supervisor.heard().says, ToSupervisor::Ask(question()));
}

#[test]
fn without_a_supervisor_it_exits_and_is_a_failure() {
    let mut supervise = Supervise::start();
    // Half a message is no word of the supervisor's.
    supervise.supervisor.raw(b"{\"client\":1}\n");
    assert_eq!(supervise.exited(), Some(125));
}
