//! The files `registries.conf` of podman, buildah and skopeo: where images are, which mirrors they have, and
//! what names without a registry stand for.
//!
//! Their form is that of containers-registries.conf(5), in both versions. What differs is that nobody is
//! asked anything: with `short-name-mode = "enforcing"` a name for which several registries could be
//! meant is refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use bld_oci::Reference;
use bld_registry::{Rule, RuleMirror};
use serde::Deserialize;

use super::{entries, is_absent, unreadable};

/// What all files say together.
#[derive(Debug, Default)]
pub(super) struct Containers {
    /// Where images are, and what must not be used.
    pub(super) rules: Vec<Rule>,
    /// What names without a registry stand for.
    pub(super) names: ShortNames,
}

/// What names without a registry stand for.
#[derive(Debug, Default)]
pub(crate) struct ShortNames {
    aliases: BTreeMap<String, String>,
    /// Registries that may be meant.
    search: Vec<String>,
    /// Whether one of them has to be chosen by somebody.
    enforcing: bool,
}

/// One file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<Mode>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registry: Vec<Entry>,
    /// What version 1 has.
    registries: Option<Lists>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Enforcing,
    Permissive,
    Disabled,
    #[serde(rename = "")]
    Unset,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorEntry {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: From,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum From {
    #[default]
    #[serde(alias = "")]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Lists {
    search: List,
    insecure: List,
    block: List,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct List {
    registries: Vec<String>,
}

/// Reads `places`: files, and directories of such files, whose names end in `.conf`. What a later one says
/// counts; those that do not exist say nothing.
///
/// # Errors
/// What is wrong with them.
pub(super) fn read(places: &[PathBuf]) -> Result<Containers, String> {
    let mut all = Containers::default();
    for place in places {
        let is_conf = |file: &PathBuf| file.extension() == Some(OsStr::new("conf"));
        let files = if place.is_dir() {
            let mut files = entries(place).map_err(|error| unreadable(place, &error))?;
            files.retain(is_conf);
            files
        } else {
            vec![place.clone()]
        };
        for file in files {
            let text = match fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(unreadable(&file, &error)),
            };
            all.add(&text).map_err(|reason| format!("{}: {reason}", file.display()))?;
        }
    }
    Ok(all)
}

impl Containers {
    /// Adds what the text of a file says.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}: {}", error.message())
        })?;
        if let Some(lists) = file.registries {
            if file.unqualified_search_registries.is_some() || !file.registry.is_empty() {
                return Err("versions 1 and 2 of its form are mixed".to_owned());
            }
            self.names.search = lists.search.registries;
            for (names, blocked) in [(lists.insecure, false), (lists.block, true)] {
                for prefix in names.registries {
                    let known = self.rules.iter_mut().find(|rule| rule.prefix == prefix);
                    match known {
                        Some(rule) => rule.blocked |= blocked,
                        None => {
                            self.rules.push(Rule {
                                prefix,
                                blocked,
                                insecure: !blocked,
                                ..Rule::default()
                            });
                        }
                    }
                }
            }
        }
        if let Some(search) = file.unqualified_search_registries {
            self.names.search = search;
        }
        match file.short_name_mode {
            Some(Mode::Enforcing) => self.names.enforcing = true,
            Some(Mode::Permissive | Mode::Disabled) => self.names.enforcing = false,
            Some(Mode::Unset) | None => {}
        }
        for (name, target) in file.aliases {
            if target.is_empty() {
                self.names.aliases.remove(&name);
            } else {
                self.names.aliases.insert(name, target);
            }
        }
        for entry in file.registry {
            let rule = rule(entry)?;
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }
}

