//! How an apply or a job shows itself while it runs.
//!
//! On a terminal each running action has a line that is redrawn, data with a bar, rate
//! and time left. Elsewhere there is one line at the start and end of each action and a
//! heartbeat every [`HEARTBEAT`].

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::apply::outcome::{Ended, Observer};
use crate::cli::render::text::{escape, pad, took};
use crate::model::{ByteSize, Name};
use crate::plan::Plan;
use crate::run::job::Progress;

/// How often a running action is mentioned where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a line says about an action: where, what, and how it looks.
#[derive(Debug, Clone)]
pub struct Label {
    /// The node or place.
    pub place: String,
    /// The thing that is worked on.
    pub subject: String,
    /// Whether the action moves data.
    pub data: bool,
}

/// Shows actions as they run.
pub struct Display {
    labels: Vec<Label>,
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<usize, Running>>,
    quiet: bool,
}

struct Running {
    bar: Option<ProgressBar>,
    start: Instant,
    mentioned: Instant,
}

impl std::fmt::Debug for Display {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Display")
            .field("labels", &self.labels.len())
            .finish_non_exhaustive()
    }
}

/// Returns the label of each action of a plan, by its id.
pub fn labels(plan: &Plan) -> Vec<Label> {
    use crate::plan::change::Step;
    plan.actions
        .iter()
        .map(|action| {
            let (subject, data) = match &action.step {
                Step::CreateKey { key } => (format!("key {key}"), false),
                Step::PlaceBinary { .. } => ("binary".to_owned(), false),
                Step::MakeFolder { .. } => ("folder".to_owned(), false),
                Step::SetOwner { .. } => ("owner".to_owned(), false),
                Step::SetMode { .. } => ("mode".to_owned(), false),
                Step::SetQuota { dataset, .. } => (format!("quota {dataset}"), false),
                Step::Export { .. } => (format!("export {}", action.address.name()), false),
                Step::Mount { path, .. } => (format!("mount {path}"), false),
                Step::MakeRepository { datastore } => (format!("repository {datastore}"), false),
                Step::WriteManaged { datastore, .. } => (format!("marker {datastore}"), false),
                Step::DestroyRepository { datastore, .. } => {
                    (format!("destroy {datastore}"), false)
                }
                Step::Withdraw { file, .. } => (format!("withdraw {file}"), false),
                Step::Register { .. } => ("registry".to_owned(), false),
                Step::Copy {
                    source, datastore, ..
                } => (format!("{source} → {datastore}"), true),
                Step::Sync { from, to, .. } => (format!("{from} ⇉ {to}"), true),
                Step::Drill { job, source, .. } => (format!("{job} of {source}"), true),
            };
            Label {
                place: action.node.to_string(),
                subject,
                data,
            }
        })
        .collect()
}

impl Display {
    /// Makes a display for actions with these labels.
    pub fn new(labels: Vec<Label>, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            labels,
            bars,
            running: Mutex::default(),
            quiet,
        }
    }

    /// Takes an action's line away; somebody else says how it ended.
    pub fn clear(&self, action: usize) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&action);
        if let Some(bar) = running.and_then(|running| running.bar) {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None if self.quiet => {}
            None => drop(writeln!(std::io::stderr().lock(), "{line}")),
        }
    }

    /// Says something that is about no single action.
    pub fn warn(&self, line: &str) {
        self.say(&format!(" ⚠ {line}"));
    }

    fn head(&self, action: usize) -> String {
        let (mut places, mut subjects) = (4, 8);
        for label in &self.labels {
            places = places.max(label.place.chars().count());
            subjects = subjects.max(label.subject.chars().count());
        }
        let label = &self.labels[action];
        format!(
            "{}  {}",
            pad(&label.place, places),
            pad(&label.subject, subjects)
        )
    }
}

fn data_style(known: bool) -> ProgressStyle {
    let template = if known {
        " {spinner} {prefix}  {bar:26} {percent:>3}%  {binary_bytes_per_sec}  {msg}  {eta} left"
    } else {
        " {spinner} {prefix}  {binary_bytes}  {binary_bytes_per_sec}  {msg}"
    };
    ProgressStyle::with_template(template)
        .expect("the template is a constant that parses")
        .progress_chars("━╸─")
}

impl Observer for Display {
    // Whoever waits for the first action sees that it runs.
    fn locked(&self, _: &[Name]) {}

    fn started(&self, action: usize) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template(" {spinner} {prefix}  {elapsed}")
                .expect("the template is a constant that parses");
            bar.set_style(style);
            bar.set_prefix(self.head(action));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() && self.labels[action].data {
            self.say(&format!(" … {}  started", self.head(action)));
        }
        let now = Instant::now();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(
            action,
            Running {
                bar,
                start: now,
                mentioned: now,
            },
        );
    }

    fn progress(&self, action: usize, progress: Progress) {
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = all.get_mut(&action) else {
            return;
        };
        let stored = format!("stored {}", ByteSize(progress.stored));
        if let Some(bar) = &running.bar {
            match progress.total {
                Some(total) => {
                    bar.set_style(data_style(true));
                    bar.set_length(total.max(progress.bytes));
                }
                None => bar.set_style(data_style(false)),
            }
            bar.set_position(progress.bytes);
            bar.set_message(stored);
        } else if running.mentioned.elapsed() >= HEARTBEAT {
            running.mentioned = Instant::now();
            let seconds = running.start.elapsed().as_secs_f64().max(0.001);
            let rate = ByteSize((progress.bytes as f64 / seconds) as u64);
            let left = progress.total.filter(|_| progress.bytes > 0).map(|total| {
                let rest = total.saturating_sub(progress.bytes) as f64;
                let left = Duration::from_secs_f64(rest * seconds / progress.bytes as f64);
                format!(", {} left", took(left))
            });
            let line = format!(
                " … {}  {} of {}, {rate}/s, {stored}{}",
                self.head(action),
                ByteSize(progress.bytes),
                progress
                    .total
                    .map_or_else(|| "?".to_owned(), |t| ByteSize(t).to_string()),
                left.unwrap_or_default()
            );
            drop(all);
            self.say(&line);
        }
    }

    fn ended(&self, action: usize, ended: &Ended) {
        self.clear(action);
        let head = self.head(action);
        match ended {
            Ended::Done { words, took: time } => {
                self.say(&format!(" ✓ {head}  {}  {}", escape(words), took(*time)));
            }
            Ended::Failed { fault, took: time } => {
                self.say(&format!(
                    " ✗ {head}  {}  {}",
                    escape(&fault.message),
                    took(*time)
                ));
            }
            Ended::Already => self.say(&format!(" = {head}  is so already")),
            // The end table tells these.
            Ended::Skipped { .. } | Ended::Deferred { .. } | Ended::Stopped => {}
        }
    }

    fn note(&self, node: &Name, text: &str) {
        self.say(&format!(" ⚠ {node}  {}", escape(text)));
    }
}
