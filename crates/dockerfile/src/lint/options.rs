//! Which checks report: `skip=A,B;error=true;experimental=C`.

use std::collections::BTreeSet;

use super::rules::{Origin, Rule};
use crate::suggest::{did_you_mean, suggest};
use crate::value::parse_bool;

/// The options of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Whether a warning fails the build.
    pub error: bool,
    skip: Selection,
    experimental: Selection,
}

/// Some rules, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Selection {
    all: bool,
    names: BTreeSet<String>,
}

impl Selection {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self { all: true, names: BTreeSet::new() },
            names => {
                let names = names.split(',').map(|name| name.trim().to_owned());
                Self { all: false, names: names.collect() }
            }
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

/// Options that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid check option `{0}`{near}: use skip=, error= or experimental=, separated by semicolons",
    near = near(.0)
)]
pub struct CheckOptionsError(
    /// The option.
    pub String,
);

/// The option that was meant, if its name can be told.
fn near(part: &str) -> String {
    let name = part.split('=').next().unwrap_or(part).trim();
    did_you_mean(suggest(name, ["error", "experimental", "skip"].into_iter()))
}

impl CheckOptions {
    /// Reads the value of a `# check=` directive or of the build argument that replaces it.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || CheckOptionsError(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(invalid)?;
            match name.trim() {
                "skip" => options.skip = Selection::parse(value),
                "experimental" => options.experimental = Selection::parse(value),
                "error" => options.error = parse_bool(value.trim()).ok_or_else(invalid)?,
                _ => return Err(invalid()),
            }
        }
        Ok(options)
    }

    /// Whether a finding of `rule` about an instruction with `comment` above it is wanted.
    pub fn reports(&self, rule: &str, comment: Option<&str>) -> bool {
        let experimental = Rule::find(rule).is_some_and(|rule| rule.origin == Origin::Experimental);
        if experimental {
            self.asks_for(rule, comment)
        } else {
            !self.any(comment, |options| options.skip.contains(rule))
        }
    }

    /// The names of rules in them.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.skip.names.iter().chain(&self.experimental.names).map(String::as_str)
    }

    /// Whether `rule` is named as one to be taken seriously.
    pub(super) fn asks_for(&self, rule: &str, comment: Option<&str>) -> bool {
        self.any(comment, |options| options.experimental.contains(rule))
    }

    /// Whether `test` holds of these options or of those in the comment above an instruction.
    fn any(&self, comment: Option<&str>, test: impl Fn(&Self) -> bool) -> bool {
        test(self) || comment.and_then(local).as_ref().is_some_and(test)
    }
}

/// The options in the first comment line that holds some. Others say nothing, right or wrong.
fn local(comment: &str) -> Option<CheckOptions> {
    let value = comment.lines().find_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("check").then(|| value.trim())
    })?;
    let value = value.split(' ').next().unwrap_or(value); // the rest is a remark
    CheckOptions::parse(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_rules() {
        let options = CheckOptions::parse("skip=A, B;error=true;experimental=C");
        assert_eq!(options.as_ref().map(|o| o.error), Ok(true));
        let options = options.unwrap_or_default();
        assert!(!options.reports("A", None));
        assert!(!options.reports("B", None));
        assert!(options.reports("StageNameCasing", None));
        assert!(!options.reports("InvalidDefinitionDescription", None));
        let options = CheckOptions::parse("skip=all;experimental=all").unwrap_or_default();
        assert!(!options.reports("StageNameCasing", None));
        assert!(options.reports("InvalidDefinitionDescription", None));
    }

    #[test]
    fn comments_add_to_the_options() {
        let options = CheckOptions::default();
        let comment = "why\ncheck=skip=UndefinedVar // on purpose";
        assert!(!options.reports("UndefinedVar", Some(comment)));
        assert!(options.reports("StageNameCasing", Some(comment)));
        assert!(options.reports("UndefinedVar", Some("check=nonsense")));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["skip", "error=maybe", "colour=blue"] {
            assert_eq!(CheckOptions::parse(text), Err(CheckOptionsError(text.into())));
        }
        assert_eq!(CheckOptions::parse(""), Ok(CheckOptions::default()));
    }
}
