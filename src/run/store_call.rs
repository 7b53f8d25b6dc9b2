//! The calls of a store as messages, and how a served store answers them.

use serde::{Deserialize, Serialize};

use crate::engine::store::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::run::message::{Fault, FaultKind};

/// One call of a store; the bytes that are written follow as the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreCall {
    /// Where the store is.
    Place,
    /// Store the body.
    Put {
        /// The name.
        name: StoreName,
    },
    /// Return a whole file.
    Get {
        /// The name.
        name: StoreName,
    },
    /// Return a part of a file.
    GetRange {
        /// The name.
        name: StoreName,
        /// Where the part begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// Return a file's length.
    Size {
        /// The name.
        name: StoreName,
    },
    /// Return every file of a folder.
    List {
        /// The folder.
        folder: Folder,
    },
    /// Remove a file.
    Remove {
        /// The name.
        name: StoreName,
    },
    /// Move a damaged file aside.
    SetAside {
        /// The name.
        name: StoreName,
    },
    /// Make a file durable that is there.
    Settle {
        /// The name.
        name: StoreName,
    },
    /// Make durable that files of a folder are gone.
    SettleRemovals {
        /// The folder.
        folder: Folder,
    },
    /// Announce a reader or writer.
    OpenSession {
        /// The session.
        session: SessionId,
        /// Whether it writes.
        kind: SessionKind,
    },
    /// Make the snapshot in the body visible.
    Commit {
        /// The session.
        session: SessionId,
        /// The manifest's name.
        manifest: StoreName,
    },
    /// End a session.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Return every open session.
    ListSessions,
    /// End somebody's session.
    ExpireSession {
        /// The session.
        session: SessionId,
    },
    /// Replace the planner's record by the body.
    PutManaged,
    /// Return the planner's record.
    GetManaged,
}

/// The answer to a store call; bytes that were read, and long listings, follow as the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreReply {
    /// To [`StoreCall::Place`].
    Place(String),
    /// To [`StoreCall::Put`].
    Put(Put),
    /// The body is what was asked for.
    Bytes,
    /// There is no such record.
    Nothing,
    /// To [`StoreCall::Size`].
    Size(u64),
    /// To [`StoreCall::List`]; the body is the list as JSON.
    Listed,
    /// To [`StoreCall::Commit`].
    Committed(Box<Receipt>),
    /// To [`StoreCall::ListSessions`].
    Sessions(Vec<OpenSession>),
    /// It is done.
    Done,
    /// The store refused or failed.
    Failed(StoreError),
}

/// What the other end may do with a store that we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Add files and commit snapshots, and read what writers must read.
    pub put: bool,
    /// Read everything.
    pub get: bool,
    /// Remove files and replace the planner's record.
    pub admin: bool,
}

impl Allowed {
    /// Everything, for ends that we started ourselves.
    pub const ALL: Self = Self {
        put: true,
        get: true,
        admin: true,
    };

    /// Reads the words after `serve --allow`.
    pub fn parse(words: &[String]) -> Result<Self, Fault> {
        let mut allowed = Self {
            put: false,
            get: false,
            admin: false,
        };
        for word in words {
            match word.as_str() {
                "put" => allowed.put = true,
                "get" => allowed.get = true,
                "admin" => allowed.admin = true,
                other => {
                    return Err(Fault::refused(format!(
                        "{other:?} is no right; the rights are put, get and admin"
                    )));
                }
            }
        }
        Ok(allowed)
    }

    fn permits(self, call: &StoreCall) -> bool {
        match call {
            StoreCall::Place | StoreCall::CloseSession { .. } => true,
            // A writer must see what is there to store only what is missing; it learns
            // ids and sealed bytes, which are worth nothing without the reading key.
            StoreCall::Get { name }
            | StoreCall::GetRange { name, .. }
            | StoreCall::Size { name } => {
                self.get || self.admin || (self.put && name.folder() != Folder::Packs)
            }
            StoreCall::List { .. } | StoreCall::GetManaged => self.get || self.put || self.admin,
            StoreCall::OpenSession {
                kind: SessionKind::Read,
                ..
            } => self.get || self.admin,
            StoreCall::OpenSession {
                kind: SessionKind::Collect,
                ..
            }
            | StoreCall::Remove { .. }
            | StoreCall::SetAside { .. }
            | StoreCall::SettleRemovals { .. }
            | StoreCall::PutManaged
            | StoreCall::ListSessions
            | StoreCall::ExpireSession { .. } => self.admin,
            StoreCall::Put { .. }
            | StoreCall::Settle { .. }
            | StoreCall::OpenSession { .. }
            | StoreCall::Commit { .. } => self.put || self.admin,
        }
    }
}

/// Answers one store call from a store, within what is allowed.
pub fn answer(
    store: &dyn Store,
    allowed: Allowed,
    call: &StoreCall,
    body: &[u8],
) -> (StoreReply, Vec<u8>) {
    if !allowed.permits(call) {
        let name = subject(call);
        return (StoreReply::Failed(StoreError::Denied { name }), Vec::new());
    }
    carry_out(store, call, body).unwrap_or_else(|error| (StoreReply::Failed(error), Vec::new()))
}

