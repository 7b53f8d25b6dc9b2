//! The table of the language.

use super::{Arg, Kind, Prop, Statement, Type};

const FIRST: &str = "0.1";
const ID_MAX: i128 = 4_294_967_294;
const COUNT_MAX: i128 = 100_000;

/// A statement that takes nothing and may be said once.
const fn say(name: &'static str, doc: &'static str) -> Statement {
    Statement {
        name,
        doc,
        args: &[],
        props: &[],
        children: &[],
        free_props: false,
        required: false,
        repeats: false,
        since: FIRST,
    }
}

impl Statement {
    const fn args(self, args: &'static [Arg]) -> Self {
        Self { args, ..self }
    }

    const fn props(self, props: &'static [Prop]) -> Self {
        Self { props, ..self }
    }

    const fn block(self, children: &'static [Statement]) -> Self {
        Self { children, ..self }
    }

    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    const fn many(self) -> Self {
        Self {
            repeats: true,
            ..self
        }
    }

    const fn free(self) -> Self {
        Self {
            free_props: true,
            ..self
        }
    }
}

const fn one(name: &'static str, is: Type) -> Arg {
    Arg {
        name,
        is,
        required: true,
        repeats: false,
    }
}

const fn maybe(name: &'static str, is: Type) -> Arg {
    Arg {
        required: false,
        ..one(name, is)
    }
}

const fn some(name: &'static str, is: Type) -> Arg {
    Arg {
        repeats: true,
        ..one(name, is)
    }
}

const fn any(name: &'static str, is: Type) -> Arg {
    Arg {
        required: false,
        ..some(name, is)
    }
}

const fn prop(name: &'static str, is: Type, doc: &'static str) -> Prop {
    Prop {
        name,
        is,
        required: false,
        doc,
    }
}

const fn needs(name: &'static str, is: Type, doc: &'static str) -> Prop {
    Prop {
        required: true,
        ..prop(name, is, doc)
    }
}

const NAME_ARG_USER: &[Arg] = &[one("name", Type::Declares(Kind::User))];
const NAME_ARG_NODE: &[Arg] = &[one("name", Type::Declares(Kind::Node))];
const NAME_ARG_JOB: &[Arg] = &[one("name", Type::Declares(Kind::Job))];
const DATASTORE_ARG: &[Arg] = &[one("datastore", Type::Refers(Kind::Datastore))];
const PATH_ARG: &[Arg] = &[one("path", Type::Path)];
const LENGTH_ARG: &[Arg] = &[one("length", Type::Period)];
const COUNT_ARG: &[Arg] = &[one("count", Type::Number(0, COUNT_MAX))];
const GUEST_ARGS: &[Arg] = &[some("guest", Type::Number(1, 999_999_999))];
const OWNER_ARG: &[Arg] = &[one("user", Type::Refers(Kind::User))];
const MODE_PROP: Prop = prop("mode", Type::Mode, "permission bits in octal");

const OWNER: Statement = say(
    "owner",
    "Who owns it, and with which mode; left out, the user we log in as.",
)
.args(OWNER_ARG)
.props(&[MODE_PROP]);
const DOMAIN: Statement = say(
    "domain",
    "Failure domains, under keys of your own: what fails together has the same value.",
)
.free();
const AT: Statement =
    say("at", "When it runs; left out, only on demand.").args(&[one("time", Type::Calendar)]);

const SSH: Statement = say("ssh", "Reached over SSH.")
    .args(&[one("host", Type::Host)])
    .props(&[prop("port", Type::Number(1, 65_535), "the port; left out, that of your SSH configuration")])
    .block(&[
        say("host-key", "A pinned host key; `bkpctl host-key NODE` prints the line. Without one, known_hosts must know the host.")
            .args(&[one("key", Type::HostKey)])
            .many(),
        say("identity-file", "The private key to log in with; left out, your SSH configuration and the agent.")
            .args(PATH_ARG),
        say("jump", "The node to go through.").args(&[one("node", Type::Refers(Kind::Node))]),
        say("become", "How root rights are had after the login.")
            .args(&[one("how", Type::OneOf(&["sudo"]))]),
    ]);
const CONTAINER: Statement = say("container", "The node is a container on another node.")
    .args(&[one("number", Type::Number(1, 999_999_999))])
    .props(&[
        needs("on", Type::Refers(Kind::Node), "the host it runs on"),
        needs(
            "kind",
            Type::OneOf(&["privileged", "unprivileged"]),
            "whether ids inside equal ids on the host",
        ),
    ])
    .block(&[say(
        "idmap",
        "A line of the id map as lxc.idmap has it, such as \"u 0 100000 65536\".",
    )
    .args(&[one("line", Type::Text)])
    .many()]);
