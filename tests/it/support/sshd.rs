//! Real OpenSSH servers on loopback, each with its own host keys.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkpctl::transport::{Ssh, SshTarget};

const SSHD: &str = "/usr/sbin/sshd";

/// Says how a server differs from the plain one.
#[derive(Debug, Clone)]
pub(crate) struct SshdOptions {
    /// Types of the host keys, as `ssh-keygen -t` knows them.
    pub(crate) host_key_types: Vec<&'static str>,
    /// The address to listen on, for topologies with several machines.
    pub(crate) address: Ipv4Addr,
    /// Further lines of its configuration.
    pub(crate) config: String,
}

impl Default for SshdOptions {
    fn default() -> Self {
        Self {
            host_key_types: vec!["ed25519"],
            address: Ipv4Addr::LOCALHOST,
            config: String::new(),
        }
    }
}

/// Is a running server; it is killed when dropped.
pub(crate) struct Sshd {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
    host_keys: Vec<String>,
}

/// Tells, and prints, why servers cannot be started here.
#[expect(
    clippy::print_stderr,
    reason = "what cannot run here is reported as skipped"
)]
pub(crate) fn missing() -> bool {
    let absent = !Path::new(SSHD).exists();
    if absent {
        eprintln!("skipped: {SSHD} is not installed (Debian: openssh-server)");
    }
    absent
}

impl Sshd {
    /// Starts a server that keeps all its files in `dir` and lets in the key `dir/id`.
    ///
    /// `dir` is the home folder of logins too, so that no shell reads the user's own files.
    pub(crate) fn start(dir: &Path, options: &SshdOptions) -> Self {
        Self::start_by(dir, options, |program| Command::new(program))
    }

    /// Starts a server by a command that `make` makes for its path.
    pub(crate) fn start_by(
        dir: &Path,
        options: &SshdOptions,
        make: impl FnOnce(&str) -> Command,
    ) -> Self {
        fs::create_dir_all(dir).expect("the folder can be made");
        // The server insists on this folder when it runs as root.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("the folder can be made");
        }
        keygen(&dir.join("id"), "ed25519", "");
        fs::copy(dir.join("id.pub"), dir.join("authorized_keys")).expect("copied");
        let mut lines = String::new();
        let mut host_keys = Vec::new();
        for kind in &options.host_key_types {
            let file = dir.join(format!("host_{kind}"));
            // A test that signs it has made it already.
            if !file.exists() {
                keygen(&file, kind, "");
            }
            host_keys.push(public_line(&file));
            writeln!(lines, "HostKey {}", file.display()).expect("writing to a String never fails");
        }
        let address = free_address(options.address);
        write!(
            lines,
            "ListenAddress {}\nPort {}\nPidFile {dir}/pid\nAuthorizedKeysFile {dir}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n{}PrintMotd no\nSetEnv HOME={dir}\n{}",
            address.ip(),
            address.port(),
            // The first of two lines counts.
            if options.config.contains("MaxStartups") { "" } else { "MaxStartups 100\n" },
            options.config,
            dir = dir.display(),
        ).expect("writing to a String never fails");
        let config = dir.join("sshd_config");
        fs::write(&config, lines).expect("written");
        let log = fs::File::create(dir.join("log")).expect("created");
        let child = make(SSHD)
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts");
        let server = Self {
            child,
            dir: dir.to_owned(),
            address,
            host_keys,
        };
        server.await_banner();
        server
    }

    fn await_banner(&self) {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(10) {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut banner = [0; 4];
                if stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-" {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        panic!("sshd does not answer: {log}");
    }

    /// The process that waits for connections.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first host key as `type base64`.
    pub(crate) fn host_key(&self) -> &str {
        &self.host_keys[0]
    }

    /// The private key that the server lets in.
    pub(crate) fn identity(&self) -> PathBuf {
        self.dir.join("id")
    }

    /// A target with the right pinned key and identity, free of the user's own files.
    pub(crate) fn target(&self) -> SshTarget {
        SshTarget {
            user: Some(login_name()),
            port: Some(self.address.port()),
            host_keys: vec![self.host_key().to_owned()],
            identity_file: Some(self.identity()),
            config_file: Some("/dev/null".into()),
            ..SshTarget::new(self.address.ip().to_string())
        }
    }

    /// The transport to that target.
    pub(crate) fn ssh(&self) -> Ssh {
        Ssh::new(&self.target()).expect("the target is well-formed")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a key pair at `file` and `file.pub`.
pub(crate) fn keygen(file: &Path, kind: &str, passphrase: &str) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .expect("ssh-keygen is installed with sshd");
    assert!(status.success(), "ssh-keygen -t {kind}");
}

/// Reads `file.pub` without its comment.
pub(crate) fn public_line(file: &Path) -> String {
    let text = fs::read_to_string(file.with_added_extension("pub")).expect("readable");
    text.split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn login_name() -> String {
    if rustix::process::geteuid().is_root() {
        return "root".to_owned();
    }
    std::env::var("USER").expect("a login name")
}

fn free_address(ip: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::V4(ip), 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}
