//! A part of a plan: from the words on the command line to the part, or to why there is none.

use crate::cli::exit::Failure;
use crate::config::did_you_mean;
use crate::model::Observed;
use crate::plan::selection::{Asked, Selection, Unclear};
use crate::plan::{Plan, plan_part};

/// How many names are listed where a word names nothing.
const LISTED_MAX: usize = 8;

/// Cuts out the part of a plan that is asked for.
pub fn narrow(whole: Plan, observed: &Observed, asked: &Asked) -> Result<Plan, Failure> {
    if asked.is_whole() {
        return Ok(whole);
    }
    plan_part(&whole, observed, asked).map_err(explain)
}

/// Looks up the words of a part in a plan.
pub fn look_up(whole: &Plan, asked: &Asked) -> Result<Selection, Failure> {
    asked.look_up(whole).map_err(explain)
}

/// Says why there is no such part, and what could have been meant.
fn explain(unclear: Unclear) -> Failure {
    match unclear {
        Unclear::Unknown {
            option,
            word,
            known,
        } => Failure::new(format!(
            "{option} {word:?}: neither the topology nor its plan has anything of that name"
        ))
        .help(suggest(&word, &known)),
        Unclear::Both { address } => Failure::new(format!(
            "{address} is wanted and left alone: it is after --exclude too"
        ))
        .help("leave one of the two away"),
        Unclear::NothingLeft { wanted, excluded } => Failure::new(format!(
            "nothing is left of {wanted}: all of it stands on what {excluded} leaves alone"
        ))
        .help("exclude less, or want something else"),
    }
}

fn suggest(word: &str, known: &[String]) -> String {
    let of_kind = |known: &&String| {
        let kind = word.split_once('.').map(|(kind, _)| kind);
        kind.is_some() && kind == known.split_once('.').map(|(kind, _)| kind)
    };
    let is_whole_name = |known: &&String| known.split_once('.').is_some_and(|(_, n)| n == word);
    let near = known.iter().find(is_whole_name).map(String::as_str);
    let near = near.or_else(|| did_you_mean(word, known.iter().map(String::as_str)));
    if let Some(near) = near {
        return format!("did you mean {near}?");
    }
    let mut listed: Vec<&String> = known.iter().filter(of_kind).collect();
    if listed.is_empty() {
        listed = known.iter().collect();
    }
    let more = listed.len().saturating_sub(LISTED_MAX);
    let names: Vec<&str> = listed.iter().take(LISTED_MAX).map(|n| n.as_str()).collect();
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("there are {}{more}", names.join(", "))
}
