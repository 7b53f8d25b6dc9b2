//! Key slots of a repository: listed, added, tried and revoked.

use super::crypto::{ArgonCost, CryptoError, PassphraseSlot, ReadingKey};
use super::error::EngineError;
use super::features::Deed;
use super::repository::{Marker, Repository};
use super::store::{Folder, Listed, Store, StoreName};

/// The largest slot, in bytes.
const SLOT_BYTES_MAX: u64 = 64 << 10;
const PREFIX: &str = "passphrase-";
/// How many digits of a slot's id are enough to name it.
const ID_DIGITS_MIN: usize = 4;

/// Describes one key slot of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The slot's file.
    pub name: StoreName,
    /// What a guess of its passphrase costs, or why it is of no use.
    pub state: Result<ArgonCost, String>,
}

impl Slot {
    /// Returns the slot's id: what tells its file from others.
    pub fn id(&self) -> &str {
        let name = self.name.file_name();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }
}

/// Lists the slots of a store.
pub fn slots(store: &dyn Store) -> Result<Vec<Slot>, EngineError> {
    let mut found = Vec::new();
    for Listed { name, size } in store.list(Folder::Keys)? {
        // Another kind of slot is another program's business.
        if !name.file_name().starts_with(PREFIX) {
            continue;
        }
        let state = match read(store, &name, size) {
            // Revoked between the listing and now.
            Err(EngineError::Store(error)) if error.is_not_found() => continue,
            Err(EngineError::Store(error)) => return Err(error.into()),
            Err(error) => Err(error.to_string()),
            Ok(slot) => Ok(slot.cost()),
        };
        found.push(Slot { name, state });
    }
    Ok(found)
}

fn read(store: &dyn Store, name: &StoreName, size: u64) -> Result<PassphraseSlot, EngineError> {
    if size > SLOT_BYTES_MAX {
        return Err(EngineError::damaged(name, "it is too long for a key slot"));
    }
    let slot = PassphraseSlot::decode(&store.get(name)?)?;
    if slot.name()? == *name {
        Ok(slot)
    } else {
        Err(CryptoError::Slot("its name is not that of its salt".to_owned()).into())
    }
}

/// Tries a passphrase on every slot of a repository; returns the key and the slot that held it.
pub fn unlock(
    store: &dyn Store,
    passphrase: &[u8],
) -> Result<(ReadingKey, StoreName), EngineError> {
    let domain = Marker::read(store)?.domain;
    let mut last = EngineError::NoSlot;
    for Listed { name, size } in store.list(Folder::Keys)? {
        if !name.file_name().starts_with(PREFIX) {
            continue;
        }
        let slot = read(store, &name, size);
        if slot
            .as_ref()
            .is_ok_and(|slot| slot.domain().to_string() != domain)
        {
            continue;
        }
        match slot.and_then(|slot| Ok(slot.unwrap_with(passphrase)?)) {
            Ok(key) => return Ok((key, name)),
            // A damaged slot must not hide that another one refused the passphrase.
            Err(error) if !matches!(last, EngineError::Crypto(CryptoError::WrongPassphrase)) => {
                last = error;
            }
            Err(_) => {}
        }
    }
    Err(last)
}

impl Repository {
    /// Adds a slot that a passphrase opens, and opens it once before it is relied on.
    pub fn add_slot(&self, passphrase: &[u8], cost: ArgonCost) -> Result<StoreName, EngineError> {
        let key = self.require_reading_key("add a key slot")?;
        self.marker.check(Deed::Write)?;
        if passphrase.is_empty() {
            return Err(CryptoError::EmptyPassphrase.into());
        }
        let slot = PassphraseSlot::wrap(&self.env, key, passphrase, cost)?;
        let name = slot.name()?;
        self.store.put(&name, &slot.encode())?;
        let stored = PassphraseSlot::decode(&self.store.get(&name)?)?;
        let opened = stored.unwrap_with(passphrase)?;
        if opened.domain() == key.domain() {
            Ok(name)
        } else {
            Err(EngineError::damaged(name, "it opens another key"))
        }
    }

    /// Removes a slot by its id or the beginning of it.
    ///
    /// The last slot that may still open is kept unless the caller says that the key exists
    /// elsewhere too, as one does who holds the key file.
    pub fn revoke_slot(&self, id: &str, key_is_elsewhere: bool) -> Result<StoreName, EngineError> {
        self.require_reading_key("revoke a key slot")?;
        self.marker.check(Deed::Write)?;
        let slots = slots(&*self.store)?;
        let is_meant = |slot: &&Slot| {
            slot.id() == id || (id.len() >= ID_DIGITS_MIN && slot.id().starts_with(id))
        };
        let mut meant = slots.iter().filter(is_meant);
        let (Some(slot), None) = (meant.next(), meant.next()) else {
            return Err(EngineError::NoSuchSlot(id.to_owned()));
        };
        let others = slots
            .iter()
            .filter(|other| other.name != slot.name && self.may_open(other));
        if !key_is_elsewhere && others.count() == 0 {
            return Err(EngineError::LastSlot);
        }
        self.store.remove(&slot.name)?;
        Ok(slot.name.clone())
    }

    /// Replaces the slot that `old` opens by one that `new` opens; in between there are both.
    pub fn change_passphrase(
        &self,
        old: &StoreName,
        new: &[u8],
        cost: ArgonCost,
    ) -> Result<StoreName, EngineError> {
        let added = self.add_slot(new, cost)?;
        self.store.remove(old)?;
        Ok(added)
    }