const LOCAL: Statement = say("local", "The machine bkpctl runs on; nothing is reached.");
const NODE_RESERVE: Statement = say(
    "reserve",
    "Free space on a filesystem that no change may eat into.",
)
.args(&[one("path", Type::Path), one("amount", Type::Amount)])
.many();
const SCRATCH: Statement =
    say("scratch", "Where drills and temporary files may go.").args(PATH_ARG);
const READER: Statement = say(
    "reader",
    "May hold a reading key, so that drills can run there.",
);
const AGENT: Statement = say(
    "agent",
    "Where bkpctl's own files go; \"none\" places nothing there and reads the node by plain streams.",
)
.args(&[maybe("none", Type::OneOf(&["none"]))])
.props(&[prop("path", Type::Path, "a folder of your choice")]);
const DEDUP_WITH: Statement = say(
    "dedup-with",
    "Shares chunk ids with another node, which saves space where both hold the same data.",
)
.args(&[one("node", Type::Refers(Kind::Node))]);

const NODE: &[Statement] = &[
    SSH,
    LOCAL,
    CONTAINER,
    DOMAIN,
    NODE_RESERVE,
    SCRATCH,
    READER,
    AGENT,
    DEDUP_WITH,
    say(
        "use",
        "Takes over what a template says, where the node says nothing itself.",
    )
    .args(&[one("template", Type::Refers(Kind::Template))])
    .many(),
];
const TEMPLATE: &[Statement] = &[
    SSH,
    LOCAL,
    CONTAINER,
    DOMAIN,
    NODE_RESERVE,
    SCRATCH,
    READER,
    AGENT,
    DEDUP_WITH,
];

const SHARE: &[Statement] = &[
    say("export", "The exported path.")
        .args(PATH_ARG)
        .required(),
    say(
        "maproot",
        "Root of a client becomes this user; left out, nobody.",
    )
    .props(&[
        needs("user", Type::Text, "the user that root becomes"),
        prop("group", Type::Text, "the group that root's group becomes"),
    ]),
    say("mapall", "Every user of a client becomes this one.").args(OWNER_ARG),
    OWNER,
    say("dataset", "The ZFS dataset behind it.")
        .args(&[one("dataset", Type::Text)])
        .props(&[prop("quota", Type::Size, "the most it may hold")]),
    say(
        "clients",
        "Who may mount it: addresses, networks or names. Left out, the nodes that mount it.",
    )
    .args(&[some("client", Type::Text)]),
    say(
        "address",
        "The name or address that clients mount it from; left out, that of its node.",
    )
    .args(&[one("address", Type::Text)]),
];

const DATASTORE: &[Statement] = &[
    say("place", "Where it is served from; a further place says where it goes in a later phase.")
        .args(&[one("node", Type::Refers(Kind::Node))])
        .props(&[
            needs("path", Type::Path, "the directory"),
            prop("from-phase", Type::Refers(Kind::Phase), "the phase that moves it here"),
        ])
        .block(&[say("mount", "What must be mounted there: a share, or a disk by its UUID.").props(&[
            prop("share", Type::Refers(Kind::Share), "the share"),
            prop("uuid", Type::Name, "the UUID of a disk's filesystem"),
            prop("filesystem", Type::Name, "the type of a disk's filesystem; left out, the system finds out"),
            prop("options", Type::Text, "mount options"),
            prop("on", Type::Refers(Kind::Node), "the node that mounts it, if a container binds it"),
            prop("bind", Type::Path, "the path on that node"),
        ])])
        .many(),
    say("s3", "A bucket of an S3-compatible store.")
        .args(&[one("endpoint", Type::Url)])
        .props(&[
            needs("bucket", Type::Text, "the bucket"),
            prop("prefix", Type::Text, "the prefix inside the bucket"),
            prop("region", Type::Text, "the region"),
        ]),
    say("credentials", "Where a bucket's credentials come from; never the credentials themselves.")
        .props(&[
            needs("env", Type::Name, "the prefix of the environment variables that hold them"),
            prop("on", Type::Refers(Kind::Node), "the node where scheduled jobs find them, encrypted"),
        ]),
    say("object-lock", "How long nobody can delete what was written to the bucket.").args(LENGTH_ARG),
    OWNER,
    say("reserve", "Free space it must leave on its filesystem.")
        .args(&[one("amount", Type::Amount)]),
    say("keep", "Which snapshots of each source `prune` keeps; each rule skips what the one before covered.").props(&[
        prop("last", Type::Number(0, COUNT_MAX), "the newest"),
        prop("hourly", Type::Number(0, COUNT_MAX), "one for each of so many hours"),
        prop("daily", Type::Number(0, COUNT_MAX), "one for each of so many days"),
        prop("weekly", Type::Number(0, COUNT_MAX), "one for each of so many weeks"),
        prop("monthly", Type::Number(0, COUNT_MAX), "one for each of so many months"),
        prop("yearly", Type::Number(0, COUNT_MAX), "one for each of so many years"),
    ]),
    say("verify", "How old the last look at any stored byte may get.")
        .props(&[needs("every", Type::Period, "the age at which it is looked at again")]),
    say("key", "The reading key, where several are declared.")
        .args(&[one("key", Type::Refers(Kind::Key))]),
    DOMAIN,
    say("guard", "It may not be destroyed, also once its declaration is gone; taking this away again wants an explicit yes."),
    say("pbs", "It is Proxmox Backup Server's: counted and read, never written."),
];

