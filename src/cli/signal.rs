//! Interrupts: the first asks running work to stop at a good place, the second ends it.

use std::thread;

use crate::run::Cancel;
use crate::run::command::end_all;

/// Returns a request to stop that Ctrl-C or SIGTERM makes.
///
/// The second signal ends the process at once with exit code 130; a repository needs
/// nothing done to it then.
pub fn stop_on_interrupt() -> Cancel {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        else {
            return;
        };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            let mut wait = async || {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            };
            wait().await;
            flag.cancel();
            wait().await;
            end_all();
            std::process::exit(130);
        });
    });
    cancel
}
