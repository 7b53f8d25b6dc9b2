//! The lines that give a login its rights; pure.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Bootstrap, Program};
use crate::model::Name;
use crate::plan::shell_word;
use crate::transport::Destination;

/// Where sudo reads its lines; it passes over files with a dot in their names.
const SUDOERS: &str = "/etc/sudoers.d";

/// Who is to be let in where, with what.
pub(super) struct Subject<'a> {
    pub(super) node: &'a Name,
    /// The login that looks.
    pub(super) login: &'a str,
    /// Where the program is copied to, with the login that copies.
    pub(super) copier: &'a Destination,
    /// The machines to go through.
    pub(super) hops: &'a [Destination],
    /// The machines that are reached through this one.
    pub(super) inner: &'a [Destination],
    /// Whether root rights come through sudo.
    pub(super) sudo: bool,
    pub(super) program: Program,
    pub(super) key: Option<&'a PublicKey>,
}

impl Subject<'_> {
    pub(super) fn bootstrap(self, format: u32) -> Bootstrap {
        let path = &self.program.path;
        // Root needs no sudo, whatever the topology says.
        let sudo_for = |login: &str| self.sudo && login != "root";
        let look_sudoers = sudo_for(self.login)
            .then(|| format!("{} ALL=(root) NOPASSWD: {path} look --root", self.login));
        let applier = self.copier.user.as_str();
        // Both are the same program; sudo compares the name it found first.
        let apply_sudoers = sudo_for(applier)
            .then(|| format!("{applier} ALL=(root) NOPASSWD: /bin/sh, /usr/bin/sh"));
        let authorized_key = self.key.map(|key| self.authorized_key(key));
        let mut there = self.install();
        there.extend(self.log_in(authorized_key.as_deref()));
        if let Some(line) = &look_sudoers {
            there.extend(sudoers("bkpctl-look", line));
        }
        Bootstrap {
            format,
            node: self.node.clone(),
            login: self.login.to_owned(),
            authorized_key,
            here: vec![self.copy()],
            there,
            there_for_apply: apply_sudoers
                .iter()
                .flat_map(|line| sudoers("bkpctl-apply", line))
                .collect(),
            look_sudoers,
            apply_sudoers,
            program: self.program,
        }
    }

    /// Binds a key to the program. Forwarding stays off, except to nodes behind this one.
    fn authorized_key(&self, key: &PublicKey) -> String {
        let mut options = format!("restrict,command=\"{} look\"", self.program.path);
        if !self.inner.is_empty() {
            // Ways in are opened by the same word as ways out, so they get a place that is none.
            options.push_str(",port-forwarding,permitlisten=\"127.0.0.1:1\"");
        }
        for inner in self.inner {
            write!(options, ",permitopen=\"{}\"", host_and_port(inner))
                .expect("writing to a String never fails");
        }
        format!("{options} {} bkpctl-look", key.0)
    }

    fn copy(&self) -> String {
        let mut words = vec!["scp".to_owned(), "-P".to_owned()];
        words.push(self.copier.port.to_string());
        if !self.hops.is_empty() {
            let hop = |hop: &Destination| format!("{}@{}", hop.user, host_and_port(hop));
            let hops: Vec<String> = self.hops.iter().map(hop).collect();
            words.extend(["-J".to_owned(), shell_word(&hops.join(","))]);
        }
        words.push(shell_word(&self.program.from));
        let host = bracketed(&self.copier.host);
        words.push(shell_word(&format!(
            "{}@{host}:bkpctl.new",
            self.copier.user
        )));
        words.join(" ")
    }

    /// The program is root's before it is judged, so that nobody changes it in between.
    fn install(&self) -> Vec<String> {
        let Program { path, sha256, .. } = &self.program;
        let folder = match path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        };
        let from = format!("~{}/bkpctl.new", self.copier.user);
        vec![
            format!("install -d -o root -g root -m 0755 {folder}"),
            format!("install -o root -g root -m 0644 {from} {path}.new"),
            format!("echo '{sha256}  {path}.new' | sha256sum -c -"),
            format!("chmod 0755 {path}.new"),
            format!("mv -f {path}.new {path}"),
            format!("rm -f {from}"),
        ]
    }

    fn log_in(&self, authorized_key: Option<&str>) -> Vec<String> {
        let login = self.login;
        let mut lines = Vec::new();
        if login != "root" {
            lines.push(format!(
                "id -u {login} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh --password '*' {login}"
            ));
        }
        if let Some(key) = authorized_key {
            let (folder, file) = (
                format!("~{login}/.ssh"),
                format!("~{login}/.ssh/authorized_keys"),
            );
            let key = shell_word(key);
            lines.extend([
                format!("install -d -o {login} -g \"$(id -g {login})\" -m 0700 {folder}"),
                format!("key={key}"),
                format!("grep -qxF -- \"$key\" {file} 2>/dev/null || printf '\\n%s\\n' \"$key\" >>{file}"),
                format!("chown {login}:\"$(id -g {login})\" {file}"),
                format!("chmod 0600 {file}"),
            ]);
        }
        lines
    }
}

