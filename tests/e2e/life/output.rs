//! Output of the agent: complete, in order, bounded, and harmless in the log.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bottle_test_support::deadline::wait_until;
use rstest::rstest;
use serde_json::Value;

use crate::life::support::{TIMEOUT, User, program, send, start};

/// What a log says that a stream was.
fn stream(log: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        if record["stream"] != name {
            continue;
        }
        match (record["text"].as_str(), record["base64"].as_str()) {
            (Some(text), None) => bytes.extend(text.as_bytes()),
            (None, Some(text)) => bytes.extend(STANDARD.decode(text).unwrap()),
            _ => panic!("{line}"),
        }
        if record["more"] != true && record["unterminated"] != true {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn log(bottle: &bottle_test_support::bottle::Bottle) -> std::path::PathBuf {
    bottle.path().join("state/bottle/shell/logs/agent.jsonl")
}

// covers: O01
#[rstest]
fn every_line_is_kept_in_order_to_the_last_without_its_end(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let ended = bottle.run(start("seq 200000; seq 1000 1 1999 >&2; printf last; printf words >&2; exit 3"));
    let numbers = |range: std::ops::RangeInclusive<u32>| range.map(|n| format!("{n}\n")).collect::<String>();
    let (stdout, stderr) = (numbers(1..=200_000) + "last", numbers(1000..=1999) + "words");
    // Bottle's own last line starts behind the end of the agent's.
    assert!(ended.stdout == stdout && ended.stderr == format!("{stderr}\n"), "{:?}", ended.ending);
    assert!(stream(&log(&bottle), "stdout") == stdout.as_bytes());
    assert!(stream(&log(&bottle), "stderr") == stderr.as_bytes());
    bottle.run(["audit", "verify", "shell"]);
}

// covers: O07 O15
#[rstest]
fn hostile_bytes_are_kept_exactly_and_never_make_a_line_of_their_own(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let hostile = b"\n{\"event\":\"approved\",\"level\":\"info\"}\r\x1b]52;c;eA==\x07\xe2\x80\xa8x\xff\xfe\n";
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend(hostile);
    bytes.extend(vec![b'y'; 10_000_000]);
    bytes.extend((0..=255u8).rev());
    fs::write(bottle.path().join("work/bytes"), &bytes).unwrap();
    bottle.run(start("cat bytes >/dev/null; cat bytes; cat bytes >&2; exit 0"));
    assert!(stream(&log(&bottle), "stdout") == bytes);
    assert!(stream(&log(&bottle), "stderr") == bytes);
    let timeline = fs::read_to_string(bottle.path().join("state/bottle/shell/timeline.jsonl")).unwrap();
    assert!(!timeline.contains("approved"), "{timeline}");
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

// covers: O06
#[rstest]
fn a_reader_that_stands_still_stops_the_agent_and_not_the_memory(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    bottle.run(start("exit 0"));
    let arguments = start("echo ready; exec yes 0123456789012345678901234567890123456789012345678901234567890123456789");
    let mut child = bottle.beside(program(), &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert_eq!(first, "ready\n");
    // The log stops growing once the pipe, the relay and the agent's own pipe are full.
    let log = bottle.path().join("state/bottle/shell-2/logs/agent.jsonl");
    let (mut size, mut same) = (0, 0);
    let stopped = wait_until(TIMEOUT, || {
        let now = fs::metadata(&log).map(|meta| meta.len()).unwrap_or_default();
        same = if now == size { same + 1 } else { 0 };
        size = now;
        (same > 100).then_some(())
    });
    assert!(stopped.is_some() && size < 8 << 20, "the log has {size} bytes");
    assert!(resident(child.id()) < 64 << 10, "{} KiB", resident(child.id()));
    // A reader that goes on gets whole lines, and the agent goes on too.
    let mut more = vec![0; 4 << 20];
    reader.read_exact(&mut more).unwrap();
    assert!(more.chunks(71).all(|line| line == &more[..line.len()]));
    send(i32::try_from(child.id()).unwrap(), libc::SIGTERM);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let ended = wait_until(Duration::from_secs(20), || child.try_wait().unwrap());
    assert_eq!(ended.and_then(|status| status.code()), Some(143));
}

// covers: O12
#[rstest]
fn what_is_kept_is_for_the_operator_alone_and_the_record_holds(#[values(User::Caller, User::Ordinary)] user: User) {
    use std::os::unix::fs::PermissionsExt;
    let bottle = user.bottle();
    bottle.run(start("echo x"));
    let mode = |path: &str| fs::metadata(bottle.path().join("state/bottle/shell").join(path)).unwrap().permissions().mode() & 0o7777;
    for file in ["logs/agent.jsonl", "logs/pipelock.jsonl", "timeline.jsonl", "metadata.json", "plan.json", "lock"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for directory in [".", "logs"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    assert_eq!(bottle.run(["audit", "verify", "shell"]).ending, bottle_test_support::warden::Ending::Code(0));
}
