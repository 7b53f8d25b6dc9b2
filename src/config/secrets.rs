//! Texts that look like secrets: a topology lies in git, where a secret is one no longer.

use std::ops::Range;

use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Node, Span};
use super::files::SourceFile;

/// How the secrets of well-known services begin, and what they are.
const PREFIXES: [(&str, &str); 9] = [
    ("AGE-SECRET-KEY-1", "a key of age"),
    ("AKIA", "an access key of AWS"),
    ("ASIA", "an access key of AWS"),
    ("ghp_", "a token of GitHub"),
    ("github_pat_", "a token of GitHub"),
    ("glpat-", "a token of GitLab"),
    ("hvs.", "a token of Vault"),
    ("sk_live_", "a key of Stripe"),
    ("xoxb-", "a token of Slack"),
];
/// How the first line of a key in a text begins.
const BEGIN: &str = "-----BEGIN";
/// The shortest text after such a beginning that is taken for the rest of it.
const REST_MIN: usize = 16;
/// The length of an AWS secret key.
const AWS_LEN: usize = 40;
/// Names of settings whose values are secrets.
const SETTINGS: [&str; 6] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "pass",
];

/// Where a text has a secret, and what it looks like.
type Found = (Range<usize>, &'static str);

/// Reports every text that looks like a secret; the mistakes do not repeat it.
///
/// Files are looked through as they are written, since comments, what is left out and what can't be
/// read lie in git as well; a value with escapes also counts as what it means.
pub(crate) fn find(nodes: &[Node], files: &[SourceFile]) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        for (range, what) in look(&file.text) {
            let span = Span {
                file: number as u32,
                start: range.start as u32,
                len: range.len() as u32,
            };
            found.push(mistake(span, what));
        }
    }
    let written = found.len();
    find_values(nodes, files, written, &mut found);
    found
}

/// Looks at values: one that holds a secret is one as a whole.
///
/// The first so many mistakes are those of what is written, in order.
fn find_values(nodes: &[Node], files: &[SourceFile], written: usize, found: &mut Vec<Mistake>) {
    for node in nodes {
        for entry in &node.entries {
            let Some(text) = entry.text() else { continue };
            let span = entry.span;
            let end = span.start + span.len;
            let after = found[..written]
                .partition_point(|m| (m.span.file, m.span.start) < (span.file, end));
            let last = after.checked_sub(1).map(|last| &mut found[last]);
            if let Some(last) = last.filter(|last| last.span.overlaps(span)) {
                if last.span.start >= span.start && last.span.start + last.span.len <= end {
                    last.span = span;
                }
                continue;
            }
            let file = files[span.file as usize].text.as_str();
            let is_escaped = file
                .get(span.start as usize..end as usize)
                .is_some_and(|written| written.contains('\\'));
            if is_escaped && let Some((_, what)) = look(text).pop() {
                found.push(mistake(span, what));
            }
        }
        find_values(node.children(), files, written, found);
    }
}

/// Returns a text for people to see, with stars where something looks like a secret.
pub fn masked(text: &str) -> String {
    let mut shown = text.to_owned();
    for (range, _) in look(text) {
        mask(&mut shown, range);
    }
    shown
}

/// Puts stars over a range: as many bytes, and the same lines, so that places stay where they are.
pub(super) fn mask(text: &mut String, range: Range<usize>) {
    let Some(secret) = text.get(range.clone()) else {
        return;
    };
    let star = |byte: u8| if byte == b'\n' { '\n' } else { '*' };
    let stars: String = secret.bytes().map(star).collect();
    text.replace_range(range, &stars);
}

fn mistake(span: Span, what: &str) -> Mistake {
    Mistake::new(
        Code::InlineSecret,
        span,
        format!("a topology holds no secrets, and this looks like {what}"),
    )
    .label("not shown")
    .help("name it instead: `credentials env=\"AWS\"`, a file, or a variable; and replace it where it came from, if it was committed")
}

/// Returns everything in a text that looks like a secret, in order.
fn look(text: &str) -> Vec<Found> {
    let is_break = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '?');
    // Almost no text has any of these, and then no word has.
    let has_keys = text.contains(BEGIN);
    let has_addresses = text.contains("://");
    let prefixes: Vec<_> = PREFIXES
        .into_iter()
        .filter(|(prefix, _)| text.contains(prefix))
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(|c| !is_break(c)) {
        at += begin;
        let rest = &text[at..];
        let word = &rest[..rest.find(is_break).unwrap_or(rest.len())];
        let key = has_keys.then(|| private_key(rest, word)).flatten();
        let secret = key
            .or_else(|| setting(&text[..at], rest, word))
            .or_else(|| in_word(word, &prefixes, has_addresses));
        match secret {
            Some((range, what)) => {
                found.push((at + range.start..at + range.end, what));
                at += range.end;
            }
            None => at += word.len(),
        }
    }
    found
}

