//! Touches every path at once and goes on with those that answered.

use std::fmt::Write as _;

use crate::transport::shell_assign;

const FUNCTION: &str = r#"
is_alive() { case $alive in *" $1 "*) return 0 ;; esac; return 1; }
touch_all() {
    {
        i=0
        for p in "$@"; do
            ( ls -ldL "$p" >/dev/null; stat -f "$p" >/dev/null; echo "$i" ) &
            i=$((i + 1))
        done
        ( sleep "$limit"; echo late ) &
    } </dev/null 2>/dev/null | collect "$#"
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
    text.push_str("alive=\" $(echo $(touch_all \"$@\")) \"\n");
    text
}
