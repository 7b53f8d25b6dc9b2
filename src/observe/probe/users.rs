//! Users by name, as the node itself numbers them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::observed::UserFacts;
use crate::observe::records::{Records, text};
use crate::transport::shell_assign;

const FUNCTION: &str = r#"
user() {
    l=$(getent passwd "$2" 2>/dev/null || grep -e "^$2:" -e "^[^:]*:[^:]*:$2:" /etc/passwd 2>/dev/null)
    if [ -n "$l" ]; then out "user.$1" "$l"; fi
}
"#;

pub(super) fn command(names: &[String]) -> String {
    let mut text = FUNCTION.to_owned();
    for (index, name) in names.iter().enumerate() {
        text.push_str(&shell_assign("u", name));
        writeln!(text, "user {index} \"$u\"").expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, names: &[String]) -> BTreeMap<String, UserFacts> {
    let mut users = BTreeMap::new();
    for (index, name) in names.iter().enumerate() {
        let lines = records.text(&format!("user.{index}")).unwrap_or_default();
        if let Some(facts) = lines.lines().find_map(|line| passwd_line(line, name)) {
            users.insert(name.clone(), facts);
        }
    }
    users
}

/// Reads `name:x:uid:gid:…` if it is about who was asked for, by name or by number.
fn passwd_line(line: &str, asked: &str) -> Option<UserFacts> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    if name == asked {
        return Some(UserFacts {
            uid,
            gid,
            user: None,
        });
    }
    (asked.parse() == Ok(uid)).then(|| UserFacts {
        uid,
        gid,
        user: Some(text(name.as_bytes())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_that_very_name_counts() {
        let backup = || {
            Some(UserFacts {
                uid: 34,
                gid: 34,
                user: None,
            })
        };
        for (line, expected) in [
            (
                "backup:x:34:34:backup:/var/backups:/usr/sbin/nologin",
                backup(),
            ),
            ("backup:x:34:34", backup()),
            ("backup2:x:35:35::/:", None),
            ("backup:x:-1:34::/:", None),
            ("backup:x", None),
            ("", None),
        ] {
            assert_eq!(passwd_line(line, "backup"), expected, "{line}");
        }
    }
}
