//! What passes, what does not, and how a terminal is put back.

use super::Filter;

#[track_caller]
fn becomes(printed: &[u8], passed: &[u8]) {
    let whole = Filter::default().pass(printed);
    assert_eq!(whole.escape_ascii().to_string(), passed.escape_ascii().to_string());
    // Wherever it is split.
    for at in 0..=printed.len() {
        let mut filter = Filter::default();
        let (one, two) = printed.split_at(at);
        let parts = [filter.pass(one), filter.pass(two)].concat();
        assert_eq!(parts.escape_ascii().to_string(), passed.escape_ascii().to_string(), "split at {at}");
    }
    let mut filter = Filter::default();
    let bytes: Vec<u8> = printed.iter().flat_map(|byte| filter.pass(&[*byte])).collect();
    assert_eq!(bytes, passed);
}

#[track_caller]
fn restores(printed: &[u8], restored: &[u8]) {
    let mut filter = Filter::default();
    filter.pass(printed);
    assert_eq!(filter.restore().escape_ascii().to_string(), restored.escape_ascii().to_string());
    assert_eq!(filter.restore(), b"", "once");
}

// covers: I07
#[test]
fn what_acts_on_more_than_the_screen_does_not_pass() {
    for dangerous in [
        &b"\x1b]52;c;cm0gLXJmIH4=\x07"[..],
        b"\x1b]52;c;?\x1b\\",
        b"\x1b]777;notify;title;body\x07",
        b"\x1b]9;your build is done\x07",
        b"\x1b]9;6;\"macro\"\x07",
        b"\x1b]99;i=1;hello\x1b\\",
        b"\x1b]7;file://host/tmp/evil\x07",
        b"\x1b]133;A\x07",
        b"\x1b]633;E;rm\x07",
        b"\x1b]1337;SetUserVar=a=b\x07",
        b"\x1b]1337;File=name=eA==;inline=0:eA==\x07",
        b"\x1b]50;?\x07",
        b"\x1b]8;;file:///etc/passwd\x1b\\",
        b"\x1b]8;;vscode://x\x07",
        b"\x1b]2;a\nid\n\x07",
        b"\x1b]2;a\xc2\x9b31mb\x07",
        b"\x1b]0;\xe2\x80\xaeexe.txt\x07",
        b"\x1b]2;a\x9b\x07",
        // Queries whose answers are typed: status strings, capabilities, titles, the answerback.
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1bP1;1|17/0a\x1b\\",
        b"\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\",
        b"\x1b_Gf=100,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
        b"\x1b^private\x1b\\",
        b"\x1bXstring\x1b\\",
        b"\x1b[21t",
        b"\x1b[20t",
        b"\x1b[8;10;10t",
        b"\x05",
        // Printing, checksums of the screen, the keyboard's lock, self-tests.
        b"\x1b[5i",
        b"\x1b[?5i",
        b"\x1b[1;1;1;1;24;80*y",
        b"\x1b[2h",
        b"\x1b[2;1y",
        b"\x1b[1$w",
        b"\x1b F",
        b"\x1b%@",
    ] {
        // A terminal that has seen the end of a string is at text again.
        let printed = [b"a", dangerous, b"b"].concat();
        let passed = Filter::default().pass(&printed);
        assert!(!passed.contains(&0x1b) && passed.starts_with(b"a") && passed.ends_with(b"b"), "{}", passed.escape_ascii());
        becomes(dangerous, &passed[1..passed.len() - 1]);
    }
}