fn subject(call: &StoreCall) -> String {
    match call {
        StoreCall::Put { name }
        | StoreCall::Get { name }
        | StoreCall::GetRange { name, .. }
        | StoreCall::Size { name }
        | StoreCall::Remove { name }
        | StoreCall::SetAside { name }
        | StoreCall::Settle { name }
        | StoreCall::Commit { manifest: name, .. } => name.to_string(),
        StoreCall::List { folder } | StoreCall::SettleRemovals { folder } => {
            folder.as_str().to_owned()
        }
        StoreCall::PutManaged | StoreCall::GetManaged => "managed.json".to_owned(),
        StoreCall::Place
        | StoreCall::OpenSession { .. }
        | StoreCall::CloseSession { .. }
        | StoreCall::ListSessions
        | StoreCall::ExpireSession { .. } => "session".to_owned(),
    }
}

fn carry_out(
    store: &dyn Store,
    call: &StoreCall,
    body: &[u8],
) -> Result<(StoreReply, Vec<u8>), StoreError> {
    let only = |reply| Ok((reply, Vec::new()));
    match call {
        StoreCall::Place => only(StoreReply::Place(store.place())),
        StoreCall::Put { name } => only(StoreReply::Put(store.put(name, body)?)),
        StoreCall::Get { name } => Ok((StoreReply::Bytes, store.get(name)?)),
        StoreCall::GetRange { name, offset, len } => {
            Ok((StoreReply::Bytes, store.get_range(name, *offset, *len)?))
        }
        StoreCall::Size { name } => only(StoreReply::Size(store.size(name)?)),
        StoreCall::List { folder } => {
            let listed: Vec<Listed> = store.list(*folder)?;
            let json = serde_json::to_vec(&listed).expect("names and sizes have a JSON form");
            Ok((StoreReply::Listed, json))
        }
        StoreCall::Remove { name } => store.remove(name).and_then(|()| only(StoreReply::Done)),
        StoreCall::SetAside { name } => store.set_aside(name).and_then(|()| only(StoreReply::Done)),
        StoreCall::Settle { name } => store.settle(name).and_then(|()| only(StoreReply::Done)),
        StoreCall::SettleRemovals { folder } => store
            .settle_removals(*folder)
            .and_then(|()| only(StoreReply::Done)),
        StoreCall::OpenSession { session, kind } => store
            .open_session(session, *kind)
            .and_then(|()| only(StoreReply::Done)),
        StoreCall::Commit { session, manifest } => {
            let receipt = store.commit(session, manifest, body)?;
            only(StoreReply::Committed(Box::new(receipt)))
        }
        StoreCall::CloseSession { session } => store
            .close_session(session)
            .and_then(|()| only(StoreReply::Done)),
        StoreCall::ListSessions => only(StoreReply::Sessions(store.list_sessions()?)),
        StoreCall::ExpireSession { session } => store
            .expire_session(session)
            .and_then(|()| only(StoreReply::Done)),
        StoreCall::PutManaged => store
            .put_managed(body)
            .and_then(|()| only(StoreReply::Done)),
        StoreCall::GetManaged => match store.get_managed()? {
            Some(bytes) => Ok((StoreReply::Bytes, bytes)),
            None => only(StoreReply::Nothing),
        },
    }
}

/// Turns a lost or refused conversation into the store's own error.
pub fn closed(fault: &Fault) -> StoreError {
    match fault.kind {
        FaultKind::Refused => StoreError::Denied {
            name: fault.message.clone(),
        },
        _ => StoreError::Closed {
            reason: fault.message.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StoreName {
        text.parse().expect("a store name")
    }

    #[test]
    fn a_writer_may_add_and_may_not_read_data_remove_or_replace() {
        let writer = Allowed::parse(&["put".to_owned()]).expect("a right");
        let pack = name(&format!("packs/ab/{}", "ab".repeat(32)));
        let index = name(&format!("index/{}", "ab".repeat(32)));
        let session = SessionId::new([1; 16]);
        assert!(writer.permits(&StoreCall::Put { name: pack.clone() }));
        assert!(writer.permits(&StoreCall::Get { name: index }));
        assert!(writer.permits(&StoreCall::OpenSession {
            session,
            kind: SessionKind::Write
        }));
        assert!(!writer.permits(&StoreCall::Get { name: pack.clone() }));
        assert!(!writer.permits(&StoreCall::GetRange {
            name: pack.clone(),
            offset: 0,
            len: 1
        }));
        assert!(!writer.permits(&StoreCall::Remove { name: pack }));
        assert!(!writer.permits(&StoreCall::PutManaged));
        assert!(!writer.permits(&StoreCall::ExpireSession { session }));
        assert!(!writer.permits(&StoreCall::OpenSession {
            session,
            kind: SessionKind::Collect
        }));
    }

    #[test]
    fn a_reader_may_not_write() {
        let reader = Allowed::parse(&["get".to_owned()]).expect("a right");
        let pack = name(&format!("packs/ab/{}", "ab".repeat(32)));
        let session = SessionId::new([1; 16]);
        assert!(reader.permits(&StoreCall::Get { name: pack.clone() }));
        assert!(!reader.permits(&StoreCall::Put { name: pack.clone() }));
        assert!(!reader.permits(&StoreCall::Commit {
            session,
            manifest: pack
        }));
        assert!(!reader.permits(&StoreCall::OpenSession {
            session,
            kind: SessionKind::Write
        }));
        assert!(Allowed::parse(&["all".to_owned()]).is_err());
    }
}
