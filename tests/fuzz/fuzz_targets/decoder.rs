//! Fuzzes the decoder that this binary is named after.

#![no_main]

use std::sync::OnceLock;

use bkpctl::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let mut targets = TARGETS.iter();
        let found = targets.find(|target| target.name == env!("CARGO_BIN_NAME"));
        found.expect("every binary is named after a decoder")
    })
}

fuzz_target!(|bytes: &[u8]| {
    (target().run)(bytes);
});