/// Puts a line into a file of its own, which sudo reads only once it was found good.
fn sudoers(name: &str, line: &str) -> [String; 4] {
    let (new, file) = (format!("{SUDOERS}/{name}.new"), format!("{SUDOERS}/{name}"));
    [
        format!("echo '{line}' >{new}"),
        format!("chmod 0440 {new}"),
        format!("visudo -cf {new}"),
        format!("mv -f {new} {file}"),
    ]
}

fn host_and_port(at: &Destination) -> String {
    format!("{}:{}", bracketed(&at.host), at.port)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A public key as `type base64`; the comment is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicKey(String);

impl PublicKey {
    /// Reads the one line of a public key file.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        if text.contains("PRIVATE KEY") {
            return Err("it holds a private key");
        }
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err("it does not hold one public key");
        };
        let mut words = line.split_ascii_whitespace();
        let (Some(kind), Some(data)) = (words.next(), words.next()) else {
            return Err("it holds no public key");
        };
        let blob = STANDARD
            .decode(data)
            .map_err(|_| "it holds no public key")?;
        // A key says its own type first, so options in front of it are told from it.
        let says = blob.split_at_checked(4).is_some_and(|(length, rest)| {
            *length == (kind.len() as u32).to_be_bytes() && rest.starts_with(kind.as_bytes())
        });
        let plain = kind
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"@.-".contains(&byte));
        if !says || !plain || kind.contains("-cert-") {
            return Err("it holds no public key");
        }
        Ok(Self(format!("{kind} {data}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ByteSize;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4zTbcVsXl1cAPQ4Z3DdyhcASxpXzMuEYhEIhq8lBqn";

    fn at(user: &str, host: &str, port: u16) -> Destination {
        Destination {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
        }
    }

    fn bootstrap(user: &str, sudo: bool, inner: &[Destination]) -> Bootstrap {
        let key = PublicKey::read(&format!("{KEY} ci@'host'\n")).expect("a key");
        Subject {
            node: &Name::new("nas").expect("a name"),
            login: user,
            copier: &at(user, "10.0.0.20", 22),
            hops: &[at("ops", "fe80::1", 2222)],
            inner,
            sudo,
            program: Program {
                path: "/opt/b/bkpctl".to_owned(),
                from: "/home/a b/bkpctl".to_owned(),
                sha256: "00ff".to_owned(),
                arch: "x86_64".to_owned(),
                size: ByteSize(1),
            },
            key: Some(&key),
        }
        .bootstrap(1)
    }

    #[test]
    fn a_login_with_sudo_gets_the_narrowest_line_that_looks() {
        let got = bootstrap("ops", true, &[]);
        assert_eq!(
            got.look_sudoers.as_deref(),
            Some("ops ALL=(root) NOPASSWD: /opt/b/bkpctl look --root")
        );
        let key = format!("restrict,command=\"/opt/b/bkpctl look\" {KEY} bkpctl-look");
        assert_eq!(got.authorized_key, Some(key));
        assert_eq!(
            got.here,
            ["scp -P 22 -J 'ops@[fe80::1]:2222' '/home/a b/bkpctl' ops@10.0.0.20:bkpctl.new"]
        );
        let there = got.there.join("\n");
        assert!(there.contains("visudo -cf /etc/sudoers.d/bkpctl-look.new"));
        assert!(!there.contains("/bin/sh, "), "{there}");
        assert!(got.there_for_apply.join("\n").contains("NOPASSWD: /bin/sh"));
    }

    #[test]
    fn root_needs_no_sudo_and_no_account() {
        let got = bootstrap("root", true, &[]);
        assert_eq!((got.look_sudoers, got.apply_sudoers), (None, None));
        assert!(!got.there.join("\n").contains("useradd"));
        assert!(got.there_for_apply.is_empty());
    }

    #[test]
    fn a_key_of_a_machine_between_opens_the_way_to_those_behind_it_and_no_other() {
        let got = bootstrap("root", false, &[at("x", "inner", 22), at("x", "::1", 2)]);
        let key = got.authorized_key.expect("a line");
        assert!(key.starts_with("restrict,command="), "{key}");
        assert!(
            key.contains("permitopen=\"inner:22\",permitopen=\"[::1]:2\" ssh-"),
            "{key}"
        );
    }

    #[test]
    fn only_a_plain_public_key_is_taken() {
        assert_eq!(PublicKey::read(KEY), Ok(PublicKey(KEY.to_owned())));
        let options = format!("command=\"sh\" {KEY}");
        let two = format!("{KEY}\n{KEY}\n");
        let other_kind = KEY.replace("ssh-ed25519", "ssh-rsa");
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &options,
            &two,
            &other_kind,
        ] {
            assert!(PublicKey::read(text).is_err(), "{text}");
        }
    }
}
