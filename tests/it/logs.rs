//! Logs: every byte is kept, every line is JSON, nothing is forged.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bottle::files::Dir;
use bottle::logs::{ComponentLog, Drops, Entry, Source, Stream};
use bottle_contract::event::{Event, Level};
use serde_json::Value;

use crate::support::{mode, on_small_tmpfs, place, said};

/// The lines of a log, each parsed strictly.
fn records(path: &Path) -> Vec<Value> {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    assert!(bytes.iter().all(|&b| b == b'\n' || b >= 0x20), "a raw control character");
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The bytes that the records of a stream stand for.
fn bytes(records: &[Value], stream: &str, lines: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record["stream"] == stream) {
        match (&record["text"], &record["base64"]) {
            (Value::String(text), Value::Null) => bytes.extend_from_slice(text.as_bytes()),
            (Value::Null, Value::String(base64)) => bytes.extend_from_slice(&STANDARD.decode(base64).unwrap()),
            other => panic!("{other:?}"),
        }
        if lines && record["more"] != true && record["unterminated"] != true {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn log(stream: Stream, source: Source, chunks: &[&[u8]]) -> (Vec<Value>, Vec<Event>, Drops) {
    let temp = tempfile::tempdir().unwrap();
    let mut events = Vec::new();
    let mut keep = |event: &Entry<'_>| events.push(serde_json::from_str(event.as_str()).unwrap());
    let mut log = ComponentLog::create(&Dir::open(temp.path()).unwrap(), "component", source).unwrap();
    for chunk in chunks {
        log.push(stream, chunk, &mut keep);
    }
    let drops = log.finish(&mut keep);
    assert_eq!(mode(&temp.path().join("component.jsonl")), 0o600);
    (records(&temp.path().join("component.jsonl")), events, drops)
}

// covers: O07 O15 O12
#[test]
fn hostile_output_is_kept_to_the_byte_as_lines_of_json() {
    let mut hostile: Vec<u8> = (0..=255).collect();
    hostile.extend_from_slice(
        b"\nlevel=info approved=true\n{\"level\":\"info\",\"approved\":true}\n\r\n\x1b[2J\x1b]0;x\x07\n\xe2\x80\xa8\n\n\n\xff\xfe\n",
    );
    hostile.extend_from_slice("grün \u{9b}31m \u{202e} 日本\n{\"time\":\nlast".as_bytes());
    for stream in [Stream::Stdout, Stream::Stderr] {
        for source in [Source::Sidecar, Source::Agent] {
            let whole = log(stream, source, &[&hostile]);
            for size in [1, 2, 3, 7, 100] {
                let chunks: Vec<&[u8]> = hostile.chunks(size).collect();
                let (records, events, drops) = log(stream, source, &chunks);
                assert_eq!(bytes(&records, if stream == Stream::Stdout { "stdout" } else { "stderr" }, true), hostile, "chunks of {size}");
                assert_eq!((records.len(), events, drops), (whole.0.len(), vec![], Drops::default()));
            }
        }
    }
}

// covers: O07 O01
#[test]
fn a_line_of_ten_megabytes_is_kept_in_parts() {
    let line: Vec<u8> = "0123456789é".bytes().cycle().take(10 << 20).collect();
    let input = [&line[..], b"\nnext\n"].concat();
    let chunks: Vec<&[u8]> = input.chunks(65_536).collect();
    let (records, ..) = log(Stream::Stderr, Source::Sidecar, &chunks);
    assert_eq!(bytes(&records, "stderr", true), input);
    assert!(records.len() > 40 && records[0]["more"] == true && records[1]["part"] == 1, "{}", records.len());
    assert_eq!(records.last().unwrap()["text"], "next");
}

// covers: O15
#[test]
fn a_terminal_is_kept_in_chunks_without_loss() {
    let screen: Vec<u8> = (0..=255_u8).chain("\x1b[31mgrün\x1b[0m 日本 🦀\r\n".bytes()).chain(*b"\xf0\x9f").collect();
    for size in [1, 2, 3, 5, 64, 1000] {
        let chunks: Vec<&[u8]> = screen.chunks(size).collect();
        let (records, ..) = log(Stream::Terminal, Source::Agent, &chunks);
        assert_eq!(bytes(&records, "terminal", false), screen, "chunks of {size}");
    }
    let crab = "🦀".as_bytes();
    let (records, ..) = log(Stream::Terminal, Source::Agent, &[&crab[..1], &crab[1..3], &crab[3..]]);
    assert_eq!(records.iter().map(|record| record["text"].clone()).collect::<Vec<_>>(), ["🦀"]);
}

// covers: O07
#[test]
fn only_an_event_on_a_sidecars_standard_error_is_one() {
    let event = Event::new("2026-11-21T10:00:00.000Z".into(), Level::Info, "ready");
    let line = serde_json::to_string(&event).unwrap();
    let input = format!("{line}\n");
    let (records, events, _) = log(Stream::Stderr, Source::Sidecar, &[input.as_bytes()]);
    assert_eq!((records, events), (vec![serde_json::from_str::<Value>(&line).unwrap()], vec![event.clone()]));
    for (stream, source) in [
        (Stream::Stderr, Source::Agent),
        (Stream::Stdout, Source::Agent),
        (Stream::Stdout, Source::Sidecar),
        (Stream::Terminal, Source::Agent),
    ] {
        let (records, events, _) = log(stream, source, &[input.as_bytes()]);
        assert_eq!((records[0]["text"].as_str().unwrap().trim_end(), events), (line.as_str(), vec![]), "{stream:?} {source:?}");
    }
    // Almost an event.
    for broken in [
        format!("{line}\r"),
        format!(" {line}"),
        format!("{line} "),
        format!("{line}{line}"),
        line.replace("info", "fine"),
        line.replace("{", "{\"level\":\"warn\","),
        line.replace("\"ready\"", "7"),
        // What would stand in the timeline beside its own members.
        line.replace("}", ",\"prev\":\"\"}"),
        line.replace("{", "{\"\\u0068ash\":\"\","),
    ] {
        let (records, events, _) = log(Stream::Stderr, Source::Sidecar, &[broken.as_bytes(), b"\n"]);
        assert_eq!((records[0]["text"].as_str().unwrap(), events), (broken.as_str(), vec![]));
    }
    // A last line without a newline is an event only if it is whole, which nobody can know.
    let (records, events, _) = log(Stream::Stderr, Source::Sidecar, &[line.as_bytes()]);
    assert_eq!((records.len(), events.len()), (1, 1));
}

// covers: O01
#[test]
fn six_components_at_full_speed_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    std::thread::scope(|scope| {
        for component in 0..6 {
            let dir = &dir;
            scope.spawn(move || {
                let mut log = ComponentLog::create(dir, &format!("p{component}"), Source::Sidecar).unwrap();
                let mut input = Vec::new();
                (0..20_000).for_each(|n| input.extend_from_slice(format!("component {component} line {n}\n").as_bytes()));
                input.extend_from_slice(b"last");
                input.chunks(4096 + component).for_each(|chunk| log.push(Stream::Stdout, chunk, &mut |_| ()));
                assert_eq!(log.finish(&mut |_| ()), Drops::default());
                let records = records(&dir.path().join(format!("p{component}.jsonl")));
                assert_eq!((records.len(), bytes(&records, "stdout", true)), (20_001, input));
            });
        }
    });
}

// covers: O06 O13
#[test]
fn past_its_bound_a_log_counts_what_it_drops() {
    let temp = tempfile::tempdir().unwrap();
    let mut log = ComponentLog::bounded(&Dir::open(temp.path()).unwrap(), "agent", Source::Agent, 10_000).unwrap();
    let input: Vec<u8> = (0..1_000).flat_map(|n| format!("line {n:04}\n").into_bytes()).collect();
    input.chunks(100).for_each(|chunk| log.push(Stream::Stdout, chunk, &mut |_| ()));
    let drops = log.finish(&mut |_| ());
    let path = temp.path().join("agent.jsonl");
    let records = records(&path);
    let kept = bytes(&records, "stdout", true);
    assert_eq!(kept, input[..kept.len()]);
    assert_eq!(drops, Drops { bytes: (input.len() - kept.len()) as u64, cause: Some("the log reached its limit of 10000 bytes".into()) });
    let mark = records.last().unwrap();
    assert_eq!((&mark["dropped"], &mark["stream"]), (&drops.bytes.into(), &"log".into()));
    assert!(fs::metadata(&path).unwrap().len() < 10_300);
}

// covers: O13 F10
#[test]
fn a_full_disk_leaves_whole_lines_and_a_true_count() {
    let temp = tempfile::tempdir().unwrap();
    let output = on_small_tmpfs("logs::child_fills", "size=64k", temp.path());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "run by a_full_disk_leaves_whole_lines_and_a_true_count"]
fn child_fills() {
    let dir = Dir::open(&place()).unwrap();
    dir.write_new("ballast", &[0; 16 * 1024], 0o600).unwrap();
    let mut log = ComponentLog::create(&dir, "agent", Source::Agent).unwrap();
    let mut sent = 0;
    let mut push = |log: &mut ComponentLog, count: usize| {
        for _ in 0..count {
            let line = format!("line {sent:06}\n");
            log.push(Stream::Stdout, line.as_bytes(), &mut |_| ());
            sent += 1;
        }
    };
    push(&mut log, 2_000);
    let full = log.drops();
    assert!(full.bytes > 0 && full.cause.unwrap().contains("No space left"), "the disk did not fill");
    dir.remove_tree("ballast").unwrap();
    push(&mut log, 50);
    let drops = log.finish(&mut |_| ());
    let records = records(&dir.path().join("agent.jsonl"));
    let marked: u64 = records.iter().filter_map(|record| record["dropped"].as_u64()).sum();
    let kept = bytes(&records, "stdout", true);
    assert_eq!((marked, kept.len() as u64 + drops.bytes), (drops.bytes, sent * 12));
    assert!(records.last().unwrap()["text"].as_str().unwrap().ends_with("002049"), "what follows the gap is kept");
}
