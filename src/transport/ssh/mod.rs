//! Machines reached over SSH, with libssh2.
//!
//! One thread at a time owns a session: scripts share one session behind a lock, every
//! channel has a session and a thread of its own. `config` asks the user's OpenSSH
//! configuration, `trust` compares host keys, `identity` logs in, `link` holds the
//! connection, `exec` runs a script over it and `pump` moves a channel's bytes. What carries
//! the connection is a `socket`: to the machine, to a program (`proxy`), or `through` another.

mod ask;
mod config;
mod exec;
mod identity;
mod key;
mod known_hosts;
mod link;
mod openssh;
mod proxy;
mod pump;
mod socket;
mod through;
mod trust;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use self::ask::Ask;
use self::config::Config;
use self::key::HostKey;
use self::link::Link;
use self::openssh::OpenSsh;
use self::trust::Trust;
use crate::transport::{Channel, Launch, Output, Script, Transport, TransportError};

/// Says how to reach a machine over SSH.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// Host name, address, or a name that the user's SSH configuration knows.
    pub host: String,
    /// Login name; otherwise the SSH configuration decides.
    pub user: Option<String>,
    /// Port; otherwise the SSH configuration decides.
    pub port: Option<u16>,
    /// Pinned host keys as `type base64`; if there are any, only these are trusted.
    pub host_keys: Vec<String>,
    /// Private key to try first.
    pub identity_file: Option<PathBuf>,
    /// The machine to go through, in place of what the SSH configuration says.
    pub jump: Option<Box<SshTarget>>,
    /// Asks for the passphrases of locked keys; without it they are left out.
    pub ask: Option<Ask>,
    /// Whether what asks for root runs through `sudo -n` where the login is not root.
    pub sudo: bool,
    /// SSH configuration to use in place of the user's.
    pub config_file: Option<PathBuf>,
    /// Files of known host keys to use in place of the configured ones.
    pub known_hosts: Option<Vec<PathBuf>>,
    /// How long connecting, the key exchange and the login may take together.
    pub connect_within: Duration,
}

impl SshTarget {
    /// Creates a target of which only the host is known.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            user: None,
            port: None,
            host_keys: Vec::new(),
            identity_file: None,
            jump: None,
            ask: None,
            sudo: false,
            config_file: None,
            known_hosts: None,
            connect_within: Duration::from_secs(20),
        }
    }
}

/// Is a target with everything resolved that can be known before connecting.
#[derive(Debug)]
struct Route {
    /// The machine as people should see it.
    name: String,
    config: Config,
    way: Way,
    trust: Trust,
    identity_file: Option<PathBuf>,
    ask: Option<Ask>,
    sudo: bool,
    connect_within: Duration,
}

/// Says what carries the connection.
#[derive(Debug)]
enum Way {
    /// A connection of our own.
    Direct,
    /// A program's stdin and stdout.
    Program(Vec<OsString>),
    /// A channel of a session with another machine.
    Through(Box<Route>),
}

impl Way {
    /// Returns how many machines are between, as far as we are the one who goes through them.
    fn machines(&self) -> usize {
        match self {
            Self::Direct | Self::Program(_) => 0,
            Self::Through(between) => 1 + between.way.machines(),
        }
    }
}

