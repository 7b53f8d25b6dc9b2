//! Who we are on the node.

use crate::model::observed::Login;
use crate::observe::records::Records;

/// Under `sudo` the login is the user who called it, and root rights are at hand.
pub(super) fn command(sudo: bool) -> String {
    let through_sudo = if sudo {
        "[ -n \"$SUDO_UID\" ]"
    } else {
        "false"
    };
    format!(
        r#"
if {through_sudo}; then
    luid=$SUDO_UID lgid=$SUDO_GID
    out login.user "$SUDO_USER"
    out login.groups "$(id -G "$SUDO_USER" 2>/dev/null)"
else
    luid=$uid lgid=$gid
    out login.user "$(id -un 2>/dev/null)"
    out login.groups "$(id -G)"
fi
out login.uid "$luid"
out login.gid "$lgid"
out login.effective "$uid"
"#
    )
}

pub(super) fn parse(records: &Records<'_>) -> Login {
    let uid = records.number("login.uid").unwrap_or(u32::MAX);
    let groups = records.text("login.groups").unwrap_or_default();
    Login {
        user: records
            .text("login.user")
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| uid.to_string()),
        uid,
        gid: records.number("login.gid").unwrap_or(u32::MAX),
        groups: groups
            .split_ascii_whitespace()
            .filter_map(|group| group.parse().ok())
            .take(1000)
            .collect(),
        privileged: records.number("login.effective") == Some(0_u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_with_sudo_keeps_its_own_identity() {
        let answer = b"login.user 3\nops\nlogin.groups 10\n1000 27 44\nlogin.uid 4\n1000\nlogin.gid 4\n1000\nlogin.effective 1\n0\n";
        let login = parse(&Records::read(answer).expect("well-formed"));
        assert_eq!(
            login,
            Login {
                user: "ops".into(),
                uid: 1000,
                gid: 1000,
                groups: vec![1000, 27, 44],
                privileged: true
            }
        );
    }

    #[test]
    fn a_login_without_a_name_is_called_by_its_number() {
        let answer = b"login.user 0\n\nlogin.uid 3\n107\nlogin.effective 3\n107\n";
        let login = parse(&Records::read(answer).expect("well-formed"));
        assert_eq!((login.user.as_str(), login.privileged), ("107", false));
    }
}
