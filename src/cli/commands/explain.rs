//! `bkpctl explain`: what a finding's or a mistake's code means.

use std::fmt::Write;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::text::wrap;

/// One code with its texts, wherever it comes from.
struct Entry {
    code: &'static str,
    title: &'static str,
    text: String,
}

/// Prints the explanation of a code, or the list of all codes.
pub fn run(context: &Context, code: Option<&str>) -> Outcome {
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
