//! `.dockerignore` files, and the same patterns in `--exclude`.
//!
//! Not gitignore: patterns are anchored at the root, the last one that matches decides, a match
//! on a directory covers everything below it, and `!` brings single paths back even out of an
//! excluded directory. The rules, odd corners included, are those of `moby/patternmatcher`:
//! `**/x` and `**x` match any path that ends so, `x/**` any path that begins so.

use std::fmt;

pub use crate::glob::{BadPattern, Glob, glob_match};

use crate::glob::{self, Token, Tokens};

/// The patterns of one ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    rule: Rule,
    matcher: Matcher,
}

/// One line of an ignore file, as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Line number, counted from 1; for a list of patterns its place in the list.
    pub line: usize,
    /// The pattern in its cleaned form, without `!`.
    pub pattern: String,
    /// Written with `!`: brings paths back.
    pub negated: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.pattern)
    }
}

/// A line of an ignore file that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} on line {line} of the ignore file")]
pub struct IgnoreError {
    /// Line number, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: IgnoreErrorKind,
}

/// What is wrong with a line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreErrorKind {
    /// `!` without a pattern.
    #[error("illegal exclusion pattern `!`: a pattern must follow the exclamation mark")]
    LoneExclamation,
    /// The pattern doesn't follow the syntax.
    #[error(transparent)]
    Syntax(#[from] BadPattern),
}

/// How one pattern is compared with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// `**x`: every path that ends in it. With `**/x` that includes `x` itself.
    Suffix(String),
    /// `x**`: every path that begins with it.
    Prefix(String),
    Tokens(Tokens),
}

impl Matcher {
    fn new(pattern: &str) -> Result<Self, BadPattern> {
        let tokens = glob::parse(pattern, true)?;
        let literal = |tokens: &[Token]| {
            tokens
                .iter()
                .map(|token| if let Token::Char(c) = token { Some(*c) } else { None })
                .collect::<Option<String>>()
                .filter(|_| !pattern.contains('\\'))
        };
        // A leading `**` before plain text also matches in the middle of a name: `**x` covers
        // `ax`. A further wildcard takes that away again.
        if pattern.starts_with("**") && literal(tokens.get(2..).unwrap_or_default()).is_some() {
            return Ok(Self::Suffix(pattern[2..].to_owned()));
        }
        if let [before @ .., Token::Rest] = tokens.as_slice()
            && let Some(prefix) = literal(before)
        {
            return Ok(Self::Prefix(prefix));
        }
        Ok(Self::Tokens(Tokens::new(tokens)))
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Tokens(tokens) => tokens.matches(path),
        }
    }

    /// Whether a path that begins with `start` could match.
    fn may_begin_with(&self, start: &str) -> bool {
        match self {
            Self::Suffix(_) => true,
            Self::Prefix(prefix) => prefix.starts_with(start) || start.starts_with(prefix.as_str()),
            Self::Tokens(tokens) => tokens.may_begin_with(start),
        }
    }
}

/// What the patterns said of a directory: lets a walk decide on its entries without looking at
/// their parents again. See [`Patterns::enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    hits: Box<[bool]>,
    deciding: Option<usize>,
    excluded: bool,
}

impl Verdict {
    /// Whether the path is excluded.
    pub fn excluded(&self) -> bool {
        self.excluded
    }
}

/// The patterns in the lines of an ignore file with their line numbers, each trimmed and cleaned
/// but not yet checked. Comments begin in the first column; blank lines mean nothing.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let line = if line.starts_with('#') { "" } else { line.trim() };
        (!line.is_empty()).then(|| match line.strip_prefix('!') {
            Some(pattern) => (number, format!("!{}", normalise(pattern))),
            None => (number, normalise(line)),
        })
    })
}

/// A pattern without surrounding blanks, `.`, `..`, doubled and leading slashes.
fn normalise(pattern: &str) -> String {
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return String::new();
    }
    let mut cleaned = clean(pattern);
    if cleaned.len() > 1 && cleaned.starts_with('/') {
        cleaned.remove(0);
    }
    cleaned
}

/// The shortest path that means the same, by the rules of Go's `filepath.Clean`.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

