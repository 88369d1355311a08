//! Variable expansion and quote removal in the words of an instruction.
//!
//! A word is first parsed into a [`Template`], which knows nothing of values, and then evaluated
//! against an [`Env`]. Keeping the two apart lets the checks ask which variables a word mentions
//! without inventing an environment, and keeps evaluation free of syntax errors.
//!
//! What is understood, besides quotes and escapes:
//!
//! | written | means |
//! |---|---|
//! | `$v` `${v}` | the value, empty when unset |
//! | `${v-w}` `${v:-w}` | `w` when unset (with `:`, also when empty) |
//! | `${v+w}` `${v:+w}` | `w` when set (with `:`, and not empty) |
//! | `${v?m}` `${v:?m}` | an error with message `m` when unset (with `:`, also when empty) |
//! | `${v#p}` `${v##p}` | the value without its shortest (longest) prefix that matches `p` |
//! | `${v%p}` `${v%%p}` | the same for a suffix |
//! | `${v/p/r}` `${v//p/r}` | the value with the first (every) match of `p` replaced by `r` |
//!
//! The rules are those of BuildKit's frontend, which in turn follow the POSIX shell (XCU 2.6.2)
//! with the patterns reduced to `*` and `?`.

mod error;
mod grammar;
mod pattern;
mod template;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

pub use error::{ExpandError, ExpandErrorKind};
pub use template::{Template, Variable};

/// The variables that an instruction can see.
pub trait Env {
    /// The value of `name`; none when it is unset, which is not the same as empty.
    fn get(&self, name: &str) -> Option<&str>;
}

/// An environment without any variable.
impl Env for () {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Env for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

impl<S: BuildHasher> Env for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<&str> {
        HashMap::get(self, name).map(String::as_str)
    }
}

/// Pairs in the order they were set: the last one of a name counts.
impl Env for [(&str, &str)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// Pairs in the order they were set: the last one of a name counts.
impl<const N: usize> Env for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<&str> {
        Env::get(self.as_slice(), name)
    }
}

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text, quotes and escapes removed.
    pub text: String,
    /// Names that were looked up and not found, in order, each once.
    pub unset: Vec<String>,
    /// Names that were looked up and found, in order, each once.
    pub used: Vec<String>,
}

/// Expands the words of one Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    /// The escape character of the file, see [`crate::Directives::escape`].
    pub escape: char,
}

impl Default for Expander {
    fn default() -> Self {
        Self { escape: '\\' }
    }
}

impl Expander {
    /// An expander for a file with this escape character.
    pub const fn new(escape: char) -> Self {
        Self { escape }
    }

    /// Parses `word` without evaluating it.
    pub fn parse(&self, word: &str) -> Result<Template, ExpandError> {
        if word.contains(['$', '"', '\'', self.escape]) {
            grammar::parse(word, self.escape)
        } else {
            Ok(Template::literal(word))
        }
    }

    /// Expands `word` to one text; blanks in values and between words stay.
    pub fn word(&self, word: &str, env: &(impl Env + ?Sized)) -> Result<Expanded, ExpandError> {
        self.parse(word)?.expand(env)
    }

    /// Expands `word` and splits the result at blanks that were not quoted: one variable may hold
    /// several words.
    pub fn words(&self, word: &str, env: &(impl Env + ?Sized)) -> Result<Vec<String>, ExpandError> {
        self.parse(word)?.split(env)
    }

    /// Expands the body of a here-document. Quotes mean nothing there, and the escape character is
    /// a backslash whatever the file says.
    pub fn heredoc(body: &str, env: &(impl Env + ?Sized)) -> Result<Expanded, ExpandError> {
        if !body.contains(['$', '\\']) {
            return Ok(Expanded { text: body.to_owned(), ..Expanded::default() });
        }
        grammar::parse_unquoted(body)?.expand(env)
    }

    /// `text` with the variables that are set replaced by their values and everything else left as
    /// written; for showing a command, never for running it.
    pub fn display(&self, text: &str, env: &(impl Env + ?Sized)) -> String {
        match self.parse(text) {
            Ok(template) => template.display(text, env),
            Err(_) => text.to_owned(),
        }
    }
}
