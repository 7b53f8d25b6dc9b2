//! Copies a source into a datastore, wherever the two are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::crypto::{ReadingKey, WriterKey};
use crate::engine::env::Env;
use crate::engine::files::{Excludes, ScanOptions};
use crate::engine::store::{Call as StoreOp, Counting, Store, Tally};
use crate::engine::{
    Access, BackupOptions, CacheOptions, Repository, StageTimes, backup as engine_backup,
    backup_image, backup_stream,
};
use crate::model::topology::{Content, Source, is_plain};
use crate::model::{ByteSize, Name};
use crate::run::Cancel;
use crate::run::command::{Program, Surroundings};
use crate::run::fleet::{Fleet, Rights};
use crate::run::job::{BackupJob, BackupReport, KeyMaterial, Progress, Reading};
use crate::run::message::{Call, Event, Fault, FaultKind, Reply};
use crate::run::meter::Meter;
use crate::run::peer::{Handler, Peer};
use crate::run::serve::StoreServer;
use crate::run::store_call::Allowed;
use crate::run::{here, keys};

/// How many problems of single entries a report tells in words.
const PROBLEMS_MAX: usize = 20;

/// Takes notice of progress.
pub type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Copies a source into a datastore.
///
/// A source on this machine is read by this process, with the reading key at hand. Elsewhere
/// an agent reads with keys that can write only, and this process passes its store calls on.
/// Either remembers what it read in our folder on that machine, so that unchanged files are
/// not read again.
pub fn backup(
    fleet: &Fleet,
    source: &Name,
    datastore: &Name,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<BackupReport, Fault> {
    let declared = fleet
        .topology
        .sources
        .get(source)
        .ok_or_else(|| Fault::refused(format!("no source is called {source}")))?;
    let reading = reading(fleet, source, declared)?;
    let key = keys::read(&fleet.topology, &fleet.datastore(datastore)?.key)?;
    let facts = fleet.facts(&declared.on)?;
    let label = fleet.topology.writer_label(&declared.on);
    let writer = key
        .writer(label)
        .map_err(|error| Fault::refused(error.to_string()))?;
    let job = BackupJob {
        source: source.to_string(),
        writer: KeyMaterial(writer.encode().to_vec()),
        machine: facts
            .machine_id
            .clone()
            .unwrap_or_else(|| facts.hostname.clone()),
        reading,
        cache: cache(&facts.state.folder),
        expected: facts
            .sources
            .get(source)
            .and_then(|seen| seen.bytes)
            .map(|bytes| bytes.0),
    };
    let here = fleet.topology.is_local(&declared.on);
    let rights = if here { Rights::PutGet } else { Rights::Put };
    let store = Arc::new(Counting::new(fleet.store(datastore, rights)?));
    let mut report = if here {
        let access = Access::Reader(key);
        copy_with(
            Arc::clone(&store) as Arc<dyn Store>,
            access,
            &job,
            tell,
            cancel,
        )?
    } else {
        by_agent(
            fleet,
            &declared.on,
            Arc::clone(&store) as Arc<dyn Store>,
            job,
            tell,
            cancel,
        )?
    };
    report.store_calls = calls(&store.take());
    Ok(report)
}

/// Says what is read of a source, or why this version does not read it.
fn reading(fleet: &Fleet, name: &Name, source: &Source) -> Result<Reading, Fault> {
    let not_yet = |what: &str| {
        Fault::refused(format!(
            "source {name} is {what}, which this version does not copy"
        ))
    };
    Ok(match &source.content {
        Content::Paths {
            paths,
            exclude,
            one_file_system,
        } => Reading::Trees {
            paths: paths.clone(),
            exclude: exclude.clone(),
            one_file_system: *one_file_system,
            leave_out: datastores_on(fleet, &source.on),
        },
        Content::Volume { device, via } if is_plain(via.as_deref()) => Reading::Image {
            path: device.clone(),
        },
        Content::Volume { via, .. } => {
            let via = via.as_deref().unwrap_or_default();
            return Err(not_yet(&format!("a volume read via {via}")));
        }
        Content::Command {
            argv,
            run_as,
            name: file,
            timeout,
        } => Reading::Output {
            argv: argv.clone(),
            run_as: run_as.clone(),
            name: file.clone().unwrap_or_else(|| name.to_string()),
            timeout_seconds: timeout.map(|timeout| timeout.0),
        },
        Content::Guest(_) => return Err(not_yet("a guest")),
    })
}

/// Returns where a node remembers what was read: in our folder, if it has one.
fn cache(folder: &str) -> Option<String> {
    (!folder.is_empty()).then(|| format!("{folder}/cache"))
}

/// Returns the folders of all datastores that are served from a node.
///
/// A backup that held its own repository would grow with every run.
fn datastores_on(fleet: &Fleet, node: &Name) -> Vec<String> {
    let places = fleet
        .topology
        .datastores
        .values()
        .filter_map(|store| store.first_place());
    places
        .filter(|place| place.node == *node)
        .map(|place| place.path.clone())
        .collect()
}

/// Reads a source of this machine into a store, with a writer's keys only.
pub fn copy(
    store: Arc<dyn Store>,
    job: &BackupJob,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<BackupReport, Fault> {
    let writer =
        WriterKey::decode(&job.writer.0).map_err(|error| Fault::refused(error.to_string()))?;
    copy_with(store, Access::Writer(writer), job, tell, cancel)
}

fn copy_with(
    store: Arc<dyn Store>,
    access: Access,
    job: &BackupJob,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<BackupReport, Fault> {
    let writer =
        WriterKey::decode(&job.writer.0).map_err(|error| Fault::refused(error.to_string()))?;
    let repository =
        Repository::open(store, Env::system(), access).map_err(|error| Fault::engine(&error))?;
    let usual = BackupOptions::new(&job.source, writer.label(), &job.machine);
    let options = BackupOptions {
        threads: here::threads().unwrap_or(usual.threads),
        cache: job.cache.as_ref().map(CacheOptions::new),
        ..usual
    };
    let meter = Meter::new(tell, job.expected);
    let engine = |error| Fault::engine(&error);
    let made = match &job.reading {
        Reading::Trees {
            paths,
            exclude,
            one_file_system,
            leave_out,
        } => {
            let excludes =
                Excludes::new(exclude).map_err(|error| Fault::refused(error.to_string()))?;
            let scan = ScanOptions {
                one_file_system: *one_file_system,
                excludes,
                ..ScanOptions::default()
            };
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            let options = BackupOptions {
                leave_out: leave_out.iter().map(PathBuf::from).collect(),
                ..options
            };
            engine_backup(&repository, &paths, scan, &options, &meter, cancel).map_err(engine)?
        }
        Reading::Image { path } => {
            backup_image(&repository, Path::new(path), &options, &meter, cancel).map_err(engine)?
        }
        Reading::Output {
            argv,
            run_as,
            name,
            timeout_seconds,
        } => {
            let program = Program {
                argv: argv.iter().map(Into::into).collect(),
                run_as: run_as.clone(),
                timeout: timeout_seconds.map(Duration::from_secs),
                surroundings: Surroundings::Bare,
            };
            backup_output(&repository, &program, name, &options, &meter, cancel)?
        }
    };
    Ok(report(&made))
}

/// Makes a snapshot of what a program prints; one that fails leaves no snapshot.
pub fn backup_output(
    repository: &Repository,
    program: &Program,
    name: &str,
    options: &BackupOptions,
    meter: &Meter<'_>,
    cancel: &Cancel,
) -> Result<crate::engine::BackupReport, Fault> {
    let mut running = program.start(cancel)?;
    let made = backup_stream(repository, &mut running, name, options, meter, cancel);
    // The engine knows only that the stream broke off.
    made.map_err(|error| running.failure().unwrap_or_else(|| Fault::engine(&error)))
}

/// Turns what the engine tells of a backup into a report.
pub fn report(made: &crate::engine::BackupReport) -> BackupReport {
    let losses = made.notes.kept().iter().filter(|note| note.what.is_loss());
    BackupReport {
        snapshot: made.clear.id.clone(),
        files: made.clear.entries,
        bytes: made.clear.bytes,
        new_bytes: made.clear.new_bytes,
        stored_bytes: made.clear.stored_bytes,
        ratio: ratio(made.clear.new_bytes, made.clear.stored_bytes),
        read_bytes: made.stats.read_bytes,
        unchanged_files: made.stats.unchanged_files,
        resumed_files: made.stats.resumed_files,
        stages_ms: stages(&made.stats.times),
        skipped: made.clear.skipped,
        changed: made.clear.changed,
        problems: losses.take(PROBLEMS_MAX).map(ToString::to_string).collect(),
        warnings: made.warnings.clone(),
        store_calls: BTreeMap::new(),
    }
}

/// Returns how many times larger the first is, to three digits after the point.
fn ratio(new: u64, stored: u64) -> Option<f64> {
    let ratio = (new as f64 / stored as f64 * 1000.0).round() / 1000.0;
    (new > 0 && stored > 0).then_some(ratio)
}

fn stages(times: &StageTimes) -> BTreeMap<String, u64> {
    let stages = [
        ("walk", times.walk),
        ("read", times.read),
        ("seal", times.seal),
        ("store", times.store),
        ("commit", times.commit),
    ];
    stages
        .map(|(stage, time)| (stage.to_owned(), time.as_millis() as u64))
        .into()
}

/// Answers an agent that reads for us: its store calls go to the datastore.
struct Relay<'a> {
    server: StoreServer,
    tell: Box<dyn Fn(Progress) + Send + Sync + 'a>,
}

impl Handler for Relay<'_> {
    fn call(&self, peer: &Arc<Peer>, call: Call, body: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault> {
        self.server.call(peer, call, body)
    }

    fn event(&self, event: Event) {
        let Event::Progress(progress) = event;
        (self.tell)(progress);
    }
}

/// Lets an agent on a node do long work that uses a store of ours.
pub(super) fn ask_agent(
    fleet: &Fleet,
    node: &Name,
    store: Arc<dyn Store>,
    allowed: Allowed,
    call: Call,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<Reply, Fault> {
    // The conversation's threads outlive no call of ours, but only we know that: progress
    // goes through a channel instead of a borrowed function.
    let (told, progress) = std::sync::mpsc::channel();
    let relay = Relay {
        server: StoreServer { store, allowed },
        tell: Box::new(move |progress| {
            let _ = told.send(progress);
        }),
    };
    let link = fleet.start(node, &["agent"], true, Arc::new(relay))?;
    let peer = Arc::clone(link.peer());
    let (answered, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(answered.send(peer.ask(call, &[]))));
    let mut stopping = false;
    loop {
        if cancel.is_cancelled() && !stopping {
            stopping = true;
            // A peer that no longer answers must not keep us from noticing that.
            let peer = Arc::clone(link.peer());
            std::thread::spawn(move || drop(peer.ask(Call::Stop, &[])));
        }
        while let Ok(progress) = progress.try_recv() {
            tell(progress);
        }
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(result) => return result.map(|(reply, _)| reply),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Fault::lost("the thread that waited for the agent died"));
            }
        }
    }
}

