//! A store at the other end of a conversation.

use std::sync::Arc;

use crate::engine::store::{
    Folder, Listed, OpenSession, Put, Receipt, SessionId, SessionKind, Store, StoreError, StoreName,
};
use crate::run::link::Link;
use crate::run::message::{Call, Reply};
use crate::run::peer::Peer;
use crate::run::store_call::{StoreCall, StoreReply, closed};

/// A store at the other end of a conversation.
#[derive(Debug)]
pub struct RemoteStore {
    peer: Arc<Peer>,
    // Kept so that the process behind the conversation lives as long as the store.
    _link: Option<Link>,
}

impl RemoteStore {
    /// Uses a store that the other end of an existing conversation serves.
    pub fn over(peer: Arc<Peer>) -> Self {
        Self { peer, _link: None }
    }

    /// Uses the store that a started `serve` has, and ends it when dropped.
    pub fn serving(link: Link) -> Self {
        Self {
            peer: Arc::clone(link.peer()),
            _link: Some(link),
        }
    }

    fn ask(&self, call: StoreCall, body: &[u8]) -> Result<(StoreReply, Vec<u8>), StoreError> {
        match self.peer.ask(Call::Store(call), body) {
            Ok((Reply::Store(StoreReply::Failed(error)), _)) => Err(error),
            Ok((Reply::Store(reply), body)) => Ok((reply, body)),
            Ok(_) => Err(confused()),
            Err(fault) => Err(closed(&fault)),
        }
    }

    fn done(&self, call: StoreCall, body: &[u8]) -> Result<(), StoreError> {
        match self.ask(call, body)? {
            (StoreReply::Done, _) => Ok(()),
            _ => Err(confused()),
        }
    }

    fn bytes(&self, call: StoreCall) -> Result<Vec<u8>, StoreError> {
        match self.ask(call, &[])? {
            (StoreReply::Bytes, body) => Ok(body),
            _ => Err(confused()),
        }
    }
}

fn confused() -> StoreError {
    StoreError::Closed {
        reason: "the other end answered another question".to_owned(),
    }
}

impl Store for RemoteStore {
    fn calls_at_once(&self) -> usize {
        // Each call waits for a way there and back.
        16
    }

    fn place(&self) -> String {
        match self.ask(StoreCall::Place, &[]) {
            Ok((StoreReply::Place(place), _)) => place,
            _ => "a remote store".to_owned(),
        }
    }

    fn put(&self, name: &StoreName, bytes: &[u8]) -> Result<Put, StoreError> {
        match self.ask(StoreCall::Put { name: name.clone() }, bytes)? {
            (StoreReply::Put(put), _) => Ok(put),
            _ => Err(confused()),
        }
    }

    fn get(&self, name: &StoreName) -> Result<Vec<u8>, StoreError> {
        self.bytes(StoreCall::Get { name: name.clone() })
    }

    fn get_range(&self, name: &StoreName, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(StoreCall::GetRange {
            name: name.clone(),
            offset,
            len,
        })?;
        if bytes.len() as u64 == len {
            Ok(bytes)
        } else {
            Err(confused())
        }
    }

    fn size(&self, name: &StoreName) -> Result<u64, StoreError> {
        match self.ask(StoreCall::Size { name: name.clone() }, &[])? {
            (StoreReply::Size(size), _) => Ok(size),
            _ => Err(confused()),
        }
    }

    fn list(&self, folder: Folder) -> Result<Vec<Listed>, StoreError> {
        match self.ask(StoreCall::List { folder }, &[])? {
            (StoreReply::Listed, body) => {
                serde_json::from_slice(&body).map_err(|error| StoreError::Closed {
                    reason: format!("a listing was not understood: {error}"),
                })
            }
            _ => Err(confused()),
        }
    }

    fn remove(&self, name: &StoreName) -> Result<(), StoreError> {
        self.done(StoreCall::Remove { name: name.clone() }, &[])
    }

    fn set_aside(&self, name: &StoreName) -> Result<(), StoreError> {
        self.done(StoreCall::SetAside { name: name.clone() }, &[])
    }

    fn settle(&self, name: &StoreName) -> Result<(), StoreError> {
        self.done(StoreCall::Settle { name: name.clone() }, &[])
    }

    fn settle_removals(&self, folder: Folder) -> Result<(), StoreError> {
        self.done(StoreCall::SettleRemovals { folder }, &[])
    }

    fn open_session(&self, session: &SessionId, kind: SessionKind) -> Result<(), StoreError> {
        self.done(
            StoreCall::OpenSession {
                session: *session,
                kind,
            },
            &[],
        )
    }

