//! `bkpctl graph`: the topology as a picture, reaching no machine.

use crate::cli::args::{self, GraphFormat};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::load;
use crate::cli::render::graph::{dot, mermaid, svg};
use crate::plan::graph::{domains, graph};
use crate::run::node::replace_file;

/// Draws, and prints or writes the picture.
pub fn run(context: &Context, args: &args::Graph) -> Outcome {
    let topology = load(context, &args.place.topology)?;
    let known = domains(&topology);
    // Without any site there is one group, and that is fine; a word that was typed is meant.
    if args.by != "site" && !known.contains_key(args.by.as_str()) {
        return Err(Failure::unknown("failure domain", &args.by, known.keys()));
    }
    let graph = graph(&topology, &args.by);
    let text = match args.format.unwrap_or_else(|| meant(args)) {
        GraphFormat::Svg => svg::render(&graph),
        GraphFormat::Dot => dot::render(&graph),
        GraphFormat::Mermaid => mermaid::render(&graph),
        GraphFormat::Json => serde_json::to_string_pretty(&graph)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new(format!("failed to write JSON: {error}")))?,
    };
    match &args.out {
        None => context.print(&text),
        Some(file) => replace_file(file, text.as_bytes(), 0o644).map_err(|error| {
            Failure::new(format!("failed to write {}: {error}", file.display()))
                .help("name a file in a folder that exists and that you may write to")
        })?,
    }
    Ok(Exit::Ok)
}

/// Returns the format that the file's name asks for.
fn meant(args: &args::Graph) -> GraphFormat {
    let ending = args.out.as_ref().and_then(|file| file.extension());
    match ending.and_then(|ending| ending.to_str()) {
        Some("dot" | "gv") => GraphFormat::Dot,
        Some("mmd" | "mermaid") => GraphFormat::Mermaid,
        Some("json") => GraphFormat::Json,
        _ => GraphFormat::Svg,
    }
}
