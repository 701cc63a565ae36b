//! Odd circumstances of a launch, and starts that cannot be.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use bottle_test_support::canary::Canary;
use bottle_test_support::warden::Ending;
use rstest::rstest;

use crate::life::support::{User, has_no_bottle, on_threads, send, start, start_with, through};

/// The agent's descriptors, mask, and names of its variables.
const SURROUNDINGS: &str = "cd /proc/self/fd && echo * && umask && env | cut -d= -f1 | sort | tr '\\n' ' '";
/// The same of every start without a terminal. `ls` and the glob need no descriptor but the directory's own.
const CLEAN: &str = "0 1 2 3\n0022\nALL_PROXY AWS_CA_BUNDLE BOTTLE_ID BOTTLE_INSTRUCTIONS CARGO_HTTP_CAINFO CURL_CA_BUNDLE DENO_CERT \
    GIT_AUTHOR_EMAIL GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_NAME GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_KEY_1 \
    GIT_CONFIG_KEY_2 GIT_CONFIG_KEY_3 GIT_CONFIG_VALUE_0 GIT_CONFIG_VALUE_1 GIT_CONFIG_VALUE_2 GIT_CONFIG_VALUE_3 GIT_SSL_CAINFO \
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH HOME HTTPS_PROXY HTTP_PROXY LANG LOGNAME NIX_SSL_CERT_FILE NODE_EXTRA_CA_CERTS NODE_USE_ENV_PROXY \
    NO_PROXY OLDPWD PATH PIP_CERT PWD REQUESTS_CA_BUNDLE SHELL SSL_CERT_FILE USER all_proxy http_proxy https_proxy no_proxy ";

// covers: L31 S02 R01
#[rstest]
fn nothing_of_the_launch_reaches_the_agent(#[values(User::Caller, User::Ordinary)] user: User) {
    let launches = [
        "exec \"$0\" \"$@\"",
        "for n in $(seq 200); do exec {fd}</etc; done; exec \"$0\" \"$@\"",
        "umask 000; exec \"$0\" \"$@\"",
        "umask 777; exec \"$0\" \"$@\"",
        "exec env PATH= \"$0\" \"$@\"",
        "unset HOME; export XDG_DATA_HOME=$TMPDIR; exec \"$0\" \"$@\"",
        "exec env LANG=$'\\xff\\xfe' LC_ALL=tr_TR TZ=:/etc/passwd TERM=$'\\e[2J' \"$0\" \"$@\"",
        "for n in $(seq 10); do export BIG$n=$(head -c 100000 /dev/zero | tr '\\0' x); done; exec \"$0\" \"$@\"",
        "trap '' CHLD PIPE INT QUIT TERM USR1; exec \"$0\" \"$@\"",
        "ulimit -Sn 100; exec \"$0\" \"$@\"",
        "ulimit -c unlimited 2>/dev/null; exec \"$0\" \"$@\"",
    ];
    on_threads(launches.to_vec(), |launch| {
        let ended = user.shell().run(through(launch, start(SURROUNDINGS)));
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (CLEAN, ""), "{launch}");
    });
}

// covers: I16
#[rstest]
fn what_is_made_under_any_umask_can_be_used_under_any_other(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values(("777", "022"), ("777", "777"), ("700", "022"))] masks: (&str, &str),
) {
    let bottle = user.shell();
    let run = |mask: &str, arguments: &[&str]| {
        let words = arguments.iter().map(Into::into).collect();
        bottle.run(through(&format!("umask {mask}; exec \"$0\" \"$@\""), words))
    };
    let started = run(masks.0, &["start", "shell", "--yes", "--", "sh", "-c", "mkdir dir && echo made >dir/file"]);
    assert_eq!(started.ending, Ending::Code(0), "{}", started.stderr);
    for arguments in [
        &["list"][..],
        &["logs", "shell"],
        &["diff", "shell"],
        &["audit", "verify", "shell"],
        &["apply", "shell"],
        &["cleanup"],
        &["start", "shell", "--yes", "--", "cat", "dir/file"],
        &["cleanup", "--all"],
    ] {
        let ended = run(masks.1, arguments);
        let counted = match arguments[0] {
            "diff" => "2 added, 0 modified, 0 deleted\n",
            _ => "",
        };
        assert_eq!((ended.ending, ended.stderr.as_str()), (Ending::Code(0), counted), "{masks:?} {arguments:?}: {}", ended.stdout);
    }
    let left = fs::read_dir(bottle.path().join("state/bottle")).unwrap().filter_map(Result::ok).map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".lock"]);
}

