//! Promises of whole operations, on stores in memory and in folders.

mod budget;
mod collect;
mod copies;
mod diffs;
mod damage;
mod durability;
mod faults;
mod forge;
mod hostile;
mod images;
mod incremental;
mod restore_in_place;
mod repair;
mod round_trip;
mod segments;
mod support;
mod trees;
mod vectors;
mod versions;
