//! What machine it is.

use crate::observe::records::Records;

pub(super) const COMMAND: &str = r#"
out host.system "$(uname -nm)"
l= s=
if [ -r /etc/machine-id ]; then IFS= read -r l </etc/machine-id; out host.machine "$l"; fi
if [ -r /etc/os-release ]; then
    while IFS= read -r l; do
        case $l in NAME=*|PRETTY_NAME=*) s=$s$l$nl ;; esac
    done </etc/os-release
    out host.os "$s"
fi
"#;

/// Is what machine it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) hostname: String,
    pub(super) arch: String,
    pub(super) machine_id: Option<String>,
    pub(super) os: Option<String>,
}

pub(super) fn parse(records: &Records<'_>) -> Host {
    let machine_id = records.text("host.machine");
    let system = records.text("host.system").unwrap_or_default();
    let (hostname, arch) = system.rsplit_once(' ').unwrap_or((&system, ""));
    Host {
        hostname: hostname.to_owned(),
        arch: arch.to_owned(),
        // During installation the file holds a word instead of an id.
        machine_id: machine_id
            .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        os: records.text("host.os").and_then(|text| pretty_name(&text)),
    }
}

/// Returns `PRETTY_NAME` of an os-release file, or `NAME` where there is none.
fn pretty_name(text: &str) -> Option<String> {
    let value = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        let bare = line.trim().trim_matches(['"', '\'']);
        (!bare.is_empty()).then(|| bare.to_owned())
    };
    value("PRETTY_NAME").or_else(|| value("NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_itself() {
        for (text, expected) in [
            (
                "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n",
                Some("Debian GNU/Linux 13 (trixie)"),
            ),
            ("NAME=Alpine\nID=alpine\n", Some("Alpine")),
            ("PRETTY_NAME=''\n", None),
            ("", None),
        ] {
            assert_eq!(pretty_name(text).as_deref(), expected);
        }
    }

    #[test]
    fn only_an_id_is_taken_for_a_machine_id() {
        let parse = |text: &str| {
            super::parse(&Records::read(text.as_bytes()).expect("well-formed")).machine_id
        };
        assert_eq!(parse("host.machine 13\nuninitialized\n"), None);
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            parse(&format!("host.machine 33\n{id}\n\n")).as_deref(),
            Some(id)
        );
    }
}