/// Finds a private key, from its first line to its last.
fn private_key(rest: &str, word: &str) -> Option<Found> {
    const TITLE: &[u8] = b"PRIVATE KEY-----";
    const TITLE_LEN_MAX: usize = 64;
    let begin = word.find(BEGIN)?;
    let title = rest.as_bytes()[begin..].iter().take(TITLE_LEN_MAX);
    let title: Vec<u8> = title.copied().collect();
    title.windows(TITLE.len()).find(|part| *part == TITLE)?;
    // One without its end goes as far as the text that it stands in.
    let quote = rest[begin..].find('"').map(|quote| begin + quote);
    let rest = &rest[..quote.unwrap_or(rest.len())];
    let end = rest.find("-----END").map(|end| end + "-----END".len());
    let end = end.and_then(|end| rest[end..].find("-----").map(|more| end + more + 5));
    Some((begin..end.unwrap_or(rest.len()), "a private key"))
}

/// Finds `password=…`, `--token="…"`, the statement `password "…"`, and a login's password in
/// `ssh "…"`, unless the value is a reference.
fn setting(before: &str, rest: &str, word: &str) -> Option<Found> {
    let is_lead = |c: char| matches!(c, '"' | '\'' | '#' | '`' | '(' | '{' | '/');
    let lead = word.len() - word.trim_start_matches(is_lead).len();
    let word = &word[lead..];
    for (at, _) in word.match_indices('=') {
        let name = word[..at]
            .rsplit(['=', '"', '\'', ':'])
            .next()
            .unwrap_or_default();
        if is_setting(name)
            && let Some(value) = secret_value(rest, lead + at + 1)
        {
            return Some((lead + at - name.len()..value.end, "a password"));
        }
    }
    let begin = lead + word.len();
    let space = rest[begin..].len() - rest[begin..].trim_start_matches([' ', '\t']).len();
    let begin = begin + space;
    if space == 0 || !rest[begin..].trim_start_matches('#').starts_with('"') {
        return None;
    }
    // In the middle of a sentence the word is only a word.
    let before = before.trim_end_matches([' ', '\t']);
    let begins = before.is_empty() || before.ends_with(['\n', '/', '-', '*', '{', ';']);
    let is_login = word == "ssh";
    if !is_login && !(is_setting(word) && (begins || lead > 0)) {
        return None;
    }
    let value = secret_value(rest, begin)?;
    let is_secret = !is_login || has_password(&format!("ssh://{}", &rest[value.clone()]));
    is_secret.then_some((value, "a password"))
}

/// Returns the range of the value that begins somewhere, without its quotes; none of a reference.
fn secret_value(rest: &str, begin: usize) -> Option<Range<usize>> {
    let inner = begin + rest[begin..].len() - rest[begin..].trim_start_matches('#').len();
    let quote = rest[inner..].chars().next().filter(|c| "\"'`".contains(*c));
    let begin = quote.map_or(begin, |quote| inner + quote.len_utf8());
    // The beginning says it already, and only then it is worth going to the end.
    if !is_value(&rest[begin..]) {
        return None;
    }
    let mut escaped = false;
    let is_end = |c: char| match quote {
        Some(quote) => {
            let ends = c == '\n' || (c == quote && !escaped);
            escaped = c == '\\' && !escaped;
            ends
        }
        None => c.is_whitespace() || "\"'`,;&?)}".contains(c),
    };
    let len = rest[begin..].find(is_end).unwrap_or(rest.len() - begin);
    (len > 0).then_some(begin..begin + len)
}

/// Finds what is a secret wherever it stands.
fn in_word(word: &str, prefixes: &[(&str, &'static str)], has_addresses: bool) -> Option<Found> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    for (prefix, what) in prefixes {
        for (at, _) in word.match_indices(prefix) {
            // Inside a longer word or a path it is a part of a name.
            let inside = word[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c));
            let rest = word[at + prefix.len()..].bytes();
            let len = rest.take_while(fits).count();
            if !inside && len >= REST_MIN {
                return Some((at..at + prefix.len() + len, what));
            }
        }
    }
    if has_addresses && has_password(word) {
        return Some((0..word.len(), "an address with a password"));
    }
    if word.len() < AWS_LEN {
        return None;
    }
    let is_edge = |c: char| {
        matches!(
            c,
            '=' | ':' | '"' | '\'' | '`' | '(' | ')' | '{' | '}' | '#'
        )
    };
    let mut at = 0;
    for piece in word.split_inclusive(is_edge) {
        let bare = piece.trim_end_matches(is_edge);
        if is_aws(bare) {
            return Some((at..at + bare.len(), "a secret key of AWS"));
        }
        at += piece.len();
    }
    None
}

