//! Users of this machine by name.

use std::fs;
use std::process::{Command, Stdio};

use crate::run::message::Fault;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login's name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// The home folder.
    pub home: String,
}

/// Finds a user: in `/etc/passwd`, else wherever this machine looks for users.
pub fn find(name: &str) -> Result<User, Fault> {
    let local = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = local.lines().find_map(|line| parse(line, name));
    let found = found.or_else(|| elsewhere(name));
    found.ok_or_else(|| Fault::refused(format!("there is no user {name} on this machine")))
}

fn elsewhere(name: &str) -> Option<User> {
    let output = Command::new("getent")
        .args(["passwd", "--", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| parse(line, name))
}

/// Reads `name:password:uid:gid:comment:home:shell` if it is the line of `name`.
fn parse(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    let number = |field: &str| field.parse().ok().filter(|number| *number != u32::MAX);
    (fields.next()? == name).then_some(())?;
    Some(User {
        name: name.to_owned(),
        uid: number(fields.nth(1)?)?,
        gid: number(fields.next()?)?,
        home: fields.nth(1)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_another_user_or_without_numbers_is_none() {
        let line = "postgres:x:104:110:PostgreSQL,,,:/var/lib/postgresql:/bin/bash";
        let user = parse(line, "postgres").expect("its line");
        assert_eq!((user.uid, user.gid), (104, 110));
        assert_eq!(user.home, "/var/lib/postgresql");
        for (line, name) in [
            (line, "post"),
            ("a:x:4294967295:0::/:/bin/sh", "a"),
            ("a:x:-1:0::/:/bin/sh", "a"),
            ("a:x:1", "a"),
            ("", ""),
        ] {
            assert_eq!(parse(line, name), None, "{line}");
        }
    }
}
