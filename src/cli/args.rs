//! The command line as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::model::{ByteSize, Period};

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
    /// Check a topology and report every mistake at once
    Validate(Validate),
    /// Read the live state and show what would change, and why
    Plan(Plan),
    /// Read the live state and print or save what was seen
    Observe(Observe),
    /// Carry the changes out: owners, repositories, copies, drills
    Apply(Apply),
    /// Run one job now
    Run(Run),
    /// Show the age of every copy and proof
    Status(Look),
    /// List snapshots in the topology's datastores
    Snapshots(Snapshots),
    /// Restore a snapshot, whole or by path
    Restore(Restore),
    /// Make reading keys
    #[command(subcommand)]
    Key(Key),
    /// Print the host key a node offers, as a line to paste
    HostKey(HostKey),
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
    pub place: Where,
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

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
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

/// `observe`
#[derive(Debug, Args)]
pub struct Observe {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
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
    /// Ask nothing; gates still need --allow
    #[arg(long)]
    pub auto_approve: bool,
    /// Say yes to a gate, as the plan names it
    #[arg(long, value_name = "ADDRESS:KIND")]
    pub allow: Vec<String>,
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
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
    /// Print one JSON document at the end
    #[arg(long)]
    pub json: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct Look {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// `snapshots`
#[derive(Debug, Args)]
pub struct Snapshots {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
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
    /// Confirm that the recovery sheet was kept, by typing a word of it
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
    pub place: Where,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub reach: Reach,
}

/// Where a repository's key comes from.
#[derive(Debug, Clone, Args)]
pub struct Secret {
    /// The key file (or BKPCTL_KEY_FILE); else the passphrase in BKPCTL_PASSPHRASE
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The verbs of `store key`.
#[derive(Debug, Subcommand)]
pub enum StoreKey {
    /// List the slots that passphrases open
    List {
        /// The repository's folder
        store: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Add a passphrase (BKPCTL_NEW_PASSPHRASE, or asked for)
    Add {
        /// The repository's folder
        store: PathBuf,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// Remove a slot; who has the key keeps it
    Revoke {
        /// The repository's folder
        store: PathBuf,
        /// The slot's id or its beginning
        slot: String,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// Replace the passphrase (BKPCTL_PASSPHRASE) by a new one (BKPCTL_NEW_PASSPHRASE)
    ChangePassphrase {
        /// The repository's folder
        store: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the recovery sheet, which holds the whole key
    Recovery {
        /// The repository's folder
        store: PathBuf,
        /// Write the sheet to this file instead of the terminal
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
}

/// How many snapshots of each source stay.
#[derive(Debug, Clone, Args)]
pub struct KeepRules {
    /// Keep the newest so many
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of so many hours
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of so many weeks, from Monday to Sunday
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
}

/// The verbs of `store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Make a repository; with --key-file a missing file is made too
    Init {
        /// The repository's folder
        store: PathBuf,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// Back up paths, an image, what a program prints, or standard input
    Backup {
        /// The repository's folder
        store: PathBuf,
        /// What to back up
        paths: Vec<PathBuf>,
        /// Leave out what matches, as in .gitignore
        #[arg(long, value_name = "GLOB")]
        exclude: Vec<String>,
        /// Stay on the paths' own filesystems
        #[arg(long)]
        one_file_system: bool,
        /// Leave out what is in folders with a CACHEDIR.TAG
        #[arg(long)]
        skip_caches: bool,
        /// Read every file, also those that have not changed
        #[arg(long)]
        read_all: bool,
        /// How large packs get, in MiB [default: 64, and more in a repository of more than 1 TiB]
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
        pack_size: Option<u32>,
        /// Back up a block device or an image file, without its zeros
        #[arg(long, value_name = "PATH", conflicts_with_all = ["paths", "exclude", "one_file_system"])]
        image: Option<PathBuf>,
        /// Back up what the program after -- prints; if it fails, nothing is kept
        #[arg(long, requires = "argv", conflicts_with_all = ["paths", "image"])]
        command: bool,
        /// Back up standard input, or with --command its output, as a file of this name
        ///
        /// Whether the program that wrote to standard input failed can't be known from its
        /// output, and half a dump would be kept: --command knows, and keeps nothing then.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["paths", "image"])]
        stdin_name: Option<String>,
        /// The source's name in the repository
        #[arg(long, default_value = "default")]
        source: String,
        /// The program and its arguments
        #[arg(last = true, requires = "command", value_name = "PROGRAM")]
        argv: Vec<OsString>,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// Restore a snapshot, whole or by path
    Restore(StoreRestore),
    /// List snapshots
    Snapshots {
        /// The repository's folder
        store: PathBuf,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// List what a snapshot holds
    Ls(StoreLs),
    /// Print a file of a snapshot on standard output
    Cat(StoreCat),
    /// Compare two snapshots
    Diff(StoreDiff),
    /// Check the repository; without a key, hashes only
    Verify(StoreVerify),
    /// Repair what is damaged, without a key; with one, lost files are named too
    Repair {
        /// The repository's folder
        store: PathBuf,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
    /// Manage the passphrases that open it, and its recovery sheet
    #[command(subcommand)]
    Key(StoreKey),
    /// Forget snapshots by rules, or those that are named; gc frees what only they needed
    Forget {
        /// The repository's folder
        store: PathBuf,
        /// Snapshots to forget instead of applying rules: ids, their beginnings, or names
        snapshots: Vec<String>,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        keep: KeepRules,
        /// Apply the rules to this source alone; may be repeated
        #[arg(long)]
        source: Vec<String>,
        /// Allow that nothing stays of a source
        #[arg(long)]
        allow_empty: bool,
        /// Only say what would stay and go
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Delete what no snapshot needs, while backups go on; needs no key
    Gc {
        /// The repository's folder
        store: PathBuf,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Move at most so much out of packs that are mostly dead, such as 10GiB
        #[arg(long, value_name = "SIZE")]
        max_repack: Option<ByteSize>,
        /// End backups, restores and copies that are still running after this time, such as 12h
        #[arg(long, value_name = "TIME")]
        expire_after: Option<Period>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Copy what is missing from one repository to another of the same key
    Sync {
        /// Where snapshots come from
        from: PathBuf,
        /// Where they go; made if it does not exist
        to: PathBuf,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for help text")]
        secret: Secret,
    },
}

/// `store restore`
#[derive(Debug, Args)]
pub struct StoreRestore {
    /// The repository's folder
    pub store: PathBuf,
    /// `latest`, or an id or its beginning
    pub snapshot: String,
    /// A folder that is empty or does not exist; left out with --to-device
    #[arg(required_unless_present = "to_device")]
    pub target: Option<PathBuf>,
    /// Only these paths of the snapshot
    pub paths: Vec<PathBuf>,
    /// Make a folder that holds something what the snapshot says: only what differs is read
    /// and written, and files the snapshot lacks stay
    #[arg(long)]
    pub in_place: bool,
    /// With --in-place: remove what the snapshot lacks below the restored paths
    #[arg(long, requires = "in_place")]
    pub delete: bool,
    /// Write one file of the snapshot, such as a disk image, over this block device or file,
    /// where they differ; a path after the snapshot says which one
    #[arg(long, value_name = "DEVICE", conflicts_with = "in_place")]
    pub to_device: Option<PathBuf>,
    /// The source whose latest snapshot is meant
    #[arg(long)]
    pub source: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub secret: Secret,
}

/// `store ls`
#[derive(Debug, Args)]
pub struct StoreLs {
    /// The repository's folder
    pub store: PathBuf,
    /// `latest`, or an id or its beginning
    #[arg(default_value = "latest")]
    pub snapshot: String,
    /// Only this path of the snapshot, with all below it
    pub path: Option<PathBuf>,
    /// Also show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub secret: Secret,
}

/// `store cat`
#[derive(Debug, Args)]
pub struct StoreCat {
    /// The repository's folder
    pub store: PathBuf,
    /// `latest`, or an id or its beginning
    pub snapshot: String,
    /// The file's path in the snapshot; left out, the one file of an image or a stream
    pub path: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub secret: Secret,
}

/// `store diff`
#[derive(Debug, Args)]
pub struct StoreDiff {
    /// The repository's folder
    pub store: PathBuf,
    /// The older snapshot: `latest`, or an id or its beginning
    pub old: String,
    /// The newer snapshot
    pub new: String,
    /// Only this path, with all below it
    pub path: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub secret: Secret,
}

/// `store verify`
#[derive(Debug, Args)]
pub struct StoreVerify {
    /// The repository's folder
    pub store: PathBuf,
    /// Read and check every byte
    #[arg(long)]
    pub read_data: bool,
    /// Read for so long (10m, 2h) or so much (20GiB), what was not checked for longest first
    #[arg(long, value_name = "TIME or SIZE")]
    pub budget: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for help text")]
    pub secret: Secret,
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
}
