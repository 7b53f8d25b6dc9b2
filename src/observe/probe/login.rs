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
    out login.me "$me"
fi
out login.uid "$luid"
out login.gid "$lgid"
out login.effective "$uid"
"#
    )
}

pub(super) fn parse(records: &Records<'_>) -> Login {
    let uid = records.number("login.uid").unwrap_or(u32::MAX);
    let me = String::from_utf8_lossy(records.get("login.me").unwrap_or_default());
    let (own_name, own_groups) = me_in_words(&me);
    let groups = records.text("login.groups").unwrap_or(own_groups);
    Login {
        user: records
            .text("login.user")
            .or(own_name)
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
        only_looks: false,
    }
}

/// Reads what `id` prints, `uid=0(root) gid=0(root) groups=0(root),1(bin)`: the user's name and
/// the numbers of the groups.
fn me_in_words(me: &str) -> (Option<String>, String) {
    let user = me.split(" gid=").next().unwrap_or_default();
    let name = user
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    let groups = me.rsplit_once(" groups=").map_or("", |(_, groups)| groups);
    // SELinux says a context behind them.
    let groups = groups.split(" context=").next().unwrap_or_default();
    let number =
        |group: &str| -> String { group.chars().take_while(char::is_ascii_digit).collect() };
    let numbers: Vec<String> = groups.split(',').map(number).collect();
    (name.map(str::to_owned), numbers.join(" "))
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
                privileged: true,
                only_looks: false,
            }
        );
    }

    #[test]
    fn what_id_prints_is_read_on_every_system() {
        for (me, name, groups) in [
            (
                "uid=0(root) gid=0(root) groups=0(root),1(bin)",
                Some("root"),
                "0 1",
            ),
            (
                "uid=1000(ops) gid=1000(ops) groups=1000(ops),27(sudo) context=a:b:c,d",
                Some("ops"),
                "1000 27",
            ),
            ("uid=107 gid=107 groups=107", None, "107"),
            (
                "uid=1(LAB\\a (b)) gid=1(x) groups=1(x),2(domain users)",
                Some("LAB\\a (b)"),
                "1 2",
            ),
            ("", None, ""),
        ] {
            let read = me_in_words(me);
            assert_eq!((read.0.as_deref(), read.1.as_str()), (name, groups), "{me}");
        }
    }

    #[test]
    fn a_login_without_a_name_is_called_by_its_number() {
        let answer = b"login.user 0\n\nlogin.uid 3\n107\nlogin.effective 3\n107\n";
        let login = parse(&Records::read(answer).expect("well-formed"));
        assert_eq!((login.user.as_str(), login.privileged), ("107", false));
    }
}
