//! `bkpctl init`: a first topology, from a few answers or from options.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::args::Init;
use crate::cli::context::{Context, asks, now};
use crate::cli::documents;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::load::report;
use crate::cli::render::text::escape;
use crate::config::{Files, FilesError, First, Loaded, Spot, as_name, load};
use crate::engine::env::Env;
use crate::model::Name;
use crate::model::schedule::Calendar;
use crate::model::topology::TopologyId;

/// The file that is written.
const FILE: &str = "topology.kdl";

/// Asks where something is missing and somebody is there, checks, and writes one new file.
pub fn run(context: &Context, args: &Init) -> Outcome {
    let file = args.folder.join(FILE);
    refuse_existing(&file)?;
    let first = match (&args.to, args.source.is_empty()) {
        (Some(to), false) => first(args, to.clone())?,
        _ if asks() => Dialogue { args }.first()?,
        _ => {
            return Err(Failure::new(
                "nobody is here to be asked what to protect and where copies go",
            )
            .help("bkpctl init --source /etc --to /srv/backup; bkpctl init --help tells more"));
        }
    };
    let text = first.text();
    let loaded = read(&args.folder, &text);
    if loaded.topology.is_none() {
        return Err(Failure::new(format!(
            "that makes no valid topology, so nothing was written:\n\n{}",
            report(context, &loaded)
        )));
    }
    for doubt in &loaded.diagnostics {
        context.warn(&doubt.message);
    }
    write(&args.folder, &file, &text)?;
    context.print(&next(&args.folder, &file, &first));
    Ok(Exit::Ok)
}

/// Refuses to write over something, whatever it is.
pub(super) fn refuse_existing(file: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!(
            "failed to look at {}: {error}",
            file.display()
        ))),
        Ok(_) => Err(Failure::new(format!(
            "there is a {} already; it was not touched",
            file.display()
        ))
        .help("name another folder, or check the one that is there: bkpctl validate")),
    }
}

/// Writes a new file, and its folder if need be.
pub(super) fn write(folder: &Path, file: &Path, text: &str) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .and_then(|()| documents::create(file, text))
        .map_err(|error| Failure::new(format!("failed to write {}: {error}", file.display())))
}

/// Returns what the options say.
fn first(args: &Init, to: Spot) -> Result<First, Failure> {
    Ok(First {
        name: args.name.clone().unwrap_or_else(|| name_of(&args.folder)),
        id: fresh_id()?,
        sources: args.source.clone(),
        to,
        second: args.second.clone(),
        at: args.at.clone().unwrap_or_else(nightly),
    })
}

/// Makes an identity that no other topology has.
pub(super) fn fresh_id() -> Result<TopologyId, Failure> {
    let chance = Env::system()
        .random()
        .map_err(|error| Failure::new(format!("failed to get random numbers: {error}")))?;
    Ok(TopologyId::fresh(now(), chance))
}

fn nightly() -> Calendar {
    "02:00"
        .parse()
        .expect("a time of day is a calendar expression")
}

/// Returns the folder's own name, as near as names allow.
fn name_of(folder: &Path) -> Name {
    let whole = std::path::absolute(folder).unwrap_or_default();
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    as_name(&name, "backup")
}

/// The one file of a topology that is not written yet.
struct Unwritten<'a>(&'a str);

impl Files for Unwritten<'_> {
    fn read(&mut self, path: &str) -> Result<String, FilesError> {
        match path {
            FILE => Ok(self.0.to_owned()),
            _ => Err(FilesError::NotFound),
        }
    }

    fn list(&mut self, _: &str) -> Result<Vec<String>, FilesError> {
        Ok(Vec::new())
    }
}

/// Reads a text as the topology of a folder.
pub(super) fn read(folder: &Path, text: &str) -> Loaded {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| PathBuf::from("/"));
    load(FILE, &folder.to_string_lossy(), &mut Unwritten(text))
}

fn next(folder: &Path, file: &Path, first: &First) -> String {
    let place = if folder == Path::new(".") {
        String::new()
    } else {
        format!(" {}", escape(&folder.display().to_string()))
    };
    let mut steps: Vec<(String, &str)> = first
        .machines()
        .iter()
        .map(|node| {
            (
                format!("bkpctl host-key {node}{place}"),
                "the machine's key, to compare and to pin",
            )
        })
        .collect();
    steps.push((
        format!("bkpctl key new {}{place}", first.key()),
        "make the reading key and its recovery sheet",
    ));
    steps.push((
        format!("bkpctl plan{place}"),
        "see what would happen; nothing is changed",
    ));
    let width = steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
    let steps = steps
        .iter()
        .map(|(step, why)| format!("    {step:width$}  {why}"));
    format!(
        "Wrote {}. Read it, then:\n{}",
        escape(&file.display().to_string()),
        steps.collect::<Vec<_>>().join("\n")
    )
}