impl Route {
    fn resolve(target: &SshTarget) -> Result<Self, TransportError> {
        let config = config::resolve(target)?;
        let name = format!(
            "{}@{}:{}",
            config.user,
            bracketed(&config.hostname),
            config.port
        );
        let way = match (&target.jump, &config.proxy) {
            (Some(between), _) => Way::Through(Box::new(Self::resolve(between)?)),
            (None, Some(proxy)) => Way::Program(proxy::command(proxy, target, &config, &name)?),
            (None, None) => Way::Direct,
        };
        let trust = if target.host_keys.is_empty() {
            let alias = config.host_key_alias.as_ref().unwrap_or(&config.hostname);
            // An alias stands for the machine whatever its port is.
            let port = if config.host_key_alias.is_some() {
                22
            } else {
                config.port
            };
            Trust::known_hosts(&name, alias, port, &config.known_hosts)
        } else {
            Trust::pinned(&name, &target.host_keys)?
        };
        Ok(Self {
            name,
            sudo: target.sudo && config.user != "root",
            config,
            way,
            trust,
            identity_file: target.identity_file.clone(),
            ask: target.ask.clone(),
            connect_within: target.connect_within,
        })
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Reaches one machine over SSH.
///
/// Nothing is connected before the first call. Scripts run one after the other over one
/// session, which is opened again if it was lost between two scripts.
pub struct Ssh {
    route: Route,
    /// Is in charge where only OpenSSH can tell whether to trust the machine.
    openssh: Option<OpenSsh>,
    idle: Mutex<Option<Link>>,
}

impl Ssh {
    /// Resolves the target; reads the SSH configuration but sends nothing.
    pub fn new(target: &SshTarget) -> Result<Self, TransportError> {
        let route = Route::resolve(target)?;
        let openssh = route.trust.is_by_certificate();
        let openssh = openssh.then(|| OpenSsh::new(target, &route)).transpose()?;
        Ok(Self {
            route,
            openssh,
            idle: Mutex::new(None),
        })
    }
}

impl Transport for Ssh {
    fn run(&self, script: &Script) -> Result<Output, TransportError> {
        let sudo = self.route.sudo && script.privileged;
        if let Some(openssh) = &self.openssh {
            return openssh.run(script, sudo);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let within = script.deadline.min(self.route.connect_within);
        let kept = idle.take().and_then(|link| {
            let channel = exec::start(&link, script, sudo, within).ok()?;
            Some((link, channel))
        });
        let (link, channel) = if let Some(kept) = kept {
            kept
        } else {
            // Nothing ran on a session that was lost while idle, so a new one may try.
            let link = Link::log_in(&self.route)?;
            let channel = exec::start(&link, script, sudo, within)?;
            (link, channel)
        };
        let output = exec::run(&link, channel, script, sudo)?;
        *idle = Some(link);
        Ok(output)
    }

    fn open(&self, launch: &Launch) -> Result<Channel, TransportError> {
        let sudo = self.route.sudo && launch.privileged;
        if let Some(openssh) = &self.openssh {
            return openssh.open(launch, sudo);
        }
        pump::open(
            Link::log_in(&self.route)?,
            launch,
            sudo,
            self.route.connect_within,
        )
    }

    fn describe(&self) -> String {
        self.route.name.clone()
    }
}

/// Is where a target leads, as the SSH configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The login.
    pub user: String,
    /// The host name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Says where a target leads; reads the SSH configuration and reaches nothing.
pub fn destination(target: &SshTarget) -> Result<Destination, TransportError> {
    let config = config::resolve(target)?;
    Ok(Destination {
        user: config.user,
        host: config.hostname,
        port: config.port,
    })
}

/// Is a host key as a server offers it, not yet trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// The key as `type base64`, as it is pinned.
    pub line: String,
    /// Type and SHA-256 fingerprint, to compare on the machine.
    pub fingerprint: String,
}

/// Fetches the host keys that a server offers, best type first; trusts none of them.
pub fn host_key(target: &SshTarget) -> Result<Vec<OfferedKey>, TransportError> {
    // What is pinned, well-formed or not, has no part in asking.
    let route = Route::resolve(&SshTarget {
        host_keys: Vec::new(),
        ..target.clone()
    })?;
    let mut offered: Vec<HostKey> = Vec::new();
    for methods in key::EACH_TYPE {
        match Link::meet(&route, methods) {
            Ok((_, key)) if !offered.contains(&key) => offered.push(key),
            // A server without a key of this type ends the exchange; others may follow.
            Ok(_) | Err(TransportError::Unsupported { .. }) => {}
            Err(error) if offered.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(offered
        .iter()
        .map(|key| OfferedKey {
            line: key.line(),
            fingerprint: key.to_string(),
        })
        .collect())
}