// covers: I07
#[test]
fn what_full_screen_programs_print_passes_unchanged() {
    for harmless in [
        &b"plain text\r\n\ttab \x08 bell\x07"[..],
        "ünïcödé ✻ 漢字 👩‍🚀 ╭─╮".as_bytes(),
        b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1004h\x1b[?1000;1002;1003;1006h\x1b[H\x1b[2J",
        b"\x1b[38;2;215;119;87mred\x1b[39m\x1b[4:3m\x1b[58:2::1:2:3m\x1b[0m",
        b"\x1b[>1u\x1b[?u\x1b[<u\x1b[=1;1u\x1b[>4;2m",
        b"\x1b[?2026h\x1b[3;10r\x1b[5;1H\x1bM\x1b7\x1b8\x1b[?2026l",
        b"\x1b[c\x1b[>c\x1b[>0q\x1b[6n\x1b[?996n\x1b[?2026$p\x1b[14t\x1b[16t\x1b[18t",
        b"\x1b]11;?\x1b\\\x1b]10;?\x07\x1b]4;1;?\x07",
        b"\x1b]8;id=1;https://example.com/a?b=c\x1b\\link\x1b]8;;\x1b\\",
        b"\x1b]9;4;1;50\x07\x1b]9;4;0;\x07",
        b"\x1b(0lqk\x1b(B\x0e\x0f\x1b=\x1b>\x1b[2 q\x1b[!p",
    ] {
        becomes(harmless, harmless);
    }
    becomes("\x1b]0;✳ Fix the tests\x07".as_bytes(), "\x1b[22;0t\x1b]0;✳ Fix the tests\x07".as_bytes());
}

#[test]
fn a_control_of_eight_bits_is_no_control_in_any_encoding() {
    becomes(b"\x9d52;c;eA==\x9c", "\u{fffd}52;c;eA==\u{fffd}".as_bytes());
    becomes("\u{9d}52;c;eA==\u{9c}".as_bytes(), "\u{fffd}52;c;eA==\u{fffd}".as_bytes());
    // A character that is not whole hides nothing behind it.
    becomes(b"\xe2\x9b]52;c;eA==\x07", "\u{fffd}]52;c;eA==\x07".as_bytes());
    becomes(b"\xe2\x1b]52;c;eA==\x07x", "\u{fffd}x".as_bytes());
    becomes(b"\xc3(\xff", b"\xef\xbf\xbd(\xff");
}

#[test]
fn a_sequence_within_another_is_judged_by_itself() {
    becomes(b"\x1b]2;title\x1b]52;c;eA==\x07x", b"x");
    becomes(b"\x1b[3\x1b[1mx", b"\x1b[1mx");
    becomes(b"\x1b[3\n1mx", b"\n\x1b[31mx");
    becomes(b"\x1b]2;title\x18\x1b[1mx", b"\x1b[1mx");
    becomes(b"\x1bP\x1b\x1b]52;c;eA==\x07\x1b\\x", b"x");
    becomes(b"\x1b\x1b\x1b[1mx", b"\x1b[1mx");
    // The Linux console's palette has no end.
    becomes(b"\x1b]R\x1b]P0aabbccx", b"x");
}

#[test]
fn what_is_too_long_is_dropped_whole_and_what_follows_is_not() {
    becomes(&[b"\x1b[", &b"1;".repeat(300)[..], b"mx"].concat(), b"x");
    let title = [b"\x1b]2;", &b"t".repeat(600)[..], b"\x07x"].concat();
    assert_eq!(Filter::default().pass(&title), b"x");
    let clipboard = [b"\x1b]52;c;", &b"A".repeat(1 << 20)[..], b"\x07x"].concat();
    let mut filter = Filter::default();
    assert_eq!(filter.pass(&clipboard), b"x");
    assert!(filter.buffer.capacity() < 1 << 14);
}

// covers: I07
#[test]
fn what_was_set_is_put_back_and_nothing_else_is_touched() {
    restores(b"plain\r\n", b"");
    restores(b"\x1b[?1049h\x1b[?1000h\x1b[?25l\x1b[?2004h", b"\x1b[?25h\x1b[?1000l\x1b[?2004l\x1b[?1049l");
    // Leaving the other screen a second time would move the cursor.
    restores(b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l", b"");
    restores(b"\x1b[?25h\x1b[?7h", b"");
    restores(b"\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[>7u\x1b[<u", b"\x1b[<1u\x1b[?1049l\x1b[<1u");
    restores(b"\x1b[>4;2m\x1b[31m\x1b[2 q\x1b=", b"\x1b[m\x1b>\x1b[0 q\x1b[>4m");
    restores(b"\x1b]2;t\x07\x1b]2;u\x07\x1b]11;#000000\x07", b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\\x1b[23;0t");
    restores(b"\x1b]11;?\x07", b"");
    restores(b"\x1b[3;9r\x1b(0", b"\x1b7\x1b[r\x1b8\x1b(B\x0f");
    // A mode that is not known here was the other way round.
    restores(b"\x1b[?9999h\x1b[?9998l", b"\x1b[?9998h\x1b[?9999l");
    restores(b"\x1b[?1000h\x1bc", b"");
}

// covers: W18
#[test]
fn what_was_put_back_for_a_pause_is_set_again() {
    let mut filter = Filter::default();
    filter.pass(b"\x1b[>1u\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[>5u");
    let without = b"\x1b[<1u\x1b[?25h\x1b[?2004l\x1b[?1049l\x1b[<1u";
    assert_eq!(filter.without().escape_ascii().to_string(), without.escape_ascii().to_string());
    let again = b"\x1b[>1u\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[>5u";
    assert_eq!(filter.resume().escape_ascii().to_string(), again.escape_ascii().to_string());
    assert_eq!(filter.restore().escape_ascii().to_string(), without.escape_ascii().to_string());
}

#[test]
fn no_bytes_make_it_pass_what_is_no_whole_sequence() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let alphabet = b"\x1b\x1b\x1b[]P_\\;:?>=0123456789mhltqup$ *!\x07\x18\x9b\x9d\xc2\x9d\xe2\x9bab52c\n";
    for _ in 0..2000 {
        let mut bytes = Vec::new();
        for _ in 0..60 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.push(alphabet[usize::try_from(seed % alphabet.len() as u64).unwrap()]);
        }
        let once = Filter::default().pass(&bytes);
        // What has passed passes again, but that the title is kept each time.
        let twice = Filter::default().pass(&once);
        let without = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\x1b[22;0t", "");
        assert_eq!(without(&once), without(&twice), "{}", bytes.escape_ascii());
        assert!(!once.windows(5).any(|window| window == b"\x1b]52;"), "{}", bytes.escape_ascii());
    }
}
