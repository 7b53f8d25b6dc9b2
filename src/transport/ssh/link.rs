//! A connection whose host key was checked and where the login succeeded.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt;
use ssh2::{BlockDirections, MethodType, Session};

use super::identity::{self, is_gone};
use super::key::{self, HostKey};
use super::socket::Socket;
use super::through;
use super::{Route, Way};
use crate::transport::process::timespec;
use crate::transport::{Launch, Local, Transport, TransportError};

/// After this long without an acknowledgement the system gives the connection up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// libssh2's codes that are told apart here.
const EAGAIN: i32 = -37;
const KEX_FAILURE: i32 = -5;
const KEY_EXCHANGE_FAILURE: i32 = -8;
const METHOD_NONE: i32 = -17;

/// Is one session and the socket under it.
pub(super) struct Link {
    session: Session,
    socket: Socket,
    name: String,
}

impl Link {
    /// Connects, checks the host key, logs in.
    pub(super) fn log_in(route: &Route) -> Result<Self, TransportError> {
        let until = Instant::now() + route.connect_within;
        let (link, offered) = Self::meet_until(route, &key::preference(route.trust.keys()), until)?;
        route.trust.judge(&offered)?;
        link.allow_until(until);
        identity::log_in(
            &link.session,
            &link.socket,
            &route.name,
            &route.config,
            route.identity_file.as_deref(),
            route.ask.as_ref(),
        )
        .map_err(|error| {
            link.late(until, "log in", route.connect_within)
                .unwrap_or(error)
        })?;
        link.session.set_blocking(false);
        Ok(link)
    }

    /// Connects and learns the host key, without trusting it.
    pub(super) fn meet(route: &Route, methods: &str) -> Result<(Self, HostKey), TransportError> {
        Self::meet_until(route, methods, Instant::now() + route.connect_within)
    }

    fn meet_until(
        route: &Route,
        methods: &str,
        until: Instant,
    ) -> Result<(Self, HostKey), TransportError> {
        let name = &route.name;
        let broken = |doing: &str, error: ssh2::Error| TransportError::io(name, doing, error);
        let socket = connect(route, until)?;
        let mut session = Session::new().map_err(|error| broken("make a session", error))?;
        let theirs = socket
            .handle()
            .map_err(|error| TransportError::io(name, "share a socket", error))?;
        session.set_tcp_stream(theirs);
        session
            .method_pref(MethodType::HostKey, methods)
            .map_err(|error| broken("choose host key types", error))?;
        let mut link = Self {
            session,
            socket,
            name: name.clone(),
        };
        link.allow_until(until);
        if let Err(error) = link.session.handshake() {
            return Err(link
                .late(until, "agree on keys", route.connect_within)
                .or_else(|| link.proxy_error())
                .unwrap_or_else(|| handshake_error(name, &error)));
        }
        let blob = link.session.host_key().map(|(blob, _)| blob);
        let offered =
            blob.and_then(HostKey::from_blob)
                .ok_or_else(|| TransportError::Unreachable {
                    host: name.clone(),
                    why: "the server offered no readable host key".to_owned(),
                })?;
        Ok((link, offered))
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what a proxy program that led nowhere said.
    fn proxy_error(&self) -> Option<TransportError> {
        self.socket
            .complaint()
            .map(|said| TransportError::Unreachable {
                host: self.name.clone(),
                why: format!("the way through a jump host or a proxy command ended: {said}"),
            })
    }

    /// Limits blocking calls to the time that is left.
    fn allow_until(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        self.session
            .set_timeout(u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1));
    }

    /// Turns any error into a passed deadline if the deadline has passed.
    fn late(&self, until: Instant, doing: &str, after: Duration) -> Option<TransportError> {
        // libssh2 counts in whole milliseconds and may end a wait a little early.
        (Instant::now() + Duration::from_millis(20) >= until)
            .then(|| TransportError::timeout(&self.name, doing, after))
    }

