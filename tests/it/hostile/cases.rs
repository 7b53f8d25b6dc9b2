//! Topologies that somebody wrote to do harm: a table of texts and of the places they stand at,
//! and those that are made of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::sandbox::Sandbox;

/// What must be seen nowhere; files outside, the environment and texts hold it.
pub(super) const CANARY: &str = "Canary7Zq9XwPlover3Kd5";
/// What programs that a topology brings to run would make.
pub(super) const OWNED: &str = "owned-by-a-topology";

/// A topology with each kind of statement, which is valid.
pub(super) const BASE: &str = r#"topology "one" id="hostile001"
service-user "backup" uid=34 gid=34
template "common" { domain power="grid" }
node "here" { local; domain site="home"; scratch "/var/tmp"; reserve "/srv" "10%" }
node "nas" {
    ssh "root@127.0.0.1" port=1 { host-key "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0b6iQ2vVf1yG4H1zqv0p5E3kJ8wX6m0c9r7s2t4u5v"; identity-file "login" }
    use "common"
    agent path="/var/lib/bkpctl"
}
node "inner" { ssh "127.0.0.2" port=1 { jump "nas" } }
key "lab" { file "lab.key"; create }
share "files" on="nas" { export "/srv/files"; owner "backup" mode="0755"; clients "10.0.0.0/8" }
datastore "first" { place "here" path="/srv/first"; owner "backup" mode="0750"; keep daily=7; reserve "10GiB" }
datastore "bucket" { s3 "https://s3.example.net" bucket="copies"; credentials env="AWS" }
source "data" on="here" { path "/srv/data"; exclude "*.cache" }
source "dump" on="nas" { command "/usr/bin/dump" "--all"; name "out.sql" }
phase "baseline" {
    backup "nightly" { source "data" "dump"; to "first"; at "02:00" }
    drill "proof" { source "data"; from "first"; on "here"; every "7d" }
}
policy { copies 1; rpo "26h"; covered { except "boot/*" on="nas" }; waive "retention" until="2027-01-01" reason="small" }
"#;

