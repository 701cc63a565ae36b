//! "Did you mean": the nearest of a few known words.

/// The known word that `word` is probably a misspelling of: at most one edit for each three characters, and at least one.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Beyond any known word's length; bounds the work on hostile input.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint: the nearest word, or all of them.
pub fn among<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone, what: &str) -> String {
    match nearest(word, known.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("{what}: {}", list(known)),
    }
}

/// `a, b, c`, or `none`.
pub fn list<'k>(words: impl IntoIterator<Item = &'k str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_a_stranger_none() {
        let known = ["extends", "env", "egress", "git", "limits"];
        for (word, found) in [
            ("egres", Some("egress")),
            ("Egress", Some("egress")),
            ("egerss", Some("egress")),
            ("limit", Some("limits")),
            ("evn", Some("env")),
            ("network", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
        assert_eq!(among("zzz", ["a", "b"], "known here"), "known here: a, b");
    }
}
