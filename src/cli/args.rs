//! The command line as clap reads it.

mod part;
mod since;
mod store;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Spot;
use crate::model::Name;
use crate::model::schedule::Calendar;

pub use self::part::Part;
pub use self::since::Since;
pub use self::store::{
    KeepRules, Secret, Store, StoreCat, StoreDiff, StoreKey, StoreLs, StoreRestore, StoreVerify,
};

/// Treats a backup topology as code: declare it in KDL, plan it, apply it, prove it.
#[derive(Debug, Parser)]
#[command(
    name = "bkpctl",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Print nothing but results and errors
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Use no colour (so does the variable NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a first topology, from a few answers or from options
    Init(Init),
    /// Look at machines and write down what is there, as a topology that changes nothing
    Import(Import),
    /// Check a topology and report every mistake at once
    Validate(Validate),
    /// Give a topology's files their one form; comments and spelling stay
    Fmt(Fmt),
    /// Read the live state and show what would change, and why
    Plan(Plan),
    /// Show what a change of the topology's files comes to, and reach no machine
    Diff(Diff),
    /// Read the live state and print or save what was seen
    Observe(Observe),
    /// Carry the changes out: owners, repositories, copies, drills
    Apply(Apply),
    /// Show what on the hosts is no longer as it was applied
    Drift(Drift),
    /// Mark a repository that was there already as this topology's
    Adopt(Adopt),
    /// Show a saved plan, and reach no machine
    Show(Show),
    /// Run one job now
    Run(Run),
    /// Show the age of every copy and proof
    Status(Look),
    /// List snapshots in the topology's datastores
    Snapshots(Snapshots),
    /// Restore a snapshot, whole or by path
    Restore(Restore),
    /// Show what was done on the nodes, by plans and by jobs
    Log(Log),
    /// Draw the topology: machines, datastores, and what flows between them
    Graph(Graph),
    /// Make reading keys
    #[command(subcommand)]
    Key(Key),
    /// Print the host key a node offers, as a line to paste
    HostKey(HostKey),
    /// Print what gives a node's logins the least rights, with a key that may only look
    Bootstrap(Bootstrap),
    /// Plan from saved states and compare with the plans that are expected
    Test(Test),
    /// Say what would be left if a machine or a failure domain were lost
    Simulate(Simulate),
    /// Say when datastores fill up, from measured growth and what keep lets go of
    Forecast(Forecast),
    /// Write topology, facts and plan without names, for a report of what went wrong
    Collect(Collect),
    /// Take everything of bkpctl's off a node; datastores stay
    Leave(Leave),
    /// Explain the code of a finding or a mistake, or who may write to a datastore
    Explain(Explain),
    /// Print a JSON Schema, or the schema of the topology language
    Schema {
        /// Which one; left out, the names are listed
        name: Option<String>,
    },
    /// Use a repository by its path, without a topology
    #[command(subcommand)]
    Store(Store),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Explain exit codes and other topics
    Help {
        /// A command, or `exit-codes`
        topic: Option<String>,
    },
    /// Serve a datastore on standard input and output (started by bkpctl)
    #[command(hide = true)]
    Serve(Serve),
    /// Work on this machine for a controller (started by bkpctl)
    #[command(hide = true)]
    Agent,
    /// Answer a question on standard input (keys that may only look are bound to it)
    #[command(hide = true)]
    Look {
        /// Started by sudo
        #[arg(long)]
        root: bool,
    },
}

/// Which topology.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// A topology file, or a folder with topology.kdl
    #[arg(default_value = ".")]
    pub topology: PathBuf,
}

/// How hosts are reached.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Read the user's SSH configuration from this file
    #[arg(long, value_name = "FILE")]
    pub ssh_config: Option<PathBuf>,
    /// Place this static binary on nodes instead of the running one
    #[arg(long, value_name = "FILE")]
    pub agent_binary: Option<PathBuf>,
    /// Give a node up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
}

