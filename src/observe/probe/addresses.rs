//! The addresses a machine has, by which servers know their clients.

use std::net::IpAddr;

use crate::observe::records::Records;

pub(super) const COMMAND: &str = r#"
a=$(ip -o addr show 2>/dev/null | head -c 262144)
[ -n "$a" ] || a=$(hostname -I 2>/dev/null | head -c 262144)
out addresses "$a"
"#;

/// The most addresses that are kept.
const ADDRESSES_MAX: usize = 1024;

pub(super) fn parse(records: &Records<'_>) -> Vec<IpAddr> {
    let bytes = records.get("addresses").unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    // `2: eth0    inet 10.0.0.15/24 brd 10.0.0.255 …`, or addresses alone.
    let words = text.lines().flat_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words
            .iter()
            .position(|word| ["inet", "inet6"].contains(word))
        {
            Some(at) => words.get(at + 1).copied().into_iter().collect(),
            None => words,
        }
    });
    let bare = |word: &str| word.split('/').next().unwrap_or_default().parse().ok();
    words.filter_map(bare).take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_either_program() {
        // Recorded: iproute2 6.15 on Debian 13, shortened; the second is `hostname -I`.
        let ip = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n2: eth0    inet 10.0.0.15/24 brd 10.0.0.255 scope global eth0\n2: eth0    inet6 fe80::1/64 scope link \n";
        for (text, expected) in [
            (ip, vec!["127.0.0.1", "10.0.0.15", "fe80::1"]),
            ("10.0.0.15 fd00::15 \n", vec!["10.0.0.15", "fd00::15"]),
            ("", vec![]),
            ("nonsense inet", vec![]),
        ] {
            let answer = format!("addresses {}\n{text}\n", text.len());
            let records = Records::read(answer.as_bytes()).expect("well-formed");
            let found: Vec<_> = parse(&records).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
