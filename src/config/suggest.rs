//! The nearest word to a misspelt one.

/// Returns the known word that a misspelt one most likely stands for, if any is near.
pub(crate) fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if wrong.len() > 64 {
        return None;
    }
    let lower = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|word| word.len() <= 64)
        .map(|word| (distance(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| {
            // A word of one or two letters is near to everything.
            *distance <= allowed && *distance < word.chars().count()
        })
        .min()
        .map(|(_, word)| word)
}

/// Counts the letters to insert, remove, replace or swap with a neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_recognised_and_another_word_is_not() {
        let known = ["array", "primary", "offsite", "db"];
        for (wrong, right) in [
            ("aray", Some("array")),
            ("Primary", Some("primary")),
            ("primayr", Some("primary")),
            ("off-site", Some("offsite")),
            ("xx", None),
            ("etc", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(wrong, known), right, "{wrong}");
        }
    }
}
