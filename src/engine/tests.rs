//! Promises of whole operations, on stores in memory and in folders.

mod copies;
mod faults;
mod images;
mod round_trip;
mod segments;
mod support;
