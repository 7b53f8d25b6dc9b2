//! Walks a document beside its schema.
//!
//! The schema tells fields from names that people gave, and lists the words of enumerations.
//! What it does not know is replaced as well.

use serde_json::{Map, Value};

use super::pseudonyms::Pseudonyms;
use super::rules::{self, Place};

/// Replaces every text in a document that nothing allows to stay.
pub(super) fn walk(value: &Value, schema: &Value, pseudonyms: &mut Pseudonyms) -> Value {
    let place = Place {
        field: "",
        kind: "",
    };
    Walk {
        root: schema,
        pseudonyms,
    }
    .value(value, schema, place)
}

struct Walk<'a> {
    root: &'a Value,
    pseudonyms: &'a mut Pseudonyms,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &Value, schema: &'a Value, place: Place<'a>) -> Value {
        let (schema, kind) = self.resolve(schema);
        let place = Place {
            kind: kind.unwrap_or(place.kind),
            ..place
        };
        if let Some(choices) = choices(schema) {
            // Of several forms the one that the value has; if it has none, nothing is known of it.
            let fitting = choices.iter().find(|choice| self.fits(value, choice));
            return self.value(value, fitting.unwrap_or(&Value::Null), place);
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) if lists(schema, text) => Value::String(text.clone()),
            Value::String(text) => Value::String(rules::text(text, place, self.pseudonyms)),
            Value::Array(items) => {
                let schema = schema.get("items").unwrap_or(&Value::Null);
                let items = items.iter().map(|item| self.value(item, schema, place));
                Value::Array(items.collect())
            }
            Value::Object(fields) => Value::Object(self.object(fields, schema, place)),
        }
    }

    fn object(
        &mut self,
        fields: &Map<String, Value>,
        schema: &'a Value,
        place: Place<'a>,
    ) -> Map<String, Value> {
        let known = schema.get("properties").and_then(Value::as_object);
        let mut done = Map::new();
        for (field, value) in fields {
            if let Some((name, schema)) = known.and_then(|known| known.get_key_value(field)) {
                let place = Place {
                    field: name,
                    kind: "",
                };
                done.insert(field.clone(), self.value(value, schema, place));
                continue;
            }
            let key = rules::key(field, place, self.pseudonyms);
            let schema = of_entries(schema).unwrap_or(&Value::Null);
            done.insert(key, self.value(value, schema, place));
        }
        done
    }

    /// Follows references, and returns the name of the last one.
    fn resolve(&self, mut schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        let mut kind = None;
        while let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let Some(name) = name.strip_prefix("#/$defs/") else {
                return (&Value::Null, kind);
            };
            kind = Some(name);
            let defined = self.root.get("$defs").and_then(|all| all.get(name));
            schema = defined.unwrap_or(&Value::Null);
        }
        (schema, kind)
    }

    fn fits(&self, value: &Value, schema: &'a Value) -> bool {
        let (schema, _) = self.resolve(schema);
        if let Some(choices) = choices(schema) {
            return choices.iter().any(|choice| self.fits(value, choice));
        }
        match value {
            Value::String(text) if is_listed(schema) => lists(schema, text),
            Value::Object(fields) => {
                let known = schema.get("properties").and_then(Value::as_object);
                let required = schema.get("required").and_then(Value::as_array);
                let mut required = required.into_iter().flatten().filter_map(Value::as_str);
                is_of_type("object", schema)
                    && required.all(|field| fields.contains_key(field))
                    && (of_entries(schema).is_some()
                        || fields
                            .keys()
                            .all(|field| known.is_some_and(|known| known.contains_key(field))))
            }
            Value::Null => is_of_type("null", schema),
            Value::Bool(_) => is_of_type("boolean", schema),
            Value::Number(_) => is_of_type("integer", schema) || is_of_type("number", schema),
            Value::String(_) => is_of_type("string", schema),
            Value::Array(_) => is_of_type("array", schema),
        }
    }
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
    choices.as_array()
}

/// Returns the schema of the entries of a map.
fn of_entries(schema: &Value) -> Option<&Value> {
    let any = schema.get("additionalProperties");
    any.filter(|entries| entries.is_object()).or_else(|| {
        let patterns = schema.get("patternProperties")?.as_object()?;
        patterns.values().next()
    })
}

fn is_listed(schema: &Value) -> bool {
    schema.get("const").is_some() || schema.get("enum").is_some()
}

/// Tells whether a schema lists this very word.
fn lists(schema: &Value, text: &str) -> bool {
    let words = schema.get("enum").and_then(Value::as_array);
    schema.get("const").and_then(Value::as_str) == Some(text)
        || words.is_some_and(|words| words.iter().any(|word| word == text))
}

fn is_of_type(name: &str, schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(word)) => word == name,
        Some(Value::Array(words)) => words.iter().any(|word| word == name),
        _ => false,
    }
}
