//! What a scan finds.

/// The rule id of a bottle's own secret.
pub const BOTTLE_SECRET: &str = "bottle-secret";
/// The rule id of a value that was put into the bottle as bait.
pub const HONEYTOKEN: &str = "honeytoken";
/// The rule id of content that could not be scanned to its end: a bomb, or encodings nested too deep.
pub const NOT_SCANNABLE: &str = "not-scannable";

/// What was found, and where. It never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id, as `github-pat` or `bottle-secret`.
    pub rule: String,
    /// The offset of the match's first byte in what was scanned. For a match in a decoded form: of the first byte of
    /// the encoded stretch.
    pub offset: u64,
    /// How it was encoded, outermost first, as `["base64", "gzip"]`; empty for plain.
    pub encodings: Vec<&'static str>,
}

impl Finding {
    pub(crate) fn not_scannable(offset: u64, why: &'static str) -> Self {
        Self { rule: NOT_SCANNABLE.to_owned(), offset, encodings: vec![why] }
    }

    /// True when nothing was found, but not everything could be read: refuse, with another reason than for a secret.
    pub fn is_not_scannable(&self) -> bool {
        self.rule == NOT_SCANNABLE
    }
}