    /// Tells whether a slot is whole and of this repository's domain.
    fn may_open(&self, slot: &Slot) -> bool {
        let decoded = self.store.get(&slot.name).ok();
        let decoded = decoded.and_then(|bytes| PassphraseSlot::decode(&bytes).ok());
        slot.state.is_ok()
            && decoded.is_some_and(|slot| slot.domain().to_string() == self.marker.domain)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::env::{Env, fixed};
    use crate::engine::store::Memory;
    use crate::engine::{Access, CreateOptions};

    fn repository() -> Repository {
        let key = ReadingKey::from_seed(&[5; 32]);
        let env: Env = fixed::env(9);
        let store = Arc::new(Memory::new(env.clock.clone()));
        Repository::create(&*store, &env, &CreateOptions::for_key("here", &key)).expect("created");
        Repository::open(store, env, Access::Reader(key)).expect("opened")
    }

    fn names(repository: &Repository) -> Vec<StoreName> {
        let slots = slots(&**repository.store()).expect("a listing");
        slots.into_iter().map(|slot| slot.name).collect()
    }

    #[test]
    fn a_passphrase_is_added_changed_and_revoked() {
        let repository = repository();
        let store = &**repository.store();
        let first = repository
            .add_slot(b"first", ArgonCost::LEAST)
            .expect("a slot");
        let (key, opened) = unlock(store, b"first").expect("it opens");
        assert_eq!(
            (key.domain(), opened),
            (ReadingKey::from_seed(&[5; 32]).domain(), first.clone())
        );
        let second = repository
            .change_passphrase(&first, b"second", ArgonCost::LEAST)
            .expect("a change");
        assert_eq!(names(&repository), std::slice::from_ref(&second));
        assert!(matches!(
            unlock(store, b"first"),
            Err(EngineError::Crypto(CryptoError::WrongPassphrase))
        ));
        let id = second.file_name().trim_start_matches(PREFIX).to_owned();
        assert!(matches!(
            repository.revoke_slot(&id, false),
            Err(EngineError::LastSlot)
        ));
        repository
            .revoke_slot(&id, true)
            .expect("the key is elsewhere");
        assert!(matches!(unlock(store, b"second"), Err(EngineError::NoSlot)));
    }

    #[test]
    fn a_damaged_slot_or_one_of_another_domain_is_no_way_in() {
        let repository = repository();
        let store = &**repository.store();
        let good = repository
            .add_slot(b"good", ArgonCost::LEAST)
            .expect("a slot");
        let other = ReadingKey::from_seed(&[6; 32]);
        let foreign =
            PassphraseSlot::wrap(&fixed::env(1), &other, b"x", ArgonCost::LEAST).expect("a slot");
        store
            .put(&foreign.name().expect("a name"), &foreign.encode())
            .expect("put");
        let damaged = StoreName::parse("keys/passphrase-00").expect("a name");
        store.put(&damaged, b"{}").expect("put");
        let unknown = StoreName::parse("keys/token-1").expect("a name");
        store.put(&unknown, b"of a later program").expect("put");
        let listed = slots(store).expect("a listing");
        assert_eq!(listed.len(), 3);
        assert_eq!(listed.iter().filter(|slot| slot.state.is_err()).count(), 1);
        let id = good.file_name().trim_start_matches(PREFIX);
        assert!(matches!(
            repository.revoke_slot(id, false),
            Err(EngineError::LastSlot)
        ));
        for id in ["0", "passphrase-00", ""] {
            let found = repository.revoke_slot(id, false);
            assert!(matches!(found, Err(EngineError::NoSuchSlot(_))), "{id}");
        }
        let removed = repository.revoke_slot("00", false).expect("others open");
        assert_eq!(removed, damaged);
    }

    #[test]
    fn what_an_earlier_attempt_left_does_not_mislead_a_passphrase() {
        let env = fixed::env(3);
        let store = Memory::new(env.clock.clone());
        let keys = [[1; 32], [2; 32]].map(|seed| ReadingKey::from_seed(&seed));
        let slot = |key| PassphraseSlot::wrap(&env, key, b"same", ArgonCost::LEAST);
        let options = keys.each_ref().map(|key| CreateOptions {
            slots: vec![slot(key).expect("a slot")],
            ..CreateOptions::for_key("here", key)
        });
        // The first attempt ends before its marker.
        let left = &options[0].slots[0];
        let name = left.name().expect("a name");
        store.put(&name, &left.encode()).expect("put");
        Repository::create(&store, &env, &options[1]).expect("created");
        let (key, _) = unlock(&store, b"same").expect("it opens");
        assert_eq!(key.domain(), keys[1].domain());
        assert_eq!(slots(&store).expect("a listing").len(), 1);
        let again = Repository::create(&store, &env, &options[0]);
        assert!(again.is_err());
        assert_eq!(
            unlock(&store, b"same").expect("it opens").0.domain(),
            keys[1].domain()
        );
    }

    #[test]
    fn a_crash_between_adding_and_removing_leaves_both_passphrases() {
        let repository = repository();
        let store = &**repository.store();
        repository
            .add_slot(b"old", ArgonCost::LEAST)
            .expect("a slot");
        repository
            .add_slot(b"new", ArgonCost::LEAST)
            .expect("a slot");
        assert!(unlock(store, b"old").is_ok() && unlock(store, b"new").is_ok());
        assert!(repository.add_slot(b"", ArgonCost::LEAST).is_err());
    }
}