fn by_agent(
    fleet: &Fleet,
    node: &Name,
    store: Arc<dyn Store>,
    job: BackupJob,
    tell: Tell<'_>,
    cancel: &Cancel,
) -> Result<BackupReport, Fault> {
    let allowed = Allowed {
        put: true,
        get: false,
        admin: false,
    };
    let call = Call::Backup(Box::new(job));
    match ask_agent(fleet, node, store, allowed, call, tell, cancel)? {
        Reply::Backup(report) => Ok(*report),
        _ => Err(Fault::lost(
            "the agent answered another question than the one asked",
        )),
    }
}

/// Names counted store calls in words: `put packs`, `list index`, `commit`.
fn calls(counts: &BTreeMap<StoreOp, Tally>) -> BTreeMap<String, u64> {
    let name = |call: &StoreOp| match call {
        StoreOp::Put(folder) => format!("put {}", folder.as_str()),
        StoreOp::PutAgain(folder) => format!("put again {}", folder.as_str()),
        StoreOp::Get(folder) => format!("get {}", folder.as_str()),
        StoreOp::Size(folder) => format!("size {}", folder.as_str()),
        StoreOp::List(folder) => format!("list {}", folder.as_str()),
        StoreOp::Remove(folder) => format!("remove {}", folder.as_str()),
        StoreOp::SetAside(folder) => format!("set aside {}", folder.as_str()),
        StoreOp::Settle(folder) => format!("settle {}", folder.as_str()),
        StoreOp::OpenSession | StoreOp::CloseSession => "session".to_owned(),
        StoreOp::Commit => "commit".to_owned(),
        StoreOp::ListSessions => "list sessions".to_owned(),
        StoreOp::ExpireSession => "expire session".to_owned(),
        StoreOp::Managed => "managed".to_owned(),
    };
    let mut named = BTreeMap::new();
    for (call, tally) in counts {
        *named.entry(name(call)).or_default() += tally.calls;
    }
    named
}