/// The nodes of a topology, and how they are reached.
#[derive(Debug, Clone, Args)]
pub struct Nodes {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
}

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// A code, such as BK113, or `access`; left out, all codes are listed
    pub topic: Option<String>,
    /// With `access`: the datastore whose writers are followed
    pub datastore: Option<String>,
    /// With `access`: judge by what was seen before, and reach no node
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// The folder that topology.kdl is written into; nothing there is overwritten
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// What the topology is called [default: like the folder]
    #[arg(long)]
    pub name: Option<Name>,
    /// A path on this machine to protect; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub source: Vec<String>,
    /// Where copies go: a folder here, or ssh:USER@HOST:PATH
    #[arg(long, value_name = "PLACE")]
    pub to: Option<Spot>,
    /// One more place for copies
    #[arg(long, value_name = "PLACE")]
    pub second: Option<Spot>,
    /// When, as a systemd calendar expression [default: 02:00]
    #[arg(long, value_name = "TIME")]
    pub at: Option<Calendar>,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// Machines: USER@HOST, USER@HOST:PORT, a name of your SSH configuration, or local
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// What the topology is called
    #[arg(long, default_value = "imported")]
    pub name: Name,
    /// Write it to this file, which must not exist, instead of printing it
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
}

/// `validate`
#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `fmt`
#[derive(Debug, Args)]
pub struct Fmt {
    /// Topology files or folders, with what they include; - passes standard input through
    #[arg(default_value = ".")]
    pub topology: Vec<PathBuf>,
    /// Write nothing; show what would change, and exit with 1 if anything would
    #[arg(long)]
    pub check: bool,
    /// Convert files in KDL 1 to KDL 2 first
    #[arg(long)]
    pub from_v1: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub part: Part,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print Markdown for a comment on a pull request
    #[arg(long, conflicts_with_all = ["json", "detail"])]
    pub md: bool,
    /// Print what happens as it happens: one JSON object a line
    #[arg(long, conflicts_with_all = ["json", "md", "detail"])]
    pub ndjson: bool,
    /// Show every detail
    #[arg(long)]
    pub detail: bool,
    /// Save the plan, for `bkpctl apply FILE`
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Plan from what was seen before, and reach no node
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    pub facts: Option<PathBuf>,
    /// Exit with 2 if changes are pending
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `drift`
#[derive(Debug, Args)]
pub struct Drift {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub part: Part,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Judge by what was seen before, and reach no node
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Exit with 2 if there is drift
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `adopt`
#[derive(Debug, Args)]
pub struct Adopt {
    /// The datastore's name
    pub datastore: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
}

/// `diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// `A..B` for two commits, `A...B` from where they went apart, `A` for one and the files here
    #[arg(default_value = "HEAD")]
    pub range: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print Markdown for a comment on a pull request
    #[arg(long, conflicts_with = "json")]
    pub md: bool,
    /// Exit with 2 if anything differs
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `simulate`
#[derive(Debug, Args)]
pub struct Simulate {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// What is lost: a node, or a failure domain such as site=home
    #[arg(long, value_name = "NODE|KEY=VALUE")]
    pub lose: crate::plan::disaster::Loss,
    /// Count the copies that bkpctl observe --save saw, with their ages and sizes
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// How much a restore is taken to move in a second
    #[arg(long, value_name = "SIZE", default_value = "110MiB")]
    pub rate: crate::model::ByteSize,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `forecast`
#[derive(Debug, Args)]
pub struct Forecast {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Foretell from what was seen before, and reach no node
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `observe`
#[derive(Debug, Args)]
pub struct Observe {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Save it to a file, for `bkpctl plan --facts FILE`
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

/// `apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// A topology file, a folder with topology.kdl, or a saved plan
    #[arg(default_value = ".")]
    pub topology: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub part: Part,
    /// Ask nothing; gates still need --allow
    #[arg(long)]
    pub auto_approve: bool,
    /// Say yes to a gate, as the plan names it
    #[arg(long, value_name = "ADDRESS:KIND")]
    pub allow: Vec<String>,
    /// Do only what a plan with this digest does (16 or more of its digits)
    #[arg(long, value_name = "DIGEST")]
    pub expect: Option<String>,
    /// Go on with an apply that was broken off, and do nothing that was not part of it
    #[arg(long)]
    pub resume: bool,
    /// How many changes are made at the same time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub parallel: u16,
    /// How many copies are written to one disk at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub writers_per_disk: u16,
    /// Print what happens as it happens: one JSON object a line
    #[arg(long, conflicts_with = "detail")]
    pub ndjson: bool,
    /// Show every detail
    #[arg(long)]
    pub detail: bool,
}

/// `show`
#[derive(Debug, Args)]
pub struct Show {
    /// A plan that was saved by bkpctl plan -o
    pub plan: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print Markdown for a comment on a pull request
    #[arg(long, conflicts_with_all = ["json", "detail"])]
    pub md: bool,
    /// Show every detail
    #[arg(long)]
    pub detail: bool,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// The job's name
    pub job: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Print one JSON document at the end
    #[arg(long)]
    pub json: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct Look {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `snapshots`
#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Only snapshots of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only snapshots in this datastore
    #[arg(long, value_name = "DATASTORE")]
    pub from: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `restore`
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// Only these paths of the snapshot, after the topology
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
    /// The source
    #[arg(long)]
    pub source: String,
    /// The datastore
    #[arg(long, value_name = "DATASTORE")]
    pub from: String,
    /// Which snapshot: latest, the newest at a time (RFC 3339), or an id
    #[arg(long, default_value = "latest")]
    pub at: String,
    /// Where to: a folder that is empty or does not exist
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Print one JSON document at the end
    #[arg(long)]
    pub json: bool,
}

/// `log`
#[derive(Debug, Args)]
pub struct Log {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Only what was done on this node; may be given more than once
    #[arg(long)]
    pub node: Vec<String>,
    /// Only what this plan did: its digest, or how it begins
    #[arg(long, value_name = "DIGEST")]
    pub plan: Option<String>,
    /// Only what was done with this source: its copies and proofs
    #[arg(long, conflicts_with = "address")]
    pub source: Option<String>,
    /// Only what was done to this address, such as copy.etc/primary
    #[arg(long)]
    pub address: Option<crate::model::Address>,
    /// Only what happened since: a time (RFC 3339), a day, or how long ago, such as 26h
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Show beginnings too, whole texts, and which plan
    #[arg(long)]
    pub detail: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Print one JSON object a line
    #[arg(long, conflicts_with = "json")]
    pub ndjson: bool,
}

/// `graph`
#[derive(Debug, Args)]
pub struct Graph {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// What to write; left out, what the name of --out ends with, or else SVG
    #[arg(long, value_enum)]
    pub format: Option<GraphFormat>,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The failure domain that machines are grouped by
    #[arg(long, value_name = "KEY", default_value = "site")]
    pub by: String,
}

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphFormat {
    /// A picture
    Svg,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// For programs
    Json,
}

/// `key`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a reading key that the topology declares, and its recovery sheet
    New {
        /// The key's name
        name: String,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        place: Where,
        /// Write the recovery sheet to this file instead of the terminal
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
    },
    /// Make a key file from the code on a recovery sheet
    Recover {
        /// A file with the code
        code_file: PathBuf,
        /// The key file to make
        key_file: PathBuf,
    },
    /// Confirm that the recovery sheet was kept, by typing its code
    Confirm {
        /// The key's name
        name: String,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        place: Where,
        /// The recovery code from the sheet; asked for on a terminal if left out
        #[arg(long, value_name = "FILE")]
        code_file: Option<PathBuf>,
    },
}

/// `host-key`
#[derive(Debug, Args)]
pub struct HostKey {
    /// The node's name
    pub node: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
}

/// `bootstrap`
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The node's name
    pub node: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// The public key that may look and do nothing else
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The login that looks, if it is not the topology's
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where the program that looks goes on the node
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/usr/local/lib/bkpctl/bkpctl"
    )]
    pub at: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `test`
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    /// Where states are kept [default: tests, beside the topology]
    #[arg(long = "in", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Expect the plans that are made now, from now on
    #[arg(long)]
    pub update: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `collect`
#[derive(Debug, Args)]
pub struct Collect {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Use what was seen before, and reach no node
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

/// `leave`
#[derive(Debug, Args)]
pub struct Leave {
    /// The node's name
    pub node: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub nodes: Nodes,
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
}

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The datastore's folder
    #[arg(long)]
    pub datastore: PathBuf,
    /// Drop to this user and group, by number
    #[arg(long, value_name = "UID:GID")]
    pub owner: Option<String>,
    /// What the other end may do: put, get, admin
    #[arg(long, value_delimiter = ',', default_value = "get")]
    pub allow: Vec<String>,
    /// Make a new repository there
    #[arg(long)]
    pub create: bool,
    /// Stop accepting data when less than this is free: bytes, or a share such as 10%
    #[arg(long)]
    pub reserve: Option<String>,
    /// Refuse unless this is mounted there: nfs:/PATH or uuid:UUID
    #[arg(long)]
    pub mounted: Option<String>,
}
