//! Logs in with the identities at hand, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, poll};
use ssh2::{PublicKey, Session};

use super::ask::{Ask, TRIES};
use super::config::Config;
use super::socket::Socket;
use crate::transport::TransportError;
use crate::transport::process::timespec;

/// No real key file is longer.
const KEY_FILE_MAX: u64 = 64 << 10;

/// Logs in: the topology's own file first, then the agent, then the configured files.
///
/// Servers cut the line after a handful of refused keys, so what was asked for by name
/// comes before what merely happens to be there.
pub(super) fn log_in(
    session: &Session,
    socket: &Socket,
    host: &str,
    config: &Config,
    own_file: Option<&Path>,
    ask: Option<&Ask>,
) -> Result<(), TransportError> {
    let mut attempt = Attempt {
        session,
        socket,
        user: &config.user,
        ask,
        tried: Vec::new(),
        files: Vec::new(),
        gone: false,
    };
    if attempt.run(config, own_file) {
        return Ok(());
    }
    Err(TransportError::Auth {
        host: host.to_owned(),
        user: config.user.clone(),
        tried: attempt.tried,
    })
}

struct Attempt<'a> {
    session: &'a Session,
    socket: &'a Socket,
    user: &'a str,
    ask: Option<&'a Ask>,
    tried: Vec<String>,
    files: Vec<PathBuf>,
    /// Whether the server ended the connection, as it does after too many keys.
    gone: bool,
}

/// What became of a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It let us in.
    Accepted,
    /// The server, or libssh2, did not take it.
    Refused,
    /// The passphrase did not open it, so that the server was not asked.
    Unread,
}

impl Attempt<'_> {
    fn run(&mut self, config: &Config, own_file: Option<&Path>) -> bool {
        if own_file.is_some_and(|file| self.file(file, true)) {
            return true;
        }
        let only = config.identities_only.then(|| {
            let files = own_file
                .into_iter()
                .chain(config.identity_files.iter().map(PathBuf::as_path));
            files.filter_map(public_blob).collect::<Vec<_>>()
        });
        if config
            .agent
            .as_deref()
            .is_some_and(|socket| self.agent(socket, only.as_deref()))
        {
            return true;
        }
        config
            .identity_files
            .iter()
            .any(|file| self.file(file, false))
    }

    /// Tries a key file, as a certificate too where there is one beside it.
    fn file(&mut self, file: &Path, asked_for: bool) -> bool {
        if self.files.iter().any(|seen| seen == file) || self.gone {
            return false;
        }
        self.files.push(file.to_owned());
        let text = match read_key(file) {
            Ok(text) => text,
            Err(error) => {
                if asked_for || error.kind() != std::io::ErrorKind::NotFound {
                    self.tried.push(format!("{}: {error}", file.display()));
                }
                return false;
            }
        };
        if is_locked(&text) {
            return self.locked_file(file);
        }
        self.open_file(file, None) == Answer::Accepted
    }

    /// Tries a key file that wants a passphrase, which somebody may know.
    fn locked_file(&mut self, file: &Path) -> bool {
        let mut wrong = None;
        for _ in 0..TRIES {
            let Some(passphrase) = self
                .ask
                .and_then(|ask| ask.passphrase(file, wrong.as_ref()))
            else {
                break;
            };
            match self.open_file(file, Some(&passphrase)) {
                Answer::Accepted => return true,
                // That says nothing about the passphrase.
                Answer::Refused => return false,
                Answer::Unread => {}
            }
            wrong = Some(passphrase);
        }
        let name = file.display();
        self.tried.push(format!(
            "{name}: locked with a passphrase, put it into an agent: ssh-add {name}"
        ));
        false
    }

    fn open_file(&mut self, file: &Path, passphrase: Option<&str>) -> Answer {
        let certificate = beside(file, "-cert.pub");
        if certificate.is_file()
            && self.try_file(file, Some(&certificate), passphrase) == Answer::Accepted
        {
            return Answer::Accepted;
        }
        self.try_file(file, None, passphrase)
    }

    fn try_file(&mut self, file: &Path, public: Option<&Path>, passphrase: Option<&str>) -> Answer {
        let result = self
            .session
            .userauth_pubkey_file(self.user, public, file, passphrase);
        let name = public.unwrap_or(file).display().to_string();
        if passphrase.is_some() && result.as_ref().is_err_and(is_unread) {
            self.tried
                .push(format!("{name}: the passphrase does not open it"));
            Answer::Unread
        } else if self.accepted(&name, result) {
            Answer::Accepted
        } else {
            Answer::Refused
        }
    }

    fn agent(&mut self, socket: &Path, only: Option<&[Vec<u8>]>) -> bool {
        let identities = self.session.agent().and_then(|mut agent| {
            agent.set_identity_path(socket)?;
            agent.connect()?;
            agent.list_identities()?;
            let identities = agent.identities()?;
            Ok((agent, identities))
        });
        let (agent, identities) = match identities {
            Ok(found) => found,
            Err(error) => {
                self.tried
                    .push(format!("agent {}: {}", socket.display(), error.message()));
                return false;
            }
        };
        let wanted =
            |key: &&PublicKey| only.is_none_or(|blobs| blobs.iter().any(|blob| blob == key.blob()));
        for identity in identities.iter().filter(wanted) {
            if self.gone {
                return false;
            }
            let comment: String = identity
                .comment()
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect();
            let result = agent.userauth(self.user, identity);
            if self.accepted(&format!("agent key {comment:?}"), result) {
                return true;
            }
        }
        false
    }

    fn accepted(&mut self, name: &str, result: Result<(), ssh2::Error>) -> bool {
        if let Err(error) = result {
            self.gone = is_gone(&error) || hung_up(&error, self.socket);
            self.tried.push(if self.gone {
                format!("{name}: the server hung up, as it does after too many keys; name the right one with identity-file")
            } else {
                format!("{name}: {}", error.message())
            });
            return false;
        }
        self.session.authenticated()
    }
}

