//! How wide a text is, whatever font a reader has.

use unicode_width::UnicodeWidthChar;

/// Returns the width of a text in pixels, rather too much than too little.
///
/// The shares of a font's size are those of DejaVu Sans, one of the widest that is used for
/// interfaces; most fonts are narrower.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let share: f64 = text.chars().map(share).sum();
    share * size * if bold { 1.1 } else { 1.0 }
}

fn share(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '\\' | '-' | 'I' | '"' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 1.0,
        c if c.is_ascii_uppercase() => 0.75,
        c if c.is_ascii() => 0.64,
        c => match c.width() {
            Some(0) | None => 0.0,
            Some(1) => 0.8,
            Some(_) => 1.05,
        },
    }
}

/// Cuts the middle out of a text that is too wide, so that its beginning and its end are seen.
pub(super) fn fit(text: &str, size: f64, bold: bool, room: f64) -> String {
    if width(text, size, bold) <= room {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let with = |kept: usize| -> String {
        let head = kept.div_ceil(2);
        let tail = chars.len() - (kept - head);
        let head = chars[..head].iter();
        head.chain(&['…']).chain(&chars[tail..]).collect()
    };
    let fitting = (0..chars.len()).rev().map(with);
    fitting
        .into_iter()
        .find(|text| width(text, size, bold) <= room)
        .unwrap_or_else(|| "…".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_keeps_its_beginning_and_its_end() {
        let path = "/srv/a/very/long/path/to/somewhere/deep";
        let cut = fit(path, 11.0, false, 120.0);
        assert!(width(&cut, 11.0, false) <= 120.0);
        assert!(
            cut.starts_with("/srv") && cut.ends_with("deep") && cut.contains('…'),
            "{cut}"
        );
        assert_eq!(fit("short", 11.0, false, 120.0), "short");
        assert_eq!(fit("日本語日本語", 11.0, false, 1.0), "…");
    }
}
