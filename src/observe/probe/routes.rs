//! The address a machine has on the way to a server, by which that server knows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::observe::records::Records;
use crate::transport::shell_assign;

/// A name is looked up first; the kernel then says how it would go there, and sends nothing.
const FUNCTION: &str = r#"
route() {
    a=$2
    case $a in
        *[!0-9.]*) case $a in *:*) ;; *)
            a=$(getent ahosts "$a" 2>/dev/null | head -n 1)
            a=${a%%[!0-9a-fA-F.:]*} ;;
        esac ;;
    esac
    [ -n "$a" ] && out "route.$1" "$(ip route get "$a" 2>/dev/null | head -c 4096)"
}
"#;

pub(super) fn command(servers: &[String]) -> String {
    if servers.is_empty() {
        return String::new();
    }
    let mut text = FUNCTION.to_owned();
    for (index, server) in servers.iter().enumerate() {
        text.push_str(&shell_assign("s", server));
        writeln!(text, "route {index} \"$s\"").expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, servers: &[String]) -> BTreeMap<String, IpAddr> {
    let route = |(index, server): (usize, &String)| {
        let answer = records.text(&format!("route.{index}"))?;
        Some((server.clone(), source(&answer)?))
    };
    servers.iter().enumerate().filter_map(route).collect()
}

/// Reads `10.0.0.20 dev eth0 src 10.0.0.15 uid 0 …`.
fn source(answer: &str) -> Option<IpAddr> {
    let mut words = answer.split_ascii_whitespace();
    words.find(|word| *word == "src")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_read_from_the_kernels_answer() {
        for (answer, expected) in [
            // Recorded: iproute2 6.1 and busybox 1.35.
            (
                "10.0.0.20 via 10.0.0.1 dev eth0 src 10.0.0.15 uid 0 \n    cache ",
                Some("10.0.0.15"),
            ),
            ("10.0.0.20 dev eth0  src 10.0.0.15 ", Some("10.0.0.15")),
            (
                "local fd00::1 dev lo table local proto kernel src fd00::1 metric 0",
                Some("fd00::1"),
            ),
            ("RTNETLINK answers: Network is unreachable", None),
            ("10.0.0.20 dev eth0 src", None),
            ("", None),
        ] {
            let found = source(answer).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{answer}");
        }
    }
}
