//! The key `supervise`, and those below it.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::manifest::measure;
use crate::yaml::{At, written};

/// How a person is asked: true, false, or a mapping.
#[derive(Debug)]
pub enum Supervise {
    /// With the defaults, or not at all.
    On(bool),
    /// As this says.
    As(SuperviseKeys),
    /// Something else, which is refused where its place is known.
    Unknown,
}

/// The keys of `supervise`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuperviseKeys {
    /// What becomes of questions when no person is at a terminal: `deny` (the default), or `queue`, until `bottle answer`.
    #[serde(default, deserialize_with = "written")]
    pub unattended: Option<At<Unattended>>,
    /// How long a request is held while a person is asked, at most 55s; 45s by default.
    #[serde(default, deserialize_with = "written")]
    #[schemars(extend("pattern" = measure::DURATION))]
    pub hold: Option<At<String>>,
    /// A file of signers (ssh-keygen(1), ALLOWED SIGNERS). With it, a grant needs a signature of one of them; a denial never does.
    #[serde(default, deserialize_with = "written")]
    pub signers: Option<At<String>>,
}

/// What becomes of questions that nobody attends.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unattended {
    /// They are refused.
    Deny,
    /// They wait.
    Queue,
}

impl JsonSchema for Supervise {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Supervise".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys = generator.subschema_for::<SuperviseKeys>();
        schemars::json_schema!({ "oneOf": [{ "type": "boolean" }, keys] })
    }
}

impl<'de> Deserialize<'de> for Supervise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Supervise;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a mapping")
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Supervise, E> {
                Ok(Supervise::On(on))
            }

            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Supervise, E> {
                Ok(Supervise::Unknown)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Supervise, E> {
                Ok(Supervise::Unknown)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Supervise, A::Error> {
                SuperviseKeys::deserialize(MapAccessDeserializer::new(map)).map(Supervise::As)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