/// Says in a few words what a backup did.
pub fn words(report: &BackupReport) -> String {
    let mut words = format!(
        "{} in {} entries, {} read, {} new, {} stored",
        ByteSize(report.bytes),
        report.files,
        ByteSize(report.read_bytes),
        ByteSize(report.new_bytes),
        ByteSize(report.stored_bytes)
    );
    if report.changed > 0 {
        let _ = write!(words, ", {} changed while read", report.changed);
    }
    if report.resumed_files > 0 {
        let _ = write!(words, ", {} files resumed", report.resumed_files);
    }
    if !report.warnings.is_empty() {
        words.push_str(", no cache kept");
    }
    if report.skipped > 0 {
        let _ = write!(words, ", {} could not be read", report.skipped);
    }
    words
}

/// Returns what to say where a snapshot was made and something is missing from it.
pub fn incomplete(report: &BackupReport) -> Option<Fault> {
    let missing = report.skipped;
    let more = missing.saturating_sub(report.problems.len() as u64);
    let rest = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    (missing > 0).then(|| {
        Fault::new(
            FaultKind::Incomplete,
            format!(
                "the snapshot is there and is not complete, {missing} missing: {}{rest}",
                report.problems.join("; ")
            ),
        )
    })
}

/// Returns the reading key that key material holds.
pub(super) fn reading_key(material: &KeyMaterial) -> Result<ReadingKey, Fault> {
    let seed: &[u8; 32] = material
        .0
        .as_slice()
        .try_into()
        .map_err(|_| Fault::refused("the reading key that was sent has the wrong length"))?;
    Ok(ReadingKey::from_seed(seed))
}
