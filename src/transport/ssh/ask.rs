//! Asks somebody for the passphrase of a locked key.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

/// How often a passphrase that did not fit is asked for again.
pub(super) const TRIES: usize = 3;

/// Asks for passphrases, each once however many machines want it at the same time.
#[derive(Clone)]
pub struct Ask(Arc<Asking>);

type Question = dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync;

struct Asking {
    question: Box<Question>,
    /// What was answered; none where nobody answers any more.
    answers: Mutex<HashMap<PathBuf, Option<Zeroizing<String>>>>,
}

impl Ask {
    /// Asks with a function that returns none if nobody answers.
    pub fn new(
        question: impl Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Asking {
            question: Box::new(question),
            answers: Mutex::default(),
        }))
    }

    /// Returns the passphrase of a key file; asks unless another than `wrong` is known.
    ///
    /// Whoever comes second waits for the first one's answer instead of asking as well.
    pub(super) fn passphrase(
        &self,
        file: &Path,
        wrong: Option<&Zeroizing<String>>,
    ) -> Option<Zeroizing<String>> {
        let mut answers = self
            .0
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match answers.get(file) {
            Some(known) if known.as_ref() != wrong || known.is_none() => known.clone(),
            _ => {
                let answer = (self.0.question)(file);
                answers.insert(file.to_owned(), answer.clone());
                answer
            }
        }
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_passphrase_is_asked_for_once_and_again_only_if_it_was_wrong() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = Ask::new(move |_| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            (number < 2).then(|| Zeroizing::new(format!("guess {number}")))
        });
        let file = Path::new("/home/ada/.ssh/id");
        let first = ask.passphrase(file, None);
        assert_eq!(ask.passphrase(file, None), first);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let second = ask.passphrase(file, first.as_ref());
        assert_ne!(second, first);
        // Somebody else who tried the first one gets the second without asking.
        assert_eq!(ask.passphrase(file, first.as_ref()), second);
        assert_eq!(ask.passphrase(file, second.as_ref()), None);
        assert_eq!(ask.passphrase(file, None), None, "nobody is asked for ever");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
