//! Host keys and logins against real OpenSSH servers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkpctl::transport::{Script, Ssh, SshTarget, Transport, TransportError, host_key};

use crate::support::sshd::{self, Sshd, SshdOptions, keygen, public_line};

fn outcome(target: &SshTarget) -> Result<(), TransportError> {
    Ssh::new(target)?.run(&Script::new("true")).map(|_| ())
}

fn kind(target: &SshTarget) -> &'static str {
    outcome(target).map_or_else(|error| error.kind(), |()| "ok")
}

/// The target without a pinned key, with this file of known hosts.
fn with_known_hosts(server: &Sshd, file: &Path, text: &str) -> SshTarget {
    fs::write(file, text).expect("written");
    SshTarget {
        host_keys: vec![],
        known_hosts: Some(vec![file.to_owned()]),
        ..server.target()
    }
}

#[test]
fn only_the_pinned_key_is_let_through() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    assert_eq!(kind(&server.target()), "ok");

    keygen(&dir.path().join("other"), "ed25519", "");
    let other = public_line(&dir.path().join("other"));
    let wrong = SshTarget {
        host_keys: vec![other.clone()],
        ..server.target()
    };
    let error = outcome(&wrong).expect_err("another key is pinned");
    assert_eq!(error.kind(), "host-key-mismatch");
    assert!(error.to_string().contains("SHA256:"), "{error}");

    let both = SshTarget {
        host_keys: vec![other, server.host_key().to_owned()],
        ..server.target()
    };
    assert_eq!(kind(&both), "ok");
}

#[test]
fn known_hosts_decide_where_nothing_is_pinned() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = SshdOptions {
        host_key_types: vec!["ed25519", "rsa"],
        ..SshdOptions::default()
    };
    let server = Sshd::start(dir.path(), &options);
    let file = dir.path().join("known_hosts");
    let name = format!("[{}]:{}", server.address().ip(), server.address().port());

    let unknown = with_known_hosts(&server, &file, "");
    let error = outcome(&unknown).expect_err("nothing is on file");
    assert_eq!(error.kind(), "host-key-unknown");
    assert!(
        error.to_string().contains(server.host_key()),
        "the line to paste: {error}"
    );
    assert_eq!(
        fs::read_to_string(&file).expect("readable"),
        "",
        "nothing is learned by itself"
    );

    let rsa = public_line(&dir.path().join("host_rsa"));
    for (text, expected) in [
        (format!("{name} {}\n", server.host_key()), "ok"),
        (format!("{name} {rsa}\n"), "ok"),
        (
            format!("[127.0.0.*]:{} {rsa}\n", server.address().port()),
            "ok",
        ),
        (format!("127.0.0.1 {rsa}\n"), "host-key-unknown"),
        (
            format!(
                "@revoked * {}\n{name} {}\n",
                server.host_key(),
                server.host_key()
            ),
            "host-key-mismatch",
        ),
        (format!("@cert-authority * {rsa}\n"), "host-key-mismatch"),
    ] {
        assert_eq!(
            kind(&with_known_hosts(&server, &file, &text)),
            expected,
            "{text}"
        );
    }

    fs::write(&file, format!("{name} {rsa}\n")).expect("written");
    let hashed = Command::new("ssh-keygen")
        .arg("-q")
        .arg("-H")
        .arg("-f")
        .arg(&file)
        .output()
        .expect("runs");
    assert!(hashed.status.success());
    let text = fs::read_to_string(&file).expect("readable");
    assert!(text.starts_with("|1|"), "{text}");
    assert_eq!(kind(&with_known_hosts(&server, &file, &text)), "ok");
}

#[test]
fn a_server_with_rsa_only_is_reached() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = SshdOptions {
        host_key_types: vec!["rsa"],
        ..SshdOptions::default()
    };
    let server = Sshd::start(dir.path(), &options);
    assert_eq!(kind(&server.target()), "ok");
    keygen(&dir.path().join("other"), "ed25519", "");
    let other = public_line(&dir.path().join("other"));
    assert_eq!(
        kind(&SshTarget {
            host_keys: vec![other],
            ..server.target()
        }),
        "host-key-mismatch"
    );
}

#[test]
fn offered_host_keys_are_printed_without_being_trusted() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = SshdOptions {
        host_key_types: vec!["rsa", "ed25519", "ecdsa"],
        ..SshdOptions::default()
    };
    let server = Sshd::start(dir.path(), &options);
    let offered = host_key(&SshTarget {
        identity_file: None,
        ..server.target()
    })
    .expect("it answers");
    let lines: Vec<_> = offered.iter().map(|key| key.line.clone()).collect();
    let expected: Vec<_> = ["ed25519", "ecdsa", "rsa"]
        .iter()
        .map(|kind| public_line(&dir.path().join(format!("host_{kind}"))))
        .collect();
    assert_eq!(lines, expected);
    assert!(
        offered
            .iter()
            .all(|key| key.fingerprint.contains(" SHA256:"))
    );
}

