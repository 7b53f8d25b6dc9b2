//! Who may do what with a path: mode bits as the kernel judges them.

use crate::model::IdMap;
use crate::model::observed::{Component, ComponentKind, Login};
use crate::model::topology::Owner;

/// Somebody who touches a datastore's folder.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The name, for people.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    groups: Vec<u32>,
    /// Whose root this is, if it is root: of a machine, or of what a container's map holds.
    root_of: Option<IdMap>,
}

/// The right to pass through a directory.
pub(super) const PASS: u32 = 0o1;
/// The right to make and remove entries.
pub(super) const WRITE: u32 = 0o3;

impl Identity {
    /// Returns who we are on a node.
    pub(super) fn login(login: &Login) -> Self {
        Self {
            name: login.user.clone(),
            uid: login.uid,
            gid: login.gid,
            groups: login.groups.clone(),
            root_of: root_of_machine(login.uid),
        }
    }

    /// Returns somebody with these numbers and no further groups.
    ///
    /// Servers may ignore a client's groups, so nothing is planned on them.
    pub(super) fn numbers(name: &str, uid: u32, gid: u32) -> Self {
        Self {
            name: name.to_owned(),
            uid,
            gid,
            groups: Vec::new(),
            root_of: root_of_machine(uid),
        }
    }

    /// Returns whom a container's host takes somebody inside for; none if it has no number.
    pub(super) fn outside(&self, map: &IdMap) -> Option<Self> {
        Some(Self {
            uid: map.uid(self.uid)?,
            gid: map.gid(self.gid)?,
            groups: Vec::new(),
            root_of: (self.uid == 0).then(|| map.clone()),
            name: self.name.clone(),
        })
    }

    /// Returns the declared owner, or the login where none is declared.
    ///
    /// A service user is taken with its own group only: servers may ignore the others.
    pub(super) fn owner(owner: Option<&Owner>, login: &Login) -> Self {
        match owner {
            None => Self::login(login),
            Some(owner) => Self::numbers(owner.user.as_str(), owner.uid, owner.gid),
        }
    }

    /// Returns the same as it is within a container: its root is above nobody else's files.
    pub(super) fn inside(self, map: &IdMap) -> Self {
        Self {
            root_of: self.root_of.map(|_| map.from_inside()),
            ..self
        }
    }

    /// Returns whether the mode bits of a component give some rights, as in `access(2)`.
    ///
    /// Root is above them, a container's root only where user and group are the container's,
    /// see capabilities(7).
    pub(super) fn may(&self, component: &Component, rights: u32) -> bool {
        if self.is_above(component) {
            return true;
        }
        let shift = if component.uid == self.uid {
            6
        } else if component.gid == self.gid || self.groups.contains(&component.gid) {
            3
        } else {
            0
        };
        component.mode >> shift & rights == rights
    }

    /// Tells whether this is the root of whoever owns a component.
    pub(super) fn is_above(&self, component: &Component) -> bool {
        let holds = |map: &IdMap| map.holds_uid(component.uid) && map.holds_gid(component.gid);
        self.root_of.as_ref().is_some_and(holds)
    }

    /// Returns name and number for people.
    pub(super) fn words(&self) -> String {
        format!("{} (uid {})", self.name, self.uid)
    }
}

fn root_of_machine(uid: u32) -> Option<IdMap> {
    (uid == 0).then(IdMap::identity)
}

/// Returns the first component that is not a directory.
pub(super) fn first_obstacle(components: &[Component]) -> Option<&Component> {
    components
        .iter()
        .find(|component| component.kind != ComponentKind::Directory)
}

/// Returns the first directory that somebody can't pass through.
pub(super) fn first_closed<'a>(
    components: &'a [Component],
    who: &Identity,
) -> Option<&'a Component> {
    components
        .iter()
        .find(|component| !who.may(component, PASS))
}

/// Describes a component: `/srv 0:0 755`.
pub(super) fn words(component: &Component) -> String {
    format!(
        "{} {}:{} {:o}",
        component.path,
        component.uid,
        component.gid,
        component.mode & 0o7777
    )
}

