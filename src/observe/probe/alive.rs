//! Touches every path at once and goes on with those that answered.

use std::fmt::Write as _;

use crate::transport::shell_assign;

/// `touch_all PATH…` writes a line for each that answers: its number and the space of its
/// filesystem, if that could be told. `is_alive` and `space_of` look there.
const FUNCTION: &str = r#"
is_alive() { case $touched in *"$nl$1 "*) return 0 ;; esac; return 1; }
space_of() { s=${touched#*"$nl$1 "}; s=${s%%"$nl"*}; }
touch_all() {
    (
        quietly
        i=0
        for p in "$@"; do
            ( [ -e "$p" ]; stat -f -c "$i %S %b %a %c %d" "$p" || echo "$i " ) &
            i=$((i + 1))
        done
        ( sleep "$limit"; echo late ) &
    ) | collect "$#"
}
"#;

/// The state folder is touched as the first path, the wanted ones follow.
pub(super) fn command(paths: &[String], seconds: u64) -> String {
    let mut text = FUNCTION.to_owned();
    text.push_str("set -- \"${folder:-/}\"\n");
    for path in paths {
        text.push_str(&shell_assign("p", path));
        text.push_str("set -- \"$@\" \"$p\"\n");
    }
    writeln!(text, "limit={seconds}").expect("writing to a String never fails");
    text.push_str("touched=\"$nl$(touch_all \"$@\")$nl\"\n");
    text
}
