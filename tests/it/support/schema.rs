//! Judges JSON by a JSON Schema, as far as the schemas of this project go.
//!
//! A keyword that is not known here is an error, so that nothing is passed over in silence.

use serde_json::{Map, Value};

/// Says nothing of what a value must be.
const REMARKS: [&str; 8] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "default",
    "format",
    "minimum",
    "maximum",
];

/// Panics where a value is not what a schema says.
pub(crate) fn assert_fits(value: &Value, schema: &Value) {
    if let Err(why) = fits(value, schema, schema, "") {
        panic!("{why}");
    }
}

fn fits(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    let Value::Object(rules) = schema else {
        return match schema {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("{at}: nothing fits {schema}")),
        };
    };
    rules
        .iter()
        .try_for_each(|(rule, wanted)| follows(value, rule, wanted, rules, root, at))
}

fn follows(
    value: &Value,
    rule: &str,
    wanted: &Value,
    rules: &Map<String, Value>,
    root: &Value,
    at: &str,
) -> Result<(), String> {
    let wrong = || Err(format!("{at}: {value} does not fit {rule} {wanted}"));
    let list = wanted.as_array().map_or(&[][..], Vec::as_slice);
    let ensure = |good: bool| if good { Ok(()) } else { wrong() };
    match rule {
        "type" if wanted.is_array() => ensure(list.iter().any(|one| is(value, one))),
        "type" => ensure(is(value, wanted)),
        "enum" => ensure(list.contains(value)),
        "const" => ensure(wanted == value),
        "$ref" => {
            let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#'));
            let target = pointer.and_then(|pointer| root.pointer(pointer));
            fits(
                value,
                target.expect("a reference leads somewhere"),
                root,
                at,
            )
        }
        "anyOf" | "oneOf" => {
            let tried: Vec<_> = list.iter().map(|one| fits(value, one, root, at)).collect();
            if tried.iter().any(Result::is_ok) {
                Ok(())
            } else {
                wrong()
            }
        }
        "allOf" => list.iter().try_for_each(|one| fits(value, one, root, at)),
        "required" => list
            .iter()
            .try_for_each(|key| ensure(value.get(key.as_str().expect("a name")).is_some())),
        "properties" => {
            let known = wanted.as_object().expect("schemas by name");
            known
                .iter()
                .try_for_each(|(key, schema)| match value.get(key) {
                    Some(value) => fits(value, schema, root, &format!("{at}/{key}")),
                    None => Ok(()),
                })
        }
        "additionalProperties" => {
            let known = rules.get("properties").and_then(Value::as_object);
            let others = value.as_object().into_iter().flatten();
            let mut others =
                others.filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
            others.try_for_each(|(key, value)| fits(value, wanted, root, &format!("{at}/{key}")))
        }
        "items" => value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .try_for_each(|(number, value)| fits(value, wanted, root, &format!("{at}/{number}"))),
        "uniqueItems" => {
            let all = value.as_array().map_or(&[][..], Vec::as_slice);
            let twice = |(at, one): (usize, &Value)| all[..at].contains(one);
            ensure(wanted != &Value::Bool(true) || !all.iter().enumerate().any(twice))
        }
        remark if REMARKS.contains(&remark) => Ok(()),
        other => Err(format!("{at}: the rule {other} is not known here")),
    }
}

fn is(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => false,
    }
}
