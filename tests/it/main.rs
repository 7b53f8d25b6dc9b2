//! Integration tests: one binary.

mod architecture;
mod docs;
mod observe;
mod one_machine;
mod plan_cases;
mod plan_laws;
mod schemas;
mod ssh_threads;
mod ssh_transport;
mod ssh_trust;
mod support;
mod trouble;
mod two_hosts;