// covers: I27
#[rstest]
fn a_working_directory_whose_path_is_not_text_works(
    #[values(User::Caller, User::Ordinary)] user: User,
    #[values("overlay", "copy", "mount")] mode: &str,
) {
    let bottle = user.bottle();
    let odd = bottle.path().join("work").join(OsStr::from_bytes(b"odd \xff\xfe"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("old"), "old").unwrap();
    let bottle = bottle.bottle("odd", &format!("workspace: {mode}")).agent("odd", "bottle: odd\nprovider: shell", "").in_directory(&odd);
    let ended = bottle.run(["start", "odd", "--yes", "--", "sh", "-c", "cat old && echo new >made"]);
    assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(0), "old"), "{}", ended.stderr);
    if mode != "mount" {
        assert!(!odd.join("made").exists());
        let ended = bottle.run(["apply", "odd"]);
        assert_eq!((ended.ending, ended.stderr.as_str()), (Ending::Code(0), ""), "{}", ended.stdout);
    }
    assert_eq!(fs::read_to_string(odd.join("made")).unwrap(), "new\n");
}

// covers: L20
#[rstest]
fn a_parent_that_ignores_the_ends_of_children_changes_nothing(#[values(User::Caller, User::Ordinary)] user: User) {
    let script = "trap '' CHLD; exec \"$0\" \"$@\"";
    user.shell().run(through(script, start("(exit 3); echo $?; exit 8"))).expect(8, "3\n", "");
}

#[rstest]
fn a_parent_that_blocks_signals_does_not_make_bottle_deaf(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.shell();
    let run = bottle.start(through(
        "exec env --block-signal \"$0\" \"$@\"",
        start("exec 2>/dev/null; trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"),
    ));
    run.said("ready\n");
    send(run.pid(), libc::SIGTERM);
    run.end().expect(5, "ready\n", "");
}

// covers: L30
#[rstest]
fn closed_standard_streams_are_not_taken_for_something_else(#[values(User::Caller, User::Ordinary)] user: User) {
    on_threads(vec!["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"], |closed| {
        let bottle = user.shell();
        let script = "cd /proc/self/fd; echo seen *; echo bad >&2; read line; exit 40";
        let ended = bottle.run(through(&format!("exec \"$0\" \"$@\" {closed}"), start(script)));
        assert_eq!(ended.ending, Ending::Code(40), "{closed}: {ended:?}");
        let log = fs::read_to_string(bottle.path().join("state/bottle/shell/logs/agent.jsonl")).unwrap();
        assert!(log.contains("seen 0 1 2 3") && log.contains("bad"), "{closed}: {log}");
    });
}

// covers: L31
#[rstest]
fn a_working_directory_that_is_gone_is_told(#[values(User::Caller, User::Ordinary)] user: User) {
    let script = "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" \"$@\"";
    let stderr = "error: cannot tell the working directory\ncause: No such file or directory (os error 2)\n\
        hint:  change to a directory that exists, then start again\n";
    let bottle = user.shell();
    bottle.run(through(script, start("exit 0"))).expect(125, "", stderr);
    assert!(!bottle.path().join("state/bottle").exists());
}

// covers: X08
#[rstest]
fn too_few_descriptors_are_told_before_anything_is_made(#[values(User::Caller, User::Ordinary)] user: User) {
    for limit in [64, 255] {
        let bottle = user.shell();
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let stderr = format!(
            "error: this process may not open enough files\ncause: the limit is {limit}, a bottle needs 256\n\
             hint:  raise it: `ulimit -n 1024`\n"
        );
        bottle.run(through(&script, start("exit 0"))).expect(125, "", &stderr);
        assert!(!bottle.path().join("state/bottle").exists());
    }
    let script = "ulimit -n 256; exec \"$0\" \"$@\"";
    user.shell().run(through(script, start("exit 6"))).expect(6, "", "");
}

