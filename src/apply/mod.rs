//! Carries a Plan out and makes no choices.
//!
//! [`execute::apply`] takes an [`order::Order`] and a [`crate::run::fleet::Fleet`] that
//! reaches its nodes, runs actions in the plan's order, as many at a time as the order
//! allows, and tells an [`outcome::Observer`] how it goes. Whether an action is
//! wanted, allowed or worth it was settled before.

pub mod execute;
pub mod order;
pub mod outcome;
mod record;
mod schedule;

pub use execute::apply;
pub use order::{Limits, Order, Stop};
pub use record::refuse_used;