    fn commit(
        &self,
        session: &SessionId,
        manifest: &StoreName,
        bytes: &[u8],
    ) -> Result<Receipt, StoreError> {
        let call = StoreCall::Commit {
            session: *session,
            manifest: manifest.clone(),
        };
        match self.ask(call, bytes)? {
            (StoreReply::Committed(receipt), _) => Ok(*receipt),
            _ => Err(confused()),
        }
    }

    fn close_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.done(StoreCall::CloseSession { session: *session }, &[])
    }

    fn list_sessions(&self) -> Result<Vec<OpenSession>, StoreError> {
        match self.ask(StoreCall::ListSessions, &[])? {
            (StoreReply::Sessions(open), _) => Ok(open),
            _ => Err(confused()),
        }
    }

    fn expire_session(&self, session: &SessionId) -> Result<(), StoreError> {
        self.done(StoreCall::ExpireSession { session: *session }, &[])
    }

    fn put_managed(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.done(StoreCall::PutManaged, bytes)
    }

    fn get_managed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.ask(StoreCall::GetManaged, &[])? {
            (StoreReply::Bytes, body) => Ok(Some(body)),
            (StoreReply::Nothing, _) => Ok(None),
            _ => Err(confused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::engine::store::{Memory, conformance};
    use crate::run::message::Fault;
    use crate::run::peer::{Conversation, Handler, OnlyAsks, converse};
    use crate::run::serve::StoreServer;
    use crate::run::store_call::Allowed;

    fn end(stream: &UnixStream, handler: Arc<dyn Handler>) -> Conversation {
        let clone = || stream.try_clone().expect("a descriptor");
        let hanging = clone();
        let hang_up = move || drop(hanging.shutdown(std::net::Shutdown::Both));
        converse(clone(), clone(), handler, hang_up).expect("a conversation")
    }

    /// A store that reaches a memory store over a socket, as over SSH.
    fn remote(allowed: Allowed) -> (RemoteStore, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let store = Arc::new(Memory::new(Arc::new(crate::engine::env::SystemClock)));
        let server = std::thread::spawn(move || {
            let conversation = end(&theirs, Arc::new(StoreServer { store, allowed }));
            drop(conversation.wait());
        });
        let asking = end(&ours, Arc::new(OnlyAsks));
        drop(server);
        (RemoteStore::over(Arc::clone(&asking.peer)), ours)
    }

    #[test]
    fn a_store_over_a_wire_keeps_every_promise_of_a_store() {
        conformance::check(&|| remote(Allowed::ALL).0);
    }

    #[test]
    fn a_lost_connection_is_an_error_and_never_an_absence() {
        let (store, socket) = remote(Allowed::ALL);
        socket
            .shutdown(std::net::Shutdown::Both)
            .expect("the connection is cut");
        for folder in Folder::ALL {
            let listed = store.list(folder);
            assert!(
                matches!(listed, Err(StoreError::Closed { .. })),
                "{folder:?}: {listed:?}"
            );
        }
        let marker = store.get(&StoreName::marker());
        assert!(
            matches!(marker, Err(StoreError::Closed { .. })),
            "{marker:?}"
        );
    }

    #[test]
    fn a_right_that_was_not_given_is_refused_at_the_serving_end() {
        let (store, _socket) = remote(Allowed {
            put: false,
            get: true,
            admin: false,
        });
        let name: StoreName = "keys/a".parse().expect("a name");
        assert!(matches!(
            store.put(&name, b"x"),
            Err(StoreError::Denied { .. })
        ));
        assert!(matches!(
            store.remove(&name),
            Err(StoreError::Denied { .. })
        ));
        assert!(matches!(store.get(&name), Err(StoreError::NotFound { .. })));
    }

    struct Fails;

    impl Handler for Fails {
        fn call(&self, _: &Arc<Peer>, _: Call, _: Vec<u8>) -> Result<(Reply, Vec<u8>), Fault> {
            panic!("a bug");
        }
    }

    #[test]
    fn a_bug_at_the_other_end_is_an_answer_and_not_silence() {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let server = std::thread::spawn(move || drop(end(&theirs, Arc::new(Fails)).wait()));
        let asking = end(&ours, Arc::new(OnlyAsks));
        let store = RemoteStore::over(Arc::clone(&asking.peer));
        // More often than there are threads that answer.
        for _ in 0..10 {
            assert!(matches!(
                store.list(Folder::Index),
                Err(StoreError::Denied { .. })
            ));
        }
        asking.peer.close();
        ours.shutdown(std::net::Shutdown::Both).expect("the end");
        server.join().expect("it ends");
    }
}
