//! The timeline: what holds, and every kind of tampering.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bottle::digest::sha256_hex;
use bottle::files::Dir;
use bottle::logs::Entry;
use bottle::timeline::{FILE, Opening, Report, Timeline, seal, verify};
use bottle_contract::Reason;
use bottle_contract::event::{Event, Level};
use serde_json::Value;

use crate::support::{memory, mode, said};

const OPENING: Opening<'static> = Opening { bottle: "web", boot_id: "b00t", plan: "91a7" };

fn event(slug: &str) -> Event {
    let mut event = Event::new("2026-11-21T10:00:00.000Z".into(), Level::Warn, slug);
    event.reason = Some(Reason::HostNotListed);
    event.path = Some("/a\u{202e}b\u{9b}31m\n\"end\"".into());
    event
}

/// A closed timeline of six records.
fn closed() -> (tempfile::TempDir, PathBuf, String) {
    let temp = memory();
    let dir = Dir::open(temp.path()).unwrap();
    let mut timeline = Timeline::create(&dir, &OPENING).unwrap();
    for component in ["egress", "pipelock", "agent"] {
        timeline.append(component, &event("refused")).unwrap();
    }
    // Words of a component are not the supervisor's.
    timeline.append("egress", &event("end")).unwrap();
    let head = timeline.close(&BTreeMap::from([("agent".to_owned(), 12)])).unwrap();
    let path = temp.path().join(FILE);
    (temp, path, head)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// True when a reader would take the timeline for whole.
fn passes(path: &Path) -> bool {
    matches!(verify(path), Ok(Report { closed: true, .. }))
}

// covers: O12
#[test]
fn a_closed_timeline_holds_and_tells_what_it_binds() {
    let (_temp, path, head) = closed();
    let report = verify(&path).unwrap();
    let expected = Report {
        bottle: "web".into(),
        plan: "91a7".into(),
        records: 6,
        head,
        closed: true,
        crashed: false,
        dropped: BTreeMap::from([("agent".to_owned(), 12)]),
        whole: fs::metadata(&path).unwrap().len(),
        torn: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(mode(&path), 0o600);
    let records: Vec<Value> = lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let members: Vec<&String> = records[1].as_object().unwrap().keys().collect();
    assert_eq!(members, ["component", "event", "hash", "level", "mono_us", "path", "prev", "reason", "seq", "time"]);
    assert_eq!(records[1]["path"], event("x").path.unwrap().as_str());
    assert_eq!(
        (&records[0]["event"], &records[0]["boot_id"], &records[5]["event"], &records[5]["records"]),
        (&"start".into(), &"b00t".into(), &"end".into(), &6.into())
    );
    // Nothing in the file acts on a terminal.
    assert!(fs::read(&path).unwrap().iter().all(|&b| b == b'\n' || (0x20..0x7f).contains(&b)));
}

// covers: O10
#[test]
fn records_are_numbered_and_their_clock_never_goes_back() {
    let (_temp, path, _) = closed();
    let records: Vec<Value> = lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.iter().map(|r| r["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(records.windows(2).all(|pair| pair[0]["mono_us"].as_u64() <= pair[1]["mono_us"].as_u64()));
    assert!(records.windows(2).all(|pair| pair[0]["hash"] == pair[1]["prev"]));
}

#[test]
fn a_change_of_any_byte_shows() {
    let (_temp, path, _) = closed();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for flip in [1, 0x20, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= flip;
            fs::write(&path, &changed).unwrap();
            assert!(!passes(&path), "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn a_cut_at_any_byte_shows() {
    let (_temp, path, _) = closed();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(!passes(&path), "{length} bytes");
    }
    fs::write(&path, &whole).unwrap();
    assert!(passes(&path));
}

#[test]
fn removed_moved_repeated_and_added_records_are_named() {
    let (_temp, path, _) = closed();
    let whole = lines(&path);
    let broken_at = |lines: &[String]| {
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        verify(&path).map_err(|broken| broken.seq)
    };
    let without = |index: usize| whole.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, line)| line.clone()).collect::<Vec<_>>();
    assert_eq!((0..5).map(|index| broken_at(&without(index)).unwrap_err()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let mut swapped = whole.clone();
    swapped.swap(2, 3);
    assert_eq!(broken_at(&swapped).unwrap_err(), 2);
    let mut repeated = whole.clone();
    repeated.insert(3, whole[2].clone());
    assert_eq!(broken_at(&repeated).unwrap_err(), 3);
    let mut behind = whole.clone();
    behind.push(whole[5].clone());
    assert_eq!(broken_at(&behind).unwrap_err(), 6);
    assert!(broken_at(&[]).is_err());
    // Without its end, the chain holds, but nobody takes it for whole.
    let open = broken_at(&without(5)).unwrap();
    assert_eq!((open.closed, open.records), (false, 5));
}

#[test]
fn a_record_with_a_right_hash_still_has_to_fit() {
    let (_temp, path, _) = closed();
    let sealed = |body: &str| format!("{},\"hash\":\"{}\"}}\n", &body[..body.len() - 1], sha256_hex(body.as_bytes()));
    let zero = "0".repeat(64);
    let first = format!(r#"{{"seq":0,"mono_us":5,"component":"bottle","event":"start","bottle":"web","plan":"x","prev":"{zero}"}}"#);
    let head = sha256_hex(first.as_bytes());
    let end = |change: (&str, &str)| {
        format!(r#"{{"seq":1,"mono_us":6,"component":"bottle","event":"end","records":2,"dropped":{{}},"prev":"{head}"}}"#)
            .replace(change.0, change.1)
    };
    let judge = |first: &str, second: &str| {
        fs::write(&path, sealed(first) + &sealed(second)).unwrap();
        verify(&path).map(|report| report.closed).map_err(|broken| broken.seq)
    };
    assert_eq!(judge(&first, &end(("", ""))), Ok(true));
    assert_eq!(judge(&first, &end(("\"records\":2", "\"records\":3"))), Err(1));
    assert_eq!(judge(&first, &end(("\"seq\":1", "\"seq\":2"))), Err(1));
    assert_eq!(judge(&first, &end(("\"mono_us\":6", "\"mono_us\":4"))), Err(1));
    assert_eq!(judge(&first, &end((&head, &zero))), Err(1));
    assert_eq!(judge(&first, &end(("\"component\":\"bottle\"", "\"component\":\"egress\""))), Ok(false));
    // Records of earlier versions say `piece` where today's say `component`.
    let old = first.replace("component", "piece");
    let old_end = end(("component", "piece")).replace(&head, &sha256_hex(old.as_bytes()));
    assert_eq!(judge(&old, &old_end), Ok(true));
    assert_eq!(judge(&first.replace("start", "begin"), &end(("", ""))), Err(0));
}

#[test]
fn what_is_not_a_timeline_is_refused_without_harm() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("x");
    assert!(verify(&path).is_err());
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(verify(&path).is_err());
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(verify(&path).is_err());
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(verify(&path).unwrap_err().why, "the line is too long");
    assert!(verify(Path::new("/")).is_err());
}

// covers: O03
#[test]
fn after_a_crash_what_was_flushed_is_sealed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    let path = temp.path().join(FILE);
    assert_eq!(seal(&dir, &BTreeMap::new()).unwrap(), None);
    let mut timeline = Timeline::create(&dir, &OPENING).unwrap();
    timeline.append("egress", &event("request")).unwrap();
    timeline.flush().unwrap();
    timeline.append("egress", &event("lost")).unwrap();
    drop(timeline);
    // The machine stopped in the middle of a line.
    let mut torn = fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"seq\":2,\"mono");
    fs::write(&path, &torn).unwrap();
    let report = verify(&path).unwrap();
    assert_eq!((report.closed, report.records, report.torn), (false, 2, 14));
    let head = seal(&dir, &BTreeMap::new()).unwrap().unwrap();
    let report = verify(&path).unwrap();
    assert_eq!((report.closed, report.crashed, report.records, &report.head), (true, true, 3, &head));
    assert_eq!(seal(&dir, &BTreeMap::new()).unwrap(), None);
    // A broken one is evidence and stays as it is.
    let broken = fs::read_to_string(&path).unwrap().replace("request", "reqwest");
    fs::write(&path, &broken).unwrap();
    assert!(seal(&dir, &BTreeMap::new()).unwrap_err().hint.contains("evidence"));
    assert_eq!(fs::read_to_string(&path).unwrap(), broken);
}

// covers: O12
#[test]
fn an_event_of_a_component_is_copied_as_it_was_written_and_is_harmless() {
    let temp = memory();
    let dir = Dir::open(temp.path()).unwrap();
    let mut timeline = Timeline::create(&dir, &OPENING).unwrap();
    let written = serde_json::to_string(&event("refused")).unwrap();
    assert!(written.contains('\u{202e}'));
    timeline.copy("egress", &Entry::read(written.as_bytes()).unwrap()).unwrap();
    timeline.append("egress", &event("refused")).unwrap();
    timeline.close(&BTreeMap::new()).unwrap();
    let path = temp.path().join(FILE);
    let lines = lines(&path);
    let members = |line: &str| line[line.find("\"time\"").unwrap()..line.find(",\"prev\"").unwrap()].to_owned();
    assert_eq!(members(&lines[1]), members(&lines[2]));
    assert_eq!(format!("{{{}}}", members(&lines[1])), written.replace('\u{202e}', "\\u202e").replace('\u{9b}', "\\u009b"));
    assert!(passes(&path));
}

#[test]
fn a_second_timeline_does_not_overwrite_the_first() {
    let (temp, path, head) = closed();
    assert!(Timeline::create(&Dir::open(temp.path()).unwrap(), &OPENING).is_err());
    assert_eq!(verify(&path).unwrap().head, head);
}

// covers: F10
#[test]
fn a_full_disk_is_told_and_loses_no_record() {
    let temp = tempfile::tempdir().unwrap();
    let output = crate::support::on_small_tmpfs("timeline::child_fills", "size=64k", temp.path());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "run by a_full_disk_is_told_and_loses_no_record"]
fn child_fills() {
    let dir = Dir::open(&crate::support::place()).unwrap();
    dir.write_new("ballast", &[0; 32 * 1024], 0o600).unwrap();
    let mut timeline = Timeline::create(&dir, &OPENING).unwrap();
    let mut records = 1;
    let error = loop {
        let appended = timeline.append("egress", &event("request"));
        records += 1;
        if let Err(error) = appended.and_then(|()| timeline.flush()) {
            break error;
        }
    };
    assert!(error.cause.contains("No space left"), "{error}");
    assert!(!verify(&dir.path().join(FILE)).unwrap().closed);
    assert_eq!(verify(&dir.path().join(FILE)).unwrap().torn, 0);
    dir.remove_tree("ballast").unwrap();
    timeline.close(&BTreeMap::new()).unwrap();
    let report = verify(&dir.path().join(FILE)).unwrap();
    assert_eq!((report.closed, report.records), (true, records + 1));
}
