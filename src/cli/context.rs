//! What every command shares: how to print, and how to get from a path to a plan.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::args::Reach;
use crate::cli::events::Events;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::load::load;
use crate::cli::part;
use crate::cli::render::text::{Style, escape_json};
use crate::model::{Name, Observed, Timestamp, Topology};
use crate::observe::{ObserveOptions, Watch, observe_watched};
use crate::plan::Plan;
use crate::plan::need::nodes;
use crate::plan::selection::{Asked, Selection};
use crate::run::fleet::{Connect, Fleet, transport};
pub use crate::run::here::now;
use crate::run::{drill, here, keys};
use crate::transport::Ask;

/// How this run prints.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whether only results and errors are printed.
    pub quiet: bool,
    /// Whether colour may be used on standard output.
    pub color: bool,
    /// The width of the terminal in columns, or a good one for files.
    pub width: usize,
    /// Who is told what happens, where standard output is a stream of events.
    pub events: Option<Arc<Events>>,
}

/// A look at the world: the plan that came of it, and the nodes to work with.
#[derive(Debug)]
pub struct Look {
    /// The plan.
    pub plan: Plan,
    /// The nodes.
    pub fleet: Fleet,
    /// How to look again.
    pub again: Again,
    /// When looking began.
    pub at: Timestamp,
    /// How long looking took.
    pub took: Duration,
}

/// How to look again at the same topology.
#[derive(Debug, Clone)]
pub struct Again {
    topology: Topology,
    connect: Connect,
    events: Option<Arc<Events>>,
}

impl Context {
    /// Reads the environment once.
    pub fn new(quiet: bool, no_color: bool) -> Self {
        let stdout = std::io::stdout();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = !no_color && !set("NO_COLOR") && stdout.is_terminal();
        let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| usize::from(size.ws_col));
        let width = columns
            .ok()
            .filter(|columns| *columns >= 40)
            .unwrap_or(100)
            .min(120);
        Self {
            quiet,
            color,
            width,
            events: None,
        }
    }

    /// Does a command's work, and tells it as a stream of events if that is wanted.
    pub fn telling(
        &self,
        command: &str,
        wanted: bool,
        work: impl FnOnce(&Self) -> Outcome,
    ) -> Outcome {
        if !wanted {
            return work(self);
        }
        let events = Events::start(command);
        let outcome = work(&Self {
            color: false,
            events: Some(Arc::clone(&events)),
            ..self.clone()
        });
        events.end(&outcome);
        outcome
    }

    /// Returns how plans and tables are drawn.
    pub fn style(&self, detail: bool) -> Style {
        Style {
            color: self.color,
            width: self.width,
            detail,
            took: None,
            next: true,
        }
    }

    /// Prints a result on standard output, unless that is a stream of events.
    ///
    /// Whoever reads it may stop reading; the work and its exit code go on all the same.
    pub fn print(&self, text: &str) {
        if self.events.is_some() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    }

    /// Prints a text on standard output, byte for byte: whoever reads it puts it in a file.
    pub fn print_exactly(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Failure::new(format!("failed to write: {error}")))
    }

    /// Prints a warning on standard error, unless only results are wanted.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            let line = crate::cli::render::text::escape(text);
            drop(writeln!(std::io::stderr().lock(), " ⚠ {line}"));
        }
    }

    /// Prints one JSON document on standard output.
    pub fn print_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(format!("failed to write JSON: {error}")))?;
        self.print(&escape_json(&json));
        Ok(())
    }

    /// Loads a topology, looks at its nodes and plans.
    pub fn look(&self, path: &Path, reach: &Reach) -> Result<Look, Failure> {
        let topology = load(self, path)?;
        look_at(self.again(topology, reach))
    }

    fn again(&self, topology: Topology, reach: &Reach) -> Again {
        Again {
            topology,
            connect: connect(reach),
            events: self.events.clone(),
        }
    }

    /// Looks at a topology's nodes, and says when.
    pub fn observe(
        &self,
        topology: Topology,
        reach: &Reach,
    ) -> Result<(Timestamp, Observed), Failure> {
        let observed = self.again(topology, reach).observe(None)?;
        Ok((now(), observed))
    }

    /// Looks at what a saved plan's actions rely on, and at nothing else.
    pub fn look_for(&self, saved: &Plan, reach: &Reach) -> Result<Look, Failure> {
        let again = self.again(saved.topology.clone(), reach);
        let (at, start) = (now(), Instant::now());
        let observed = again.observe(Some(nodes(&saved.topology, saved.pending())))?;
        Ok(again.seen(saved.clone(), observed, (at, start.elapsed())))
    }
}

