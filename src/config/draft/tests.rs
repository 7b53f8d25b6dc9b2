//! What is written is read back, whatever it was written of.

use proptest::prelude::*;

use super::words::{Taken, quoted, remark};
use super::{First, Spot, as_name, in_form};
use crate::config::tests::load_text;
use crate::model::topology::{Content, TopologyId};
use crate::model::{Name, Timestamp};

fn first(sources: &[&str], to: &str, second: Option<&str>) -> First {
    First {
        name: Name::new("lab").expect("a name"),
        id: TopologyId::fresh(Timestamp(1_795_410_000_000_000_000), [7; 10]),
        sources: sources.iter().map(|&path| path.to_owned()).collect(),
        to: to.parse().expect("a place"),
        second: second.map(|second| second.parse().expect("a place")),
        at: "02:00".parse().expect("a time"),
    }
}

#[test]
fn an_identity_is_a_ulid_and_sorts_by_its_time() {
    let id = |ms: i64, byte| TopologyId::fresh(Timestamp(ms * 1_000_000), [byte; 10]).0;
    // The example of the specification: 2016-07-30T23:54:10.259Z.
    assert!(id(1_469_918_176_385, 0).starts_with("01ARYZ6S41"));
    assert_eq!(id(0, 255), "0000000000ZZZZZZZZZZZZZZZZ");
    assert!(id(1, 255) < id(2, 0));
}

#[test]
fn a_first_topology_is_valid_without_a_doubt_and_in_form() {
    for (sources, to, second) in [
        (&["/etc"][..], "/srv/backup", None),
        (
            &["/etc", "/home"],
            "copies",
            Some("ssh:root@nas.lan:/tank/b"),
        ),
        (&["/"], "ssh:10.0.0.9:/a b", Some("ssh:10.0.0.9:/\"c\"")),
        (&["/a"], "ssh:a@here:/x", Some("ssh:b@here:/y")),
    ] {
        let text = first(sources, to, second).text();
        let loaded = load_text(&text);
        assert_eq!(loaded.diagnostics.first(), None, "{text}");
        assert!(loaded.topology.is_some(), "{text}");
        assert_eq!(in_form(text.clone()), text);
    }
}

#[test]
fn a_place_names_a_machine_and_a_folder_or_says_what_is_missing() {
    assert_eq!("/a:b".parse(), Ok(Spot::Here("/a:b".to_owned())));
    let there = |login: &str, path: &str| Spot::There {
        login: login.to_owned(),
        path: path.to_owned(),
    };
    assert_eq!("ssh:root@nas:/x".parse(), Ok(there("root@nas", "/x")));
    assert_eq!("ssh:[fd00::1]:/x".parse(), Ok(there("[fd00::1]", "/x")));
    for text in ["ssh:", "ssh:nas", "ssh::/x", "ssh:nas:x"] {
        let error = text.parse::<Spot>().expect_err(text);
        assert!(error.contains("ssh:USER@HOST:/PATH"), "{error}");
    }
}

#[test]
fn names_are_made_of_anything_and_handed_out_once() {
    for (text, name) in [
        ("/srv/www", "srv-www"),
        ("-oProxyCommand=x", "oProxyCommand-x"),
        ("pve1.lan", "pve1.lan"),
        ("a\u{1b}[2J", "a-2J"),
        ("", "x"),
        ("../..", "x"),
    ] {
        assert_eq!(as_name(text, "x").as_str(), name, "{text:?}");
    }
    let mut taken = Taken::default();
    let long = Name::new("y".repeat(64)).expect("a name");
    let names: Vec<Name> = (0..12).map(|_| taken.take(long.clone())).collect();
    assert_eq!(
        names.len(),
        names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    );
}

proptest! {
    #[test]
    fn any_text_is_a_text_and_never_more(text: String) {
        let document = format!("node {} // {}\nlast", quoted(&text), remark(&text));
        let read = kdl::KdlDocument::parse_v2(&document);
        let read = read.map_err(|error| TestCaseError::fail(format!("{error}: {document:?}")))?;
        let nodes = read.nodes();
        prop_assert_eq!(nodes.len(), 2);
        prop_assert_eq!(nodes[0].entries().len(), 1);
        prop_assert_eq!(nodes[0].entries()[0].value().as_string(), Some(text.as_str()));
        prop_assert!(as_name(&text, "x").len() <= 64);
    }

    #[test]
    fn any_answer_makes_the_topology_it_says_or_a_mistake(path: String, place: String) {
        let Ok(to) = place.parse::<Spot>() else { return Ok(()) };
        let text = First { to, ..first(&[&path], "/x", None) }.text();
        if let Some(topology) = load_text(&text).topology {
            prop_assert_eq!(&in_form(text.clone()), &text);
            prop_assert_eq!(topology.sources.len(), 1);
            let source = topology.sources.values().next().expect("there is one");
            let is_one = matches!(&source.content, Content::Paths { paths, .. } if paths.len() == 1);
            prop_assert!(is_one);
        }
    }
}
