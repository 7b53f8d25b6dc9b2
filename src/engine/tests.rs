//! Promises of whole operations, on stores in memory and in folders.

mod budget;
mod collect;
mod copies;
mod damage;
mod diffs;
mod durability;
mod faults;
mod forge;
mod hostile;
mod images;
mod incremental;
mod repair;
mod restore_in_place;
mod round_trip;
mod segments;
mod support;
mod trees;
mod vectors;
mod versions;
