//! The user's SSH configuration, as `ssh -G` resolves it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::transport::{Local, Script, SshTarget, Transport, TransportError, shell_assign};

/// How long `ssh -G` may take; a `Match exec` in the user's file runs within it.
const DEADLINE: Duration = Duration::from_secs(10);

/// The status with which a shell says that there is no such program.
const NO_PROGRAM: i32 = 127;

/// Is what is known about how to reach a host, before anything was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) hostname: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) identity_files: Vec<PathBuf>,
    pub(super) identities_only: bool,
    /// The agent's socket, if an agent is to be asked.
    pub(super) agent: Option<PathBuf>,
    pub(super) known_hosts: Vec<PathBuf>,
    pub(super) host_key_alias: Option<String>,
    /// The way that the user's file asks for.
    pub(super) proxy: Option<Proxy>,
}

/// Is a way to a host other than a connection of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proxy {
    /// Hosts to jump through, as `ProxyJump` writes them.
    Jump(String),
    /// A command whose stdin and stdout are the connection, as `ProxyCommand` writes it.
    Command(String),
}

/// Is what the process's surroundings say.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) home: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) agent: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn present() -> Self {
        let word = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let root = || {
            rustix::process::geteuid()
                .is_root()
                .then(|| "root".to_owned())
        };
        Self {
            home: word("HOME").map(PathBuf::from),
            user: word("USER").or_else(|| word("LOGNAME")).or_else(root),
            agent: word("SSH_AUTH_SOCK").map(PathBuf::from),
        }
    }
}

/// Asks the `ssh` program; without one, what OpenSSH assumes by default is assumed.
pub(super) fn resolve(target: &SshTarget) -> Result<Config, TransportError> {
    check_host(&target.host)?;
    let around = Surroundings::present();
    let output = Local::new().run(&question(target))?;
    let mut config = match output.status {
        0 => parse(&String::from_utf8_lossy(&output.stdout), &around),
        NO_PROGRAM => defaults(target, &around),
        _ => {
            let what = format!(
                "`ssh -G` refuses the SSH configuration: {}",
                output.complaint()
            );
            return Err(TransportError::bad_input(&target.host, what));
        }
    };
    if let Some(port) = target.port {
        config.port = port;
    }
    if let Some(user) = &target.user {
        config.user.clone_from(user);
    }
    if let Some(files) = &target.known_hosts {
        config.known_hosts.clone_from(files);
    }
    if config.user.is_empty() {
        let what = "no login name is known; write user \"NAME\" beside the address";
        return Err(TransportError::bad_input(&target.host, what));
    }
    Ok(config)
}

fn check_host(host: &str) -> Result<(), TransportError> {
    let strange =
        |c: char| c.is_control() || c.is_whitespace() || "'\"`$\\;&|<>(){}*?!#".contains(c);
    if host.is_empty() || host.starts_with('-') || host.len() > 255 || host.contains(strange) {
        let what = format!("{host:?} is not a host name or an address");
        return Err(TransportError::bad_input(
            &host.escape_debug().to_string(),
            what,
        ));
    }
    Ok(())
}

fn question(target: &SshTarget) -> Script {
    let mut text = shell_assign("h", &target.host);
    text.push_str("set --\n");
    if let Some(file) = &target.config_file {
        text.push_str(&shell_assign("f", file.as_os_str().as_encoded_bytes()));
        text.push_str("set -- \"$@\" -F \"$f\"\n");
    }
    if let Some(user) = &target.user {
        text.push_str(&shell_assign("u", user));
        text.push_str("set -- \"$@\" -l \"$u\"\n");
    }
    if let Some(port) = target.port {
        let words = format!("set -- \"$@\" -p {port}\n");
        text.push_str(&words);
    }
    text.push_str("exec ssh -G \"$@\" -- \"$h\"\n");
    Script::new(text)
        .purpose("read the SSH configuration with `ssh -G`")
        .deadline(DEADLINE)
}

fn defaults(target: &SshTarget, around: &Surroundings) -> Config {
    let lines = "port 22\n\
        identityfile ~/.ssh/id_ed25519\nidentityfile ~/.ssh/id_ecdsa\nidentityfile ~/.ssh/id_rsa\n\
        userknownhostsfile ~/.ssh/known_hosts ~/.ssh/known_hosts2\n\
        globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n";
    Config {
        hostname: target.host.clone(),
        user: around.user.clone().unwrap_or_default(),
        ..parse(lines, around)
    }
}