const KEY: &[Statement] = &[
    say(
        "file",
        "Where it is, relative to this file; ~ is your home.",
    )
    .args(PATH_ARG)
    .required(),
    say(
        "create",
        "`apply` may make it where it is missing. For demonstrations: a key that nobody wrote down can be lost.",
    ),
];

const SOURCE: &[Statement] = &[
    say("path", "File trees.")
        .args(&[some("path", Type::Path)])
        .many(),
    say(
        "exclude",
        "What is left out, in the patterns of .gitignore.",
    )
    .args(&[some("pattern", Type::Text)])
    .many(),
    say(
        "one-file-system",
        "Other filesystems mounted below are left out.",
    ),
    say("volume", "A block volume.")
        .args(&[one("device", Type::Path)])
        .props(&[prop(
            "via",
            Type::OneOf(&["lvm-thin", "zfs", "qcow2", "raw"]),
            "how a consistent view is made",
        )]),
    say(
        "command",
        "What a program prints; a program and its arguments, never a shell line.",
    )
    .args(&[some("word", Type::Text)])
    .props(&[
        prop(
            "as",
            Type::Text,
            "the user it runs as, with that user's own group only",
        ),
        prop(
            "timeout",
            Type::Period,
            "how long it may run; one that takes longer is ended and has failed",
        ),
    ]),
    say("name", "The file name that a command's output gets.").args(&[one("name", Type::Name)]),
    say(
        "guest",
        "A guest of Proxmox VE with its disks and configuration.",
    )
    .args(&[one("number", Type::Number(1, 999_999_999))]),
];

const GUESTS: &[Statement] = &[
    say("all", "Every guest found there."),
    say("only", "Guests by number.").args(GUEST_ARGS).many(),
    say("except", "Guests that are left out.")
        .args(GUEST_ARGS)
        .many(),
];

const JOB_SOURCES: Statement = say("source", "Sources, or groups of guests.")
    .args(&[some("source", Type::Refers(Kind::Source))])
    .required()
    .many();
const FROM: Statement = say("from", "The datastore that is read.")
    .args(DATASTORE_ARG)
    .required();
const TO: Statement = say("to", "The datastore that is written.")
    .args(DATASTORE_ARG)
    .required();

const PHASE: &[Statement] = &[
    say("backup", "Copies sources into datastores.")
        .args(NAME_ARG_JOB)
        .block(&[
            JOB_SOURCES,
            say("to", "The datastores, each written directly.")
                .args(&[some("datastore", Type::Refers(Kind::Datastore))])
                .required()
                .many(),
            AT,
        ])
        .many(),
    say("sync", "Copies snapshots from one datastore to another.")
        .args(NAME_ARG_JOB)
        .block(&[FROM, TO, AT])
        .many(),
    say("cloud", "Copies snapshots from a datastore to a bucket.")
        .args(NAME_ARG_JOB)
        .block(&[FROM, TO, AT])
        .many(),
    say(
        "drill",
        "Restores to a scratch place, compares with the source, removes.",
    )
    .args(NAME_ARG_JOB)
    .block(&[
        JOB_SOURCES,
        say("from", "The datastore that is proven.")
            .args(DATASTORE_ARG)
            .required(),
        say("on", "The node that restores; left out, where bkpctl runs.")
            .args(&[one("node", Type::Refers(Kind::Node))]),
        say("every", "How old a proof may get.").args(LENGTH_ARG),
        AT,
        say("command", "A program that judges the restored files.")
            .args(&[some("word", Type::Text)]),
    ])
    .many(),
];