/// The places of texts: what stands in [`BASE`], and the same with `@` for the hostile text.
const PLACES: &[(&str, &str)] = &[
    (r#"topology "one""#, "topology @"),
    (r#"id="hostile001""#, "id=@"),
    (r#"service-user "backup""#, "service-user @"),
    (r#"template "common""#, "template @"),
    (r#"node "here""#, "node @"),
    (r#"site="home""#, "site=@"),
    (r#"site="home""#, r#"@="home""#),
    (r#"scratch "/var/tmp""#, "scratch @"),
    (r#"reserve "/srv" "10%""#, r#"reserve @ "10%""#),
    (r#"reserve "/srv" "10%""#, r#"reserve "/srv" @"#),
    (r#"ssh "root@127.0.0.1""#, "ssh @"),
    ("port=1 { host", "port=@ { host"),
    (r#"host-key "ssh"#, r#"host-key @ "ssh"#),
    (r#"identity-file "login""#, "identity-file @"),
    (r#"path="/var/lib/bkpctl""#, "path=@"),
    (r#"jump "nas""#, "jump @"),
    (r#"file "lab.key""#, "file @"),
    (r#"export "/srv/files""#, "export @"),
    (r#"mode="0755""#, "mode=@"),
    (r#"clients "10.0.0.0/8""#, "clients @"),
    (r#"path="/srv/first""#, "path=@"),
    (r#"place "here""#, "place @"),
    ("daily=7", "daily=@"),
    (r#"reserve "10GiB""#, "reserve @"),
    (r#"s3 "https://s3.example.net""#, "s3 @"),
    (r#"bucket="copies""#, "bucket=@"),
    (r#"env="AWS""#, "env=@"),
    (r#"source "data" on"#, "source @ on"),
    (r#"path "/srv/data""#, "path @"),
    (r#"exclude "*.cache""#, "exclude @"),
    (r#"command "/usr/bin/dump""#, "command @"),
    (r#""--all""#, "@"),
    (r#"name "out.sql""#, "name @"),
    (r#"phase "baseline""#, "phase @"),
    (r#"backup "nightly""#, "backup @"),
    (r#"at "02:00""#, "at @"),
    (r#"every "7d""#, "every @"),
    (r#"rpo "26h""#, "rpo @"),
    (r#"except "boot/*""#, "except @"),
    (r#"until="2027-01-01""#, "until=@"),
    (r#"reason="small""#, "reason=@"),
    ("policy {", "policy { @ 1;"),
    ("policy {", "policy {   /-waive @;"),
    ("policy {", "include @\npolicy   {"),
    ("policy {", "removed @\npolicy   {"),
    ("policy {", "@ { x }\npolicy   {"),
    ("policy {", "broken @ {{\npolicy   {"),
    ("policy {", "// @\npolicy   {"),
    ("policy {", "/* @ */ policy   {"),
];

/// A topology with its files.
pub(super) struct Case {
    /// What of it is hostile.
    pub(super) family: &'static str,
    /// Which of the family it is.
    pub(super) name: String,
    /// Its files, the first of which is the root.
    pub(super) files: Vec<(String, String)>,
    /// Makes what is no plain file.
    pub(super) prepare: fn(&Sandbox),
}

impl Case {
    fn new(family: &'static str, name: impl Into<String>, root: impl Into<String>) -> Self {
        Self {
            family,
            name: name.into(),
            files: vec![("topology.kdl".to_owned(), root.into())],
            prepare: |_| {},
        }
    }

    fn file(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    fn prepare(self, prepare: fn(&Sandbox)) -> Self {
        Self { prepare, ..self }
    }
}

/// The texts, by what they try.
fn texts() -> Vec<(&'static str, Vec<String>)> {
    let all = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.replace("OWNED", OWNED))
            .collect()
    };
    let secret = |text: &str| text.replace("SECRET", CANARY);
    vec![
        (
            "shell",
            all(&[
                "$(touch OWNED)",
                "`touch OWNED`",
                "x; touch OWNED;",
                "x | touch OWNED",
                "'; touch OWNED; '",
                "\"; touch OWNED; \"",
                "x\ntouch OWNED\n",
                "x && touch OWNED #",
            ]),
        ),
        (
            "option",
            all(&[
                "-oProxyCommand=touch OWNED",
                "root@-oProxyCommand=touch OWNED",
                "--upload-pack=touch OWNED",
                "--output=OWNED",
                "-F OWNED",
            ]),
        ),
        (
            "traversal",
            all(&[
                "../../../../../../../../etc/passwd",
                "../outside/secret.kdl",
                "/proc/self/environ",
                "/dev/zero",
                "~root/.ssh/id_ed25519",
                "a/../../outside/*",
                "file:///etc/passwd",
                "https://127.0.0.1:1/topology.kdl",
                "//127.0.0.1/share/x",
                "..\\..\\outside",
            ]),
        ),
        (
            "terminal",
            all(&[
                "\u{1b}]52;c;b3duZWQ=\u{7}",
                "\u{1b}[2J\u{1b}[1;1H",
                "\u{1b}]0;title\u{7}",
                "\u{9b}31m",
                "\u{9d}52;c;b3duZWQ=\u{9c}",
                "safe\u{202e}lrig\u{2066}",
                "nul\u{0}byte",
                "\r\u{8}\u{8}\u{8}over",
                "\u{1b}Pq#0\u{1b}\\",
                "\u{200b}\u{feff}\u{2028}",
            ]),
        ),
        (
            "interpolation",
            all(&[
                "${BKPCTL_PASSPHRASE}",
                "$BKPCTL_PASSPHRASE",
                "{{ env.BKPCTL_PASSPHRASE }}",
                "${{ secrets.BKPCTL_PASSPHRASE }}",
                "%(BKPCTL_PASSPHRASE)s",
                "%n%n%s%d",
                "#{ENV['BKPCTL_PASSPHRASE']}",
                "{0} {}",
            ]),
        ),
        (
            "markup",
            all(&[
                "</text></svg><script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                "[x](javascript:alert(1))",
                "]] --> <!-- bkpctl plan other -->",
                "\"];click A call alert()",
                "| a | b |\n@everyone #1",
            ]),
        ),
        (
            "size",
            vec![
                "a".repeat(5_000),
                "9".repeat(400),
                "-1".to_owned(),
                "99999999999999999999999999 TiB".to_owned(),
                "1e999".to_owned(),
                "*-*-* 00/1:00/1:00/1".to_owned(),
                "*".repeat(200),
                "\u{65}\u{301}".repeat(1_500),
                String::new(),
            ],
        ),
        (
            "secret",
            vec![
                secret("ghp_SECRET"),
                secret("glpat-SECRET"),
                secret("postgres://app:SECRET@db/app"),
                secret("--password=SECRET"),
                secret("x,username=a,password=SECRET"),
                secret("MYSQL_PASSWORD=SECRET"),
                format!("AGE-SECRET-KEY-1{CANARY}"),
                secret("use hvs.SECRET for it"),
                secret(
                    "-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET\n-----END OPENSSH PRIVATE KEY-----",
                ),
            ],
        ),
    ]
}

/// Returns a text as KDL has it between quotes; what may not stand there is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() || "\u{202e}\u{2066}\u{feff}\u{2028}".contains(c) => {
                let escape = format!("\\u{{{:x}}}", c as u32);
                quoted.push_str(&escape);
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Returns every place with texts of every family, so that each text stands at many places.
fn placed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, texts) in texts() {
        for (number, (here, there)) in PLACES.iter().enumerate() {
            let text = &texts[number % texts.len()];
            assert!(BASE.contains(here), "{here} is not in the topology");
            let text = if there.contains("/* @") || there.contains("// @") {
                // As it is: an escape means nothing in a comment.
                text.replace("*/", "* /").replace('\n', "\n// ")
            } else {
                quoted(text)
            };
            let root = BASE.replacen(here, &there.replace('@', &text), 1);
            let name = format!("{number} {}", there.lines().next().unwrap_or_default());
            cases.push(Case::new(family, name, root));
            if family == "terminal" && number % 6 == 0 {
                let raw = there.replace('@', &format!("\"{}\"", &texts[number / 6 % texts.len()]));
                let root = BASE.replacen(here, &raw, 1);
                cases.push(Case::new(family, format!("{number} raw"), root));
            }
        }
    }
    cases
}

/// Returns topologies whose includes lead astray.
fn includes() -> Vec<Case> {
    let including = |path: &str| format!("{BASE}include {}\n", quoted(path));
    let case = |name: &str, path: &str| Case::new("include", name, including(path));
    let mut cases = vec![
        case("itself", "topology.kdl"),
        case("itself by another way", "./x/../topology.kdl"),
        case("a circle of two", "a.kdl").file("a.kdl", "include \"topology.kdl\"\n"),
        case("a circle of stars", "*.kdl").file("a.kdl", "include \"*.kdl\"\n"),
        case("everything", "*"),
        case("a folder", "folder").file("folder/a.kdl", ""),
        case("a link out", "link.kdl")
            .prepare(|s| link("../outside/secret.kdl", &s.join("ours/link.kdl"))),
        case("a linked folder out", "up/*").prepare(|s| link("../outside", &s.join("ours/up"))),
        case("a link to an absolute path", "link.kdl")
            .prepare(|s| link("/etc/passwd", &s.join("ours/link.kdl"))),
        case("a link to itself", "link.kdl")
            .prepare(|s| link("link.kdl", &s.join("ours/link.kdl"))),
        case("a link to zeros", "link.kdl")
            .prepare(|s| link("/dev/zero", &s.join("ours/link.kdl"))),
        case("the environment by a link", "link.kdl")
            .prepare(|s| link("/proc/self/environ", &s.join("ours/link.kdl"))),
        case("a pipe", "pipe.kdl").prepare(|s| {
            let made = Command::new("mkfifo").arg(s.join("ours/pipe.kdl")).status();
            assert!(made.expect("mkfifo runs").success());
        }),
        case("a socket", "socket.kdl").prepare(|s| {
            std::os::unix::net::UnixListener::bind(s.join("ours/socket.kdl")).expect("a socket");
        }),
        case("what is no text", "binary.kdl")
            .prepare(|s| drop(s.write("ours/binary.kdl", [0xff, 0xfe, 0, 1]))),
        case("what is too large", "large.kdl")
            .prepare(|s| drop(s.write("ours/large.kdl", vec![b' '; 3 << 20]))),
        case("many stars", &"*a".repeat(40)).file("a".repeat(200), ""),
        case("names that drive a terminal", "evil/*")
            .file("evil/\u{1b}]0;x\u{7}.kdl", "nonsense 1\n")
            .file("evil/\u{202e}ldk", "nonsense 2\n"),
    ];
    for (number, path) in [
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/stdin",
        "~/.ssh/id_ed25519",
        "../outside/secret.kdl",
        "../outside/*",
        "a/../../outside/secret.kdl",
        "https://127.0.0.1:1/a.kdl",
        "ssh://127.0.0.1/a.kdl",
        "|touch owned-by-a-topology",
        "a.kdl\0.png",
    ]
    .into_iter()
    .enumerate()
    {
        cases.push(case(&format!("path {number}"), path));
    }
    let mut deep = case("a long chain", "c0.kdl");
    let mut wide = case("many files", "w/*");
    for n in 0..300 {
        deep = deep.file(format!("c{n}.kdl"), format!("include \"c{}.kdl\"\n", n + 1));
        wide = wide.file(format!("w/{n}.kdl"), "include \"../topology.kdl\"\n");
    }
    cases.extend([deep, wide]);
    cases
}

fn link(to: &str, from: &std::path::Path) {
    symlink(to, from).expect("a link");
}

/// Returns the lines that something says for each of so many numbers.
fn repeated(n: usize, line: impl Fn(usize) -> String) -> String {
    (0..n).map(line).collect()
}

/// Returns topologies that are too much of something.
fn counts() -> Vec<Case> {
    let many = |n: usize, line: &dyn Fn(usize) -> String| -> String {
        BASE.to_owned() + &repeated(n, line)
    };
    let case = |name: &str, root: String| Case::new("count", name, root);
    let nested = |open: &str, close: &str, n: usize| {
        format!("{BASE}{}{}\n", open.repeat(n), close.repeat(n))
    };
    vec![
        case(
            "nodes",
            many(20_000, &|n| format!("node \"n{n}\" {{ local }}\n")),
        ),
        case(
            "same names",
            many(9_000, &|_| "node \"here\" { local }\n".to_owned()),
        ),
        case("mistakes", many(30_000, &|n| format!("mistake{n}\n"))),
        case(
            "words nobody knows",
            many(30_000, &|_| "polcy\n".to_owned()),
        ),
        case("open braces", many(1, &|_| "a {".repeat(200_000))),
        case("closing braces", many(1, &|_| "}".repeat(200_000))),
        case("nested blocks", nested("a { ", "} ", 60_000)),
        case("nested comments", nested("/* ", "*/ ", 60_000)),
        case("left out and left out", many(1, &|_| "/- ".repeat(200_000))),
        case("types", many(1, &|_| "(a)".repeat(100_000))),
        case("quotes", many(1, &|_| "\"".repeat(300_001))),
        case("hashes", many(1, &|_| "#".repeat(300_000))),
        case("backslashes", many(1, &|_| "\\".repeat(300_000))),
        case("escaped line ends", many(1, &|_| "\\\n".repeat(200_000))),
        case(
            "secrets",
            many(20_000, &|n| format!("x \"ghp_{CANARY}{n}\"\n")),
        ),
        case(
            "keys never closed",
            many(20_000, &|_| {
                format!("// -----BEGIN RSA PRIVATE KEY-----\n// {CANARY}\n")
            }),
        ),
        case(
            "one long line",
            many(1, &|_| format!("x{}\n", " y".repeat(59_000))),
        ),
        case(
            "properties",
            many(1, &|_| {
                let all: String = repeated(20_000, |n| format!(" p{n}=1"));
                format!("node \"x\"{all} {{ local }}\n")
            }),
        ),
        case(
            "domains",
            many(1, &|_| {
                let all: String = repeated(20_000, |n| format!(" p{n}=\"x\""));
                format!("node \"x\" {{ local; domain{all} }}\n")
            }),
        ),
        case(
            "jumps in a circle",
            many(1, &|_| {
                "node \"a\" { ssh \"h\" { jump \"b\" } }\nnode \"b\" { ssh \"h\" { jump \"a\" } }\n"
                    .to_owned()
            }),
        ),
        case(
            "a long chain of jumps",
            many(400, &|n| {
                format!("node \"j{n}\" {{ ssh \"h\" {{ jump \"j{}\" }} }}\n", n + 1)
            }),
        ),
        case(
            "containers in a circle",
            many(1, &|_| {
                "node \"a\" { ssh \"h\"; container 1 on=\"b\" }\nnode \"b\" { ssh \"h\"; container 1 on=\"a\" }\n".to_owned()
            }),
        ),
        case(
            "templates of templates",
            many(2_000, &|n| {
                format!("template \"t{n}\" {{ use \"t{}\"; use \"t{n}\" }}\n", n + 1)
            }),
        ),
        case(
            "syncs in a circle",
            many(1, &|_| {
                "phase \"p\" { sync \"s\" { from \"first\"; to \"first\" } }\n".to_owned()
            }),
        ),
        case(
            "phases after each other",
            many(1, &|_| {
                "phase \"p\" after=\"q\" { }\nphase \"q\" after=\"p\" { }\n".to_owned()
            }),
        ),
        case("jobs of everything", {
            let all: String = repeated(1_500, |n| format!(" \"s{n}\""));
            many(1_500, &|n| {
                format!("source \"s{n}\" on=\"here\" {{ path \"/s{n}\" }}\n")
            }) + &format!(
                "phase \"p\" {{ backup \"b\" {{ source{all}; to \"first\"; at \"*:*:*\" }} }}\n"
            )
        }),
        case(
            "huge numbers",
            BASE.replace("daily=7", &format!("daily={}", "9".repeat(39))),
        ),
        case(
            "numbers that are too long",
            BASE.replace("uid=34", &format!("uid={}", "1".repeat(9_000))),
        ),
        case(
            "hexadecimal",
            BASE.replace("uid=34", "uid=0xffffffffffffffffffffffffffffffff"),
        ),
        case("not a number", BASE.replace("uid=34", "uid=#nan")),
        case("infinity", BASE.replace("uid=34", "uid=#inf")),
        case("nobody", BASE.replace("uid=34", "uid=4294967295")),
        case("root", BASE.replace("uid=34 gid=34", "uid=0 gid=0")),
        case("nothing", String::new()),
        case("a mark of byte order", format!("\u{feff}\u{feff}{BASE}")),
        case(
            "another language",
            "---\n- !!python/object/apply:os.system [touch owned]\n".to_owned(),
        ),
    ]
}

/// Returns secrets at places that are no values.
fn hidden_secrets() -> Vec<Case> {
    let key = |prefix: &str| {
        format!(
            "{prefix}-----BEGIN OPENSSH PRIVATE KEY-----\n{prefix}{CANARY}\n{prefix}-----END OPENSSH PRIVATE KEY-----\n"
        )
    };
    [
        ("a comment", format!("// old: AKIA{}\n", CANARY.to_uppercase())),
        ("a comment with a key", key("// ")),
        ("a comment in the middle", format!("node /* ghp_{CANARY} */ \"x\"   {{ local }}\n")),
        ("a setting in a comment", format!("// PGPASSWORD={CANARY} pg_dump\n")),
        ("what is left out", format!("/-credentials   \"ghp_{CANARY}\"\n")),
        ("a password that is left out", format!("/- password   \"{CANARY} and more\"\n")),
        ("a property", format!("node   \"x\" password=\"{CANARY} and more\" {{ local }}\n")),
        ("a statement", format!("node \"x\" {{   local; password \"{CANARY} and more\" }}\n")),
        ("a login", format!("node \"x\" {{   ssh \"root:{CANARY}@nas\" }}\n")),
        ("a name", format!("node   \"ghp_{CANARY}\" {{ local }}\nnode \"y\" {{ local; dedup-with \"ghp_{CANARY}x\" }}\n")),
        ("what nearly has that name", format!("key \"k\"   {{ file \"x\" }}\nsource \"z\" on=\"ghq_{}\" {{ path \"/\" }}\nnode \"ghp_{CANARY}\" {{ local }}\n", &CANARY[..20])),
        ("a broken line", format!("source \"x\"   token=\"{CANARY}\" {{{{\n")),
        ("a text that is not closed", format!("source   \"ghp_{CANARY}\n")),
        ("a type", format!("(\"ghp_{CANARY}\")node   \"x\" {{ local }}\n")),
        ("a word", format!("ghp_{CANARY}   \"x\"\n")),
        ("a raw text", format!("source   #\"--token={CANARY}\"#\n")),
        ("lines", format!("source   \"\"\"\n  {}\n  \"\"\"\n", key("").trim_end().replace('\n', "\n  "))),
    ]
    .into_iter()
    .map(|(name, more)| Case::new("hidden secret", name, BASE.to_owned() + &more))
    .collect()
}

/// Returns every case.
pub(super) fn all() -> Vec<Case> {
    let groups = [placed(), includes(), counts(), hidden_secrets()];
    groups.into_iter().flatten().collect()
}

/// Puts the files of a case into a folder that is empty.
pub(super) fn lay_out(sandbox: &Sandbox, case: &Case) {
    let ours = sandbox.join("ours");
    for entry in fs::read_dir(&ours).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                fs::remove_dir_all(entry.path()).expect("it goes");
            }
        } else {
            fs::remove_file(entry.path()).expect("it goes");
        }
    }
    for (path, text) in &case.files {
        sandbox.write(&format!("ours/{path}"), text);
    }
    (case.prepare)(sandbox);
}
