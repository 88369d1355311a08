//! `bld.toml`: what an administrator or a user sets once and for all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bld_dockerfile::{Diagnostic, LineIndex, Span};
use bld_engine::disk::{DiskFilter, PruneRule, SpaceLimits, percent};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::diagnostics;
use crate::error::Failure;
use crate::output::units;
use crate::rootless;

/// Where the file is named, if it does not lie where it is looked for.
const VARIABLE: &str = "BLD_CONFIG";

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) gc: Gc,
}

/// `[gc]`: what builds collect; names and meanings are those of buildkitd.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Gc {
    enabled: bool,
    reserved_space: Space,
    max_used_space: Space,
    min_free_space: Space,
    policy: Vec<Rule>,
}

impl Default for Gc {
    fn default() -> Self {
        let [reserved_space, max_used_space, min_free_space] = [Space::default(); 3];
        Self { enabled: true, reserved_space, max_used_space, min_free_space, policy: Vec::new() }
    }
}

/// `[[gc.policy]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    all: bool,
    filters: Vec<Filter>,
    keep_duration: Age,
    reserved_space: Space,
    max_used_space: Space,
    min_free_space: Space,
}

impl Gc {
    /// The rules for a disk of `total` bytes; none if nothing is to be collected.
    pub(crate) fn rules(&self, total: u64) -> Vec<PruneRule> {
        let limits = SpaceLimits {
            reserved: self.reserved_space.bytes(total),
            max_used: self.max_used_space.bytes(total),
            min_free: self.min_free_space.bytes(total),
        };
        match limits {
            _ if !self.enabled => Vec::new(),
            _ if !self.policy.is_empty() => {
                self.policy.iter().map(|rule| rule.resolve(total)).collect()
            }
            limits if limits == SpaceLimits::default() => {
                PruneRule::defaults(SpaceLimits::of_disk(total))
            }
            limits => PruneRule::defaults(limits),
        }
    }

    /// Whether anything is to be collected.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }
}

impl Rule {
    fn resolve(&self, total: u64) -> PruneRule {
        PruneRule {
            all: self.all,
            filters: self.filters.iter().map(|filter| filter.0.clone()).collect(),
            keep_duration: self.keep_duration.0,
            reserved: self.reserved_space.bytes(total),
            max_used: self.max_used_space.bytes(total),
            min_free: self.min_free_space.bytes(total),
        }
    }
}

/// A number of bytes, or a part of the disk. Zero is no limit.
#[derive(Debug, Clone, Copy)]
enum Space {
    Bytes(u64),
    Percent(u64),
}

impl Default for Space {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl Space {
    fn bytes(self, total: u64) -> Option<u64> {
        match self {
            Self::Bytes(0) | Self::Percent(0) => None,
            Self::Bytes(bytes) => Some(bytes),
            Self::Percent(part) => Some(percent(total, part)),
        }
    }
}

/// What can be written as a number or as text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a text such as \"10GB\"")]
enum Value {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Space {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::Number(bytes) => return Ok(Self::Bytes(bytes)),
            Value::Text(text) => text,
        };
        match text.strip_suffix('%') {
            Some(part) => match part.trim().parse() {
                Ok(part @ 0..=100) => Ok(Self::Percent(part)),
                _ => Err(D::Error::custom(format!("invalid part of the disk: '{text}'"))),
            },
            None => units::parse_size(&text).map(Self::Bytes).map_err(D::Error::custom),
        }
    }
}

/// How long something must not have been used.
#[derive(Debug, Default)]
struct Age(Option<Duration>);

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let age = match Value::deserialize(from)? {
            Value::Number(seconds) => Ok(Duration::from_secs(seconds)),
            Value::Text(text) => match text.parse() {
                Ok(seconds) => Ok(Duration::from_secs(seconds)),
                Err(_) => units::parse_duration(&text),
            },
        };
        age.map(|age| Self(Some(age))).map_err(D::Error::custom)
    }
}

/// One of `filters`.
#[derive(Debug)]
struct Filter(DiskFilter);

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        DiskFilter::parse(&String::deserialize(from)?).map(Self).map_err(D::Error::custom)
    }
}