impl Patterns {
    /// Parses an ignore file.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let patterns = lines(text).map(|(line, pattern)| Pattern::new(line, &pattern));
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Takes a list of patterns, such as those of `--exclude`. Empty ones mean nothing.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, IgnoreError> {
        let patterns = (1..).zip(patterns).filter(|(_, pattern)| !pattern.trim().is_empty());
        let patterns = patterns.map(|(place, pattern)| match pattern.trim().strip_prefix('!') {
            Some(pattern) => Pattern::new(place, &format!("!{}", normalise(pattern))),
            None => Pattern::new(place, &normalise(pattern)),
        });
        Ok(Self { patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns in order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.patterns.iter().map(|pattern| &pattern.rule)
    }

    /// Whether `path` is excluded. It is slash-separated and relative to the root of the patterns;
    /// the root itself, `.`, never is.
    pub fn matches(&self, path: &str) -> bool {
        self.matching_rule(path).is_some_and(|rule| !rule.negated)
    }

    /// The rule that decides on `path`: the last one that matches it or a directory above it.
    /// A negated one means that the path was excluded and brought back.
    pub fn matching_rule(&self, path: &str) -> Option<&Rule> {
        if path == "." {
            return None;
        }
        let path = path.trim_end_matches('/');
        let above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        let paths: Vec<&str> = above.chain([path]).collect();
        let mut deciding: Option<&Rule> = None;
        for pattern in &self.patterns {
            // `!` has nothing to bring back as long as nothing was excluded.
            let excluded = deciding.is_some_and(|rule| !rule.negated);
            if (excluded || !pattern.rule.negated)
                && paths.iter().any(|path| pattern.matcher.matches(path))
            {
                deciding = Some(&pattern.rule);
            }
        }
        deciding
    }

    /// Decides on `path` given the verdict on the directory that it lies in (none for the entries
    /// of the root). Same result as [`Patterns::matches`], one path comparison per pattern.
    pub fn enter(&self, parent: Option<&Verdict>, path: &str) -> Verdict {
        let mut verdict = Verdict {
            hits: vec![false; self.patterns.len()].into_boxed_slice(),
            deciding: None,
            excluded: false,
        };
        for (index, pattern) in self.patterns.iter().enumerate() {
            let hit =
                parent.is_some_and(|parent| parent.hits[index]) || pattern.matcher.matches(path);
            verdict.hits[index] = hit;
            if hit && (verdict.excluded || !pattern.rule.negated) {
                verdict.deciding = Some(index);
                verdict.excluded = !pattern.rule.negated;
            }
        }
        verdict
    }

    /// The rule behind a verdict of these patterns.
    pub fn rule_of(&self, verdict: &Verdict) -> Option<&Rule> {
        verdict.deciding.and_then(|index| self.patterns.get(index)).map(|pattern| &pattern.rule)
    }

    /// Whether any pattern brings paths back.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.rule.negated)
    }

    /// Whether something below the excluded directory `dir` may be brought back. If not, a walk
    /// needn't look into it.
    pub fn may_contain_exception_below(&self, dir: &str) -> bool {
        let start = format!("{}/", dir.trim_end_matches('/'));
        let mut negated = self.patterns.iter().filter(|pattern| pattern.rule.negated);
        negated.any(|pattern| pattern.matcher.may_begin_with(&start))
    }
}

impl Pattern {
    fn new(line: usize, text: &str) -> Result<Self, IgnoreError> {
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
        if text.is_empty() {
            return Err(IgnoreError { line, kind: IgnoreErrorKind::LoneExclamation });
        }
        let matcher =
            Matcher::new(text).map_err(|error| IgnoreError { line, kind: error.into() })?;
        Ok(Self { rule: Rule { line, pattern: text.to_owned(), negated }, matcher })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::parse(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    #[test]
    fn the_last_match_decides() {
        let p = patterns("!keep.md\n*.md\n");
        assert!(p.matches("keep.md"));
        let p = patterns("*.md\n!keep.md\n");
        assert!(!p.matches("keep.md"));
        assert!(p.matches("other.md"));
        assert!(!p.matches("sub/other.md"));
    }

    #[test]
    fn a_directory_covers_what_is_below() {
        let p = patterns("docs/\n!docs/keep.md");
        assert!(p.matches("docs/sub/x"));
        assert!(!p.matches("docs/keep.md"));
        assert!(p.may_contain_exception_below("docs"));
        assert!(!p.may_contain_exception_below("docs/sub"));
    }

    #[test]
    fn the_rule_that_decided_is_known() {
        let p = patterns("\n# note\n*.log\n!a.log\n");
        let rule = p.matching_rule("x.log").map(ToString::to_string);
        assert_eq!(rule.as_deref(), Some("*.log"));
        assert_eq!(p.matching_rule("a.log").map(|rule| (rule.line, rule.negated)), Some((4, true)));
        assert_eq!(p.matching_rule("b"), None);
        assert_eq!(p.matching_rule("."), None);
    }

    #[test]
    fn walking_gives_the_same_answers() {
        let p = patterns("*\n!src\n!go.mod\nsrc/**/*_test.go\n**/tmp*\n!src/tmp/keep\n");
        for path in
            ["src", "src/a.go", "src/p/b_test.go", "go.mod", "x/y/z", "src/tmp/keep", "src/tmp"]
        {
            let mut verdict = None;
            for end in path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]) {
                verdict = Some(p.enter(verdict.as_ref(), &path[..end]));
            }
            assert_eq!(verdict.map(|v| v.excluded()), Some(p.matches(path)), "{path}");
        }
    }

    #[test]
    fn nonsense_names_its_line() {
        let error = Patterns::parse("a\n!\n").map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("illegal exclusion pattern `!`: a pattern must follow the exclamation mark on \
                 line 2 of the ignore file"
                .into())
        );
        assert!(matches!(Patterns::parse("a\n\nb[\n"), Err(IgnoreError { line: 3, .. })));
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("a/../..", ".."),
            ("/../a//b/./", "/a/b"),
            ("../../x", "../../x"),
            ("./", "."),
            ("/", "/"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
