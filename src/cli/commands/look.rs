//! `bkpctl look`: what a key that may only look is bound to on a node.
//!
//! Whatever the other end asked to run, this runs instead. It reads one line, a question, and
//! sends back facts. The environment comes from the other end in part, so programs see none of
//! it but what names the login.

use std::ffi::OsString;
use std::io::{self, BufReader, Read as _, Write as _};

use crate::cli::context::now;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::observe::answer;
use crate::run::here;
use crate::transport::{Channel, Launch, Local, Question, Transport as _, refusal};

/// Where programs are sought.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What says who logged in, and who became root.
const LOGIN: [&str; 4] = ["HOME", "USER", "LOGNAME", "XDG_STATE_HOME"];
const SUDO: [&str; 3] = ["SUDO_UID", "SUDO_GID", "SUDO_USER"];

/// The largest answer that is passed on.
const ANSWER_MAX: u64 = 32 << 20;

/// Answers the question on standard input; with `as_root`, `sudo` has started this.
pub fn run(as_root: bool) -> Outcome {
    let question = Question::read(&mut BufReader::new(io::stdin().lock()))
        .map_err(|why| refuse(format!("{why}; apply, run and the like need another key")))?;
    if as_root && here::effective_uid() != 0 {
        return Err(refuse("only root may say --root"));
    }
    let framed = if question.privileged && here::effective_uid() != 0 {
        through_sudo(&question)?
    } else {
        let local = Local::with_environment(environment(as_root));
        let facts = answer(&question.text, &local, &now).map_err(refuse)?;
        question.wrap(&facts)
    };
    let mut out = io::stdout().lock();
    // Whoever asked may be gone; then there is nobody to tell.
    let _ = out.write_all(&framed).and_then(|()| out.flush());
    Ok(Exit::Ok)
}

/// Has this program answer as root, which one line of sudoers allows and nothing more.
fn through_sudo(question: &Question) -> Result<Vec<u8>, Failure> {
    let own = here::own_path().map_err(|fault| refuse(fault.message))?;
    let local = Local::with_environment(environment(false));
    let argv = ["sudo", "-n", "--", &own, "look", "--root"];
    let Channel {
        mut stdin,
        stdout,
        process,
    } = local
        .open(&Launch::new(argv))
        .map_err(|error| Failure::new(format!("sudo: failed to {error}")))?;
    // A program that ended early says why below.
    let _ = stdin.write_all(question.line().as_bytes());
    drop(stdin);
    let mut framed = Vec::new();
    stdout
        .take(ANSWER_MAX)
        .read_to_end(&mut framed)
        .map_err(|error| refuse(format!("the answer of root was cut off: {error}")))?;
    let exit = process.wait().map_err(refuse)?;
    if exit.success() {
        return Ok(framed);
    }
    // What refuses here is sudo, or this program as root, which says so itself.
    Err(Failure::new(format!("sudo: {}", exit.complaint())))
}

fn environment(as_root: bool) -> Vec<(String, OsString)> {
    let names = LOGIN
        .into_iter()
        .chain(SUDO.into_iter().filter(|_| as_root));
    let kept = names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
    let path = [("PATH".to_owned(), OsString::from(PATH))];
    kept.chain(path).collect()
}

fn refuse(why: impl std::fmt::Display) -> Failure {
    Failure::new(refusal(why))
}
