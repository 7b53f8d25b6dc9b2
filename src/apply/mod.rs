//! Carries a Plan out and makes no choices.
//!
//! [`execute::apply`] takes a [`crate::plan::Plan`] and a [`crate::run::fleet::Fleet`] that
//! reaches its nodes, runs actions in the plan's order, as many at a time as the order
//! allows, and tells an [`outcome::Observer`] how it goes. Whether an action is
//! wanted, allowed or worth it was settled before.

pub mod execute;
pub mod outcome;
mod schedule;

pub use execute::apply;
