//! Interrupts: the first asks work to stop at a good place, a further one ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::apply::Stop;
use crate::run::Cancel;
use crate::run::command::end_all;

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, after which a machine does not wait for long.
    Terminate,
}

/// What is to be said before a signal ends the process.
static LAST_WORDS: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);
/// Whether an apply decides what a signal comes to.
static IN_STEPS: AtomicBool = AtomicBool::new(false);

/// Has a signal end the process with exit code 130, and not before something was said.
///
/// Once an apply stops in steps, that decides when the end has come.
pub fn end_with(last_words: impl Fn() + Send + 'static) {
    let mut said = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    *said = Some(Box::new(last_words));
    drop(said);
    on_signals(|_, _| {
        if !IN_STEPS.load(Ordering::Acquire) {
            end_now();
        }
    });
}

/// Returns a request to stop that Ctrl-C or SIGTERM makes.
///
/// The second signal ends the process at once with exit code 130; a repository needs
/// nothing done to it then.
pub fn stop_on_interrupt() -> Cancel {
    let cancel = Cancel::default();
    let flag = cancel.clone();
    on_signals(move |nth, _| match nth {
        1 => flag.cancel(),
        _ => end_now(),
    });
    cancel
}

/// Returns a request to stop an apply: the first Ctrl-C lets what runs come to its end, the
/// second one, or SIGTERM, stops it at a good place, and one more ends the process at once.
///
/// `tell` is called with a line for whoever asked.
pub fn stop_in_steps(tell: impl Fn(&str) + Send + 'static) -> Stop {
    let stop = Stop::default();
    let flags = stop.clone();
    IN_STEPS.store(true, Ordering::Release);
    on_signals(move |_, signal| {
        if flags.abort.is_cancelled() {
            end_now();
        } else if signal == Signal::Terminate || flags.drain.is_cancelled() {
            flags.drain.cancel();
            flags.abort.cancel();
            tell("stopping now, at the next good place; once more ends bkpctl at once");
        } else {
            flags.drain.cancel();
            tell("nothing more is begun, and what runs comes to its end; once more stops it");
        }
    });
    stop
}

fn end_now() -> ! {
    let last_words = LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(say) = &*last_words {
        say();
    }
    end_all();
    std::process::exit(130);
}

/// Calls back at each signal, with how many there were.
fn on_signals(act: impl Fn(u32, Signal) + Send + 'static) {
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
            for nth in 1.. {
                let came = tokio::select! {
                    _ = interrupt.recv() => Signal::Interrupt,
                    _ = terminate.recv() => Signal::Terminate,
                };
                act(nth, came);
            }
        });
    });
}
