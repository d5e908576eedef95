//! The JSON Schema (draft 2020-12) of the settings file, made from the types that the file is read into: its keys, kinds and words are
//! theirs. Owns how values that are written as text look; what fits together only the program itself knows (`p2psp config check`).

use super::{Defaults, FileSettings};
use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema,
    transform::transform_subschemas,
};
use serde_json::{Value, json};

/// An IP address with a port, as `SocketAddr` reads it; IPv6 in brackets.
pub(crate) const SOCKET: &str = r"^(\[[0-9A-Fa-f:.]+(%[0-9]+)?\]|[0-9]{1,3}(\.[0-9]{1,3}){3}):[0-9]{1,5}$";
/// The same, or the path of a Unix socket.
pub(crate) const BIND: &str =
    r"^(unix:.+|(\[[0-9A-Fa-f:.]+(%[0-9]+)?\]|[0-9]{1,3}(\.[0-9]{1,3}){3}):[0-9]{1,5})$";
/// A name or an IP address, with a port.
pub(crate) const HOST: &str = r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):[0-9]{1,5}$";
/// A node's key.
pub(crate) const KEY: &str = r"^\s*[A-Za-z2-7]{52}\s*$";
/// A channel link.
pub(crate) const LINK: &str = r"^\s*[Pp]2[Pp][Ss][Pp]://[A-Za-z2-7]{52}@.";

/// The schema, as text.
pub(crate) fn schema() -> String {
    let generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = generator.into_root_schema_for::<FileSettings>();
    without_null(&mut schema);
    let defaults = json!({
        "log": crate::cli::LogFormat::default(),
        "splitter": Defaults::splitter(),
        "peer": Defaults::peer(),
    });
    with_defaults(&mut schema, &defaults);
    let text = serde_json::to_string_pretty(&schema);
    text.expect("a schema is texts, numbers, lists and tables")
}

/// What is optional for serde is a key that may be missing: TOML has no null.
fn without_null(schema: &mut Schema) {
    schema.remove("default");
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                // What is said of the key itself goes before what is said of its kind.
                schema.ensure_object().entry(key).or_insert(value);
            }
        }
    }
    transform_subschemas(&mut without_null, schema);
}

/// Names the defaults that do not depend on the machine.
fn with_defaults(schema: &mut Schema, defaults: &Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (key, property) in properties {
        let (Some(default), Ok(property)) = (defaults.get(key), <&mut Schema>::try_from(property)) else {
            continue;
        };
        if default.is_object() {
            with_defaults(property, default);
        } else if !default.is_null() {
            property.insert("default".to_owned(), default.clone());
        }
    }
}

/// A bit rate; see [`crate::units`].
impl JsonSchema for crate::units::BitRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BitRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^\s*(?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?\s*[kKMG]?(bit/s|b/s|bps|bit|b)?\s*$",
            "minimum": 1,
            "maximum": crate::units::BIT_RATE_MAX,
        })
    }
}

/// A length of time; see [`crate::units`]. A number without a unit can only be zero.
impl JsonSchema for crate::units::Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(us|ms|s|m|h)|0+(\.0+)?)\s*$",
            "minimum": 0,
            "maximum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Cli, settings::file};
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    /// The schema has the keys that the parser has, refuses others, and names every default that is told elsewhere. Whether both judge values
    /// alike is tried with a validator, in tests/deploy/settings.py.
    #[test]
    fn the_schema_has_the_keys_of_the_file() {
        let text = schema();
        assert!(!text.contains("null"), "{text}");
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
        let command = Cli::command();
        for (table, defaults) in
            [("splitter", json!(Defaults::splitter())), ("peer", json!(Defaults::peer()))]
        {
            let table_schema = &schema["properties"][table];
            assert_eq!(table_schema["additionalProperties"], false, "{table}");
            let properties = table_schema["properties"].as_object().unwrap();
            let keys: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(keys, file::keys(&command, table).into_iter().collect::<BTreeSet<_>>(), "{table}");
            for (key, property) in properties {
                assert!(property["description"].is_string(), "{table}.{key}");
                assert_eq!(property["default"], defaults[key], "{table}.{key}");
            }
        }
    }
}
