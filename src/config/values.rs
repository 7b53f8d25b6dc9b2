//! Whether a value is what the table wants.

use std::str::FromStr;

use super::codes::Code;
use super::diagnostic::Mistake;
use super::document::{Entry, Value};
use super::draft::is_hidden;
use super::schema::Type;
use super::suggest::did_you_mean;
use crate::model::schedule::Calendar;
use crate::model::size::Amount;
use crate::model::{Address, ByteSize, Name, Period};

/// The longest text that any value may be.
const TEXT_LEN_MAX: usize = 4_096;

/// Checks one value against its type.
pub(crate) fn check(entry: &Entry, is: Type) -> Result<(), Mistake> {
    let wrong = |message: String| Mistake::new(Code::BadValue, entry.span, message);
    let text = match (&entry.value, is) {
        (Value::Integer(n), Type::Number(low, high)) if (low..=high).contains(n) => return Ok(()),
        (Value::Integer(n), Type::Number(..)) => {
            return Err(wrong(format!("{n} is out of range"))
                .label("out of range")
                .help(format!("write {}", is.example())));
        }
        (Value::Bool(_) | Value::Null, _) => {
            return Err(Mistake::new(
                Code::BadValue,
                entry.span,
                "a topology has no true, false or null",
            )
            .label("not a value here")
            .help(format!("{} belongs here: {}", is.phrase(), is.example())));
        }
        (_, Type::Number(..)) => {
            return Err(wrong("a number belongs here".to_owned())
                .label("not a whole number")
                .help(format!("write {}, without quotes", is.example())));
        }
        (Value::Integer(_) | Value::OtherNumber, _) => {
            return Err(wrong(format!("{} belongs here, not a number", is.phrase()))
                .label("a number")
                .help(format!("write it in quotes, for example {}", is.example())));
        }
        (Value::Text(text), _) => &**text,
    };
    refuse_hidden(entry, text)?;
    check_text(text, is).map_err(|(code, message, help)| {
        Mistake::new(code, entry.span, message)
            .label(format!("not {}", is.phrase()))
            .maybe_help(help)
    })
}

fn refuse_hidden(entry: &Entry, text: &str) -> Result<(), Mistake> {
    match text.chars().find(|c| is_hidden(*c)) {
        None if text.len() <= TEXT_LEN_MAX => Ok(()),
        None => Err(Mistake::new(
            Code::BadValue,
            entry.span,
            format!("this text is longer than {TEXT_LEN_MAX} bytes"),
        )
        .label("too long")),
        Some(c) => Err(Mistake::new(
            Code::ControlCharacter,
            entry.span,
            format!(
                "this text holds the control character U+{:04X}",
                u32::from(c)
            ),
        )
        .label("can't be seen, or drives a terminal")
        .help("delete it; no value of a topology needs one")),
    }
}

type Problem = (Code, String, Option<String>);

fn check_text(text: &str, is: Type) -> Result<(), Problem> {
    if text.is_empty() {
        return Err((
            Code::BadValue,
            format!("this {} is empty", is.word()),
            Some(format!("write for example {}", is.example())),
        ));
    }
    match is {
        // A reference to what can't be a name is reported as naming nothing.
        Type::Text | Type::Path | Type::Include | Type::Number(..) | Type::Refers(_) => Ok(()),
        Type::Declares(_) | Type::Name => parses::<Name>(text, Code::BadName),
        Type::Size => parses::<ByteSize>(text, Code::BadValue),
        Type::Amount => ensure(text.parse::<Amount>().is_ok(), is, text),
        Type::Period => parses::<Period>(text, Code::BadValue),
        Type::Calendar => parses::<Calendar>(text, Code::BadValue),
        Type::Address => parses::<Address>(text, Code::BadValue),
        Type::Mode => ensure(mode(text).is_some(), is, text),
        Type::Day => ensure(
            jiff::civil::Date::from_str(text).is_ok() && text.len() == 10,
            is,
            text,
        ),
        Type::Url => ensure(is_url(text), is, text),
        Type::HostKey => ensure(is_host_key(text), is, text),
        Type::Id => ensure(
            (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric()),
            is,
            text,
        ),
        Type::Host => host(text),
        Type::OneOf(words) => {
            if words.contains(&text) {
                return Ok(());
            }
            let help = did_you_mean(text, words.iter().copied()).map_or_else(
                || format!("write {}", is.word()),
                |near| format!("did you mean {near:?}?"),
            );
            Err((
                Code::BadValue,
                format!("{text:?} is not known here"),
                Some(help),
            ))
        }
    }
}

fn ensure(holds: bool, is: Type, text: &str) -> Result<(), Problem> {
    if holds {
        return Ok(());
    }
    Err((
        Code::BadValue,
        format!("{text:?} is not {}", is.phrase()),
        Some(format!("write for example {}", is.example())),
    ))
}

/// Splits an error that says what is wrong and, after a semicolon, what to write.
fn parses<T>(text: &str, code: Code) -> Result<(), Problem>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = error.to_string();
            Err(match error.rsplit_once("; ") {
                Some((what, help)) => (code, what.to_owned(), Some(help.to_owned())),
                None => (code, error, None),
            })
        }
    }
}

/// Reads permission bits such as `0750`.
pub(crate) fn mode(text: &str) -> Option<u32> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()
}

/// Splits `user@host` into the user, if there is one, and the host.
pub(crate) fn user_and_host(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, text),
    }
}

fn host(text: &str) -> Result<(), Problem> {
    let (user, host) = user_and_host(text);
    let problem =
        |message: String, help: &str| Err((Code::BadHost, message, Some(help.to_owned())));
    if let Some(part) = user
        .into_iter()
        .chain([host])
        .find(|part| part.starts_with('-'))
    {
        return problem(
            format!("{part:?} begins with a dash and could be taken for an option"),
            "write a host name or an address",
        );
    }
    if let Some((name, port)) = host.rsplit_once(':')
        && !name.contains(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return problem(
            format!("{text:?} has a port in it"),
            "the port is a property of its own: port=22",
        );
    }
    let bracketless = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let host_ok = !bracketless.is_empty()
        && bracketless.len() <= 253
        && bracketless
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:%".contains(&b));
    let user_ok = user.is_none_or(|user| {
        !user.is_empty()
            && user.len() <= 64
            && user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-$+@\\".contains(&b))
    });
    if host_ok && user_ok {
        return Ok(());
    }
    problem(
        format!("{text:?} is not a host"),
        "write \"host\" or \"user@host\"",
    )
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        // Credentials in an address would end up in every report.
        !host.is_empty() && !host.contains('@') && !rest.contains([' ', '?', '#'])
    })
}

fn is_host_key(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let data = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
        .iter()
        .any(|p| kind.starts_with(p));
    known
        && data.starts_with("AAAA")
        && data
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}
