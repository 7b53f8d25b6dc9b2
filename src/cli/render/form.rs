//! What formatting a file changes, for a terminal.

use std::time::Duration;

use super::text::{Style, Tone, escape};
use crate::config::{FormattedFile, masked};

/// How long is looked for the shortest difference.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns the unified diff between what a file says and its form.
pub fn file_diff(shown: &str, file: &FormattedFile, style: &Style) -> String {
    let before = masked(&file.before);
    let after = masked(file.after.as_deref().unwrap_or(&file.before));
    let diff = similar::TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(before.as_str(), after.as_str());
    let shown = escape(shown);
    let diff = diff
        .unified_diff()
        .context_radius(2)
        .header(&shown, &format!("{shown} in form"))
        .to_string();
    // Only ends of lines that end them all are left out; others are what changes.
    let lines = diff.split('\n').map(|line| {
        let text = escape(line);
        match line.as_bytes().first() {
            Some(b'+') => style.paint(Tone::Good, &text),
            Some(b'-') => style.paint(Tone::Bad, &text),
            _ => text,
        }
    });
    let lines: Vec<String> = lines.collect();
    lines.join("\n")
}