/// Tells whether a text is as long and as mixed as a secret key of AWS.
fn is_aws(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/+".contains(&byte);
    let any = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    text.len() == AWS_LEN
        // Paths have the same characters, and begin with a slash.
        && !text.starts_with('/')
        && text.bytes().all(fits)
        && any(u8::is_ascii_uppercase)
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_digit)
}

/// Tells whether a text has `scheme://user:password@`.
fn has_password(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
    let login = authority.and_then(|authority| authority.rsplit_once('@'));
    let password = login.and_then(|(login, _)| login.split_once(':'));
    password.is_some_and(|(_, password)| is_value(password))
}

/// Tells whether a name is that of a setting whose value is a secret: `password`, `--api-token`.
fn is_setting(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    SETTINGS.iter().any(|setting| {
        name.strip_suffix(setting).is_some_and(|before| {
            !before.ends_with(|c: char| c.is_ascii_lowercase())
                || before == "pg"
                || before == "mysql"
        })
    })
}

/// Tells whether a value is the thing itself: a path or a variable only says where it is.
fn is_value(value: &str) -> bool {
    !value.is_empty() && !value.starts_with(['/', '$', '@', '~', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_one_and_what_names_one_is_not() {
        // Made up; the pieces are joined here so that no scanner takes this file for a leak.
        let aws = ["wJalrXUtnFEMI", "K7MDENGbPxRfiCY", "EXAMPLEKEY9/"].concat();
        for (text, expected) in [
            (aws.as_str(), true),
            (&format!("AKIA{}", "Z".repeat(16)), true),
            (&format!("ghp_{}", "a1".repeat(10)), true),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", true),
            ("postgres://app:hunter2@db/app", true),
            ("--password=hunter2", true),
            ("vers=3.0,username=nas,password=hunter2", true),
            ("PGPASSWORD=hunter2", true),
            ("API_TOKEN=hunter2", true),
            ("AKIA", false),
            ("/srv/Backup1/of/the/laboratory/2026/Pool", false),
            ("0123456789abcdef0123456789abcdef01234567", false),
            ("https://s3.example.net", false),
            ("postgres://app@db/app", false),
            ("postgres://app:$PASSWORD@db/app", false),
            ("--password-file=/run/secrets/db", false),
            ("--password=$DB", false),
            ("bypass=yes", false),
            ("password", false),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", false),
        ] {
            assert_eq!(!look(text).is_empty(), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_is_covered_wherever_a_file_has_it_and_nothing_else_is() {
        let key = format!("AKIA{}", "Z".repeat(16));
        let stars = "*".repeat(20);
        for (text, shown) in [
            (format!("// id {key}, old"), format!("// id {stars}, old")),
            (format!("a \"x:{key}\""), format!("a \"x:{stars}\"")),
            (
                "/- password   \"a \\\" b\" x".into(),
                "/- password   \"******\" x".into(),
            ),
            (
                "x password=\"two words\" y".into(),
                "x *******************\" y".into(),
            ),
            (
                "x path=\"A_TOKEN=abc\"".into(),
                "x path=\"***********\"".into(),
            ),
            (
                "ssh \"root:hunter2@nas\"".into(),
                "ssh \"****************\"".into(),
            ),
            ("x #\"token=abc\"# y".into(), "x #\"*********\"# y".into()),
            (
                "// -----BEGIN RSA PRIVATE KEY-----\n// AB\n// -----END RSA PRIVATE KEY-----\nb"
                    .into(),
                format!("// {}\n*****\n{}\nb", "*".repeat(31), "*".repeat(32)),
            ),
            (
                "// the password \"x\" is not one".into(),
                "// the password \"x\" is not one".into(),
            ),
            (
                "ssh \"root@nas\" port=22".into(),
                "ssh \"root@nas\" port=22".into(),
            ),
            (
                "/srv/ghp_backups_of_all_machines".into(),
                "/srv/ghp_backups_of_all_machines".into(),
            ),
        ] {
            assert_eq!(masked(&text), shown);
        }
    }

    #[test]
    fn looking_takes_time_as_the_text_is_long() {
        for part in [
            "-----BEGIN ",
            "password=\"$",
            "password=$",
            "ghp_ ",
            "ssh \" ",
            "://:@",
            "=#",
        ] {
            let text = part.repeat((1 << 19) / part.len());
            masked(&text);
        }
    }
}
