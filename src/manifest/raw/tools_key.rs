//! The key `tools`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::yaml::At;

/// Directories of the host, or the word `none`.
#[derive(Debug)]
pub enum Tools {
    /// Nothing of the home directory, and no further directories.
    None,
    /// Directories.
    List(Vec<At<String>>),
    /// Something else, which is refused where its place is known.
    Unknown,
}

impl JsonSchema for Tools {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tools".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let list = generator.subschema_for::<Vec<String>>();
        schemars::json_schema!({ "oneOf": [{ "const": "none" }, list] })
    }
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Tools;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of directories, or the word none")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Tools, E> {
                Ok(if word == "none" { Tools::None } else { Tools::Unknown })
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Tools, E> {
                Ok(Tools::List(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tools, A::Error> {
                let mut directories = Vec::new();
                while let Some(directory) = list.next_element()? {
                    directories.push(directory);
                }
                Ok(Tools::List(directories))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
