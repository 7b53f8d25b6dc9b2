//! Ways to a machine other than a connection of our own, against real OpenSSH servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bkpctl::transport::{Ask, Channel, Launch, Script, Ssh, SshTarget, Transport, TransportError};
use zeroize::Zeroizing;

use crate::support::sshd::{self, Sshd, SshdOptions, keygen, public_line};

fn outcome(target: &SshTarget) -> Result<(), TransportError> {
    Ssh::new(target)?.run(&Script::new("true")).map(|_| ())
}

fn kind(target: &SshTarget) -> &'static str {
    outcome(target).map_or_else(|error| error.kind(), |()| "ok")
}

/// Scripts and channels give what they give over a connection of our own.
fn works(target: &SshTarget) {
    let ssh = Ssh::new(target).expect("the target is well-formed");
    let output = ssh.run(&Script::new("echo out; echo err >&2; exit 7"));
    let output = output.expect("it runs");
    assert_eq!(
        (output.stdout.as_slice(), output.status),
        (&b"out\n"[..], 7)
    );
    assert!(output.complaint().contains("err"), "{}", output.complaint());
    let killed = ssh.run(&Script::new("kill -9 $$"));
    assert_eq!(killed.expect_err("it was killed").kind(), "cut");

    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let Channel {
        mut stdin,
        mut stdout,
        process,
    } = ssh.open(&Launch::new(["cat"])).expect("it starts");
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&sent).expect("it reads");
            drop(stdin);
        });
        let mut back = Vec::new();
        stdout.read_to_end(&mut back).expect("it answers");
        back
    });
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    assert!(process.wait().expect("it ends").success());
    let channel = ssh
        .open(&Launch::new(["sh", "-c", "exit 9"]))
        .expect("it starts");
    assert_eq!(channel.process.wait().expect("it ends").status, 9);
    let absent = ssh.open(&Launch::new(["/no/such/program"]));
    assert_eq!(
        absent.map(|_| ()).expect_err("no program").kind(),
        "no-such-program"
    );
}

fn start(dir: &Path, name: &str, config: &str) -> Sshd {
    let options = SshdOptions {
        config: config.to_owned(),
        ..SshdOptions::default()
    };
    Sshd::start(&dir.join(name), &options)
}

#[test]
fn a_machine_is_reached_through_another_that_is_trusted_too() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let between = start(dir.path(), "between", "");
    let far = start(dir.path(), "far", "");
    let through = |between: SshTarget| SshTarget {
        jump: Some(Box::new(between)),
        ..far.target()
    };
    works(&through(between.target()));
    // Through two, one of them twice: a way is a way.
    works(&through(SshTarget {
        jump: Some(Box::new(between.target())),
        ..between.target()
    }));

    let stranger = SshTarget {
        host_keys: vec![far.host_key().to_owned()],
        ..between.target()
    };
    let error = outcome(&through(stranger)).expect_err("another key is pinned");
    assert_eq!(error.kind(), "host-key-mismatch");
    let port = between.address().port().to_string();
    assert!(error.to_string().contains(&port), "which machine: {error}");

    let closed = start(dir.path(), "closed", "AllowTcpForwarding no\n");
    let error = outcome(&through(closed.target())).expect_err("it forwards nothing");
    assert_eq!(error.kind(), "unreachable");
    assert!(error.to_string().contains("AllowTcpForwarding"), "{error}");
}

#[test]
fn many_machines_behind_one_are_reached_at_the_same_time() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    // As many logins under way as servers allow by default.
    let between = start(dir.path(), "between", "MaxStartups 10:30:100\n");
    let far = start(dir.path(), "far", "");
    let target = SshTarget {
        jump: Some(Box::new(between.target())),
        ..far.target()
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(|| kind(&target))).collect();
        for one in all {
            assert_eq!(one.join().expect("no panic"), "ok");
        }
    });
}

