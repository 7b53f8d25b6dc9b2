//! What `bkpctl store` takes: the engine on a plain folder.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::model::{ByteSize, Period};

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
    /// Do not wait until the disk has everything: a power loss soon after may take some of it
    #[arg(long, conflicts_with = "to_device")]
    pub no_sync: bool,
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
