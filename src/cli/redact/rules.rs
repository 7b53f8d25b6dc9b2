//! What becomes of a text, by the field it stands in.

use super::pseudonyms::Pseudonyms;
use super::{address, kept, words};
use crate::model::schedule::Calendar;

/// Where a text stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The field's name.
    pub(super) field: &'a str,
    /// The name of its type in the schema, if it has one.
    pub(super) kind: &'a str,
}

/// Returns what stands for a text.
pub(super) fn text(text: &str, place: Place<'_>, pseudonyms: &mut Pseudonyms) -> String {
    // What a word may be that stays, in this place and no other.
    let stays: Option<fn(&str) -> bool> = match (place.field, place.kind) {
        (_, "Calendar") => Some(|text| text.parse::<Calendar>().is_ok()),
        ("arch", _) => Some(words::is_arch),
        ("os", _) => Some(words::is_system),
        ("kernel" | "zfs" | "truenas" | "proxmox_ve" | "proxmox_backup_server", _) => {
            Some(words::is_version)
        }
        ("fstype", _) => Some(words::is_fstype),
        ("kind", _) => Some(words::is_storage),
        ("mode", _) => Some(words::is_setting),
        ("schedule", _) => Some(words::is_schedule),
        ("slot", _) => Some(words::is_slot),
        ("security", _) => Some(words::is_security),
        ("acl_type" | "acl_mode", _) => Some(words::is_acl),
        ("letters", _) => Some(words::is_letters),
        ("health", _) => Some(words::is_health),
        ("rule", _) => Some(words::is_rule),
        ("until", _) => Some(words::is_day),
        ("idmap", _) => Some(words::is_idmap),
        ("device", _) => Some(words::is_pair),
        ("marker_problem", _) => Some(|text| text == "permission denied"),
        ("user" | "run_as" | "map_all" | "group", _) => Some(words::is_user),
        ("via", _) => Some(|text| words::is_via(text) || text == "local"),
        ("clients", _) => Some(|text| text == "*"),
        _ => None,
    };
    if stays.is_some_and(|stays| stays(text)) {
        return pseudonyms.keep(text);
    }
    match (place.field, place.kind) {
        (_, "Address") => address_of_plan(text, pseudonyms),
        ("user" | "run_as" | "map_all", _) => pseudonyms.of("user", text),
        (_, "Name") => pseudonyms.of("name", text),
        (_, "TopologyId") => pseudonyms.of("topology", text),
        ("via", _) => login(text, pseudonyms),
        (
            "host" | "hostname" | "clients" | "node" | "nodes" | "address" | "addresses" | "routes"
            | "writer",
            _,
        ) => host(text, pseudonyms),
        ("home" | "machine" | "machine_id", _) => machine(text, pseudonyms),
        ("source", _) => mounted(text, pseudonyms),
        ("datasets", _) => datasets(text, pseudonyms),
        ("options", _) => options(text, pseudonyms),
        ("foreign_example", _) => example(text, pseudonyms),
        ("files", _) => kept::text(text, pseudonyms),
        ("objects", _) => registered(text, pseudonyms),
        ("message" | "marker_problem" | "problems" | "reason" | "unusable", _) => {
            pseudonyms.of("text", text)
        }
        _ => anything(text, pseudonyms),
    }
}

/// Returns what stands for a name that people or machines gave, as the key of an entry.
pub(super) fn key(text: &str, place: Place<'_>, pseudonyms: &mut Pseudonyms) -> String {
    match place.field {
        // By number a user is no more than the numbers that stay everywhere.
        "users" if words::is_user(text) || text.parse::<u32>().is_ok() => pseudonyms.keep(text),
        "users" => pseudonyms.of("user", text),
        "domain" if words::is_domain(text) => pseudonyms.keep(text),
        "objects" => address_of_plan(text, pseudonyms),
        "files" | "units" => pseudonyms
            .known(text)
            .unwrap_or_else(|| path(text, pseudonyms)),
        "routes" => host(text, pseudonyms),
        "nodes" | "datastores" | "keys" | "shares" | "sources" | "guests" | "snapshots"
        | "counts" | "history" | "phases" => pseudonyms.of("name", text),
        _ => anything(text, pseudonyms),
    }
}