    /// Repeats a non-blocking call until it is through or the deadline has passed.
    pub(super) fn eventually<T>(
        &self,
        until: Instant,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Stopped> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if error.code() == ssh2::ErrorCode::Session(EAGAIN) => {}
                Err(error) => return Err(Stopped::Broken(error.message().to_owned())),
            }
            if Instant::now() >= until {
                return Err(Stopped::Late);
            }
            self.wait(until)
                .map_err(|error| Stopped::Broken(error.to_string()))?;
        }
    }

    /// Waits until the socket is ready for what libssh2 wants, or for a second at most.
    pub(super) fn wait(&self, until: Instant) -> io::Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), self.wanted())];
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&timespec(left.min(Duration::from_secs(1))))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns what the socket has to be ready for.
    pub(super) fn wanted(&self) -> PollFlags {
        match self.session.block_directions() {
            BlockDirections::Outbound | BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        }
    }

    /// Ends the connection at once; all that still uses it fails.
    pub(super) fn cut(&self) {
        self.socket.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The farewell is a courtesy: it may wait a moment, and its failure means nothing.
        self.session.set_blocking(true);
        self.session.set_timeout(200);
        let _ = self.session.disconnect(None, "done", None);
        self.cut();
    }
}

/// Why a call did not get through.
#[derive(Debug)]
pub(super) enum Stopped {
    Late,
    Broken(String),
}

fn handshake_error(name: &str, error: &ssh2::Error) -> TransportError {
    let code = error.code();
    if [KEX_FAILURE, KEY_EXCHANGE_FAILURE, METHOD_NONE]
        .map(ssh2::ErrorCode::Session)
        .contains(&code)
    {
        return TransportError::Unsupported {
            host: name.to_owned(),
            what: format!("no common way to agree on keys ({})", error.message()),
            next: "update the SSH server, or give it an ed25519 host key".to_owned(),
        };
    }
    let why = if is_gone(error) {
        format!(
            "the server ended the connection before the key exchange ({}); it may be overloaded or refuse this address",
            error.message()
        )
    } else {
        format!("no SSH server answers there ({})", error.message())
    };
    TransportError::Unreachable {
        host: name.to_owned(),
        why,
    }
}

fn connect(route: &Route, until: Instant) -> Result<Socket, TransportError> {
    match &route.way {
        Way::Direct => connect_directly(route, until).map(Socket::new),
        Way::Program(argv) => Socket::program(argv).map_err(|error| {
            let program = argv[0].to_string_lossy();
            TransportError::io(&route.name, &format!("start {program}"), error)
        }),
        Way::Through(between) => {
            through::connect(between, &route.config.hostname, route.config.port, until)
        }
    }
}

fn connect_directly(route: &Route, until: Instant) -> Result<TcpStream, TransportError> {
    let unreachable = |why: String| TransportError::Unreachable {
        host: route.name.clone(),
        why,
    };
    let addresses = look_up(route, until)?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TransportError::timeout(
                &route.name,
                "connect",
                route.connect_within,
            ));
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                tune(&socket)
                    .map_err(|error| TransportError::io(&route.name, "set up a socket", error))?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                why = format!(
                    "{address} did not answer within {} s",
                    route.connect_within.as_secs()
                );
            }
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(unreachable(why))
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, SILENCE_MAX / 2)?;
    sockopt::set_tcp_keepintvl(socket, SILENCE_MAX / 6)?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    sockopt::set_tcp_user_timeout(socket, SILENCE_MAX.as_millis() as u32)?;
    Ok(())
}

/// Finds the addresses of a name without waiting longer than the deadline.
fn look_up(route: &Route, until: Instant) -> Result<Vec<SocketAddr>, TransportError> {
    let (host, port) = (route.config.hostname.clone(), route.config.port);
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (send, found) = mpsc::channel();
    // The system's resolver knows no deadline, so it is left behind on its own thread.
    thread::spawn(move || {
        let addresses = (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more if the deadline has passed.
        let _ = send.send(match addresses {
            Ok(addresses) => Ok(addresses),
            Err(error) => getent(&host, port).ok_or(error),
        });
    });
    match found.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(TransportError::Unreachable {
            host: route.name.clone(),
            why: format!("the name was not found ({error})"),
        }),
        Err(_) => Err(TransportError::timeout(
            &route.name,
            "look the name up",
            route.connect_within,
        )),
    }
}

/// Asks the system's own resolver, whose plugins a static binary cannot load.
fn getent(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let channel = Local::new()
        .open(&Launch::new(["getent", "ahosts", host]))
        .ok()?;
    drop(channel.stdin);
    let text = io::read_to_string(channel.stdout).ok()?;
    let exit = channel.process.wait().ok()?;
    let mut addresses: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .map(|address| SocketAddr::new(address, port))
        .collect();
    addresses.dedup();
    (exit.success() && !addresses.is_empty()).then_some(addresses)
}
