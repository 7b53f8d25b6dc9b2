//! Texts that look like secrets: a topology lies in git, where a secret is one no longer.

use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Node, Span};

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

/// Reports every value that looks like a secret; the mistakes do not repeat it.
pub(crate) fn find(nodes: &[Node]) -> Vec<Mistake> {
    let mut found = Vec::new();
    for node in nodes {
        for entry in &node.entries {
            if let Some(what) = entry.text().and_then(secret) {
                found.push(mistake(entry.span, what));
            }
        }
        found.extend(find(node.children()));
    }
    found
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

/// Returns what kind of secret a text looks like.
fn secret(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let of_service = PREFIXES.iter().find(|(prefix, _)| {
        let rest = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.as_bytes().get(..REST_MIN));
        rest.is_some_and(|rest| {
            let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
            rest.iter().all(fits)
        })
    });
    if let Some((_, what)) = of_service {
        return Some(what);
    }
    if is_aws(text) {
        return Some("a secret key of AWS");
    }
    if has_password(text) {
        return Some("an address with a password");
    }
    let words = text.split([' ', ',', ';', '&', '?']);
    words.into_iter().any(is_setting).then_some("a password")
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

/// Tells whether a word is `password=…` or `--token=…`, with something that is no reference.
fn is_setting(word: &str) -> bool {
    let Some((name, value)) = word.split_once('=') else {
        return false;
    };
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    let is_secret = SETTINGS.iter().any(|setting| {
        name.strip_suffix(setting).is_some_and(|before| {
            !before.ends_with(|c: char| c.is_ascii_lowercase())
                || before == "pg"
                || before == "mysql"
        })
    });
    is_secret && is_value(value)
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
            assert_eq!(secret(text).is_some(), expected, "{text}");
        }
    }
}
