//! The reference part of `docs/topology.md`, written from the table.

use std::fmt::Write as _;

use super::{Arg, Prop, Statement, TOPOLOGY};

/// Returns the reference of the language in Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    for statement in TOPOLOGY.children {
        let _ = writeln!(out, "### {}\n", statement.name);
        let _ = writeln!(out, "`{}`{}\n", usage(statement), often(statement));
        let _ = writeln!(out, "{}\n", statement.doc);
        props(&mut out, statement.props, 0);
        if !statement.props.is_empty() {
            out.push('\n');
        }
        children(&mut out, statement.children, 0);
        if !statement.children.is_empty() {
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn children(out: &mut String, statements: &[Statement], depth: usize) {
    let indent = "  ".repeat(depth);
    for statement in statements {
        let _ = writeln!(
            out,
            "{indent}- `{}`{}: {}",
            usage(statement),
            often(statement),
            statement.doc
        );
        props(out, statement.props, depth + 1);
        children(out, statement.children, depth + 1);
    }
}

fn props(out: &mut String, props: &[Prop], depth: usize) {
    let indent = "  ".repeat(depth);
    for prop in props {
        let _ = writeln!(
            out,
            "{indent}- `{}=`: {} ({})",
            prop.name,
            prop.doc,
            prop.is.word()
        );
    }
}

fn usage(statement: &Statement) -> String {
    let args = statement.args.iter().map(arg_usage);
    let props = statement.props.iter().map(|prop| {
        let text = format!("{}=…", prop.name);
        if prop.required {
            text
        } else {
            format!("[{text}]")
        }
    });
    let free = statement.free_props.then(|| "KEY=… …".to_owned());
    let block = (!statement.children.is_empty()).then(|| "{ … }".to_owned());
    std::iter::once(statement.name.to_owned())
        .chain(args)
        .chain(props)
        .chain(free)
        .chain(block)
        .collect::<Vec<_>>()
        .join(" ")
}

fn arg_usage(arg: &Arg) -> String {
    let name = arg.name.to_uppercase();
    let name = if arg.repeats {
        format!("{name}…")
    } else {
        name
    };
    if arg.required {
        name
    } else {
        format!("[{name}]")
    }
}

fn often(statement: &Statement) -> &'static str {
    match (statement.required, statement.repeats) {
        (true, true) => " (once or more)",
        (true, false) => " (required)",
        (false, true) => " (any number)",
        (false, false) => "",
    }
}