/// Describes the way to a folder, hop by hop, and where it ends for somebody.
pub(super) fn chain(who: &Identity, node: &str, components: &[Component]) -> Vec<String> {
    let mut lines = vec![format!(
        "writer {} on {node}: uid {}, gid {}",
        who.name, who.uid, who.gid
    )];
    let Some((last, ancestors)) = components.split_last() else {
        return lines;
    };
    if let Some(closed) = first_closed(ancestors, who) {
        lines.push(format!("{}: no right to pass", words(closed)));
        return lines;
    }
    if let (Some(first), Some(parent)) = (ancestors.first(), ancestors.last()) {
        lines.push(format!("{} … {}: may pass", first.path, parent.path));
    }
    let verdict = if who.may(last, WRITE) {
        "may write by mode, but belongs to another"
    } else {
        "no right to write"
    };
    lines.push(format!("{}: {verdict}", words(last)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Export;

    fn folder(uid: u32, gid: u32, mode: u32) -> Component {
        Component {
            path: "/srv".to_owned(),
            kind: ComponentKind::Directory,
            uid,
            gid,
            mode,
        }
    }

    fn backup() -> Identity {
        Identity {
            groups: vec![50],
            ..Identity::numbers("backup", 34, 34)
        }
    }

    #[test]
    fn mode_bits_decide_as_the_kernel_does() {
        for (component, rights, expected) in [
            (folder(34, 34, 0o700), WRITE, true),
            (folder(0, 0, 0o755), WRITE, false),
            (folder(0, 0, 0o755), PASS, true),
            (folder(0, 0, 0o777), WRITE, true),
            (folder(0, 34, 0o770), WRITE, true),
            (folder(0, 50, 0o770), WRITE, true),
            // The first class that matches decides alone, even against its owner.
            (folder(34, 34, 0o077), WRITE, false),
            (folder(0, 34, 0o707), WRITE, false),
        ] {
            assert_eq!(backup().may(&component, rights), expected, "{component:?}");
        }
        let root = Identity::numbers("root", 0, 0);
        assert!(root.may(&folder(34, 34, 0o000), WRITE));
    }

    /// Rows of a recorded table, without its comments.
    fn rows(table: &'static str) -> Vec<Vec<&'static str>> {
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        rows.map(|row| row.split(' ').collect()).collect()
    }

    fn number(word: &str) -> u32 {
        word.parse().expect("a number")
    }

    #[test]
    fn what_a_real_nfs_server_said_is_foretold() {
        let rows = rows(include_str!("../../tests/cases/access/nfs-matrix.txt"));
        assert_eq!(rows.len(), 96);
        for row in rows {
            let [_, options, owner, mode, writer, may, made, new_owner, _] = row[..] else {
                panic!("nine words: {row:?}");
            };
            let export = Export::read("/srv", &format!("*(rw,{options})")).expect("an export");
            let writer = number(writer);
            let (uid, gid) = export.squashing.apply(writer, writer);
            let who = Identity::numbers("writer", uid, gid);
            let mode = u32::from_str_radix(mode, 8).expect("octal");
            let allowed = who.may(&folder(number(owner), number(owner), mode), WRITE);
            assert_eq!(allowed, may == "yes", "{row:?}");
            assert_eq!(allowed, made == "ok", "{row:?}");
            if allowed {
                assert_eq!(format!("{uid}:{gid}"), new_owner, "{row:?}");
            }
        }
    }

    #[test]
    fn what_a_real_kernel_said_to_containers_is_foretold() {
        let rows = rows(include_str!("../../tests/cases/access/idmap-matrix.txt"));
        assert_eq!(rows.len(), 16);
        let punched = ["u 0 100000 34", "u 34 34 1", "u 35 100035 65501"];
        let groups = ["g 0 100000 34", "g 34 34 1", "g 35 100035 65501"];
        for row in rows {
            let [owner, mode, map, inside, _, made] = row[..] else {
                panic!("six words: {row:?}");
            };
            let map = match map {
                "identity" => IdMap::identity(),
                "standard" => IdMap::unprivileged(),
                _ => IdMap::from_lxc(punched.into_iter().chain(groups)).expect("a map"),
            };
            let inside = Identity::numbers("writer", number(inside), number(inside));
            let who = inside.outside(&map).expect("it is mapped");
            let mode = u32::from_str_radix(mode, 8).expect("octal");
            let allowed = who.may(&folder(number(owner), number(owner), mode), WRITE);
            assert_eq!(allowed, made == "ok", "{row:?}");
        }
    }

    #[test]
    fn the_chain_ends_where_the_right_ends() {
        let way = [folder(0, 0, 0o700), folder(34, 34, 0o750)];
        let lines = chain(&backup(), "nas", &way);
        assert_eq!(
            lines,
            [
                "writer backup on nas: uid 34, gid 34",
                "/srv 0:0 700: no right to pass"
            ]
        );
    }
}
