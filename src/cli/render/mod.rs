//! Turns data into text for people; one file a kind of text, nothing here prints.

pub mod access;
pub mod apply;
mod bootstrap;
mod collected;
pub mod diagnostic;
pub mod difference;
pub mod disaster;
pub mod drift;
pub mod forecast;
mod form;
pub mod graph;
mod log;
mod markdown;
pub mod plan;
pub mod sheet;
pub mod status;
pub mod text;

pub use bootstrap::render_bootstrap;
pub use collected::render_collected;
pub use diagnostic::{Validation, diagnostics};
pub use difference::render_difference;
pub use disaster::render_disaster;
pub use forecast::render_forecast;
pub use form::file_diff;
pub use log::render_log;
pub use plan::markdown::render as render_markdown;
pub use plan::render;
pub use status::render_status;
pub use text::Style;