/// What an entry says.
fn rule(entry: Entry) -> Result<Rule, String> {
    let location = Some(trimmed(&entry.location)?).filter(|location| !location.is_empty());
    let prefix = match trimmed(&entry.prefix)? {
        none if none.is_empty() => location.clone(),
        prefix => Some(prefix),
    };
    let prefix = prefix.ok_or("a registry has neither a prefix nor a location")?;
    if location.is_none() && !prefix.starts_with("*.") {
        return Err(format!("the registry {prefix:?} has no location"));
    }
    let is_wild = |name: &str| name.contains('*');
    if location.as_deref().is_some_and(is_wild)
        || prefix.strip_prefix("*.").is_some_and(|rest| rest.contains(['*', '/', ':', '@']))
        || (!prefix.starts_with("*.") && is_wild(&prefix))
    {
        return Err(format!("the registry {prefix:?} has a * where none can be"));
    }
    let last = prefix.rsplit_once('/').map_or("", |(_, last)| last);
    if last.contains([':', '@']) {
        return Err(format!(
            "the registry {prefix:?} is for one tag or digest, which is not supported"
        ));
    }
    let mirrors = entry.mirror.into_iter().map(|mirror| {
        if entry.mirror_by_digest_only && mirror.pull_from_mirror != From::All {
            let both = "has both mirror-by-digest-only and pull-from-mirror";
            return Err(format!("the registry {prefix:?} {both}"));
        }
        let location = trimmed(&mirror.location)?;
        if location.is_empty() || is_wild(&location) {
            return Err(format!("a mirror of {prefix:?} has no location"));
        }
        Ok(RuleMirror {
            location,
            insecure: mirror.insecure,
            tags: !entry.mirror_by_digest_only && mirror.pull_from_mirror != From::DigestOnly,
            digests: mirror.pull_from_mirror != From::TagOnly,
        })
    });
    let mirrors = mirrors.collect::<Result<_, _>>()?;
    let location = location.filter(|location| *location != prefix);
    Ok(Rule { location, insecure: entry.insecure, blocked: entry.blocked, mirrors, prefix })
}

/// A location without slashes at its end.
fn trimmed(location: &str) -> Result<String, String> {
    if location.contains("://") {
        return Err(format!("the location {location:?} is a URL, and must be host[:port][/path]"));
    }
    Ok(location.trim_end_matches('/').to_owned())
}

