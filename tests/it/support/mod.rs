//! Helpers that several integration tests share.

pub(crate) mod loop_mount;
pub(crate) mod one_machine;
pub(crate) mod private_root;
pub(crate) mod relay;
pub(crate) mod sandbox;
pub(crate) mod schema;
pub(crate) mod sshd;
pub(crate) mod text;
pub(crate) mod tree;

/// Returns how many points of a sweep are passed over at each step: none where all are asked for.
pub(crate) fn stride(sample: usize) -> usize {
    match std::env::var("BKPCTL_EVERY_KILL") {
        Ok(_) => 1,
        Err(_) => sample,
    }
}

/// Says why a test can't run here; whoever runs all tests counts these lines.
#[expect(
    clippy::print_stderr,
    reason = "this is how a test says that it was skipped"
)]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
