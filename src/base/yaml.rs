//! YAML as manifests use it: bounded, strict, each value with its line and column. The only module that knows the parser.
//!
//! What YAML surprises with is decided here:
//! - A text stays the text that was written: `no`, `on`, `1.0` and `0x10` where a text is asked for are those characters
//!   (YAML 1.1 would make them a boolean or a number). A boolean is `true` or `false` and nothing else.
//! - A key without a value is not the same as a missing key; [`written`] and [`written_list`] keep them apart.
//! - Duplicate keys, merge keys (`<<`), unknown tags and a second document are errors.
//! - No message quotes a value: it may be a secret. Keys are quoted, escaped.

use bottle_contract::Untrusted;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error as Fault, Location, Options, Spanned};

use crate::suggest;

/// What is wrong, where, and what to do: an error that does not know its file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1, in characters.
    pub column: u64,
    /// One line, lower case.
    pub what: String,
    /// One line.
    pub hint: String,
    /// The key, when the problem is a key that nobody knows.
    pub unknown_key: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn at(line: u64, column: u64, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line, column, what: what.into(), hint: hint.into(), unknown_key: None }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1, in characters.
    pub column: u64,
}

impl<T> At<T> {
    /// A problem with this value.
    pub fn problem(&self, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem::at(self.line, self.column, what, hint)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, line: spanned.referenced.line(), column: spanned.referenced.column() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// For an optional key that must have a value where it is written.
pub fn written<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For an optional key that, written without a value (its entries commented out, say), means the empty collection.
pub fn written_list<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

/// Reads one document. One in which nothing is written is an empty mapping.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let read: Option<T> = serde_saphyr::from_str_with_options(text, options()).map_err(|fault| explain(&fault))?;
    match read {
        Some(value) => Ok(value),
        None => serde_saphyr::from_str("{}").map_err(|fault| explain(&fault)),
    }
}

/// Bounds with room for a manifest a hundred times as large as any that people write by hand; a document that
/// multiplies itself by aliases is refused after some thousand events.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 24,
            flow_nesting_limit: 24,
            max_events: 60_000,
            max_nodes: 30_000,
            max_anchors: 64,
            max_aliases: 256,
            max_recorded_anchor_events: 4_096,
            max_recorded_anchor_bytes: 1 << 20,
            max_total_scalar_bytes: 1 << 20,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 8_192, max_replay_stack_depth: 4 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

/// Puts the parser's error in our words, without the values it may quote.
fn explain(fault: &Fault) -> Problem {
    if let Fault::AliasError { error, locations, .. } = fault {
        return Problem { ..placed(locations.reference_location, explain(error)) };
    }
    let (what, hint): (String, String) = match fault {
        Fault::WithSnippet { error, .. } => return explain(error),
        Fault::SerdeUnknownField { field, expected, .. } => {
            let hint = suggest::among(field, expected.iter().copied(), "known here");
            let what = format!("unknown key `{}`", Untrusted::new(field));
            let problem = Problem { unknown_key: Some(field.clone()), ..Problem::at(1, 1, what, hint) };
            return placed(fault.location().unwrap_or(Location::UNKNOWN), problem);
        }
        Fault::SerdeUnknownVariant { variant, expected, .. } if variant == "~" => {
            ("a value is missing".into(), format!("write one of {}", suggest::list(expected.iter().copied())))
        }
        Fault::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{}`", Untrusted::new(variant)), suggest::among(variant, expected.iter().copied(), "known here"))
        }
        Fault::SerdeMissingField { field, .. } => {
            (format!("missing key `{field}`"), format!("add `{field}: …`; `bottle schema` prints every key"))
        }
        Fault::DuplicateMappingKey { key, .. } => (
            format!("duplicate key `{}`", Untrusted::new(key.as_deref().unwrap_or("?"))),
            "keep one of them: which of two would count is a guess".into(),
        ),
        Fault::Unexpected { expected, .. } => {
            (format!("expected {}", plain(expected)), "see `bottle schema` for the shape of each key".into())
        }
        Fault::SerdeInvalidType { expected, .. } | Fault::SerdeInvalidValue { expected, .. } => {
            (format!("expected {}", plain(expected)), "see `bottle schema` for the shape of each key".into())
        }
        Fault::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            ("expected a word or a mapping".into(), "see `bottle schema` for the shape of each key".into())
        }
        Fault::ExpectedMappingEndAfterEnumVariantValue { .. } | Fault::UnexpectedValueForUnitEnumVariant { .. } => {
            ("more than one choice where one is meant".into(), "keep one of them".into())
        }
        Fault::NullIntoString { .. } => ("a value is missing".into(), "write \"\" for an empty text".into()),
        Fault::TaggedScalarCannotDeserializeIntoString { .. } => ("expected a text".into(), "remove the tag before the value".into()),
        Fault::InvalidBooleanStrict { .. } => ("expected true or false".into(), "`yes`, `no`, `on` and `off` are not booleans here".into()),
        Fault::InvalidScalar { .. } => ("expected a whole number".into(), "write digits only".into()),
        Fault::UnknownAnchor { .. } => {
            ("an alias (`*…`) that names nothing".into(), "quote a text that starts with a star: \"*.example.com\"".into())
        }
        Fault::MergeKeyNotAllowed { .. } => {
            ("a merge key (`<<`)".into(), "write the keys out, or put them in a bottle and extend it".into())
        }
        Fault::MultipleDocuments { .. } => {
            ("a second YAML document".into(), "the front matter is one document between two lines of `---`".into())
        }
        Fault::UnsupportedTag { .. } | Fault::TaggedStructFieldName { .. } => {
            ("a YAML tag (`!…`)".into(), "remove it, or quote the text".into())
        }
        Fault::Budget { .. }
        | Fault::AliasReplayLimitExceeded { .. }
        | Fault::AliasExpansionLimitExceeded { .. }
        | Fault::AliasReplayStackDepthExceeded { .. }
        | Fault::AliasReplayCounterOverflow { .. } => {
            ("more YAML than any manifest needs".into(), "fewer entries, less nesting, fewer aliases".into())
        }
        Fault::ExternalMessage { msg, .. } => (
            format!("not valid YAML: {}", Untrusted::new(msg)),
            "check indentation, quotes and brackets on this line and the one before".into(),
        ),
        _ => ("a value that does not fit here".into(), "see `bottle schema` for the shape of each key".into()),
    };
    placed(fault.location().unwrap_or(Location::UNKNOWN), Problem::at(1, 1, what, hint))
}

/// The problem at the parser's location, or where it was if the parser knows none.
fn placed(location: Location, problem: Problem) -> Problem {
    if location.line() == 0 {
        return problem;
    }
    Problem { line: location.line(), column: location.column(), ..problem }
}

/// The parser's name for a kind of node in a user's words.
fn plain(expected: &str) -> &str {
    match expected {
        "string scalar" | "scalar" => "a text",
        "sequence start" => "a list",
        "mapping start" | "empty mapping start" => "a mapping",
        _ => "another kind of value",
    }
}
