//! Where in a file something is that is wrong.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

/// Words of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// All of the file.
    pub text: String,
    /// The bytes that are meant.
    pub span: Range<usize>,
}

/// A file that was read, and its text.
pub(crate) type Text = (PathBuf, String);

/// The words that `at` leads to, names with dots and numbers in brackets, and the file they are in; of
/// several files that have them, the last one. When the problem is a field that is none, its name.
pub(crate) fn locate<'a>(
    texts: &'a [Text],
    at: &str,
    problem: &str,
) -> Option<(&'a Path, Excerpt)> {
    let unknown = problem.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    let at = match unknown {
        Some((field, _)) => format!("{at}.{field}"),
        None => at.to_owned(),
    };
    let mut best: Option<(usize, &Text, Range<usize>)> = None;
    for text in texts {
        let options = serde_saphyr::options! { strict_booleans: true };
        let Ok(tree) = serde_saphyr::from_str_with_options::<Tree>(&text.1, options) else {
            continue;
        };
        let Some((depth, location)) = tree.find(&at, unknown.is_some()) else { continue };
        if best.as_ref().is_none_or(|(known, ..)| depth >= *known) {
            best = words(&text.1, location).map(|words| (depth, text, words)).or(best);
        }
    }
    let (_, (path, text), span) = best?;
    Some((path, Excerpt { text: text.clone(), span }))
}

/// The bytes at a location, as far as they are on its first line.
fn words(text: &str, location: Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let line = text.get(start..)?.lines().next()?;
    let length = match usize::try_from(span.byte_len()?).ok()? {
        0 => line.len(),
        length => length.min(line.len()),
    };
    let shown = line.get(..length)?.trim_end().len();
    Some(start..start + shown)
}

/// A YAML document, of which only the places count.
enum Tree {
    Mapping(Vec<(Spanned<String>, Spanned<Tree>)>),
    Sequence(Vec<Spanned<Tree>>),
    Leaf,
}

impl Tree {
    /// How many steps of `at` lead to something, and where that is.
    fn find(&self, at: &str, key: bool) -> Option<(usize, Location)> {
        match self {
            Self::Mapping(fields) => fields.iter().find_map(|(name, value)| {
                let rest = at.strip_prefix(name.value.as_str())?;
                if !(rest.is_empty() || rest.starts_with(['.', '['])) {
                    return None;
                }
                let below = value.value.find(rest.trim_start_matches('.'), key);
                let whole = matches!(value.value, Self::Leaf) && !(key && rest.is_empty());
                let own = if whole { value.defined } else { name.defined };
                Some(below.map_or((1, own), |(depth, place)| (depth + 1, place)))
            }),
            Self::Sequence(items) => {
                let (number, rest) = at.strip_prefix('[')?.split_once(']')?;
                let item = items.get(number.parse::<usize>().ok()?)?;
                let below = item.value.find(rest.trim_start_matches('.'), key);
                Some(below.map_or((1, item.defined), |(depth, place)| (depth + 1, place)))
            }
            Self::Leaf => None,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Mapping(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::Sequence(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
}

/// The way from `value` to the smallest part that makes it fail as it does: whatever it is read as, the
/// part without which it does not.
pub(crate) fn blame(value: &Value, fails: &dyn Fn(&Value) -> Option<String>) -> String {
    let Some(problem) = fails(value) else { return String::new() };
    // What is needed is not to blame for being missed.
    let cured = |without: &Value| {
        fails(without).is_none_or(|other| other != problem && !other.contains("missing field"))
    };
    match value {
        Value::Object(fields) => {
            let culprit = fields.keys().find(|key| {
                let mut without = fields.clone();
                without.remove(*key);
                cured(&Value::Object(without))
            });
            let Some(key) = culprit else { return String::new() };
            let below = blame(&fields[key], &|part| {
                let mut whole = fields.clone();
                whole.insert(key.clone(), part.clone());
                fails(&Value::Object(whole))
            });
            // A field that is none is said of what it is in.
            if below.is_empty() && problem.contains(&format!("unknown field `{key}`")) {
                return String::new();
            }
            format!(".{key}{below}")
        }
        Value::Array(items) => {
            let culprit = (0..items.len()).find(|index| {
                let mut without = items.clone();
                without.remove(*index);
                cured(&Value::Array(without))
            });
            let Some(index) = culprit else { return String::new() };
            let below = blame(&items[index], &|part| {
                let mut whole = items.clone();
                whole[index] = part.clone();
                fails(&Value::Array(whole))
            });
            format!("[{index}]{below}")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    #[test]
    fn words_are_found_by_the_way_to_them() {
        let texts = [
            (PathBuf::from("a"), "services:\n  web: {image: x}\n".to_owned()),
            (
                PathBuf::from("b"),
                "services:\n  web:\n    ports:\n      - 80\n      - {target: [1]}\n    imagee: x\n"
                    .to_owned(),
            ),
        ];
        let found = |at: &str, problem: &str| {
            let (path, excerpt) = locate(&texts, at, problem).unwrap();
            (path.display().to_string(), excerpt.text[excerpt.span].to_owned())
        };
        let pair = |path: &str, words: &str| (path.to_owned(), words.to_owned());
        assert_eq!(found("services.web.image", ""), pair("a", "x"));
        assert_eq!(found("services.web.ports[0]", ""), pair("b", "80"));
        assert_eq!(found("services.web.ports[1].target", ""), pair("b", "target"));
        assert_eq!(found("services.web", "unknown field `imagee`, x"), pair("b", "imagee"));
        assert_eq!(found("services.web.other", ""), pair("b", "web"));
        assert!(locate(&texts, "nowhere", "").is_none());
    }
}
