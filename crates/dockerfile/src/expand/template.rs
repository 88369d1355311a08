//! A parsed word, and its evaluation.

use std::borrow::Cow;

use super::error::{ExpandError, ExpandErrorKind};
use super::pattern::Pattern;
use super::{Env, Expanded};
use crate::span::Span;

/// Bytes that variables may make of a word. A few lines that double one another's values would fill
/// any memory; the kernel takes no more than 128 KiB for a variable of a process.
const LONGEST: usize = 4 << 20;

/// A word parsed into literal text and variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pub(super) parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text outside quotes: splits at blanks.
    Bare(String),
    /// Text that was quoted or escaped: never splits.
    Quoted(String),
    /// A variable; inside quotes its value doesn't split.
    Variable { variable: Variable, quoted: bool },
}

impl Part {
    fn literal(&self) -> Option<&str> {
        match self {
            Self::Bare(text) | Self::Quoted(text) => Some(text),
            Self::Variable { .. } => None,
        }
    }
}

/// One use of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// Where it is used, in bytes of the word, from the `$` to the end.
    pub span: Span,
    pub(super) modifier: Modifier,
}

/// What is done with the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Modifier {
    None,
    /// `-` and `:-`
    Default {
        word: Template,
        or_empty: bool,
    },
    /// `+` and `:+`
    Alternate {
        word: Template,
        or_empty: bool,
    },
    /// `?` and `:?`
    Required {
        message: Template,
        or_empty: bool,
    },
    /// `#` and `##`
    TrimPrefix {
        pattern: Template,
        longest: bool,
    },
    /// `%` and `%%`
    TrimSuffix {
        pattern: Template,
        longest: bool,
    },
    /// `/` and `//`
    Replace {
        pattern: Template,
        with: Template,
        all: bool,
    },
}

impl Modifier {
    fn templates(&self) -> [Option<&Template>; 2] {
        match self {
            Self::None => [None, None],
            Self::Default { word, .. } | Self::Alternate { word, .. } => [Some(word), None],
            Self::Required { message, .. } => [Some(message), None],
            Self::TrimPrefix { pattern, .. } | Self::TrimSuffix { pattern, .. } => {
                [Some(pattern), None]
            }
            Self::Replace { pattern, with, .. } => [Some(pattern), Some(with)],
        }
    }
}

impl Template {
    /// Text in which nothing has a meaning.
    pub(super) fn literal(text: &str) -> Self {
        Self { parts: vec![Part::Bare(text.to_owned())] }
    }

    /// The variables it mentions, outermost first, those inside modifiers included.
    pub fn variables(&self) -> Vec<&Variable> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Variable>) {
        for part in &self.parts {
            if let Part::Variable { variable, .. } = part {
                found.push(variable);
                variable.modifier.templates().into_iter().flatten().for_each(|t| t.collect(found));
            }
        }
    }

    /// Whether it mentions no variable at all.
    pub fn is_constant(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Variable { .. }))
    }

    /// Its text, if it mentions no variable.
    pub fn constant(&self) -> Option<String> {
        self.parts.iter().map(|part| part.literal().map(str::to_owned)).collect()
    }

    /// The text in front of the first variable; none when it begins with one.
    pub fn literal_prefix(&self) -> Option<String> {
        let literals: String = self.parts.iter().map_while(Part::literal).collect();
        (!literals.is_empty()).then_some(literals)
    }

    /// Evaluates to one text.
    pub fn expand(&self, env: &(impl Env + ?Sized)) -> Result<Expanded, ExpandError> {
        let mut seen = Seen::default();
        let text = self.text(env, &mut seen)?;
        Ok(Expanded { text, unset: seen.unset, used: seen.used })
    }

    /// Evaluates and splits at blanks that were not quoted.
    pub fn split(&self, env: &(impl Env + ?Sized)) -> Result<Vec<String>, ExpandError> {
        let mut seen = Seen::default();
        let mut words = Words::default();
        for part in &self.parts {
            match part {
                Part::Bare(text) => words.bare(text),
                Part::Quoted(text) => words.quoted(text),
                Part::Variable { variable, quoted: true } => {
                    words.quoted(&variable.value(env, &mut seen)?);
                }
                Part::Variable { variable, quoted: false } => {
                    words.bare(&variable.value(env, &mut seen)?);
                }
            }
        }
        Ok(words.finish())
    }

    /// The source text with the variables that are set replaced.
    pub(super) fn display(&self, source: &str, env: &(impl Env + ?Sized)) -> String {
        let mut out = String::with_capacity(source.len());
        let mut done = 0;
        for part in &self.parts {
            let Part::Variable { variable, .. } = part else { continue };
            if env.get(&variable.name).is_none() {
                continue;
            }
            if let Ok(value) = variable.value(env, &mut Seen::default()) {
                out.push_str(&source[done..variable.span.start]);
                out.push_str(&value);
                done = variable.span.end;
            }
        }
        out.push_str(&source[done..]);
        out
    }

    fn text(&self, env: &(impl Env + ?Sized), seen: &mut Seen) -> Result<String, ExpandError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Bare(text) | Part::Quoted(text) => out.push_str(text),
                Part::Variable { variable, .. } => {
                    out.push_str(&variable.value(env, seen)?);
                    if out.len() > LONGEST {
                        return Err(ExpandErrorKind::TooLong(LONGEST).at(variable.span));
                    }
                }
            }
        }
        Ok(out)
    }
}

