//! A first topology, of a few answers.

use std::fmt::Write as _;
use std::str::FromStr;

use super::in_form;
use super::words::{Taken, as_name, quoted};
use crate::model::Name;
use crate::model::schedule::Calendar;
use crate::model::topology::TopologyId;

/// What somebody wants protected, and where the copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// The topology's name.
    pub name: Name,
    /// Its identity, chosen once.
    pub id: TopologyId,
    /// Paths on the machine bkpctl runs on; never empty.
    pub sources: Vec<String>,
    /// Where copies go.
    pub to: Spot,
    /// One more place for them.
    pub second: Option<Spot>,
    /// When.
    pub at: Calendar,
}

/// A folder on this machine or on another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// On the machine bkpctl runs on.
    Here(String),
    /// On a machine that is reached over SSH.
    There {
        /// `host` or `user@host`.
        login: String,
        /// The folder there.
        path: String,
    },
}

impl FromStr for Spot {
    type Err = String;

    /// Reads `PATH` or `ssh:USER@HOST:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("ssh:") else {
            return Ok(Self::Here(text.to_owned()));
        };
        match rest.split_once(":/") {
            Some((login, path)) if !login.is_empty() => Ok(Self::There {
                login: login.to_owned(),
                path: format!("/{path}"),
            }),
            _ => Err(format!(
                "{text:?} does not say which folder on which machine; write ssh:USER@HOST:/PATH"
            )),
        }
    }
}

/// The key that a first topology declares.
const KEY: &str = "main";

impl First {
    /// Returns the name of the key that has to be made.
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Returns the names of the machines that are reached over SSH.
    pub fn machines(&self) -> Vec<Name> {
        self.nodes().into_iter().map(|(name, _)| name).collect()
    }

    /// Returns the topology's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        self.places(&mut text);
        self.jobs(&mut text);
        in_form(text)
    }

    /// Returns each machine once, with the login that reaches it.
    fn nodes(&self) -> Vec<(Name, &str)> {
        let mut taken = Taken::default();
        taken.take(as_name("here", "here"));
        let mut nodes: Vec<(Name, &str)> = Vec::new();
        for spot in self.spots() {
            if let Spot::There { login, .. } = spot
                && !nodes.iter().any(|(_, known)| known == login)
            {
                let host = login.rsplit('@').next().unwrap_or_default();
                // Of an address every part counts, of a name the first.
                let is_address = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                let short = host.split('.').next().filter(|_| !is_address);
                nodes.push((taken.take(as_name(short.unwrap_or(host), "there")), login));
            }
        }
        nodes
    }

    fn spots(&self) -> impl Iterator<Item = &Spot> {
        [Some(&self.to), self.second.as_ref()].into_iter().flatten()
    }

    /// Returns what is protected as one name.
    fn source(&self) -> Name {
        match self.sources.as_slice() {
            [one] => as_name(
                one.rsplit('/')
                    .find(|part| !part.is_empty())
                    .unwrap_or("root"),
                "data",
            ),
            _ => as_name("data", "data"),
        }
    }

    fn head(&self, text: &mut String) {
        let (name, id) = (quoted(&self.name), quoted(&self.id.0));
        let key = quoted(&format!("~/.config/bkpctl/{}.key", self.name));
        write!(
            text,
            "/- kdl-version 2
// What is protected, where its copies go, and when. `bkpctl validate` checks it, and
// `bkpctl plan` shows what it comes to and changes nothing.
topology {name} id={id} // the id stays for ever: copies are known by it

node \"here\" {{ local }} // the machine bkpctl runs on
"
        )
        .expect("writing to a String never fails");
        for (node, login) in self.nodes() {
            writeln!(
                text,
                "// Unless known_hosts knows it, `bkpctl host-key {node}` prints a line to paste in braces.\nnode {} {{ ssh {} }}",
                quoted(&node),
                quoted(login)
            )
            .expect("writing to a String never fails");
        }
        write!(
            text,
            "
// Opens every copy. `bkpctl key new {KEY}` makes it, with a sheet to be kept somewhere else.
key {} {{ file {key} }}
",
            quoted(KEY)
        )
        .expect("writing to a String never fails");
    }

    fn places(&self, text: &mut String) {
        let nodes = self.nodes();
        let place = |spot: &Spot| match spot {
            Spot::Here(path) => ("here".to_owned(), quoted(path)),
            Spot::There { login, path } => {
                let node = nodes.iter().find(|(_, known)| known == login);
                let name = node.map(|(name, _)| name.to_string());
                (name.unwrap_or_default(), quoted(path))
            }
        };
        let (node, path) = place(&self.to);
        write!(
            text,
            "
// How many copies stay: each rule keeps the newest of so many days, weeks, months.
datastore \"primary\" {{
    place {} path={path}
    keep last=3 daily=7 weekly=4 monthly=12
}}
",
            quoted(&node)
        )
        .expect("writing to a String never fails");
        if let Some(second) = &self.second {
            let (node, path) = place(second);
            write!(
                text,
                "datastore \"second\" {{
    place {} path={path}
    keep daily=14 weekly=8 monthly=12
}}
",
                quoted(&node)
            )
            .expect("writing to a String never fails");
        }
    }

    fn jobs(&self, text: &mut String) {
        let source = quoted(&self.source());
        let paths: Vec<String> = self.sources.iter().map(|path| quoted(path)).collect();
        let at = self.at.to_string();
        let daily = daily(&at);
        let quoted_at = quoted(&at);
        write!(
            text,
            "
source {source} on=\"here\" {{ path {} }} // `exclude \"*.tmp\"` leaves something out

phase \"baseline\" {{
    backup \"nightly\" {{ source {source}; to \"primary\"; at {quoted_at} }}
",
            paths.join(" ")
        )
        .expect("writing to a String never fails");
        if self.second.is_some() {
            let later = daily.map_or(at, |(hour, minute)| {
                format!("{:02}:{minute:02}", (hour + 2) % 24)
            });
            writeln!(
                text,
                "    sync \"onward\" {{ from \"primary\"; to \"second\"; at {} }}",
                quoted(&later)
            )
            .expect("writing to a String never fails");
        }
        let last = if self.second.is_some() {
            "second"
        } else {
            "primary"
        };
        let copies = self.spots().count();
        // How old a copy may get follows from how often one is made, with some hours to make it.
        let rpo = self.at.longest_gap().map_or_else(String::new, |gap| {
            format!(" rpo \"{}h\";", gap.0.div_ceil(3_600) + 6)
        });
        write!(
            text,
            "    drill \"proof\" {{ source {source}; from \"{last}\"; every \"7d\" }} // restores and compares
}}

// What must hold at all times; plan and status say where it does not.
policy {{ copies {copies};{rpo} drill-within \"30d\" }}
"
        )
        .expect("writing to a String never fails");
    }
}

/// Returns hour and minute if a calendar expression is a time of every day.
fn daily(at: &str) -> Option<(u32, u32)> {
    let (hour, minute) = at.split_once(':')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.len() <= 2);
    Some((number(hour)?, number(minute)?))
}
