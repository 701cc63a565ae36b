//! Text of a peer's own choosing, without what may be a secret in it.
//!
//! What is refused before it was scanned may hold one in any place: a path, a name, a server name. Here is no scanner, and the
//! bottle's own secrets are not known, so that whatever looks drawn by lot is cut short. What passes was scanned, and is not cut.

/// A shorter run cannot be a credential of any strength.
const MIN_RUN: usize = 20;
/// So much of it still tells people which one it was.
const SHOWN: usize = 4;
/// Changes between letters and digits, from which on a run reads like no name.
const MAX_CHANGES: usize = 2;
/// A name of another language has a few escapes; what is made of nothing else hides something.
const MAX_ESCAPES: usize = 6;

/// The text with `…` in place of most of each run that may be a secret.
pub(crate) fn conceal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_of_run(c)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        match is_opaque(run) {
            true => shown.extend([&run[..SHOWN], "…"]),
            false => shown.push_str(run),
        }
        let border = behind.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&behind[..border]);
        rest = &behind[border..];
    }
    shown
}

/// True if the text has something in it that may be a secret.
pub fn conceals(text: &str) -> bool {
    text.split(|c: char| !is_of_run(c)).any(is_opaque)
}

/// Characters of tokens, of base64 and of percent escapes.
fn is_of_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-+=~%".contains(c)
}

fn is_opaque(run: &str) -> bool {
    if run.len() < MIN_RUN {
        return false;
    }
    let kinds = || run.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.is_ascii_digit());
    let changes = kinds().zip(kinds().skip(1)).filter(|(one, next)| one != next).count();
    let shouts = run.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let escapes = run.bytes().filter(|b| *b == b'%').count();
    changes > MAX_CHANGES || shouts || escapes > MAX_ESCAPES
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: A11
    #[test]
    fn what_looks_drawn_by_lot_is_cut_and_names_are_not() {
        for (text, shown) in [
            ("/v1/ghp_16C7e42F292c6912E7710c838347Ae178B4a/x", "/v1/ghp_…/x"),
            ("https://canary-7qm2xv9tlw4rz8kp1ns6yb3hd5fg0jc.a.test", "https://cana….a.test"),
            ("CONNECT names a.test, TLS names akia1234567890abcdef.test", "CONNECT names a.test, TLS names akia1234567890abcdef.test"),
            ("header:sk-proj-a1b2c3d4e5f6a7b8c9d0", "header:sk-p…"),
            ("AKIAABCDEFGHIJKLMNOP", "AKIA…"),
            ("/%67%68%70%5f%31%36%43%37%65%34", "/%67%…"),
            ("/repos/acme/some-long-name-of-a-project/pulls?x", "/repos/acme/some-long-name-of-a-project/pulls?x"),
            ("productionresultssa10.blob.core.windows.test", "productionresultssa10.blob.core.windows.test"),
            (
                "the route for a.test does not allow /v1/getUserAccountSettings",
                "the route for a.test does not allow /v1/getUserAccountSettings",
            ),
            ("é…\u{1b}", "é…\u{1b}"),
        ] {
            assert_eq!(conceal(text), shown, "{text}");
        }
    }
}
