//! The line that `bottle start` ends with: the hash of the timeline's last record.

use std::fs;

use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{User, start};

// covers: W38
#[rstest]
fn the_hash_that_start_prints_is_the_one_that_audit_verifies(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let ended = bottle.run(start("exit 5"));
    ended.expect(5, "", "");
    let verify = ended.record.expect("start prints the record's last hash");
    let [.., hash] = verify.as_slice() else { panic!("{verify:?}") };
    assert_eq!(verify, ["audit", "verify", "shell", "--head", hash]);
    let path = bottle.path().join("state/bottle/shell/timeline.jsonl");
    let timeline = fs::read_to_string(&path).unwrap();
    bottle.run(&verify).expect(0, &format!("whole: {} records, last hash {hash}\n", timeline.lines().count()), "");

    // Whole records are cut off, so that the chain still holds.
    for records in 1..timeline.lines().count() {
        let cut: String = timeline.split_inclusive('\n').take(records).collect();
        fs::write(&path, cut).unwrap();
        let refused = bottle.run(&verify);
        assert!(refused.stdout.starts_with(&format!("mismatch: the chain of {records} records is intact")), "{refused:?}");
        refused.expect(1, &refused.stdout, "");
    }
}

// covers: W38
#[rstest]
fn a_start_that_fails_prints_the_hash_of_its_record_too(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    let ended = bottle.run(["start", "shell", "--yes", "--", "/nowhere"]);
    assert_eq!(ended.ending, Ending::Code(127), "{ended:?}");
    let verify = ended.record.expect("start prints the record's last hash");
    assert_eq!(bottle.run(&verify).ending, Ending::Code(0));
}
