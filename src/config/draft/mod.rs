//! Topologies that bkpctl writes itself: a first one from a few answers, and one of what was found.
//!
//! What comes out is in form. What people or hosts said stands in it as texts in quotes, or in
//! comments of one line, with everything escaped that would be more than that.

mod first;
mod found;
mod words;

#[cfg(test)]
mod tests;

pub use first::{First, Spot};
pub use found::{Found, Host, ShownKey, Way};
pub use words::as_name;
pub(super) use words::is_hidden;

/// Returns a written text in form.
///
/// Text that is not KDL would be a mistake in here, and stays as it is so that whoever loads it
/// sees why.
fn in_form(text: String) -> String {
    super::format::form(&text).unwrap_or(text)
}
