//! `bkpctl explain`: what a code means, and who may write to a datastore.

use std::fmt::Write;

use crate::cli::args::Explain;
use crate::cli::commands::observe;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::access::render_access;
use crate::cli::render::text::wrap;
use crate::plan::chain::{self, Chain, Verdict};

/// One code with its texts, wherever it comes from.
struct Entry {
    code: &'static str,
    title: &'static str,
    text: String,
}

/// Explains a code, or the way of a datastore's writers.
pub fn run(context: &Context, args: &Explain) -> Outcome {
    match (args.topic.as_deref(), &args.datastore) {
        (Some("access"), Some(datastore)) => access(context, args, datastore),
        (Some("access"), None) => Err(Failure::new("explain access wants a datastore's name")
            .help("bkpctl explain access DATASTORE [TOPOLOGY]")),
        (topic, None) => code(context, topic),
        (_, Some(_)) => Err(Failure::new("a code is explained without a topology")
            .help("bkpctl explain CODE, or bkpctl explain access DATASTORE")),
    }
}

/// Looks, and draws who a datastore's writers are at each hop; exits with 3 if a node on the
/// way was not reached.
fn access(context: &Context, args: &Explain, datastore: &str) -> Outcome {
    let (topology, facts) = observe::facts(context, &args.nodes, args.facts.as_deref())?;
    let chains = chain::chains(&topology, &facts.observed, datastore);
    if chains.is_empty() {
        let known = topology.datastores.keys();
        return Err(if topology.datastores.contains_key(datastore) {
            Failure::new(format!(
                "{datastore} is a bucket; who may write there is its provider's"
            ))
        } else {
            Failure::unknown("datastore", datastore, known)
        });
    }
    context.print(&render_access(datastore, &chains, &context.style(false)));
    let unknown = |chain: &Chain| matches!(chain.verdict, Verdict::Unknown(_));
    Ok(if chains.iter().any(unknown) {
        Exit::Incomplete
    } else {
        Exit::Ok
    })
}

/// Prints the explanation of a code, or the list of all codes.
fn code(context: &Context, code: Option<&str>) -> Outcome {
    let all = entries();
    let text = match code {
        None => all.iter().fold(String::new(), |mut text, entry| {
            let _ = writeln!(text, "{}  {}", entry.code, entry.title);
            text
        }),
        Some(code) => {
            let found = all
                .iter()
                .find(|entry| entry.code.eq_ignore_ascii_case(code));
            let entry = found.ok_or_else(|| {
                Failure::new(format!("there is no code {code:?}"))
                    .help("bkpctl explain lists all codes")
            })?;
            format!(
                "{}  {}\n\n{}",
                entry.code,
                entry.title,
                paragraphs(&entry.text, context.width)
            )
        }
    };
    context.print(&text);
    Ok(Exit::Ok)
}

fn entries() -> Vec<Entry> {
    let mistakes = crate::config::EXPLANATIONS.iter().map(|known| Entry {
        code: known.code,
        title: known.title,
        text: known.text.to_owned(),
    });
    let findings = crate::plan::codes::CODES.iter().map(|known| Entry {
        code: known.code,
        title: known.title,
        text: format!("{}\n\nWhat to do: {}", known.explanation, known.remedy),
    });
    mistakes.chain(findings).collect()
}

fn paragraphs(text: &str, width: usize) -> String {
    let lines = text
        .split('\n')
        .map(|paragraph| wrap(paragraph, width).join("\n"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        let mut codes: Vec<_> = entries().iter().map(|entry| entry.code).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
