//! Does a job now: joins model, engine and transport.
//!
//! A [`fleet::Fleet`] is the nodes of a topology as they can be worked with. [`backup`],
//! [`sync`] and [`drill`] each do one kind of job over it; [`serve`] and [`agent`] are the
//! two processes that bkpctl starts on nodes, and [`peer`] is how all of them talk.
//!
//! | process | runs as | holds | answers |
//! |---|---|---|---|
//! | controller | whoever called | the reading key while a job needs it | an agent's store calls |
//! | agent | root where the login may | one source's writing keys during a backup | small changes, backups, drills |
//! | serve | the datastore's owner | nothing secret | store calls, within its rights |

pub mod agent;
pub mod backup;
pub mod command;
mod destroy;
pub mod drill;
pub mod fleet;
pub mod frame;
pub mod here;
pub mod job;
pub mod journal;
pub mod journals;
pub mod keys;
pub mod leave;
pub mod link;
pub mod message;
pub mod meter;
pub mod mounted;
pub mod node;
pub mod peer;
pub mod remote_store;
pub mod repository;
pub mod reserve;
pub mod restore;
pub mod serve;
pub mod store_call;
pub mod sync;
pub mod system;
pub mod users;

pub use crate::engine::env::Cancel;