fn look_at(again: Again) -> Result<Look, Failure> {
    let (at, start) = (now(), Instant::now());
    let observed = again.observe(None)?;
    let plan = crate::plan::plan(&again.topology, &observed, now());
    Ok(again.seen(plan, observed, (at, start.elapsed())))
}

impl Look {
    /// Goes on with the part of the plan that is asked for.
    pub fn narrow(self, asked: &Asked) -> Result<Self, Failure> {
        let plan = part::narrow(self.plan, &self.fleet.observed, asked)?;
        Ok(Self { plan, ..self })
    }

    /// Goes on with a part of the plan that was chosen before.
    pub fn go_on_with(&mut self, part: &Selection) {
        self.plan = crate::plan::plan_of(&self.plan, &self.fleet.observed, part);
    }
}

impl Again {
    fn seen(self, plan: Plan, observed: Observed, (at, took): (Timestamp, Duration)) -> Look {
        let fleet = Fleet::new(
            self.topology.clone(),
            observed,
            self.connect.clone(),
            here::holder(),
        );
        Look {
            plan,
            fleet,
            again: self,
            at,
            took,
        }
    }

    /// Looks at these nodes, or at all of them.
    fn observe(&self, only: Option<BTreeSet<Name>>) -> Result<Observed, Failure> {
        let watch = self.events.as_ref().map(|events| &**events as &dyn Watch);
        let mut observed = observe_watched(
            &self.topology,
            &|name, node| transport(&self.topology, name, node, &self.connect),
            &now,
            &ObserveOptions {
                only,
                ..ObserveOptions::default()
            },
            watch,
        );
        drill::drop_forged(&self.topology, &mut observed);
        observed.keys = keys::look(&self.topology);
        observed.binary = here::binary(self.connect.agent_binary.as_deref())
            .map(Some)
            .map_err(|fault| Failure::new(fault.message))?;
        Ok(observed)
    }

    /// Looks at the world as it is now, as far as some actions rely on it.
    pub fn observe_for(&self, plan: &Plan) -> Result<Observed, Failure> {
        self.observe(Some(nodes(&self.topology, plan.pending())))
    }

    /// Looks at the world as it is now, and plans the whole and a part of it.
    pub fn plan_now(&self, part: &Selection) -> Result<(Plan, Plan), Failure> {
        let observed = self.observe(None)?;
        let whole = crate::plan::plan(&self.topology, &observed, now());
        let part = crate::plan::plan_of(&whole, &observed, part);
        Ok((whole, part))
    }
}

/// Says how nodes are reached, from the command line.
pub fn connect(reach: &Reach) -> Connect {
    Connect {
        ssh_config: reach.ssh_config.clone(),
        agent_binary: reach.agent_binary.clone(),
        timeout: Some(Duration::from_secs(reach.timeout)),
        ask: asks().then(|| Ask::new(ask_for_passphrase)),
    }
}

/// Tells whether somebody is there to answer; in CI and in pipes nobody is.
pub fn asks() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, and goes on only with the expected answer.
pub fn confirm(question: &str, expected: &str) -> Result<(), Failure> {
    let mut err = std::io::stderr().lock();
    drop(write!(err, "\n{question}").and_then(|()| err.flush()));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == expected => Ok(()),
        _ => Err(Failure::new("not confirmed; nothing was changed")),
    }
}

fn ask_for_passphrase(key: &Path) -> Option<Zeroizing<String>> {
    let question = format!("Passphrase of {}: ", key.display());
    let answer = rpassword::prompt_password(question).ok()?;
    (!answer.is_empty()).then(|| Zeroizing::new(answer))
}