/// Tells whether libssh2 could not read a key file, before it asked the server.
fn is_unread(error: &ssh2::Error) -> bool {
    const FILE: i32 = -16;
    const PUBLICKEY_PROTOCOL: i32 = -20;
    const KEYFILE_AUTH_FAILED: i32 = -48;
    let codes = [FILE, PUBLICKEY_PROTOCOL, KEYFILE_AUTH_FAILED];
    codes.map(ssh2::ErrorCode::Session).contains(&error.code())
}

/// Tells whether libssh2 says that the connection is gone.
pub(super) fn is_gone(error: &ssh2::Error) -> bool {
    const SOCKET_SEND: i32 = -7;
    const SOCKET_DISCONNECT: i32 = -13;
    const SOCKET_RECV: i32 = -43;
    matches!(
        error.code(),
        ssh2::ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV)
    )
}

/// Tells whether the peer closed the socket.
///
/// A plain refusal is answered on an open connection; after any other failure the end
/// of the connection may still be under way.
fn hung_up(error: &ssh2::Error, socket: &Socket) -> bool {
    const REFUSED: i32 = -18;
    if error.code() != ssh2::ErrorCode::Session(REFUSED) {
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        // Whatever comes of the wait, the look below decides.
        let _ = poll(&mut fds, Some(&timespec(Duration::from_millis(300))));
    }
    socket.is_closed()
}

fn read_key(file: &Path) -> std::io::Result<String> {
    if fs::metadata(file)?.len() > KEY_FILE_MAX {
        return Err(std::io::Error::other("too long for a key file"));
    }
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the public key that stands beside a private one.
fn public_blob(file: &Path) -> Option<Vec<u8>> {
    let text = fs::read_to_string(beside(file, ".pub")).ok()?;
    STANDARD.decode(text.split_ascii_whitespace().nth(1)?).ok()
}

/// Tells whether a private key's text needs a passphrase.
fn is_locked(text: &str) -> bool {
    if text.contains("ENCRYPTED") {
        return true;
    }
    let base64: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim().chars())
        .collect();
    // The name of the cipher follows a fixed word and its own length.
    STANDARD.decode(base64).is_ok_and(|bytes| {
        bytes
            .strip_prefix(b"openssh-key-v1\0")
            .is_some_and(|rest| !rest.starts_with(b"\x00\x00\x00\x04none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &[u8]) -> String {
        let mut bytes = b"openssh-key-v1\0".to_vec();
        bytes.extend_from_slice(&(cipher.len() as u32).to_be_bytes());
        bytes.extend_from_slice(cipher);
        let base64 = STANDARD.encode(bytes);
        let (first, second) = base64.split_at(20);
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{first}\n{second}\n-----END OPENSSH PRIVATE KEY-----\n"
        )
    }

    #[test]
    fn locked_keys_are_told_from_open_ones() {
        assert!(is_locked(&openssh(b"aes256-ctr")));
        assert!(!is_locked(&openssh(b"none")));
        assert!(is_locked(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        ));
        assert!(is_locked("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(!is_locked("-----BEGIN PRIVATE KEY-----\nMII\n"));
        assert!(!is_locked(""));
    }
}
