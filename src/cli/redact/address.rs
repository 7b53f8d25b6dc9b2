//! Addresses: replaced so that those of one network stay in one network.
//!
//! Each bit is turned or not by the key and the bits before it, as in Crypto-PAn (Xu, Fan,
//! Ammar, Moon: Prefix-Preserving IP Address Anonymization, 2002). Private addresses stay in
//! their ranges; public ones go to ranges that nobody has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::pseudonyms::Pseudonyms;

/// Replaces an address or a network, `10.0.0.0/24`; none if it is neither.
pub(super) fn replace(text: &str, pseudonyms: &mut Pseudonyms) -> Option<String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(address).parse().ok()?;
    let replaced = match address {
        IpAddr::V4(address) => IpAddr::V4(of_four(address, pseudonyms)),
        IpAddr::V6(address) => IpAddr::V6(of_six(address, pseudonyms)),
    };
    let replaced = match length {
        // What is behind the prefix names nobody, and is zero before as after.
        Some(length) => format!("{}/{length}", network(replaced, length)),
        None if bare.is_some() => format!("[{replaced}]"),
        None => replaced.to_string(),
    };
    Some(pseudonyms.address(text, replaced))
}

fn of_four(address: Ipv4Addr, pseudonyms: &Pseudonyms) -> Ipv4Addr {
    if address.is_loopback() || address.is_unspecified() || address.is_broadcast() {
        return address;
    }
    let bits = u128::from(address.to_bits()) << 96;
    let (prefix, length) = match address.octets() {
        [10, ..] => (address, 8),
        [172, second, ..] if second & 0xf0 == 16 => (address, 12),
        [192, 168, ..] | [169, 254, ..] => (address, 16),
        // Shared address space of providers, RFC 6598.
        _ => (Ipv4Addr::new(100, 64, 0, 0), 10),
    };
    let turned = turn(
        bits,
        u128::from(prefix.to_bits()) << 96,
        length,
        32,
        pseudonyms,
    );
    Ipv4Addr::from_bits((turned >> 96) as u32)
}

fn of_six(address: Ipv6Addr, pseudonyms: &Pseudonyms) -> Ipv6Addr {
    if address.is_loopback() || address.is_unspecified() {
        return address;
    }
    let (prefix, length) = match address.segments() {
        [0xfe80..=0xfebf, ..] => (address, 64),
        [0xfc00..=0xfdff, ..] => (address, 8),
        // For documentation, RFC 3849.
        _ => (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    };
    let turned = turn(address.to_bits(), prefix.to_bits(), length, 128, pseudonyms);
    Ipv6Addr::from_bits(turned)
}

/// Takes the first bits from a prefix and turns the others, up to so many in all.
fn turn(bits: u128, prefix: u128, length: u32, all: u32, pseudonyms: &Pseudonyms) -> u128 {
    let mut turned = 0;
    for at in 0..all {
        let bit = |of: u128| (of >> (127 - at)) & 1;
        let value = if at < length {
            bit(prefix)
        } else {
            let before = bits.checked_shr(128 - at).unwrap_or(0);
            let mut context = vec![b'a', all as u8, at as u8];
            context.extend_from_slice(&before.to_be_bytes());
            bit(bits) ^ u128::from(pseudonyms.bit(&context))
        };
        turned |= value << (127 - at);
    }
    turned
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into()));
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask.unwrap_or(0)))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into()));
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask.unwrap_or(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(texts: &[&str]) -> Vec<String> {
        let mut pseudonyms = Pseudonyms::new([7; 32]);
        let one = |text: &&str| replace(text, &mut pseudonyms).expect("an address");
        texts.iter().map(one).collect()
    }

    #[test]
    fn neighbours_stay_neighbours_and_nobody_stays_where_they_were() {
        let got = replaced(&[
            "192.168.7.20",
            "192.168.7.15",
            "192.168.7.0/24",
            "192.168.9.1",
        ]);
        let network = got[2].strip_suffix("0/24").expect("a network");
        assert!(
            got[0].starts_with(network) && got[1].starts_with(network),
            "{got:?}"
        );
        assert!(!got[3].starts_with(network), "{got:?}");
        assert!(got.iter().all(|one| one.starts_with("192.168.")), "{got:?}");
        assert!(!got[0].starts_with("192.168.7."), "{got:?}");
    }

    #[test]
    fn public_addresses_go_where_nobody_is() {
        let got = replaced(&[
            "203.0.113.9",
            "2a01:4f8::1",
            "127.0.0.1",
            "::1",
            "fd00::5",
            "[fe80::1]",
        ]);
        assert!(got[0].starts_with("100."), "{got:?}");
        assert!(got[1].starts_with("2001:db8:"), "{got:?}");
        assert_eq!((got[2].as_str(), got[3].as_str()), ("127.0.0.1", "::1"));
        assert!(
            got[4].starts_with("fd") && got[5].starts_with("[fe80::"),
            "{got:?}"
        );
        assert_eq!(replace("nas", &mut Pseudonyms::new([0; 32])), None);
        assert_eq!(replace("10.0.0.0/x", &mut Pseudonyms::new([0; 32])), None);
        assert_eq!(
            replace("0.0.0.0/0", &mut Pseudonyms::new([0; 32])).as_deref(),
            Some("0.0.0.0/0")
        );
    }
}
