//! What to run for a node's least rights, as text to read and to paste.

use crate::cli::commands::bootstrap::Bootstrap;

/// Draws the steps; commands for the node stand in brackets, so that the first failure ends them.
pub fn render_bootstrap(bootstrap: &Bootstrap) -> String {
    let Bootstrap { node, login, .. } = bootstrap;
    let program = &bootstrap.program.path;
    let mut lines = vec![
        format!(
            "# A key that may look at {node} and do nothing else. Nothing was reached or changed:"
        ),
        "# read this, then run it.".to_owned(),
        String::new(),
    ];
    if bootstrap.authorized_key.is_none() {
        lines.extend([
            "# There is no key in this yet. Make one for CI, and ask again with it:".to_owned(),
            "#   ssh-keygen -t ed25519 -N '' -C bkpctl-look -f bkpctl-look".to_owned(),
            format!("#   bkpctl bootstrap {node} --key bkpctl-look.pub"),
            String::new(),
        ]);
    }
    lines.push(format!("# 1. Here: copy bkpctl to {node}."));
    lines.extend_from_slice(&bootstrap.here);
    lines.extend([
        String::new(),
        format!("# 2. On {node}, as root. Whatever such a key asks for, {program}"),
        "#    starts in its place: it takes a question as data and answers with facts.".to_owned(),
    ]);
    if bootstrap.look_sudoers.is_some() {
        lines.push(format!(
            "#    {login} may have root run that program with these words, and nothing else."
        ));
    }
    lines.extend(bracketed(&bootstrap.there));
    lines.extend([
        String::new(),
        "# To apply, use another key, which is not bound to a program.".to_owned(),
    ]);
    if bootstrap.apply_sudoers.is_some() {
        lines.extend([
            "# Its login needs this, which is all of root's rights, for it allows a shell:"
                .to_owned(),
            "# changing owners, serving as another user and reading every source take no less."
                .to_owned(),
        ]);
        lines.extend(bracketed(&bootstrap.there_for_apply));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn bracketed(commands: &[String]) -> Vec<String> {
    [&["(set -eu".to_owned()], commands, &[")".to_owned()]].concat()
}
