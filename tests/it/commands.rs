//! The commands, as the operator sees them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bottle::clock::file_nanos;
use bottle::commands::{Format, apply, audit, diff, list, logs};
use bottle::error::Result;
use bottle::logs::{ComponentLog, Source, Stream};
use bottle::manifest::model::WorkspaceMode;
use bottle::store::{Claim, Exit, Layout, Phase, Workspace};
use bottle::timeline::{FILE, Opening, Timeline};
use bottle_contract::event::{Event, Level};
use tempfile::TempDir;

use crate::support::{layout, memory};

struct Home {
    disk: TempDir,
    _memory: TempDir,
    layout: Layout,
}

impl Home {
    fn new() -> Self {
        let (disk, memory) = (tempfile::tempdir().unwrap(), memory());
        let layout = layout(disk.path(), memory.path());
        Self { disk, _memory: memory, layout }
    }

    fn claim(&self, name: &str) -> Claim {
        let mut claim = Claim::new(&self.layout, name, None).unwrap();
        let set = |m: &mut bottle::store::Metadata| (m.backend, m.created) = ("embedded".into(), "2026-11-21T10:00:00.000Z".into());
        claim.update(|metadata| set(metadata)).unwrap();
        claim
    }
}

fn said(command: impl FnOnce(&mut dyn Write) -> Result<u8>) -> (u8, String) {
    let mut out = Vec::new();
    let code = command(&mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn ended(code: u8, message: Option<&str>) -> Exit {
    Exit { code, signal: None, message: message.map(str::to_owned), ended: "2026-11-21T11:00:00.000Z".into() }
}

#[test]
fn a_list_tells_what_lives_and_what_does_not() {
    let home = Home::new();
    let text = |format| said(|out| list::run(&list::Args { format }, &home.layout, out));
    assert_eq!(text(Format::Text), (0, "there are no bottles\n".into()));
    assert_eq!(text(Format::Json), (0, "[]\n".into()));
    let _running = home.claim("running");
    drop(home.claim("crashed"));
    let whole = |m: &mut bottle::store::Metadata| (m.phase, m.exit) = (Phase::Ended, Some(ended(3, Some("evil\u{1b}[2J"))));
    home.claim("ended").update(whole).unwrap();
    fs::create_dir(home.layout.state.join("odd")).unwrap();
    let (code, shown) = text(Format::Text);
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let without_age = |row: &[&str]| [&row[..2], &row[3..]].concat().join(" ");
    let first: Vec<String> = rows.iter().take(4).map(|row| without_age(row)).collect();
    let expected =
        ["NAME STATUS CHANGES EXIT DIRECTORY", "running running - -", "crashed crashed none -", "ended ended none 3 (evil\\u{1b}[2J)"];
    assert_eq!((code, first), (0, expected.map(str::to_owned).to_vec()), "{shown}");
    assert!(rows[4].join(" ").starts_with("odd unreadable - none - (cannot open `"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&text(Format::Json).1).unwrap();
    let statuses: Vec<_> =
        json.as_array().unwrap().iter().map(|row| (row["id"].as_str().unwrap(), row["status"].as_str().unwrap())).collect();
    assert_eq!(statuses, [("running", "running"), ("crashed", "crashed"), ("ended", "ended"), ("odd", "unreadable")]);
    assert_eq!(json[2]["exit"]["code"], 3);
}

fn log_args(id: &str, component: Option<&str>, follow: bool, format: Format) -> logs::Args {
    logs::Args { id: id.into(), component: component.map(str::to_owned), follow, format }
}

fn event(time: &str, slug: &str) -> String {
    serde_json::to_string(&Event::new(time.into(), Level::Info, slug)).unwrap() + "\n"
}

#[test]
fn logs_of_all_components_come_in_one_order_and_harmless() {
    let home = Home::new();
    let claim = home.claim("web");
    let dir = claim.logs().unwrap();
    for (component, times) in [
        ("egress", ["2026-01-01T00:00:01.000Z", "2026-01-01T00:00:04.000Z"]),
        ("pipelock", ["2026-01-01T00:00:02.000Z", "2026-01-01T00:00:03.000Z"]),
    ] {
        let mut log = ComponentLog::create(&dir, component, Source::Sidecar).unwrap();
        times.iter().for_each(|time| log.push(Stream::Stderr, event(time, "request").as_bytes(), &mut |_| ()));
        log.finish(&mut |_| ());
    }
    let mut agent = ComponentLog::create(&dir, "agent", Source::Agent).unwrap();
    agent.push(Stream::Stdout, b"\x1b[2Jhello\n\xff\n", &mut |_| ());
    agent.finish(&mut |_| ());
    let (code, text) = said(|out| logs::run(&log_args("web", None, false, Format::Text), &home.layout, out));
    let components: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!((code, components), (0, vec!["egress", "pipelock", "pipelock", "egress", "agent", "agent"]));
    assert!(text.contains(" \\u{1b}[2Jhello\n") && text.ends_with(" \\xff\n") && text.contains(" info request\n"), "{text}");
    let (_, json) = said(|out| logs::run(&log_args("web", Some("egress"), false, Format::Json), &home.layout, out));
    assert_eq!(json, fs::read_to_string(dir.path().join("egress.jsonl")).unwrap());
    let fails = |id: &str, component| logs::run(&log_args(id, component, false, Format::Text), &home.layout, &mut io::sink()).unwrap_err();
    assert!(fails("web", Some("gitgate")).cause.contains("agent, egress, pipelock"));
    assert!(fails("web", Some("../metadata")).what.contains("no log of"));
    assert_eq!([fails("other", None).code, fails("../web", None).code], [2, 2]);
    // What it means that a reader went away is for the command line to say.
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(
        logs::run(&log_args("web", None, false, Format::Text), &home.layout, &mut Closed).unwrap_err().what,
        "cannot write the output"
    );
}

/// Sends each line on.
struct Lines(Sender<String>, Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        while let Some(end) = self.1.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.1.drain(..=end).collect();
            self.0.send(String::from_utf8(line).unwrap()).unwrap();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn following_shows_what_comes_and_ends_with_the_bottle() {
    let home = Home::new();
    let claim = home.claim("web");
    let dir = claim.logs().unwrap();
    let (sender, lines) = channel();
    let next = || lines.recv_timeout(Duration::from_secs(20)).unwrap();
    std::thread::scope(|scope| {
        let home = &home;
        let follower =
            scope.spawn(move || logs::run(&log_args("web", None, true, Format::Text), &home.layout, &mut Lines(sender, Vec::new())));
        let mut log = ComponentLog::create(&dir, "agent", Source::Agent).unwrap();
        log.push(Stream::Stdout, b"one\n", &mut |_| ());
        assert!(next().ends_with(" one\n"));
        // A component that comes later, and half a line of it.
        let mut late = dir.create_log("late.jsonl").unwrap();
        late.write_all(b"{\"time\":\"2026-01-01T00:00:00.000Z\",\"te").unwrap();
        log.push(Stream::Stdout, b"two\n", &mut |_| ());
        assert!(next().ends_with(" two\n"));
        late.write_all(b"xt\":\"three\"}\n").unwrap();
        assert!(next().ends_with(" three\n"));
        log.push(Stream::Stdout, b"last", &mut |_| ());
        log.finish(&mut |_| ());
        drop(claim);
        assert!(next().ends_with(" last\n"));
        assert_eq!(follower.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn an_audit_answers_by_its_exit_code_too() {
    let home = Home::new();
    let claim = home.claim("web");
    let verify = |id: &str, head: Option<&str>| {
        let args = audit::Args { action: audit::Action::Verify { id: id.into(), head: head.map(str::to_owned) } };
        said(|out| audit::run(&args, &home.layout, out))
    };
    let mut timeline = Timeline::create(claim.state(), &Opening { bottle: "web", boot_id: "b", plan: "p" }).unwrap();
    assert_eq!(verify("web", None), (1, "not closed: the chain of 1 records is intact, but has no end (the bottle is running)\n".into()));
    timeline.append("egress", &Event::new("t".into(), Level::Info, "ready")).unwrap();
    let head = timeline.close(&BTreeMap::from([("agent".into(), 7)])).unwrap();
    drop(claim);
    let whole = format!("whole: 3 records, last hash {head}\nthe log of agent is missing 7 bytes\n");
    assert_eq!(verify("web", None), (0, whole.clone()));
    assert_eq!(verify("web", Some(&head)), (0, whole));
    assert_eq!(verify("web", Some("00")).0, 1);
    let path = home.layout.state.join("web").join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("ready", "READY")).unwrap();
    assert_eq!(verify("web", None), (1, format!("broken at record 1: it was changed\nin {}\n", path.display())));
    // Another bottle's timeline, whole as it is, is not this one's.
    let other = home.claim("other");
    fs::write(other.state().path().join(FILE), text).unwrap();
    assert_eq!(verify("other", None), (1, "broken at record 0: it is the timeline of `web`\n".into()));
}

#[test]
fn the_changes_of_a_bottle_are_shown_and_applied_once_it_ended() {
    let home = Home::new();
    let (source, upper) = (home.disk.path().join("source"), home.disk.path().join("upper"));
    for dir in [&source, &upper] {
        fs::create_dir_all(dir.join(".git")).unwrap();
    }
    fs::write(source.join("a"), "old\n").unwrap();
    for _ in 0..2 {
        let before = file_nanos();
        while file_nanos() == before {
            std::thread::yield_now();
        }
    }
    let since = file_nanos();
    fs::write(upper.join("a"), "new\n").unwrap();
    fs::write(upper.join(".git/hook"), "evil").unwrap();
    let mut claim = home.claim("web");
    let args = || apply::Args { what: vec!["web".into()], ..Default::default() };
    let shown = |summary| said(|out| diff::run(&diff::Args { what: vec!["web".into()], summary, ..Default::default() }, &home.layout, out));
    // Without changes there is nothing to show, which is no error.
    assert_eq!(shown(true), (0, String::new()));
    let workspace = Workspace {
        mode: WorkspaceMode::Overlay,
        source: source.clone(),
        dir: upper.clone(),
        since,
        copied: 0,
        git: None,
        base: None,
        hidden: Vec::new(),
    };
    claim.update(|metadata| metadata.workspace = Some(workspace)).unwrap();
    let summary = "0 added, 1 modified, 0 deleted\n  M a\n";
    assert_eq!(shown(true), (0, summary.into()));
    let patch = "diff --git a/a b/a\nindex 3367afdbbf91e638efe983616377c60477cc6612..3e757656cf36eca53338e520d134963a44f793f8 100644\n\
                 --- a/a\n+++ b/a\n@@ -1,1 +1,1 @@\n-old\n+new\n";
    assert_eq!(shown(false), (0, patch.into()));
    assert!(apply::run(&args(), &home.layout, &mut io::sink()).unwrap_err().what.contains("runs"));
    drop(claim);
    let applied = "  a\n1 applied, 0 already identical, 0 left out\n`bottle undo web` takes it back\n";
    assert_eq!(said(|out| apply::run(&args(), &home.layout, out)), (0, applied.into()));
    assert_eq!(fs::read_to_string(source.join("a")).unwrap(), "new\n");
    // The operator goes on, and the agent's version is not forced upon them.
    fs::write(source.join("a"), "mine\n").unwrap();
    let refused = "0 applied, 0 already identical, 1 left out\nleft out:\n  a: you changed it, too, and what it was before is not known\n\
                   `--ours`, `--theirs` or `--markers` decides what both of you changed\n";
    assert_eq!(said(|out| apply::run(&args(), &home.layout, out)), (1, refused.into()));
    assert_eq!(said(|out| apply::run(&apply::Args { theirs: true, ..args() }, &home.layout, out)).0, 0);
    assert_eq!((fs::read_to_string(source.join("a")).unwrap(), source.join(".git/hook").exists()), ("new\n".into(), false));
}