// covers: X04
#[rstest]
fn a_hostile_name_is_refused_before_any_side_effect(#[values(User::Caller, User::Ordinary)] user: User) {
    let long = "a".repeat(300);
    let names = ["", ".", "..", "../x", "a/b", "a\n", "\u{1b}[2J", "ä", "$(id)", "Web", "1a", "a_b", "a b", &long];
    let bottle = user.bottle();
    for name in names {
        for dry in [false, true] {
            let mut options = vec!["--name", name];
            options.extend(dry.then_some("--dry-run"));
            let ended = bottle.run(start_with(&options, "exit 0"));
            let lines: Vec<&str> = ended.stderr.lines().collect();
            let [what, cause, hint] = lines[..] else { panic!("{name:?}: {ended:?}") };
            assert!(what.starts_with("error: `") && what.ends_with("` is not a bottle's name"), "{what}");
            assert_eq!(cause, "cause: a name is a lower-case letter, then up to 40 lower-case letters, digits or hyphens");
            assert_eq!(hint, "hint:  choose a name like `web` or `review-2`");
            assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(2), ""));
            assert!(!ended.stderr.contains('\u{1b}'));
        }
    }
    for name in ["../x", "no/agent", "\u{1b}[2J", "-rf", ".", "ghost"] {
        let ended = bottle.run(["start", "--yes", "--", name]);
        assert_eq!((ended.ending, ended.stdout.as_str()), (Ending::Code(2), ""), "{name:?}: {ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{name:?}");
    }
    assert!(!bottle.path().join("state/bottle").exists());
}

// covers: F11
#[rstest]
fn what_can_be_known_to_fail_fails_in_three_lines_before_anything_is_made(#[values(User::Caller, User::Ordinary)] user: User) {
    let secret = Canary::new("the other token");
    let routes = "egress:\n  routes:\n    - host: a.test\n      auth: { scheme: Bearer, token_ref: NO_SUCH_TOKEN }";
    let bottle = user
        .bottle()
        .secret("OTHER_TOKEN", &secret)
        .bottle("routed", routes)
        .agent("routed", "bottle: routed\nprovider: shell", "")
        .agent("lost", "bottle: nowhere\nprovider: shell", "");
    let cases = [
        (
            vec!["start", "routed", "--yes"],
            2,
            "error: the token `NO_SUCH_TOKEN` is not set\ncause: a route's `token_ref` names this variable\nhint:  export NO_SUCH_TOKEN=…, then start again\n",
        ),
        (
            vec!["start", "shell"],
            2,
            "error: nobody can be asked whether to start\ncause: standard input or output is not a terminal\nhint:  add --yes\n",
        ),
    ];
    for (arguments, code, last) in cases {
        let ended = bottle.run(&arguments);
        assert_eq!((ended.ending, ended.stdout.as_str(), ended.stderr.ends_with(last)), (Ending::Code(code), "", true), "{ended:?}");
    }
    for arguments in [["start", "ghost", "--yes"], ["start", "lost", "--yes"]] {
        let ended = bottle.run(arguments);
        let starts: Vec<&str> = ended.stderr.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((ended.ending, &starts[..]), (Ending::Code(2), &["error:", "cause:", "hint:"][..]), "{ended:?}");
    }
    let bottle = bottle.bottle("broken", "egress:\n  routs: []").agent("broken", "bottle: broken\nprovider: shell", "");
    let ended = bottle.run(["start", "broken", "--yes"]);
    assert_eq!(ended.ending, Ending::Code(2), "{ended:?}");
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains("routs"), "{}", ended.stderr);
    assert!(has_no_bottle(&bottle));
}

// covers: A43
#[rstest]
fn a_token_that_is_not_recognised_is_told_at_start(#[values(User::Caller, User::Ordinary)] user: User) {
    let routes = "egress:\n  routes:\n    - host: a.test\n      auth: { token_ref: WEAK_TOKEN }\n    - host: b.test\n      auth: { token_ref: GOOD_TOKEN }";
    let bottle = user.bottle().bottle("routed", routes).agent("routed", "bottle: routed\nprovider: shell", "");
    let bottle = bottle.env("WEAK_TOKEN", "s3cr3t7").env("GOOD_TOKEN", "s3cr3t78");
    let run = |arguments: &[&str]| bottle.run(arguments);
    let note = "the token WEAK_TOKEN is not recognised when it leaves the bottle: it is shorter than 8 bytes, so it would be found in harmless text";
    run(&["start", "routed", "--yes", "--headless", "--", "/bin/true"]).expect(0, "", &format!("note: {note}\n"));
    let dry = run(&["start", "routed", "--dry-run"]);
    assert_eq!(dry.stdout.matches(note).count(), 1, "{dry:?}");
    let json = run(&["start", "routed", "--dry-run", "--format", "json"]);
    assert_eq!(json.stdout.matches(note).count(), 1, "{json:?}");
    for text in [&dry.stdout, &json.stdout] {
        assert!(!text.contains("s3cr3t7") && !text.contains("GOOD_TOKEN is not"), "{text}");
    }
}