impl ShortNames {
    /// What `text`, a name as typed that names no registry, may stand for, the likeliest first. Nothing: nothing is said
    /// of it.
    ///
    /// # Errors
    /// Why it cannot be decided.
    pub(crate) fn meant(&self, text: &str) -> Result<Vec<Reference>, String> {
        let whole = |name: &str| {
            Reference::parse(name).map_err(|error| format!("{text} is said to be {name}: {error}"))
        };
        let (name, rest) = text.split_at(text.find([':', '@']).unwrap_or(text.len()));
        if let Some(target) = self.aliases.get(name) {
            return Ok(vec![whole(&format!("{target}{rest}"))?]);
        }
        if self.enforcing && self.search.len() > 1 {
            let search = self.search.join(" or ");
            let advice = "name the registry, or set an alias in registries.conf";
            return Err(format!("{text} may be meant for {search}: {advice}"));
        }
        self.search.iter().map(|registry| whole(&format!("{registry}/{text}"))).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Containers, String> {
        let mut all = Containers::default();
        texts.iter().try_for_each(|text| all.add(text)).map(|()| all)
    }

    fn meant(all: &Containers, name: &str) -> Vec<String> {
        all.names.meant(name).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_later_file_replaces_what_it_says_anew() {
        let first = r#"
            unqualified-search-registries = ["one.example", "two.example:5000"]
            [[registry]]
            prefix = "r.example/team"
            location = "s.example/all/"
            blocked = true
            [[registry.mirror]]
            location = "m.example"
            insecure = true
            pull-from-mirror = "digest-only"
            [[registry]]
            location = "other.example"
            insecure = true
            mirror-by-digest-only = true
            mirror = [{ location = "n.example/x" }]
            [aliases]
            fedora = "registry.fedoraproject.org/fedora"
            gone = "r.example/gone"
        "#;
        let second = "[[registry]]\nprefix = '*.example'\n[[registry]]\nlocation = 'r.example/team'\n\
                      [aliases]\ngone = ''\n";
        let all = parse(&[first]).unwrap();
        let [team, other] = &all.rules[..] else { panic!("{:?}", all.rules) };
        assert_eq!(
            (&*team.prefix, team.location.as_deref()),
            ("r.example/team", Some("s.example/all"))
        );
        assert!(team.blocked && !team.insecure && !team.mirrors[0].tags && team.mirrors[0].digests);
        assert_eq!(
            (&*other.prefix, &other.location, other.insecure),
            ("other.example", &None, true)
        );
        assert!(!other.mirrors[0].tags);
        assert_eq!(meant(&all, "gone:1"), ["r.example/gone:1"]);
        let all = parse(&[first, second]).unwrap();
        let prefixes: Vec<_> = all.rules.iter().map(|rule| &*rule.prefix).collect();
        assert_eq!(prefixes, ["other.example", "*.example", "r.example/team"]);
        assert!(!all.rules[2].blocked && all.rules[2].mirrors.is_empty());
        assert_eq!(meant(&all, "fedora"), ["registry.fedoraproject.org/fedora:latest"]);
        assert_eq!(meant(&all, "gone:1"), ["one.example/gone:1", "two.example:5000/gone:1"]);
        let digest = format!("team/app@sha256:{}", "0".repeat(64));
        assert_eq!(meant(&all, &digest)[0], format!("one.example/{digest}"));
    }

    #[test]
    fn nobody_is_asked_what_is_meant() {
        let text = "short-name-mode = 'enforcing'\nunqualified-search-registries = ['a.example', 'b.example']";
        let error = parse(&[text]).unwrap().names.meant("x").unwrap_err();
        assert!(error.contains("a.example or b.example"), "{error}");
        let all = parse(&[text, "unqualified-search-registries = ['b.example']"]).unwrap();
        assert_eq!(meant(&all, "x"), ["b.example/x:latest"]);
        let all = parse(&[text, "short-name-mode = 'permissive'"]).unwrap();
        assert_eq!(meant(&all, "x").len(), 2);
        assert_eq!(meant(&Containers::default(), "x"), Vec::<String>::new());
    }

    #[test]
    fn the_first_version_is_read() {
        let text = "[registries.search]\nregistries = ['a.example']\n[registries.insecure]\n\
                    registries = ['b.example', 'c.example']\n[registries.block]\nregistries = ['c.example']\n";
        let all = parse(&[text]).unwrap();
        let rules: Vec<_> =
            all.rules.iter().map(|rule| (&*rule.prefix, rule.insecure, rule.blocked)).collect();
        assert_eq!(rules, [("b.example", true, false), ("c.example", true, true)]);
        assert_eq!(meant(&all, "x"), ["a.example/x:latest"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("\nunqualified-search-registries = 7", "line 2: invalid type"),
            ("[[registry]]", "neither a prefix nor a location"),
            ("[[registry]]\nprefix = 'a.example'", "has no location"),
            ("[[registry]]\nlocation = 'https://a.example'", "is a URL"),
            ("[[registry]]\nlocation = '*.example'", "a * where none can be"),
            ("[[registry]]\nprefix = '*.example/x'", "a * where none can be"),
            (
                "[[registry]]\nprefix = 'a.*.example'\nlocation = 'b.example'",
                "a * where none can be",
            ),
            ("[[registry]]\nlocation = 'a.example/x:1'", "for one tag"),
            ("[[registry]]\nlocation = 'a'\nmirror = [{ location = '' }]", "has no location"),
            (
                "[[registry]]\nlocation = 'a'\nmirror-by-digest-only = true\n\
                 mirror = [{ location = 'b', pull-from-mirror = 'tag-only' }]",
                "has both",
            ),
            ("short-name-mode = 'loud'", "unknown variant"),
            ("[registries.search]\nregistries = []\n[[registry]]\nlocation = 'a'", "are mixed"),
        ] {
            let error = parse(&[text]).map_or_else(|error| error, |_| String::new());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