/// The rules of a policy, which waivers name: those it states, and those that always count.
pub(crate) const RULES: &[&str] = &[
    "copies",
    "media",
    "offsite",
    "beyond-reach",
    "rpo",
    "drill-within",
    "covered",
    "restore",
    "encryption",
    "immutability",
    "retention",
    "capacity",
    "users",
];

const POLICY: &[Statement] = &[
    say("copies", "How many datastores hold each source.").args(COUNT_ARG),
    say("media", "How many distinct media hold each source.").args(COUNT_ARG),
    say("offsite", "How many copies are at another site.").args(COUNT_ARG),
    say(
        "beyond-reach",
        "How many copies no credential of ours can delete.",
    )
    .args(COUNT_ARG),
    say("rpo", "How old the newest copy may get.").args(LENGTH_ARG),
    say("drill-within", "How old the newest proof may get.").args(LENGTH_ARG),
    say(
        "covered",
        "Every guest and every ZFS dataset found is a source or excepted.",
    )
    .block(&[say(
        "except",
        "Datasets that need no copy; NAME/* takes all below along. Guests are excepted in `guests`.",
    )
    .args(&[some("dataset", Type::Text)])
    .props(&[prop(
        "on",
        Type::Refers(Kind::Node),
        "the node they are on; left out, any",
    )])
    .many()]),
    say("waive", "Sets a rule aside for a while; always shown.")
        .args(&[one("rule", Type::OneOf(RULES))])
        .props(&[
            needs("until", Type::Day, "the first day on which it holds again"),
            needs("reason", Type::Text, "why"),
        ])
        .many(),
];

/// The whole language: what a topology may say at its top.
pub(crate) static TOPOLOGY: Statement = say("", "A topology.").block(&[
    say("topology", "The name people know the topology by, and its identity: chosen once, never changed, carried by snapshots and markers.")
        .args(&[one("name", Type::Name)])
        .props(&[needs("id", Type::Id, "4 to 64 letters and digits")]),
    say("include", "Reads further files, relative to this one and inside the topology's folder; * stands for anything in the last part.")
        .args(&[some("files", Type::Include)])
        .many(),
    say("service-user", "Who writes, by number.")
        .args(NAME_ARG_USER)
        .props(&[
            needs("uid", Type::Number(0, ID_MAX), "the user id"),
            needs("gid", Type::Number(0, ID_MAX), "the group id"),
        ])
        .many(),
    say("node", "A machine or container that is reached.").args(NAME_ARG_NODE).block(NODE).many(),
    say("template", "What several nodes have in common; nodes take it over with `use`.")
        .args(&[one("name", Type::Declares(Kind::Template))])
        .block(TEMPLATE)
        .many(),
    say("share", "An NFS export. Its clients follow from the datastores that mount it.")
        .args(&[one("name", Type::Declares(Kind::Share))])
        .props(&[needs("on", Type::Refers(Kind::Node), "the node that exports it")])
        .block(SHARE)
        .many(),
    say("datastore", "What keeps snapshots: a directory served from a node, or a bucket.")
        .args(&[one("name", Type::Declares(Kind::Datastore))])
        .block(DATASTORE)
        .many(),
    say("key", "Where a reading key is. One declared key is the default for all datastores.")
        .args(&[one("name", Type::Declares(Kind::Key))])
        .block(KEY)
        .many(),
    say("source", "What is protected: file trees, a block volume, a command's output or a guest.")
        .args(&[one("name", Type::Declares(Kind::Source))])
        .props(&[needs("on", Type::Refers(Kind::Node), "the node it is on")])
        .block(SOURCE)
        .many(),
    say("guests", "Guests of Proxmox VE, each a source of its own that is followed when it migrates.")
        .args(&[one("name", Type::Declares(Kind::Source)), any("node", Type::Refers(Kind::Node))])
        .props(&[needs("on", Type::Refers(Kind::Node), "the first node they run on; more may follow")])
        .block(GUESTS)
        .many(),
    say("phase", "An ordered group of jobs with a gate at its end: the next phase opens when this one is complete.")
        .args(&[one("name", Type::Declares(Kind::Phase))])
        .props(&[prop("after", Type::Refers(Kind::Phase), "the phase that must be complete first")])
        .block(PHASE)
        .many(),
    say("policy", "Rules the system must satisfy.").block(POLICY),
    say("removed", "Something that was declared once and is gone on purpose.")
        .args(&[one("address", Type::Address)])
        .block(&[say("destroy", "What it left behind may be destroyed, behind a gate.")])
        .many(),
    say("moved", "A rename, so that nothing is taken for new.")
        .props(&[
            needs("from", Type::Address, "the old address"),
            needs("to", Type::Address, "the new address"),
        ])
        .many(),
]);
