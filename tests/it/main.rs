//! Integration tests: one binary.

mod access_cases;
mod architecture;
mod diff;
mod docs;
mod fixture;
mod observe;
mod one_machine;
mod plan_cases;
mod plan_laws;
mod reader;
mod reading_key;
mod schemas;
mod sources;
mod ssh_threads;
mod ssh_transport;
mod ssh_trust;
mod ssh_ways;
mod store_backup;
mod store_gc;
mod store_key;
mod store_repair;
mod store_verbs;
mod support;
mod trouble;
mod two_hosts;
mod user_namespaces;