#[test]
fn jump_hosts_and_proxy_commands_of_the_configuration_are_followed() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let between = start(dir.path(), "between", "");
    let far = start(dir.path(), "far", "");
    let config = dir.path().join("ssh_config");
    let known = dir.path().join("known");
    let line = |server: &Sshd| {
        let address = server.address();
        format!(
            "[{}]:{} {}\n",
            address.ip(),
            address.port(),
            server.host_key()
        )
    };
    fs::write(&known, line(&between) + &line(&far)).expect("written");
    let host = |name: &str, server: &Sshd, more: &str| {
        format!(
            "Host {name}\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n {more}\n",
            server.address().ip(),
            server.address().port(),
            sshd::login_name(),
            server.identity().display(),
            known.display(),
        )
    };
    let command = format!("ProxyCommand ssh -F {} -W %h:%p between", config.display());
    let text = [
        host("between", &between, ""),
        host("jumps", &far, "ProxyJump between"),
        host("jumps-twice", &far, "ProxyJump between,between"),
        host("commands", &far, &command),
        host("lost", &far, "ProxyCommand sh -c 'echo no way >&2; exit 1'"),
        host("stranger", &far, "ProxyJump 127.0.0.1:1"),
    ];
    fs::write(&config, text.concat()).expect("written");
    let named = |host: &str| SshTarget {
        config_file: Some(config.clone()),
        ..SshTarget::new(host)
    };
    for name in ["jumps", "jumps-twice", "commands"] {
        works(&named(name));
    }
    for (name, why) in [("lost", "no way"), ("stranger", "port 1")] {
        let error = outcome(&named(name)).expect_err(name);
        assert_eq!(error.kind(), "unreachable", "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    // A jump host whose key nobody has on file is not trusted because it was seen first.
    fs::write(&known, line(&far)).expect("written");
    let error = outcome(&named("jumps")).expect_err("an unknown jump host");
    assert!(error.to_string().contains("verification failed"), "{error}");
}

/// Signs a public key as a host's or a user's.
fn sign(authority: &Path, names: &str, more: &[&str], public: &Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-I", "test", "-n", names, "-s"])
        .arg(authority)
        .args(more)
        .arg(public)
        .stdin(Stdio::null())
        .status()
        .expect("ssh-keygen is installed with sshd");
    assert!(status.success());
}

#[test]
fn a_host_certificate_is_checked_by_openssh() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let host = dir.path().join("host");
    fs::create_dir(&host).expect("created");
    for name in ["authority", "other"] {
        keygen(&dir.path().join(name), "ed25519", "");
    }
    keygen(&host.join("host_ed25519"), "ed25519", "");
    let public = host.join("host_ed25519.pub");
    sign(&dir.path().join("authority"), "127.0.0.1", &["-h"], &public);
    let certificate = host.join("host_ed25519-cert.pub");
    let server = start(
        dir.path(),
        "host",
        &format!("HostCertificate {}\n", certificate.display()),
    );
    let known = dir.path().join("known");
    let target = |name: &str| {
        let line = public_line(&dir.path().join(name));
        let port = server.address().port();
        fs::write(
            &known,
            format!("@cert-authority [127.0.0.1]:{port} {line}\n"),
        )
        .expect("written");
        SshTarget {
            host_keys: vec![],
            known_hosts: Some(vec![known.clone()]),
            ..server.target()
        }
    };
    works(&target("authority"));
    let error = outcome(&target("other")).expect_err("signed by somebody else");
    assert_eq!(error.kind(), "host-key-mismatch", "{error}");
    let nobody = SshTarget {
        identity_file: Some(dir.path().join("other")),
        ..target("authority")
    };
    assert_eq!(kind(&nobody), "auth");
}

#[test]
fn a_certificate_of_the_user_logs_in() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["authority", "user"] {
        keygen(&dir.path().join(name), "ed25519", "");
    }
    let authority = dir.path().join("authority");
    let config = format!("TrustedUserCAKeys {}.pub\n", authority.display());
    let server = start(dir.path(), "host", &config);
    let target = SshTarget {
        identity_file: Some(dir.path().join("user")),
        ..server.target()
    };
    assert_eq!(kind(&target), "auth", "the key alone is nobody's");
    sign(
        &authority,
        &sshd::login_name(),
        &[],
        &dir.path().join("user.pub"),
    );
    works(&target);
}

#[test]
fn a_locked_key_is_opened_by_whoever_is_asked() {
    if sshd::missing() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = start(dir.path(), "host", "");
    for kind_of_key in ["ed25519", "rsa", "ecdsa"] {
        let file = dir.path().join(kind_of_key);
        keygen(&file, kind_of_key, "secret words");
        fs::write(dir.path().join("host/authorized_keys"), public_line(&file)).expect("written");
        let asked = Arc::new(AtomicUsize::new(0));
        let with = |answers: &'static [&'static str]| {
            asked.store(0, Ordering::Relaxed);
            let asked = Arc::clone(&asked);
            let ask = Ask::new(move |_| {
                let answer = answers.get(asked.fetch_add(1, Ordering::Relaxed))?;
                Some(Zeroizing::new((*answer).to_owned()))
            });
            SshTarget {
                identity_file: Some(file.clone()),
                ask: Some(ask),
                ..server.target()
            }
        };
        assert_eq!(kind(&with(&["secret words"])), "ok", "{kind_of_key}");
        let target = with(&["wrong", "secret words"]);
        assert_eq!(kind(&target), "ok", "{kind_of_key}");
        assert_eq!(kind(&target), "ok", "it is known now");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "{kind_of_key}");
        let error = outcome(&with(&["a", "b", "c", "d"])).expect_err("never right");
        assert_eq!(error.kind(), "auth");
        assert_eq!(
            asked.load(Ordering::Relaxed),
            3,
            "asked three times: {error}"
        );
        assert_eq!(kind(&with(&[])), "auth", "nobody answers");
    }
}
