//! `bottle schema`: the JSON Schema of manifests, for editors.

use std::io::Write;

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::cannot_write;
use crate::error::Result;
use crate::manifest::{provider, raw};

/// Print the JSON Schema of a manifest's front matter
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Kind of manifest
    pub kind: Kind,
}

/// A kind of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Bottles: the isolation around an agent
    Bottle,
    /// Agents: the program, and its bottle
    Agent,
    /// Providers: how an agent's program is found, started and set up
    Provider,
}

/// Prints the schema.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<()> {
    let schema = match args.kind {
        Kind::Bottle => schema::<raw::Bottle>(),
        Kind::Agent => schema::<raw::Agent>(),
        Kind::Provider => schema::<provider::keys::Provider>(),
    };
    writeln!(out, "{schema:#}").map_err(cannot_write)
}

/// The schema by draft 2020-12.
pub fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(NoNull));
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A key may be absent, but not null: schemars allows null for an `Option`.
#[derive(Clone, Debug)]
struct NoNull;

impl Transform for NoNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                for (key, value) in only {
                    schema.insert(key, value);
                }
            }
        }
        // `default: null` is redundant.
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
    }
}
