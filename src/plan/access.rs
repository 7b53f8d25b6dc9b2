//! Who may do what with a path: mode bits and access control lists as the kernel judges them.

use crate::model::IdMap;
use crate::model::acl::{Acl, Ruling, Subject, triple};
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
/// Those of whoever works in a directory: to make, to remove and to list entries.
pub(super) const ALL: u32 = 0o7;

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

    /// Returns whether a component gives some rights, as in `access(2)`.
    ///
    /// Root is above all of it, a container's root only where user and group are the container's,
    /// see capabilities(7). The mode bits of what has a list show only its mask.
    pub(super) fn may(&self, component: &Component, rights: u32) -> bool {
        if self.is_above(component) {
            return true;
        }
        if let Some(ruling) = self.ruling(component, rights) {
            return ruling.granted;
        }
        let shift = if component.uid == self.uid {
            6
        } else if self.is_in(component.gid) {
            3
        } else {
            0
        };
        component.mode >> shift & rights == rights
    }

    /// Asks a component's access control list, if it has one.
    fn ruling(&self, component: &Component, rights: u32) -> Option<Ruling> {
        let is = |who: Subject| match who {
            Subject::Owner => component.uid == self.uid,
            Subject::User(uid) => uid == self.uid,
            Subject::OwningGroup => self.is_in(component.gid),
            Subject::Group(gid) => self.is_in(gid),
            Subject::Everyone => true,
        };
        let acl = component.acl.as_ref()?;
        Some(acl.judge(is, rights))
    }

    fn is_in(&self, group: u32) -> bool {
        group == self.gid || self.groups.contains(&group)
    }

    /// Says what a component's list has to do with its answer: `, by user:34:r-x of its ACL`.
    pub(super) fn by_acl(&self, component: &Component, rights: u32) -> String {
        let ruling = self.ruling(component, rights);
        match ruling.filter(|_| !self.is_above(component)) {
            None => String::new(),
            Some(Ruling { entry: None, .. }) => ": its ACL says nothing of it".to_owned(),
            Some(Ruling {
                entry: Some(entry), ..
            }) => format!(", by {entry} of its ACL"),
        }
    }

    /// Returns the command that gives this user rights by a component's list, if it has one.
    pub(super) fn enter(&self, component: &Component, rights: u32) -> Option<String> {
        let uid = self.uid;
        Some(match component.acl.as_ref()? {
            Acl::Posix { entries, .. } => {
                // What the user has already stays.
                let own = entries.iter().find(|entry| entry.who == Subject::User(uid));
                let all = own.map_or(rights, |entry| entry.rights | rights);
                format!("setfacl -m u:{uid}:{}", triple(all))
            }
            Acl::Nfs4 { .. } => {
                let letters = if rights == PASS { "x" } else { "rwxp" };
                format!("nfs4xdr_setfacl -a user:{uid}:{letters}:fd:allow")
            }
        })
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

/// Describes a component: `/srv 0:0 755`, with a `+` where it has an access control list.
pub(super) fn words(component: &Component) -> String {
    format!(
        "{} {}:{} {:o}{}",
        component.path,
        component.uid,
        component.gid,
        component.mode & 0o7777,
        if component.acl.is_some() { "+" } else { "" }
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
        let by = who.by_acl(closed, PASS);
        lines.push(format!("{}: no right to pass{by}", words(closed)));
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
    let by = who.by_acl(last, WRITE);
    lines.push(format!("{}: {verdict}{by}", words(last)));
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
            acl: None,
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