impl Variable {
    fn value<'e>(
        &self,
        env: &'e (impl Env + ?Sized),
        seen: &mut Seen,
    ) -> Result<Cow<'e, str>, ExpandError> {
        let found = env.get(&self.name);
        seen.note(&self.name, found.is_some());
        let value = Cow::Borrowed(found.unwrap_or_default());
        // `or_empty` is the colon: an empty value counts as none.
        let missing = |or_empty: bool| found.is_none_or(|text| or_empty && text.is_empty());
        // The operand is evaluated even where it is not used, so that the names in it are noted.
        Ok(match &self.modifier {
            Modifier::None => value,
            Modifier::Default { word, or_empty } => {
                let word = word.text(env, seen)?;
                if missing(*or_empty) { Cow::Owned(word) } else { value }
            }
            Modifier::Alternate { word, or_empty } => {
                let word = word.text(env, seen)?;
                if missing(*or_empty) { Cow::Borrowed("") } else { Cow::Owned(word) }
            }
            Modifier::Required { message, or_empty } => {
                let message = message.text(env, seen)?;
                if missing(*or_empty) {
                    return Err(self.required(message, found.is_none()));
                }
                value
            }
            Modifier::TrimPrefix { pattern, longest } => {
                let pattern = self.pattern(pattern, env, seen)?;
                Cow::Owned(pattern.trim_prefix(&value, *longest).to_owned())
            }
            Modifier::TrimSuffix { pattern, longest } => {
                let pattern = self.pattern(pattern, env, seen)?;
                Cow::Owned(pattern.trim_suffix(&value, *longest).to_owned())
            }
            Modifier::Replace { pattern, with, all } => {
                let pattern = self.pattern(pattern, env, seen)?;
                let with = with.text(env, seen)?;
                Cow::Owned(pattern.replace(&value, &with, *all, LONGEST))
            }
        })
    }

    fn pattern(
        &self,
        template: &Template,
        env: &(impl Env + ?Sized),
        seen: &mut Seen,
    ) -> Result<Pattern, ExpandError> {
        let text = template.text(env, seen)?;
        Pattern::parse(&text).map_err(|escape| ExpandErrorKind::InvalidEscape(escape).at(self.span))
    }

    fn required(&self, message: String, unset: bool) -> ExpandError {
        let message = match (message.is_empty(), unset) {
            (false, _) => message,
            (true, true) => "is not allowed to be unset".to_owned(),
            (true, false) => "is not allowed to be empty".to_owned(),
        };
        ExpandErrorKind::Required { name: self.name.clone(), message }.at(self.span)
    }
}

/// The names looked up so far.
#[derive(Default)]
struct Seen {
    unset: Vec<String>,
    used: Vec<String>,
}

impl Seen {
    fn note(&mut self, name: &str, found: bool) {
        let names = if found { &mut self.used } else { &mut self.unset };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
}

/// Collects words out of pieces that may or may not split.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    open: String,
}

impl Words {
    fn bare(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.close();
            } else {
                self.open.push(c);
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.open.push_str(text);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.close();
        self.done
    }
}
