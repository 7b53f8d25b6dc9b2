//! KDL text becomes a [`Topology`](crate::model::Topology), or every mistake at once.
//!
//! The way of a topology: `files` follows the includes, `document` reads the KDL,
//! `check` holds each statement against the table in `schema`, `names` resolves
//! references, `build` makes the topology, `rules` judges what no table can say.
//!
//! Nothing here opens a file, reads the environment or asks for the time: texts come
//! through [`Files`]. Nothing in a topology is ever executed or interpolated.

mod build;
mod check;
mod codes;
mod diagnostic;
mod document;
mod draft;
mod files;
mod format;
mod load;
mod names;
mod rules;
mod schema;
mod secrets;
mod suggest;
mod templates;
mod values;

#[cfg(test)]
mod tests;

pub use codes::{EXPLANATIONS, Explanation, explanation};
pub use diagnostic::{Diagnostic, Place, Related, Severity};
pub use draft::{First, Found, Host, ShownKey, Spot, Way, as_name};
pub use files::{Files, FilesError, Sources};
pub use format::{Formatted, FormattedFile, format, format_text};
pub use load::{Loaded, load};
pub use schema::{reference, schema};
pub use secrets::masked;
pub(crate) use suggest::did_you_mean;