impl Config {
    /// Reads the file that `BLD_CONFIG` names, `/etc/bld/bld.toml` as root, and otherwise that of the
    /// user. There need not be any, unless it is named.
    pub(crate) fn read() -> Result<Self, Failure> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        let Some(path) = named.clone().or_else(usual) else { return Ok(Self::default()) };
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::new(format!("read {}: {error}", path.display()))
                .with_hint(format!("{VARIABLE} names the file with the configuration of bld"))),
        }
    }
}

fn usual() -> Option<PathBuf> {
    if !rootless::is_ordinary() {
        return Some("/etc/bld/bld.toml".into());
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let dir = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    dir.map(|dir| dir.join("bld/bld.toml"))
}

/// Reads `text`, which is that of `path`; what is wrong is shown in it.
fn parse(path: &Path, text: &str) -> Result<Config, Failure> {
    toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let help =
            "docs/disk.md says what can be set; sizes are such as 512MB or 10%, ages such as 48h";
        let span = Span::new(span.start, span.end);
        let diagnostic = Diagnostic::error(error.message(), span).with_help(help);
        let name = path.display().to_string();
        let report = diagnostics::render(&name, &LineIndex::new(text), &diagnostic, false);
        // Failures are printed with such a word in front.
        Failure::new(report.trim_start_matches("error: ").trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<PruneRule> {
        parse(Path::new("bld.toml"), text).unwrap_or_default().gc.rules(100 << 30)
    }

    fn limits(rule: &PruneRule) -> [Option<u64>; 3] {
        [rule.reserved, rule.max_used, rule.min_free]
    }

    const GB: u64 = 1_000_000_000;

    #[test]
    fn without_a_word_the_defaults_hold() {
        for text in ["", "[gc]", "[gc]\nmaxUsedSpace = 0"] {
            let rules = rules(text);
            assert_eq!(rules.len(), 4);
            assert_eq!(limits(&rules[3]), [Some(10 * GB), Some(81 * GB), Some(21 * GB)]);
        }
        assert_eq!(rules("gc.enabled = false").len(), 0);
    }

    #[test]
    fn limits_change_the_default_rules() {
        let rules = rules("[gc]\nmaxUsedSpace = '2gb'\nminFreeSpace = '5%'\nreservedSpace = 7");
        assert_eq!(limits(&rules[2]), [Some(7), Some(2 << 30), Some(6 * GB)]);
        assert_eq!(rules[0].max_used, Some(512_000_000));
    }

    #[test]
    fn rules_are_taken_as_they_are() {
        let rules = rules(
            "[[gc.policy]]\nfilters = ['type==regular', 'inuse']\nkeepDuration = '48h'\n\
             [[gc.policy]]\nall = true\nkeepDuration = 60\nminFreeSpace = '20%'\n",
        );
        let [first, second] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!((first.filters.len(), first.all, limits(first)), (2, false, [None; 3]));
        assert_eq!(first.keep_duration, Some(Duration::from_hours(48)));
        assert_eq!(second.keep_duration, Some(Duration::from_mins(1)));
        assert_eq!((second.all, limits(second)), (true, [None, None, Some(21 * GB)]));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        for (text, line, message) in [
            ("[gc]\nmaxUsedSpace = 'much'", 2, "invalid size: 'much'"),
            ("[gc]\nmaxUsedSpace = true", 2, "expected a number"),
            ("[gc]\nminFreeSpace = '120%'", 2, "invalid part of the disk"),
            ("[gc]\n\nspace = 1", 3, "unknown field `space`"),
            ("[[gc.policy]]\nkeepDuration = '3 weeks'", 2, "invalid duration"),
            ("[[gc.policy]]\nfilters = ['size==3']", 2, "there is no filter"),
            ("[gc", 1, "table"),
        ] {
            let failure = parse(Path::new("bld.toml"), text).err();
            let shown = failure.as_ref().and_then(Failure::text).unwrap_or_default();
            let place = format!("--> bld.toml:{line}:");
            assert!(shown.contains(&place) && shown.contains(message), "{text}: {shown}");
            assert!(shown.contains('^') && shown.contains("docs/disk.md"), "{shown}");
        }
    }
}
