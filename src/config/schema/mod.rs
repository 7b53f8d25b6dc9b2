//! The language as one table: what may be said, where, how often, and what it means.
//!
//! The validator, the reference in `docs/topology.md` and `bkpctl schema` are all made
//! from [`TOPOLOGY`], so that they can't disagree.

mod export;
mod reference;
mod table;

pub use export::schema;
pub use reference::reference;
pub(crate) use table::TOPOLOGY;

/// What kind of thing a name belongs to; names are unique within a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    User,
    Node,
    Template,
    Share,
    Datastore,
    Key,
    /// Sources and groups of guests, which jobs name alike.
    Source,
    Phase,
    Job,
}

impl Kind {
    /// Returns what people call such a thing.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::User => "service user",
            Self::Node => "node",
            Self::Template => "template",
            Self::Share => "share",
            Self::Datastore => "datastore",
            Self::Key => "key",
            Self::Source => "source",
            Self::Phase => "phase",
            Self::Job => "job",
        }
    }

    /// Returns the statement that declares such a thing.
    pub(crate) fn statement(self) -> &'static str {
        match self {
            Self::User => "service-user",
            Self::Job => "backup",
            other => other.word(),
        }
    }
}

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// A name that is declared here.
    Declares(Kind),
    /// The name of something declared elsewhere.
    Refers(Kind),
    /// A name that belongs to nothing else.
    Name,
    /// Any text.
    Text,
    /// The identity of a topology.
    Id,
    /// A path.
    Path,
    /// Files to include.
    Include,
    /// `host` or `user@host`.
    Host,
    /// An `http://` or `https://` address.
    Url,
    /// A pinned host key: its type and its base64.
    HostKey,
    /// A number of bytes.
    Size,
    /// A number of bytes, or percent.
    Amount,
    /// A length of time.
    Period,
    /// When something runs.
    Calendar,
    /// Permission bits in octal.
    Mode,
    /// A day, `YYYY-MM-DD`.
    Day,
    /// `kind.name`.
    Address,
    /// A whole number in a range.
    Number(i128, i128),
    /// One of a few words.
    OneOf(&'static [&'static str]),
}

/// An argument: a value without a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg {
    /// What it is called in documentation.
    pub(crate) name: &'static str,
    pub(crate) is: Type,
    pub(crate) required: bool,
    /// Whether more of the same may follow; only the last argument repeats.
    pub(crate) repeats: bool,
}

/// A property: `name=value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prop {
    pub(crate) name: &'static str,
    pub(crate) is: Type,
    pub(crate) required: bool,
    pub(crate) doc: &'static str,
}

/// A statement: a node of the KDL document and all it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) args: &'static [Arg],
    pub(crate) props: &'static [Prop],
    pub(crate) children: &'static [Statement],
    /// Whether properties of any name are taken, as texts.
    pub(crate) free_props: bool,
    pub(crate) required: bool,
    /// Whether it may be said several times in its block.
    pub(crate) repeats: bool,
    /// The version that introduced it.
    pub(crate) since: &'static str,
}

impl Statement {
    /// Returns whether it is on by being there and takes nothing.
    pub(crate) fn is_switch(&self) -> bool {
        self.args.is_empty()
            && self.props.is_empty()
            && self.children.is_empty()
            && !self.free_props
    }

    /// Returns what kind of thing it declares, if it does.
    pub(crate) fn declares(&self) -> Option<Kind> {
        match self.args.first()?.is {
            Type::Declares(kind) => Some(kind),
            _ => None,
        }
    }

    /// Returns the statement of that name inside its block.
    pub(crate) fn child(&self, name: &str) -> Option<&'static Statement> {
        self.children.iter().find(|child| child.name == name)
    }
}

impl Type {
    /// Returns what people call such a value.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Declares(_) | Self::Name => "name".to_owned(),
            Self::Refers(kind) => format!("name of a {}", kind.word()),
            Self::Text => "text".to_owned(),
            Self::Id => "identity".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Include => "files".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::HostKey => "host key".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Amount => "size or percentage".to_owned(),
            Self::Period => "length of time".to_owned(),
            Self::Calendar => "calendar expression".to_owned(),
            Self::Mode => "mode".to_owned(),
            Self::Day => "day".to_owned(),
            Self::Address => "address".to_owned(),
            Self::Number(..) => "number".to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }

    /// Returns what people call such a value, with its article.
    pub(crate) fn phrase(self) -> String {
        match self {
            Self::OneOf(_) => "one of the known words".to_owned(),
            Self::Include => "a path of files to include".to_owned(),
            Self::Text => "a text".to_owned(),
            other => with_article(&other.word()),
        }
    }

    /// Returns how such a value is written, for messages.
    pub(crate) fn example(self) -> String {
        match self {
            Self::Declares(kind) | Self::Refers(kind) => match kind {
                Kind::User => "\"backup\"",
                Kind::Node => "\"pve1\"",
                Kind::Datastore => "\"primary\"",
                Kind::Source => "\"etc\"",
                Kind::Phase => "\"baseline\"",
                Kind::Job => "\"nightly\"",
                Kind::Share | Kind::Template | Kind::Key => "\"lab\"",
            }
            .to_owned(),
            Self::Name => "\"homelab\"".to_owned(),
            Self::Text => "\"a text\"".to_owned(),
            Self::Id => "\"01JD4Z9K3T\"".to_owned(),
            Self::Path => "\"/srv/backup\"".to_owned(),
            Self::Include => "\"nodes/*.kdl\"".to_owned(),
            Self::Host => "\"root@10.0.0.11\"".to_owned(),
            Self::Url => "\"https://s3.example.net\"".to_owned(),
            Self::HostKey => "\"ssh-ed25519 AAAA…\"".to_owned(),
            Self::Size => "\"10GiB\"".to_owned(),
            Self::Amount => "\"10%\" or \"50GiB\"".to_owned(),
            Self::Period => "\"26h\" or \"30d\"".to_owned(),
            Self::Calendar => "\"02:00\" or \"Mon..Fri 22:30\"".to_owned(),
            Self::Mode => "\"0750\"".to_owned(),
            Self::Day => "\"2027-01-01\"".to_owned(),
            Self::Address => "\"datastore.old\"".to_owned(),
            Self::Number(low, high) => format!("a whole number from {low} to {high}"),
            Self::OneOf(_) => self.word(),
        }
    }
}

/// Puts `a` or `an` in front of a word.
pub(crate) fn with_article(word: &str) -> String {
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']);
    format!("{} {word}", if vowel { "an" } else { "a" })
}