#[test]
fn identities_that_do_not_fit_are_listed_with_the_reason() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    keygen(&dir.path().join("stranger"), "ed25519", "");
    keygen(&dir.path().join("locked"), "ed25519", "secret words");
    for (file, reason) in [
        ("stranger", "stranger: "),
        ("locked", "ssh-add"),
        ("absent", "No such file"),
    ] {
        let target = SshTarget {
            identity_file: Some(dir.path().join(file)),
            ..server.target()
        };
        let error = outcome(&target).expect_err(file);
        assert_eq!(error.kind(), "auth", "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    for kind_of_key in ["rsa", "ecdsa"] {
        let file = dir.path().join(kind_of_key);
        keygen(&file, kind_of_key, "");
        fs::write(dir.path().join("authorized_keys"), public_line(&file)).expect("written");
        assert_eq!(
            kind(&SshTarget {
                identity_file: Some(file),
                ..server.target()
            }),
            "ok"
        );
    }
}

/// An agent that ends with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_agent(socket: &Path) -> Agent {
    let agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(socket)
        .stdout(Stdio::null())
        .spawn();
    let agent = Agent(agent.expect("ssh-agent starts"));
    let started = Instant::now();
    while !socket.exists() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    agent
}

fn add_to_agent(socket: &Path, key: &Path) {
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(key)
        .env("SSH_AUTH_SOCK", socket)
        .status();
    assert!(added.expect("ssh-add runs").success());
}

#[test]
fn an_agents_identities_are_tried_in_turn() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let socket = dir.path().join("agent");
    let _agent = start_agent(&socket);
    for stranger in ["first", "second"] {
        keygen(&dir.path().join(stranger), "ed25519", "");
        add_to_agent(&socket, &dir.path().join(stranger));
    }
    add_to_agent(&socket, &server.identity());
    let config = dir.path().join("ssh_config");
    fs::write(&config, format!("IdentityAgent {}\n", socket.display())).expect("written");
    let target = SshTarget {
        identity_file: None,
        config_file: Some(config.clone()),
        ..server.target()
    };
    assert_eq!(kind(&target), "ok");

    for stranger in 0..8 {
        let file = dir.path().join(format!("more{stranger}"));
        keygen(&file, "ed25519", "");
        add_to_agent(&socket, &file);
    }
    fs::write(
        dir.path().join("authorized_keys"),
        public_line(&dir.path().join("more7")),
    )
    .expect("written");
    let error = outcome(&target).expect_err("the server's patience ends first");
    assert!(error.to_string().contains("hung up"), "{error}");

    let text = format!(
        "IdentityAgent {}\nIdentitiesOnly yes\nIdentityFile {}\n",
        socket.display(),
        dir.path().join("more7").display()
    );
    fs::write(&config, text).expect("written");
    assert_eq!(
        kind(&target),
        "ok",
        "IdentitiesOnly leaves the one that is named"
    );
}

#[test]
fn the_users_configuration_is_followed() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Sshd::start(dir.path(), &SshdOptions::default());
    let config = dir.path().join("ssh_config");
    let known = dir.path().join("known");
    fs::write(&known, format!("vault {}\n", server.host_key())).expect("written");
    let text = format!(
        "Match host nas\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n HostKeyAlias vault\n UserKnownHostsFile {}\n\
         Host odd\n HostName nas.invalid\n ProxyCommand nc %k %p\n",
        server.address().ip(),
        server.address().port(),
        sshd::login_name(),
        server.identity().display(),
        known.display(),
    );
    fs::write(&config, text).expect("written");
    let named = |host: &str| SshTarget {
        config_file: Some(config.clone()),
        ..SshTarget::new(host)
    };
    assert_eq!(kind(&named("nas")), "ok");
    let error = outcome(&named("odd")).expect_err("a token that is not known");
    assert_eq!(error.kind(), "bad-input");
    assert!(error.to_string().contains("%k"), "{error}");

    fs::write(&config, "NoSuchKeyword yes\n").expect("written");
    assert_eq!(kind(&named("nas")), "bad-input");
}

#[test]
fn machines_that_do_not_answer_are_noticed_in_time() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound").port()
    };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = |port| SshTarget {
        port: Some(port),
        user: Some("root".into()),
        config_file: Some("/dev/null".into()),
        connect_within: Duration::from_millis(700),
        ..SshTarget::new("127.0.0.1")
    };
    assert_eq!(kind(&target(closed)), "unreachable");
    let started = Instant::now();
    let stalled = target(silent.local_addr().expect("it is bound").port());
    assert_eq!(kind(&stalled), "timeout");
    assert!(started.elapsed() < Duration::from_secs(5));
    let nameless = SshTarget {
        host: "no-such-host.invalid".into(),
        ..target(22)
    };
    assert!(["unreachable", "timeout"].contains(&kind(&nameless)));
}
