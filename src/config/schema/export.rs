//! The table as JSON, for editors and other tools.

use serde_json::{Value, json};

use super::{Arg, Prop, Statement, TOPOLOGY, Type};

/// Returns the whole language as a JSON value: statements with their arguments,
/// properties and blocks.
pub fn schema() -> Value {
    json!({
        "language": "bkpctl topology",
        "kdl": 2,
        "statements": statements(TOPOLOGY.children),
    })
}

fn statements(statements: &[Statement]) -> Vec<Value> {
    statements.iter().map(statement).collect()
}

fn statement(statement: &Statement) -> Value {
    json!({
        "name": statement.name,
        "doc": statement.doc,
        "since": statement.since,
        "required": statement.required,
        "repeats": statement.repeats,
        "args": statement.args.iter().map(arg).collect::<Vec<_>>(),
        "props": statement.props.iter().map(prop).collect::<Vec<_>>(),
        "free_props": statement.free_props,
        "children": statements(statement.children),
    })
}

fn arg(arg: &Arg) -> Value {
    json!({
        "name": arg.name,
        "type": kind(arg.is),
        "required": arg.required,
        "repeats": arg.repeats,
    })
}

fn prop(prop: &Prop) -> Value {
    json!({
        "name": prop.name,
        "type": kind(prop.is),
        "required": prop.required,
        "doc": prop.doc,
    })
}

fn kind(is: Type) -> Value {
    match is {
        Type::Declares(kind) => json!({ "declares": kind.word() }),
        Type::Refers(kind) => json!({ "refers_to": kind.word() }),
        Type::Number(low, high) => json!({ "number": { "min": low as i64, "max": high as i64 } }),
        Type::OneOf(words) => json!({ "one_of": words }),
        other => json!(other.word()),
    }
}
