//! Users of this machine: who they are by name, and how to become one.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Gid, Uid};

use crate::run::here;
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

/// Becomes another user for good: groups, group, user, and a check that nothing is left.
///
/// These calls change the calling thread only, so this must come before any other thread.
pub(super) fn become_for_good(uid: u32, gid: u32) -> Result<(), Fault> {
    let now = (here::effective_uid(), rustix::process::getegid().as_raw());
    if now == (uid, gid) {
        return Ok(());
    }
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Fault::refused("4294967295 is no user or group id"));
    }
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let failed = |error: rustix::io::Errno| {
        Fault::io(
            &format!("become {uid}:{gid} from {}:{}", now.0, now.1),
            &error.into(),
        )
    };
    rustix::thread::set_thread_groups(&[group]).map_err(failed)?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed)?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed)?;
    let back = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
    if uid != 0 && (back.is_ok() || here::effective_uid() != uid) {
        return Err(Fault::refused(format!(
            "root rights were still there after becoming {uid}"
        )));
    }
    // From here on nothing that is started can get rights back.
    rustix::thread::set_no_new_privs(true).map_err(failed)
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
