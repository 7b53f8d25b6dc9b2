//! Who may do what with a path: mode bits as the kernel judges them.

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
        }
    }

    /// Returns the declared owner, or the login where none is declared.
    ///
    /// A service user is taken with its own group only: servers may ignore the others.
    pub(super) fn owner(owner: Option<&Owner>, login: &Login) -> Self {
        match owner {
            None => Self::login(login),
            Some(owner) => Self {
                name: owner.user.to_string(),
                uid: owner.uid,
                gid: owner.gid,
                groups: Vec::new(),
            },
        }
    }

    /// Returns whether the mode bits of a component give some rights, as in `access(2)`.
    pub(super) fn may(&self, component: &Component, rights: u32) -> bool {
        if self.uid == 0 {
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

    /// Returns name and number for people.
    pub(super) fn words(&self) -> String {
        format!("{} (uid {})", self.name, self.uid)
    }
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
            name: "backup".to_owned(),
            uid: 34,
            gid: 34,
            groups: vec![50],
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
        let root = Identity { uid: 0, ..backup() };
        assert!(root.may(&folder(34, 34, 0o000), WRITE));
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
