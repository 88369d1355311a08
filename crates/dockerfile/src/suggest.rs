//! "Did you mean ...?": the nearest of some known names.

/// A name further away than this is another name, not a slip of the finger.
const MAX_DISTANCE: usize = 2;

/// The candidate that `word` was most likely meant to be, if any is near enough.
///
/// Case counts for nothing except that a word which is itself a candidate needs no suggestion.
pub fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = lowercase(word);
    let mut best = None;
    let mut limit = MAX_DISTANCE.min(wanted.len().saturating_sub(1)) + 1;
    for candidate in candidates {
        if candidate == word {
            return None;
        }
        // Most candidates are told by their length, at no cost.
        if candidate.chars().flat_map(char::to_lowercase).count().abs_diff(wanted.len()) >= limit {
            continue;
        }
        let distance = distance(&wanted, &lowercase(candidate));
        if distance < limit {
            (best, limit) = (Some(candidate), distance);
        }
    }
    best
}

/// The words to append to an error about a name that has a near one.
pub(crate) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

fn lowercase(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

/// How many slips lie between two words: letters too many, missing, wrong, or swapped with the next.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut last_but_one = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(x != y);
            let mut least = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                least = least.min(last_but_one[j - 1] + 1);
            }
            row.push(least);
        }
        last_but_one = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
        suggest(word, names.iter().copied())
    }

    #[test]
    fn slips_are_recognised() {
        assert_eq!(among("COPPY", &["ADD", "COPY"]), Some("COPY"));
        assert_eq!(among("coppy", &["ADD", "COPY"]), Some("COPY"));
        assert_eq!(among("bulid", &["build", "test"]), Some("build"));
        assert_eq!(among("adm64", &["amd64", "arm64"]), Some("amd64"));
        assert_eq!(among("RNU", &["ENV", "RUN"]), Some("RUN"));
        assert_eq!(among("tmp", &["bind", "tmpfs"]), Some("tmpfs"));
        assert_eq!(among("foo", &["FOO"]), Some("FOO"));
    }

    #[test]
    fn other_names_are_not() {
        assert_eq!(among("FOO", &["FROM"]), Some("FROM"));
        assert_eq!(among("x", &["y"]), None);
        assert_eq!(among("", &["a"]), None);
        assert_eq!(among("copy", &["copy", "copi"]), None);
        assert_eq!(among("entirely", &["different"]), None);
    }
}