fn is_id(text: &str) -> bool {
    text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Replaces the id of a machine, or the host name of one that has none.
fn machine(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    if is_id(text) {
        pseudonyms.hex(text)
    } else {
        host(text, pseudonyms)
    }
}

/// Judges a text by its form alone.
pub(super) fn anything(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    if is_id(text) {
        return pseudonyms.hex(text);
    }
    match address::replace(text, pseudonyms) {
        Some(replaced) => replaced,
        None if text.contains('/') => path(text, pseudonyms),
        None => part(text, pseudonyms),
    }
}

/// Replaces the parts of a path, so that what lies below something still does.
pub(super) fn path(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    if let Some(mapped) = text.strip_prefix("/dev/mapper/") {
        return format!("/dev/mapper/{}", mapper(mapped, pseudonyms));
    }
    let parts = text.split('/').map(|one| part(one, pseudonyms));
    parts.collect::<Vec<_>>().join("/")
}

fn part(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    match text {
        "" | "." | ".." | "~" => text.to_owned(),
        _ if words::is_part(text) => pseudonyms.keep(text),
        _ => pseudonyms.of("part", text),
    }
}

/// Replaces a group and a volume: the mapper doubles each hyphen and puts a single one between.
fn mapper(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let single = text.replace("--", "\0");
    match single.split_once('-') {
        Some((group, volume)) => {
            let mut one =
                |name: &str| part(&name.replace('\0', "-"), pseudonyms).replace('-', "--");
            format!("{}-{}", one(group), one(volume))
        }
        None => part(text, pseudonyms),
    }
}

/// Replaces what is mounted: a device, a dataset, or `host:/path`.
pub(super) fn mounted(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    match text.split_once(":/") {
        Some((server, rest)) => {
            let server = host(server, pseudonyms);
            format!("{server}:{}", path(&format!("/{rest}"), pseudonyms))
        }
        None => anything(text, pseudonyms),
    }
}

fn host(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    address::replace(text, pseudonyms).unwrap_or_else(|| pseudonyms.of("host", text))
}

/// Replaces a dataset's name; that all below it is meant stays.
fn datasets(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    match text.strip_suffix("/*") {
        Some(above) => format!("{}/*", anything(above, pseudonyms)),
        None => anything(text, pseudonyms),
    }
}

/// Replaces who may mount something; everybody stays.
pub(super) fn client(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    if text == "*" {
        return pseudonyms.keep(text);
    }
    host(text, pseudonyms)
}

/// Replaces `user@host:port`; the port stays.
fn login(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let Some((user, rest)) = text.rsplit_once('@') else {
        return host(text, pseudonyms);
    };
    let user = if words::is_user(user) {
        pseudonyms.keep(user)
    } else {
        pseudonyms.of("user", user)
    };
    match rest.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            format!("{user}@{}:{port}", host(name, pseudonyms))
        }
        _ => format!("{user}@{}", host(rest, pseudonyms)),
    }
}

/// Replaces `kind.name/part`, as a plan speaks of things.
pub(super) fn address_of_plan(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let Some((kind, rest)) = text
        .split_once('.')
        .filter(|(kind, _)| words::is_kind(kind))
    else {
        return format!("thing.{}", pseudonyms.of("name", text));
    };
    let kind = pseudonyms.keep(kind);
    let names = rest.splitn(2, '/').map(|name| pseudonyms.of("name", name));
    format!("{kind}.{}", names.collect::<Vec<_>>().join("/"))
}

/// Replaces what a registry says of a thing: where it is, or the program that was allowed.
fn registered(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    for lead in [
        "bkpctl in ",
        "repository in ",
        "exported by ",
        "mounted by ",
    ] {
        if let Some(place) = text.strip_prefix(lead) {
            // The file of something declared is made of its name.
            let known = pseudonyms.known(place);
            let place = known.unwrap_or_else(|| path(place, pseudonyms));
            return format!("{lead}{place}");
        }
    }
    pseudonyms.of("text", text)
}

pub(super) fn options(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    let options = text.split(',').map(|option| {
        if words::is_option(option) {
            pseudonyms.keep(option)
        } else {
            pseudonyms.of("text", option)
        }
    });
    options.collect::<Vec<_>>().join(",")
}

/// Replaces `path uid:gid`; the numbers stay.
fn example(text: &str, pseudonyms: &mut Pseudonyms) -> String {
    match text.rsplit_once(' ') {
        Some((name, owner)) if words::is_pair(owner) => {
            format!("{} {owner}", path(name, pseudonyms))
        }
        _ => pseudonyms.of("text", text),
    }
}