/// Reads the lines that `ssh -G` prints; unknown ones are skipped.
pub(super) fn parse(text: &str, around: &Surroundings) -> Config {
    let mut config = Config {
        port: 22,
        agent: around.agent.clone(),
        ..Config::default()
    };
    let (mut users, mut globals, mut identities) = (vec![], vec![], vec![]);
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(' ') else {
            continue;
        };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "hostname" => value.clone_into(&mut config.hostname),
            "port" => config.port = value.parse().unwrap_or(22),
            "user" => value.clone_into(&mut config.user),
            "identityfile" => identities.push(value),
            "identitiesonly" => config.identities_only = value == "yes",
            "identityagent" => config.agent = agent(value, around),
            "userknownhostsfile" => users.extend(value.split_ascii_whitespace()),
            "globalknownhostsfile" => globals.extend(value.split_ascii_whitespace()),
            "hostkeyalias" => config.host_key_alias = Some(value.to_owned()),
            "proxyjump" if value != "none" => config.proxy = Some(Proxy::Jump(value.to_owned())),
            "proxycommand" if value != "none" => {
                config.proxy = Some(Proxy::Command(value.to_owned()));
            }
            _ => {}
        }
    }
    let expand = |value: &&str| expand(value, &config, around);
    let identity_files = identities.iter().filter_map(expand).collect();
    let known_hosts = users.iter().chain(&globals).filter_map(expand).collect();
    Config {
        identity_files,
        known_hosts,
        ..config
    }
}

/// Reads `IdentityAgent`: a path, `none`, `SSH_AUTH_SOCK` or `$NAME`.
fn agent(value: &str, around: &Surroundings) -> Option<PathBuf> {
    match value {
        "none" => None,
        "SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK" => around.agent.clone(),
        _ => match value.strip_prefix('$') {
            Some(name) => env::var_os(name).map(PathBuf::from),
            None => expand(value, &Config::default(), around),
        },
    }
}

/// Expands `~/` and the common percent tokens; `none` is no file.
fn expand(value: &str, config: &Config, around: &Surroundings) -> Option<PathBuf> {
    let value = value.trim_matches('"');
    if value == "none" || value.is_empty() {
        return None;
    }
    let home = || around.home.clone().unwrap_or_else(|| PathBuf::from("/"));
    let (base, rest) = match value.strip_prefix("~/") {
        Some(rest) => (Some(home()), rest),
        None => (None, value),
    };
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => text.push_str(&home().to_string_lossy()),
            Some('h') => text.push_str(&config.hostname),
            Some('r') => text.push_str(&config.user),
            Some('u') => text.push_str(around.user.as_deref().unwrap_or_default()),
            Some('p') => text.push_str(&config.port.to_string()),
            Some('%') | None => text.push('%'),
            Some(other) => text.extend(['%', other]),
        }
    }
    Some(base.map_or_else(
        || PathBuf::from(&text),
        |base: PathBuf| base.join(Path::new(&text)),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            home: Some("/home/ada".into()),
            user: Some("ada".into()),
            agent: Some("/run/agent".into()),
        }
    }

    #[test]
    fn the_lines_that_matter_are_read() {
        let text = "host nas\nuser root\nhostname 10.0.0.11\nport 2222\nidentitiesonly yes\n\
            identityfile ~/.ssh/id_%h\nidentityfile /keys/%u-%r\nhostkeyalias vault\n\
            userknownhostsfile /home/ada/.ssh/known_hosts /home/ada/.ssh/known_hosts2\n\
            globalknownhostsfile /etc/ssh/ssh_known_hosts\nproxycommand none\nsendenv LANG\nodd\n";
        assert_eq!(
            parse(text, &around()),
            Config {
                hostname: "10.0.0.11".into(),
                port: 2222,
                user: "root".into(),
                identity_files: vec![
                    "/home/ada/.ssh/id_10.0.0.11".into(),
                    "/keys/ada-root".into()
                ],
                identities_only: true,
                agent: Some("/run/agent".into()),
                known_hosts: vec![
                    "/home/ada/.ssh/known_hosts".into(),
                    "/home/ada/.ssh/known_hosts2".into(),
                    "/etc/ssh/ssh_known_hosts".into(),
                ],
                host_key_alias: Some("vault".into()),
                proxy: None,
            }
        );
    }

    #[test]
    fn agents_and_jumps_are_noted() {
        let agent = |line: &str| parse(line, &around()).agent;
        assert_eq!(agent("identityagent none"), None);
        assert_eq!(
            agent("identityagent SSH_AUTH_SOCK"),
            Some("/run/agent".into())
        );
        assert_eq!(
            agent("identityagent ~/.1password/agent.sock"),
            Some("/home/ada/.1password/agent.sock".into())
        );
        let proxy = |line: &str| parse(line, &around()).proxy;
        assert_eq!(
            proxy("proxyjump bastion"),
            Some(Proxy::Jump("bastion".into()))
        );
        assert_eq!(
            proxy("proxycommand nc %h %p"),
            Some(Proxy::Command("nc %h %p".into()))
        );
        assert_eq!(proxy("proxycommand none"), None);
    }

    #[test]
    fn hosts_that_read_like_options_are_refused() {
        for host in ["", "-oProxyCommand=id", "a b", "a\nb", "a;b", "$(id)"] {
            let error = check_host(host).expect_err(host);
            assert_eq!(error.kind(), "bad-input");
        }
        for host in ["nas", "10.0.0.11", "fe80::1%eth0", "ünix.example"] {
            check_host(host).expect(host);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = parse(&text, &around());
            let _ = parse(&format!("identityfile {text}"), &around());
        }
    }
}
