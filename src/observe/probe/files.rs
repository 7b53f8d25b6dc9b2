//! Files of the system that say what is exported and mounted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::system_files::told;
use crate::observe::records::Records;
use crate::transport::shell_assign;

/// The most of a file that is read.
const FILE_MAX: usize = 65_536;

pub(super) fn command(paths: &[String]) -> String {
    let mut text = String::new();
    for (index, path) in paths.iter().enumerate() {
        text.push_str(&shell_assign("p", path));
        writeln!(text, "show file.{index} \"$p\" {FILE_MAX}")
            .expect("writing to a String never fails");
    }
    text
}

pub(super) fn parse(records: &Records<'_>, paths: &[String]) -> BTreeMap<String, String> {
    let text = |(index, path): (usize, &String)| {
        let bytes = records.get(&format!("file.{index}"))?;
        let text = String::from_utf8_lossy(bytes);
        let mut text = told(&text).to_owned();
        // The shell takes the last line break away, and every text file has one.
        if !text.is_empty() {
            text.push('\n');
        }
        Some((path.clone(), text))
    };
    paths.iter().enumerate().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_told_from_one_that_is_not() {
        let kept = "# x: kept by bkpctl\na";
        let answer = format!("file.1 {}\n{kept}\nfile.2 3\na\nb\n", kept.len());
        let records = Records::read(answer.as_bytes()).expect("well-formed");
        let paths = ["/a", "/b", "/c"].map(str::to_owned);
        let files = parse(&records, &paths);
        assert_eq!(files.get("/a"), None);
        assert_eq!(files["/b"], format!("{kept}\n"));
        assert_eq!(files["/c"], "");
    }
}
