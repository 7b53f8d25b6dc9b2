//! The programs that carry a connection where the user's SSH configuration asks for them.

use std::ffi::OsString;

use super::config::{Config, Proxy};
use super::{SshTarget, bracketed};
use crate::transport::TransportError;

/// Returns the program to start and its arguments.
pub(super) fn command(
    proxy: &Proxy,
    target: &SshTarget,
    config: &Config,
    name: &str,
) -> Result<Vec<OsString>, TransportError> {
    match proxy {
        Proxy::Jump(hosts) => jump(hosts, target, config).ok_or_else(|| {
            TransportError::bad_input(name, format!("{hosts:?} names no jump host"))
        }),
        Proxy::Command(text) => {
            let text = expand(text, target, config)
                .map_err(|what| TransportError::bad_input(name, what))?;
            Ok(["sh", "-c", &format!("exec {text}")]
                .map(OsString::from)
                .into())
        }
    }
}

/// Lets OpenSSH reach the last of the jump hosts, through those before it.
///
/// It asks nothing, since nobody may be there to answer, and trusts no key because it was
/// seen first.
fn jump(hosts: &str, target: &SshTarget, config: &Config) -> Option<Vec<OsString>> {
    let hosts: Vec<String> = hosts.split(',').map(|host| uri(host.trim())).collect();
    let (last, before) = hosts
        .split_last()
        .filter(|_| hosts.iter().all(|h| h != URI))?;
    let mut argv: Vec<OsString> = vec!["ssh".into()];
    let mut say = |words: &[&str]| argv.extend(words.iter().map(OsString::from));
    say(&["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
    if let Some(files) = &target.known_hosts {
        let files: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
        say(&["-o", &format!("UserKnownHostsFile={}", files.join(" "))]);
    }
    if !before.is_empty() {
        say(&["-J", &before.join(",")]);
    }
    say(&[
        "-W",
        &format!("{}:{}", bracketed(&config.hostname), config.port),
    ]);
    if let Some(file) = &target.config_file {
        argv.extend([OsString::from("-F"), file.into()]);
    }
    argv.extend(["--", last].map(OsString::from));
    Some(argv)
}

const URI: &str = "ssh://";

/// Writes `user@host:port` so that `ssh` takes it as a destination.
fn uri(host: &str) -> String {
    if host.starts_with(URI) {
        host.to_owned()
    } else {
        format!("{URI}{host}")
    }
}

/// Fills in the percent tokens of a `ProxyCommand`, see ssh_config(5).
///
/// The command is the user's own and runs in a shell, as OpenSSH runs it; what is filled
/// in may hold nothing that a shell reads as more than a word.
fn expand(text: &str, target: &SshTarget, config: &Config) -> Result<String, String> {
    let mut full = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            full.push(c);
            continue;
        }
        let word = match chars.next() {
            Some('h') => config.hostname.clone(),
            Some('n') => target.host.clone(),
            Some('p') => config.port.to_string(),
            Some('r') => config.user.clone(),
            Some('%') => "%".to_owned(),
            other => {
                let token = other.map_or("%".to_owned(), |c| format!("%{c}"));
                return Err(format!(
                    "the token {token:?} of ProxyCommand is not known here"
                ));
            }
        };
        let plain = |c: char| c.is_alphanumeric() || "%._-+@:[]".contains(c);
        if !word.chars().all(plain) || word.starts_with('-') {
            return Err(format!("{word:?} can't be filled into a ProxyCommand"));
        }
        full.push_str(&word);
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config() -> Config {
        Config {
            hostname: "10.0.0.11".into(),
            port: 2222,
            user: "root".into(),
            ..Config::default()
        }
    }

    fn argv(proxy: &Proxy) -> Result<Vec<String>, TransportError> {
        command(proxy, &SshTarget::new("nas"), &config(), "nas").map(|argv| {
            let word = |word: &OsString| word.to_string_lossy().into_owned();
            argv.iter().map(word).collect()
        })
    }

    #[test]
    fn jump_hosts_are_reached_one_through_the_other() {
        const QUIET: &str = "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes";
        for (hosts, expected) in [
            ("bastion", "-W 10.0.0.11:2222 -- ssh://bastion"),
            ("ops@b:2200", "-W 10.0.0.11:2222 -- ssh://ops@b:2200"),
            ("a,ssh://b", "-J ssh://a -W 10.0.0.11:2222 -- ssh://b"),
            ("a,b,c", "-J ssh://a,ssh://b -W 10.0.0.11:2222 -- ssh://c"),
        ] {
            let argv = argv(&Proxy::Jump(hosts.into())).expect(hosts);
            assert_eq!(argv.join(" "), format!("{QUIET} {expected}"), "{hosts}");
        }
        for hosts in ["", "a,", ","] {
            argv(&Proxy::Jump(hosts.into())).expect_err(hosts);
        }
    }

    #[test]
    fn tokens_of_a_command_are_filled_in() {
        for (text, expected) in [
            ("nc %h %p", "exec nc 10.0.0.11 2222"),
            (
                "x --for=%r@%n --rate 5%%",
                "exec x --for=root@nas --rate 5%",
            ),
        ] {
            let argv = argv(&Proxy::Command(text.into())).expect(text);
            assert_eq!(argv, ["sh", "-c", expected]);
        }
        for text in ["nc %x", "nc %"] {
            argv(&Proxy::Command(text.into())).expect_err(text);
        }
    }

    #[test]
    fn names_that_a_shell_would_read_are_refused() {
        for user in ["a;b", "$(id)", "a b", "-x", "`id`", "a\nb"] {
            let config = Config {
                user: user.into(),
                ..config()
            };
            let refused = expand("nc %r", &SshTarget::new("nas"), &config);
            refused.expect_err(user);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = argv(&Proxy::Jump(text.clone()));
            let _ = argv(&Proxy::Command(text));
        }
    }
}
