//! One end of a conversation: calls go out, calls come in, over one pair of streams.
//!
//! Both ends are equal. The controller calls an agent to run a backup, and the agent
//! calls back to put packs; `serve` only answers. Many calls are in flight at a time.
//! A silent peer is noticed: each end sends a beat when it has nothing else to say,
//! and gives the other up after [`SILENCE_MAX`].

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::{read_frame, write_frame};
use super::message::{Call, Event, Fault, Reply};

/// The version of the conversation; agents one version apart understand each other.
pub const PROTOCOL: u32 = 1;

/// How long the other end may be silent before it is given up.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How often a beat is sent.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// How many incoming calls are worked on at a time.
const WORKERS: usize = 4;

/// A frame's head.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Head {
    Hello {
        protocol: u32,
        version: String,
    },
    Call {
        id: u64,
        call: Box<Call>,
    },
    Reply {
        id: u64,
        result: Result<Reply, Fault>,
    },
    Event {
        event: Event,
    },
    Beat,
}

/// Answers the calls of the other end.
pub trait Handler: Send + Sync {
    /// Carries one call out; may be entered by several threads at a time.
    ///
    /// `peer` is the end that the call came in at, so that a handler can call back.
    fn call(&self, peer: &Arc<Peer>, call: Call, body: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault>;

    /// Takes notice of an event.
    fn event(&self, event: Event) {
        let _ = event;
    }
}

/// A handler that refuses every call, for ends that only ask.
#[derive(Debug)]
pub struct OnlyAsks;

impl Handler for OnlyAsks {
    fn call(&self, _: &Arc<Peer>, _: Call, _: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault> {
        Err(Fault::refused("this end answers no calls"))
    }
}

type Answer = Result<(Reply, Vec<u8>), Fault>;

/// One end of a conversation.
pub struct Peer {
    writer: Mutex<Box<dyn Write + Send>>,
    waiting: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
    next: AtomicU64,
    closed: AtomicBool,
    started: Instant,
    heard_ms: AtomicU64,
    /// Whether nothing is read because all workers are busy: then it is us who do not listen.
    deaf: AtomicBool,
    /// Ends the connection from our side when the other end went silent.
    hang_up: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Waits for the end of a conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Our end.
    pub peer: Arc<Peer>,
    reader: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Conversation {
    /// Waits until the other end hung up; an end in the middle of a message is an error.
    pub fn wait(mut self) -> io::Result<()> {
        match self.reader.take().map(thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("the thread that reads messages died")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a conversation: greets, and answers calls on threads of its own.
///
/// `hang_up` is called when the other end was silent for too long; it must make the
/// blocked reader return, for example by killing the process behind it.
pub fn converse(
    reader: impl Read + Send + 'static,
    writer: impl Write + Send + 'static,
    handler: Arc<dyn Handler>,
    hang_up: impl Fn() + Send + Sync + 'static,
) -> Result<Conversation, Fault> {
    let peer = Arc::new(Peer {
        writer: Mutex::new(Box::new(writer)),
        waiting: Mutex::new(HashMap::new()),
        next: AtomicU64::new(1),
        closed: AtomicBool::new(false),
        started: Instant::now(),
        heard_ms: AtomicU64::new(0),
        deaf: AtomicBool::new(false),
        hang_up: Box::new(hang_up),
    });
    let hello = Head::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    peer.send(&hello, &[])?;
    spawn_heart(&peer);
    let (greeted, greeting) = mpsc::channel();
    let reading = Arc::clone(&peer);
    let thread = thread::Builder::new()
        .name("peer-reader".to_owned())
        .spawn(move || {
            let result = read_all(&reading, reader, &handler, &greeted);
            reading.close();
            result
        })
        .map_err(|error| Fault::lost(format!("no thread could be started: {error}")))?;
    match greeting.recv() {
        Ok(Ok(())) => Ok(Conversation {
            peer,
            reader: Some(thread),
        }),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(match thread.join() {
            Ok(Err(error)) => Fault::lost(error.to_string()),
            _ => Fault::lost("it hung up before it said hello"),
        }),
    }
}

fn spawn_heart(peer: &Arc<Peer>) {
    let weak: Weak<Peer> = Arc::downgrade(peer);
    thread::spawn(move || {
        loop {
            thread::sleep(BEAT_EVERY);
            let Some(peer) = weak.upgrade() else { return };
            if peer.is_closed() {
                return;
            }
            let heard = Duration::from_millis(peer.heard_ms.load(Ordering::Relaxed));
            let listens = !peer.deaf.load(Ordering::Relaxed);
            if listens && peer.started.elapsed().saturating_sub(heard) > SILENCE_MAX {
                // First the connection, so that nobody stays blocked in writing to it.
                (peer.hang_up)();
                peer.close();
                return;
            }
            // Whoever is writing now is sign of life enough, and must not block this thread:
            // it is the one that notices a peer that no longer reads.
            if let Ok(mut writer) = peer.writer.try_lock() {
                // A failed beat shows as a failed read or call; nothing to do here.
                drop(write_frame(&mut *writer, &Head::Beat, &[]));
            }
        }
    });
}

/// Notes the time whenever bytes arrive, so that a slow large message is no silence.
struct Listening<R> {
    inner: R,
    peer: Arc<Peer>,
}

impl<R: Read> Read for Listening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.peer.hear();
        Ok(n)
    }
}

fn read_all(
    peer: &Arc<Peer>,
    reader: impl Read,
    handler: &Arc<dyn Handler>,
    greeted: &mpsc::Sender<Result<(), Fault>>,
) -> io::Result<()> {
    let reader = Listening {
        inner: reader,
        peer: Arc::clone(peer),
    };
    let mut reader = io::BufReader::with_capacity(256 << 10, reader);
    // A bounded queue: a peer that asks faster than we answer is slowed, not buffered.
    let (queue, jobs) = crossbeam_channel::bounded::<(u64, Call, Vec<u8>)>(WORKERS);
    for _ in 0..WORKERS {
        let (jobs, peer, handler) = (jobs.clone(), Arc::clone(peer), Arc::clone(handler));
        thread::spawn(move || {
            for (id, call, body) in jobs {
                peer.answer(handler.as_ref(), id, call, body);
            }
        });
    }
    while let Some((head, body)) = read_frame::<Head>(&mut reader)? {
        match head {
            Head::Hello { protocol, version } => {
                let verdict = check_version(protocol, &version);
                let stop = verdict.is_err();
                drop(greeted.send(verdict));
                if stop {
                    return Ok(());
                }
            }
            Head::Call { id, call } if call.waits() => {
                let (peer, handler) = (Arc::clone(peer), Arc::clone(handler));
                // Long work must not occupy the workers that its own calls back need.
                thread::spawn(move || peer.answer(handler.as_ref(), id, *call, body));
            }
            Head::Call { id, call } => {
                peer.deaf.store(true, Ordering::Relaxed);
                let sent = queue.send((id, *call, body));
                peer.hear();
                peer.deaf.store(false, Ordering::Relaxed);
                if sent.is_err() {
                    return Err(io::Error::other("the workers are gone"));
                }
            }
            Head::Reply { id, result } => {
                if let Some(waiting) = lock(&peer.waiting).remove(&id) {
                    drop(waiting.send(result.map(|reply| (reply, body))));
                }
            }
            Head::Event { event } => handler.event(event),
            Head::Beat => {}
        }
    }
    Ok(())
}

fn check_version(protocol: u32, version: &str) -> Result<(), Fault> {
    if protocol.abs_diff(PROTOCOL) <= 1 {
        return Ok(());
    }
    Err(Fault::refused(format!(
        "the other end is bkpctl {} and speaks protocol {protocol}, this one speaks {PROTOCOL}; run `bkpctl apply` to place this version",
        version
            .chars()
            .filter(char::is_ascii_graphic)
            .take(40)
            .collect::<String>()
    )))
}

impl Peer {
    /// Notes that the other end gave a sign of life, or can't be blamed for none.
    fn hear(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    /// Asks the other end and waits for its answer.
    pub fn ask(&self, call: Call, body: &[u8]) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = mpsc::channel();
        lock(&self.waiting).insert(id, answered);
        if let Err(fault) = self.send(
            &Head::Call {
                id,
                call: Box::new(call),
            },
            body,
        ) {
            lock(&self.waiting).remove(&id);
            return Err(fault);
        }
        // The reader may have ended between the insertion and now; then nobody would answer.
        if self.is_closed() {
            lock(&self.waiting).remove(&id);
        }
        answer
            .recv()
            .unwrap_or_else(|_| Err(Fault::lost("the connection was lost")))
    }

    /// Tells the other end of something without waiting.
    pub fn tell(&self, event: Event) -> Result<(), Fault> {
        self.send(&Head::Event { event }, &[])
    }

    /// Returns whether the conversation is over.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends our side: every waiting call fails, and the other end sees the end of input.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.waiting).clear();
        *lock(&self.writer) = Box::new(io::sink());
    }

    /// Carries a call of the other end out and sends the answer, whatever happens.
    fn answer(self: &Arc<Self>, handler: &dyn Handler, id: u64, call: Call, body: Vec<u8>) {
        // A bug in a handler must not leave the other end waiting for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| handler.call(self, call, body)))
            .unwrap_or_else(|_| {
                Err(Fault::refused(
                    "bkpctl itself failed here; please report it",
                ))
            });
        let (result, body) = match outcome {
            Ok((reply, body)) => (Ok(reply), body),
            Err(fault) => (Err(fault), Vec::new()),
        };
        // If the answer can't be sent, the reader notices that the peer is gone.
        drop(self.send(&Head::Reply { id, result }, &body));
    }

    fn send(&self, head: &Head, body: &[u8]) -> Result<(), Fault> {
        let mut writer = lock(&self.writer);
        if self.is_closed() {
            return Err(Fault::lost("the connection is closed"));
        }
        write_frame(&mut *writer, head, body).map_err(|error| Fault::lost(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Starts a conversation with an end that says these bytes first.
    fn greet(said: &[u8]) -> Result<(), Fault> {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        there.write_all(said).expect("written");
        there
            .shutdown(std::net::Shutdown::Write)
            .expect("the end of what it says");
        let writer = here.try_clone().expect("a second handle");
        converse(here, writer, Arc::new(OnlyAsks), || {}).map(drop)
    }

    fn hello(protocol: u32, more: &str) -> Vec<u8> {
        let head =
            format!("{{\"hello\":{{\"protocol\":{protocol},\"version\":\"9\\u001b[31m\"{more}}}}}");
        let mut bytes = (head.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(head.as_bytes());
        bytes
    }

    #[test]
    fn ends_one_version_apart_understand_each_other() {
        for protocol in [PROTOCOL - 1, PROTOCOL, PROTOCOL + 1] {
            assert_eq!(greet(&hello(protocol, "")), Ok(()), "{protocol}");
        }
        assert_eq!(greet(&hello(PROTOCOL, ",\"more\":[1]")), Ok(()));
    }

    #[test]
    fn a_far_version_is_refused_with_both_numbers_and_what_to_do() {
        for protocol in [PROTOCOL + 2, u32::MAX] {
            let fault = greet(&hello(protocol, "")).expect_err("it is far");
            assert_eq!(fault.kind, super::super::message::FaultKind::Refused);
            for part in [&protocol.to_string(), &PROTOCOL.to_string(), "bkpctl apply"] {
                assert!(fault.message.contains(part), "{}", fault.message);
            }
            assert!(!fault.message.contains('\u{1b}'), "{}", fault.message);
        }
    }

    #[test]
    fn what_is_no_greeting_is_an_error_and_no_panic() {
        for said in [&b""[..], b"Permission denied\n", &[0; 8], &[0xff; 64]] {
            assert!(greet(said).is_err(), "{said:?}");
        }
    }
}
