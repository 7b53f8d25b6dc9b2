//! A topology's graph as a picture or as text that others draw.
//!
//! `sketch` says what is on the picture, the same for all; `layout` where, for the one that is
//! drawn here.

pub mod dot;
mod layout;
mod measure;
pub mod mermaid;
mod sketch;
pub mod svg;
