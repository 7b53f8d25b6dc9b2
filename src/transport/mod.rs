//! Reaches a machine: runs scripts, opens duplex channels, places files.
//!
//! [`Transport`] is the one trait; [`Local`] and [`Ssh`] are its two real
//! implementations. [`Fake`], [`Recorded`] and [`Faulty`] are for tests of the layers
//! above. Nothing here knows about topologies, nodes or backups.
//!
//! Invariants, as absences:
//! - No name, path or other datum ever becomes part of a remote command line. The
//!   commands are constants; scripts and arguments travel on stdin.
//! - No result is taken from an exit status alone: a script counts only once its
//!   nonce trailer has arrived, a program only once its own end line has.
//! - No host key is trusted because it was seen first.
//! - No call waits without a deadline or without a dead peer being noticed.

mod channel;
mod error;
mod fake;
mod faulty;
mod frame;
mod launcher;
mod local;
mod process;
mod question;
mod recorded;
mod script;
mod ssh;
mod upload;

pub use channel::{Channel, ChannelReader, ChannelWriter, Exit, Killer, Process};
pub use error::TransportError;
pub use fake::Fake;
pub use faulty::{Fault, Faulty};
pub use local::Local;
pub use question::{NoQuestion, Question, refusal};
pub use recorded::{Recorded, Recorder};
pub use script::{Launch, Output, Script, shell_assign};
pub use ssh::{Ask, Destination, OfferedKey, Ssh, SshTarget, destination, host_key};

/// Reaches one machine.
///
/// Implementations may be shared between threads. Calls to [`Transport::run`] on one
/// transport may be carried out one after the other; every [`Transport::open`] has a
/// connection of its own.
pub trait Transport: Send + Sync {
    /// Runs a POSIX `sh` script in one exec and returns what it printed.
    ///
    /// The result counts only if the script ran to its end; a killed script, a lost
    /// connection or a passed deadline is an error. After such an error the script
    /// may have run in part or whole. Never retried once it may have begun.
    fn run(&self, script: &Script) -> Result<Output, TransportError>;

    /// Starts a long-running program with its stdin and stdout as a duplex channel.
    fn open(&self, launch: &Launch) -> Result<Channel, TransportError>;

    /// Writes `data` as the file `path` with this mode, creating missing folders.
    ///
    /// The bytes go to a new name beside the target and are renamed over it once
    /// their number has been checked, so a reader sees the old file or the whole new one.
    fn upload(
        &self,
        path: &str,
        mode: u32,
        privileged: bool,
        data: &[u8],
    ) -> Result<(), TransportError> {
        upload::upload(self, path, mode, privileged, data)
    }

    /// Names the machine for people, such as `root@10.0.0.11:22` or `local`.
    fn describe(&self) -> String;
}
