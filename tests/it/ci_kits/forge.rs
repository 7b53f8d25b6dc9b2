//! A stand-in for the part of a forge that the kits call: comments, whose merge a commit is, and a
//! download. It answers as the documentation of GitHub, GitLab and Forgejo says, and remembers what
//! it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The number of the pull request that all is about.
pub(super) const NUMBER: &str = "7";
/// Who the forge says that the kit's token belongs to.
pub(super) const BOTS: [&str; 2] = ["github-actions[bot]", "forgejo-actions"];
/// The number of GitLab's user whose token is used.
const GITLAB_USER: u64 = 40;

/// A comment on the pull request.
#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) author: String,
    pub(super) body: String,
}

/// What the stand-in knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) comments: Vec<Comment>,
    /// What was asked: method and path.
    pub(super) requests: Vec<String>,
    /// Whose token the requests carry.
    pub(super) bot: String,
    /// The token that is let in.
    pub(super) token: String,
    /// The commit that merged the pull request.
    pub(super) merge: String,
    /// What the download of bkpctl is.
    pub(super) program: String,
}

/// A server on a port of this machine.
pub(super) struct Forge {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

impl Forge {
    pub(super) fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        // It lives as long as the tests do.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &mut shared.lock().expect("nobody panics"));
            }
        });
        Self { url, state }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("nobody panics"));
    }

    pub(super) fn comments(&self) -> Vec<Comment> {
        self.state.lock().expect("nobody panics").comments.clone()
    }

    /// Returns what was asked since the last time.
    pub(super) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("nobody panics").requests)
    }
}

/// Answers one request.
fn serve(stream: TcpStream, state: &mut State) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let header = header.trim();
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a length"),
            "authorization" | "private-token" => {
                value
                    .split_whitespace()
                    .last()
                    .unwrap_or_default()
                    .clone_into(&mut token);
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    state.requests.push(format!("{method} {path}"));
    let is_download = path == "/bkpctl";
    let (status, answer) = if is_download {
        (200, state.program.clone())
    } else if token == state.token {
        match answer(&method, &path, &body, state) {
            Some((status, value)) => (status, value.to_string()),
            None => (404, format!("nothing answers to {method} {path}")),
        }
    } else {
        (401, format!("a wrong token for {method} {path}"))
    };
    let mut stream = reader.into_inner();
    // Who asked may be gone; then nobody needs the answer.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    );
}

fn answer(method: &str, path: &str, body: &[u8], state: &mut State) -> Option<(u16, Value)> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let gitlab = path.starts_with("/api/v4/");
    let actions = format!("/repos/us/lab/issues/{NUMBER}/comments");
    let notes = format!("/api/v4/projects/11/merge_requests/{NUMBER}/notes");
    let merge = state.merge.clone();
    let one = path
        .strip_prefix("/repos/us/lab/issues/comments/")
        .or_else(|| path.strip_prefix(&format!("{notes}/")));
    if let Some(id) = one {
        let wanted = if gitlab { "PUT" } else { "PATCH" };
        let id: u64 = id.parse().ok().filter(|_| method == wanted)?;
        let comment = state.comments.iter_mut().find(|comment| comment.id == id)?;
        comment.body = text(body);
        return Some((200, shown(comment)));
    }
    match (method, path) {
        ("GET", "/api/v4/user") => Some((200, json!({ "id": GITLAB_USER }))),
        ("GET", _) if path == actions || path == notes => {
            let page = query.split('&').find_map(|part| part.strip_prefix("page="));
            let page: usize = page.map_or(1, |page| page.parse().expect("a page"));
            let all = state.comments.iter().skip((page - 1) * 100).take(100);
            Some((200, all.map(shown).collect()))
        }
        ("POST", _) if path == actions || path == notes => {
            let comment = Comment {
                id: 1000 + state.comments.len() as u64,
                author: state.bot.clone(),
                body: text(body),
            };
            state.comments.push(comment.clone());
            Some((201, shown(&comment)))
        }
        ("GET", _) if path == format!("/repos/us/lab/commits/{merge}/pulls") => Some((
            200,
            json!([{ "number": 7, "merged_at": "2027-01-01T00:00:00Z" }]),
        )),
        ("GET", _) if path == format!("/repos/us/lab/commits/{merge}/pull") => {
            Some((200, json!({ "number": 7, "merged": true })))
        }
        ("GET", _)
            if path == format!("/api/v4/projects/11/repository/commits/{merge}/merge_requests") =>
        {
            Some((200, json!([{ "iid": 7, "state": "merged" }])))
        }
        ("GET", _) if path.contains("/commits/") && !path.ends_with("/pull") => {
            Some((200, json!([])))
        }
        _ => None,
    }
}

fn text(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).expect("the kit sends JSON");
    value["body"].as_str().expect("a comment's text").to_owned()
}

fn shown(comment: &Comment) -> Value {
    let is_ours = BOTS.contains(&comment.author.as_str());
    json!({
        "id": comment.id,
        "body": comment.body,
        "user": { "login": comment.author },
        "author": { "id": if is_ours { GITLAB_USER } else { 41 } },
    })
}