/// Asks for what the options do not say.
struct Dialogue<'a> {
    args: &'a Init,
}

impl Dialogue<'_> {
    fn first(&self) -> Result<First, Failure> {
        say(
            "A first topology: a file that says what is protected, where copies go, and when.\nEnter takes what stands in brackets; Ctrl-C ends this and nothing is written.\n",
        )?;
        let mut first = first(self.args, Spot::Here("/srv/backup".to_owned()))?;
        if first.sources.is_empty() {
            first.sources = vec!["/etc".to_owned()];
        }
        if self.args.name.is_none() {
            let usual = first.name.to_string();
            self.ask(&mut first, "Its name", &usual, |first, answer| {
                first.name = Name::new(answer).map_err(|error| error.to_string())?;
                Ok(())
            })?;
        }
        if self.args.source.is_empty() {
            self.ask_sources(&mut first)?;
        }
        if let Some(to) = &self.args.to {
            first.to = to.clone();
        } else {
            let question = "Where copies go: a folder here, or ssh:USER@HOST:PATH";
            self.ask(&mut first, question, "/srv/backup", |first, answer| {
                first.to = answer.parse()?;
                Ok(())
            })?;
        }
        if self.args.second.is_none() {
            self.ask(
                &mut first,
                "One more place for them; Enter for none",
                "",
                |first, answer| {
                    first.second = if answer.is_empty() {
                        None
                    } else {
                        Some(answer.parse()?)
                    };
                    Ok(())
                },
            )?;
        }
        if self.args.at.is_none() {
            self.ask(
                &mut first,
                "When: a time of day, or a systemd calendar expression",
                "02:00",
                |first, answer| {
                    first.at = answer.parse().map_err(
                        |error: crate::model::schedule::CalendarError| error.to_string(),
                    )?;
                    Ok(())
                },
            )?;
        }
        Ok(first)
    }

    fn ask_sources(&self, first: &mut First) -> Result<(), Failure> {
        let question = "Where this machine's data is: a path to protect";
        self.ask(first, question, "/etc", |first, answer| {
            first.sources = vec![answer.to_owned()];
            Ok(())
        })?;
        loop {
            let before = first.sources.len();
            self.ask(
                first,
                "  another path; Enter for no more",
                "",
                |first, answer| {
                    if !answer.is_empty() {
                        first.sources.push(answer.to_owned());
                    }
                    Ok(())
                },
            )?;
            if first.sources.len() == before {
                return Ok(());
            }
        }
    }

    /// Asks until the answer keeps the topology valid.
    fn ask(
        &self,
        first: &mut First,
        question: &str,
        usual: &str,
        take: impl Fn(&mut First, &str) -> Result<(), String>,
    ) -> Result<(), Failure> {
        loop {
            let brackets = if usual.is_empty() {
                String::new()
            } else {
                format!(" [{usual}]")
            };
            say(&format!("{question}{brackets}: "))?;
            let line = answer()?;
            let mut tried = first.clone();
            let given = if line.is_empty() {
                usual
            } else {
                line.as_str()
            };
            let problem = match take(&mut tried, given) {
                Err(problem) => problem,
                Ok(()) => match self.wrong(&tried) {
                    None => {
                        *first = tried;
                        return Ok(());
                    }
                    Some(problem) => problem,
                },
            };
            say(&format!("  {}\n", escape(&problem)))?;
        }
    }

    /// Says why an answer can't be used.
    fn wrong(&self, first: &First) -> Option<String> {
        let loaded = read(&self.args.folder, &first.text());
        if loaded.topology.is_some() {
            return None;
        }
        let first = loaded.diagnostics.into_iter().next()?;
        Some(match first.help {
            Some(help) => format!("{}; {help}", first.message),
            None => first.message,
        })
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes())
        .and_then(|()| err.flush())
        .map_err(|error| Failure::new(format!("failed to ask: {error}")))
}

/// Reads a line; its end before a line break ends the dialogue.
fn answer() -> Result<String, Failure> {
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(1..) if line.ends_with('\n') => Ok(line.trim().to_owned()),
        Ok(_) => {
            Err(Failure::new("the dialogue was left; nothing was written").exit(Exit::Interrupted))
        }
        Err(error) => Err(Failure::new(format!(
            "failed to read an answer: {error}; nothing was written"
        ))),
    }
}