// covers: F11
#[rstest]
fn directories_that_cannot_be_used_are_told_before_any_sidecar_starts(#[values(User::Caller, User::Ordinary)] user: User) {
    let cases = [
        ("unset HOME XDG_STATE_HOME; exec \"$0\" \"$@\"", "error: there is no home directory"),
        ("export HOME=/; unset XDG_STATE_HOME; exec \"$0\" \"$@\"", "error: the home directory is `/`"),
        ("export XDG_STATE_HOME=/proc/self; exec \"$0\" \"$@\"", "error: cannot "),
        ("export XDG_STATE_HOME=relative; exec \"$0\" \"$@\"", "error: XDG_STATE_HOME is `relative`"),
        ("export XDG_STATE_HOME=$PWD/file; touch file; exec \"$0\" \"$@\"", "error: cannot "),
        ("mkdir open; chmod 777 open; ln -s $PWD/open $XDG_STATE_HOME/bottle; exec \"$0\" \"$@\"", "error: "),
        ("mkdir $XDG_STATE_HOME/bottle; chmod 777 $XDG_STATE_HOME/bottle; exec \"$0\" \"$@\"", "error: "),
    ];
    on_threads(cases.to_vec(), |(script, what)| {
        let ended = user.shell().keeps("bottle").run(through(script, start("exit 0")));
        let starts: Vec<&str> = ended.stderr.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!((ended.ending, &starts[..]), (Ending::Code(125), &["error:", "cause:", "hint:"][..]), "{script}: {ended:?}");
        assert!(ended.stderr.starts_with(what), "{script}: {}", ended.stderr);
    });
}

// covers: F11
#[test]
fn a_state_directory_of_somebody_else_is_told() {
    let bottle = User::Ordinary.shell();
    let sealed = bottle.path().join("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
    let script = "chmod 500 \"$TMPDIR/../sealed\"; export XDG_STATE_HOME=$TMPDIR/../sealed; exec \"$0\" \"$@\"";
    let ended = bottle.run(through(script, start("exit 0")));
    assert_eq!(ended.ending, Ending::Code(125), "{ended:?}");
}

#[test]
fn a_package_that_is_installed_meanwhile_does_not_disturb_a_start() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can have an /etc of their own to change.
        return;
    }
    let bottle = User::Caller.shell();
    let own_etc =
        "mount --make-rprivate / && mount -t tmpfs none \"$TMPDIR\" && cp -a /etc \"$TMPDIR\" && mount --bind \"$TMPDIR/etc\" /etc";
    // As ldconfig does: another file takes the old one's place.
    let replace = "while cp /etc/ld.so.cache /etc/new; do mv /etc/new /etc/ld.so.cache; done & trap \"kill $!\" EXIT";
    let starts = "for n in 1 2 3 4 5 6 7 8 9 10; do \"$0\" \"$@\" || exit; done";
    let script = format!("exec unshare --mount --propagation private bash -c '{own_etc} && {replace}; {starts}' \"$0\" \"$@\"");
    bottle.run(through(&script, start("exit 0"))).expect(0, "", "");
}

// covers: X02
#[rstest]
fn a_second_bottle_of_an_agent_knows_itself_by_its_own_name(#[values(User::Caller, User::Ordinary)] user: User) {
    let bottle = user.bottle();
    for name in ["shell", "shell-2"] {
        // The harness writes ids as one word, so that the agent compares.
        let script = format!("[ $BOTTLE_ID = {name} ] && [ $(cat /etc/hostname) = {name} ]");
        bottle.run(start(&script)).expect(0, "", "");
    }
}
