//! Which sources a build may use, and what is used in their place.
//!
//! The format, and what it means, is BuildKit's source policy: a JSON object with `rules`, each an
//! `action`, a `selector` and, for `CONVERT`, `updates`. Every rule is looked at in order; of those
//! that allow and deny, the last that matches counts, and the first that changes a source starts
//! again with what it made of it. Keys that are not known are refused: a rule that says something
//! else than its author meant is worse than none.

use std::collections::BTreeMap;

use bld_graph::{GitOp, HttpOp, Op};
use bld_oci::{Digest, Reference};
use regex::Regex;
use serde::Deserialize;

/// Rounds of changes of one source before it is given up, as with BuildKit.
const ROUNDS: usize = 20;

/// The attribute with the digest a download must have.
const HTTP_CHECKSUM: &str = "http.checksum";
/// The attribute with the commit a reference must lead to.
const GIT_CHECKSUM: &str = "git.checksum";
/// The attribute with the whole URL of a repository.
const GIT_URL: &str = "git.fullurl";

/// Rules about the sources of a build.
#[derive(Debug, Clone)]
pub struct SourcePolicy {
    name: String,
    rules: Vec<Rule>,
}

/// Why a policy or a source is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The policy is not what it should be.
    #[error("invalid source policy {policy}: {reason}")]
    Invalid {
        /// The policy's name.
        policy: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A rule denies the source.
    #[error("source {identifier:?} denied by policy")]
    Denied {
        /// The source.
        identifier: String,
        /// The policy's name.
        policy: String,
        /// Number of the rule, from 1.
        rule: usize,
    },
    /// Rules change the source back and forth.
    #[error("too many mutations on a single source: {identifier:?} is changed again and again")]
    TooMany {
        /// The source, as it was at the end.
        identifier: String,
    },
    /// A rule makes something of the source that cannot stand in its place.
    #[error("the policy makes {to:?} of {from:?}: {reason}")]
    Unusable {
        /// The source.
        from: String,
        /// What it was to become.
        to: String,
        /// Why it cannot.
        reason: String,
    },
}

impl PolicyError {
    /// Where to look.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Denied { policy, rule, .. } => Some(format!("it is rule {rule} of {policy}")),
            _ => None,
        }
    }
}

/// The document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "version")]
    _version: i64,
    #[serde(default)]
    rules: Vec<Written>,
}

/// A rule as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    action: Action,
    selector: Selector,
    #[serde(default)]
    updates: Option<Updates>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    #[default]
    Allow,
    Deny,
    Convert,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    identifier: String,
    #[serde(default, alias = "matchType")]
    match_type: MatchType,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MatchType {
    #[default]
    Wildcard,
    Exact,
    Regex,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraint {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Condition,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Condition {
    #[default]
    Equal,
    NotEqual,
    Matches,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Updates {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A rule that is ready to use.
#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    identifier: String,
    /// What else than the identifier itself matches.
    pattern: Option<Regex>,
    constraints: Vec<(Constraint, Option<Regex>)>,
    updates: Updates,
}

/// A source as rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    identifier: String,
    attrs: BTreeMap<String, String>,
}

impl Source {
    fn new(identifier: impl Into<String>) -> Self {
        Self { identifier: identifier.into(), attrs: BTreeMap::new() }
    }
}

impl SourcePolicy {
    /// Reads a policy; `name` is what messages call it.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`].
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, PolicyError> {
        let invalid = |reason| PolicyError::Invalid { policy: name.to_owned(), reason };
        let document: Document =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        let rules = document.rules.into_iter().enumerate().map(|(index, written)| {
            Rule::new(written).map_err(|reason| invalid(format!("rule {}: {reason}", index + 1)))
        });
        Ok(Self { name: name.to_owned(), rules: rules.collect::<Result<_, _>>()? })
    }

    /// The image that is to be used for `reference`.
    pub(super) fn image(&self, reference: &Reference) -> Result<Reference, PolicyError> {
        const SCHEME: &str = "docker-image://";
        let before = Source::new(format!("{SCHEME}{reference}"));
        let Some(after) = self.apply(&before)? else { return Ok(reference.clone()) };
        let name = after.identifier.strip_prefix(SCHEME);
        let name = name.ok_or_else(|| unusable(&before, &after, "only an image can be a base"))?;
        Reference::parse(name).map_err(|error| unusable(&before, &after, &error.to_string()))
    }

    /// Makes of a source outside what is to be used for it.
    pub(super) fn op(&self, op: &mut Op) -> Result<(), PolicyError> {
        match op {
            Op::Http(op) => self.http(op),
            Op::Git(op) => self.git(op),
            _ => Ok(()),
        }
    }

    /// Makes of a download what is to be used for it.
    pub(super) fn http(&self, op: &mut HttpOp) -> Result<(), PolicyError> {
        let mut before = Source::new(without_login(&op.url));
        let checksum = op.checksum.map(|digest| (HTTP_CHECKSUM.to_owned(), digest.to_string()));
        before.attrs.extend(checksum);
        let Some(after) = self.apply(&before)? else { return Ok(()) };
        if after.identifier != before.identifier {
            if !["http://", "https://"].iter().any(|scheme| after.identifier.starts_with(scheme)) {
                return Err(unusable(&before, &after, "a download can only become a download"));
            }
            op.url.clone_from(&after.identifier);
        }
        if let Some(checksum) = after.attrs.get(HTTP_CHECKSUM).filter(|text| !text.is_empty()) {
            let digest = checksum.parse::<Digest>();
            let digest = digest.map_err(|error| {
                unusable(&before, &after, &format!("{HTTP_CHECKSUM} {checksum:?}: {error}"))
            })?;
            op.checksum = Some(digest);
        }
        Ok(())
    }

    /// Makes of a checkout what is to be used for it.
    pub(super) fn git(&self, op: &mut GitOp) -> Result<(), PolicyError> {
        let place = git_place(&op.remote);
        let mut before = Source::new(format!("git://{place}{}", fragment(op)));
        before.attrs.insert(GIT_URL.to_owned(), without_login(&op.remote));
        let checksum = op.checksum.clone().map(|commit| (GIT_CHECKSUM.to_owned(), commit));
        before.attrs.extend(checksum);
        let Some(after) = self.apply(&before)? else { return Ok(()) };
        let Some(id) = after.identifier.strip_prefix("git://") else {
            return Err(unusable(&before, &after, "a checkout can only become a checkout"));
        };
        let (new_place, new_fragment) = id.split_once('#').unwrap_or((id, ""));
        let url = after.attrs.get(GIT_URL).filter(|url| before.attrs.get(GIT_URL) != Some(url));
        match url {
            Some(url) => op.remote.clone_from(url),
            None if new_place != place => {
                // Whoever writes `git://` in a policy means the place, not git's own protocol.
                let scheme = op.remote.split_once("://").map_or("ssh", |(scheme, _)| scheme);
                op.remote = format!("{scheme}://{new_place}");
            }
            None => {}
        }
        if after.identifier != before.identifier {
            let (reference, subdir) = new_fragment.split_once(':').unwrap_or((new_fragment, ""));
            op.reference = Some(reference.to_owned()).filter(|text| !text.is_empty());
            op.subdir = Some(subdir.to_owned()).filter(|text| !text.is_empty());
        }
        if let Some(commit) = after.attrs.get(GIT_CHECKSUM).filter(|text| !text.is_empty()) {
            op.checksum = Some(commit.clone());
        }
        Ok(())
    }

    /// Checks a source that nothing can stand in for: `local://NAME`, `oci-layout://PATH`.
    pub(super) fn fixed(&self, identifier: &str) -> Result<(), PolicyError> {
        let before = Source::new(identifier);
        match self.apply(&before)? {
            Some(after) if after.identifier != before.identifier => {
                Err(unusable(&before, &after, "what lies on this machine cannot be replaced"))
            }
            _ => Ok(()),
        }
    }

    /// What the rules make of `source`; none: it stays as it is.
    fn apply(&self, source: &Source) -> Result<Option<Source>, PolicyError> {
        let mut current = source.clone();
        for _ in 0..=ROUNDS {
            match self.round(&current)? {
                Some(changed) => current = changed,
                None => return Ok(Some(current).filter(|current| current != source)),
            }
        }
        Err(PolicyError::TooMany { identifier: current.identifier })
    }

    /// One look at all rules, which ends when one changes the source.
    fn round(&self, source: &Source) -> Result<Option<Source>, PolicyError> {
        let mut denied_by = None;
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.matches(source) {
                continue;
            }
            match rule.action {
                Action::Allow => denied_by = None,
                Action::Deny => denied_by = Some(index + 1),
                Action::Convert => {
                    let changed = rule.convert(source);
                    if changed != *source {
                        return Ok(Some(changed));
                    }
                }
            }
        }
        match denied_by {
            Some(rule) => Err(PolicyError::Denied {
                identifier: source.identifier.clone(),
                policy: self.name.clone(),
                rule,
            }),
            None => Ok(None),
        }
    }
}

impl Rule {
    fn new(written: Written) -> Result<Self, String> {
        let Written { action, selector, updates } = written;
        let Selector { identifier, match_type, constraints } = selector;
        if action == Action::Convert && updates.is_none() {
            return Err("CONVERT needs \"updates\"".to_owned());
        }
        let compile = |pattern: &str| Regex::new(pattern).map_err(|error| error.to_string());
        let pattern = match match_type {
            MatchType::Exact => None,
            MatchType::Regex => Some(compile(&identifier)?),
            MatchType::Wildcard if identifier.contains("**") => {
                return Err(format!("invalid wildcard {identifier:?}: \"**\""));
            }
            MatchType::Wildcard => {
                let parts: Vec<_> = identifier.split('*').map(regex::escape).collect();
                Some(compile(&format!("^{}$", parts.join("(.*)")))?)
            }
        };
        let constraints = constraints.into_iter().map(|constraint| {
            let matches = constraint.condition == Condition::Matches;
            let pattern = matches.then(|| compile(&constraint.value)).transpose()?;
            Ok((constraint, pattern))
        });
        let constraints = constraints.collect::<Result<_, String>>()?;
        let updates = updates.unwrap_or_default();
        Ok(Self { action, identifier, pattern, constraints, updates })
    }

    fn matches(&self, source: &Source) -> bool {
        let holds = |(constraint, pattern): &(Constraint, Option<Regex>)| {
            let value = source.attrs.get(&constraint.key).map_or("", String::as_str);
            match (constraint.condition, pattern) {
                (Condition::NotEqual, _) => value != constraint.value,
                (_, Some(pattern)) => pattern.is_match(value),
                (_, None) => value == constraint.value,
            }
        };
        let pattern = self.pattern.as_ref();
        self.constraints.iter().all(holds)
            && (self.identifier == source.identifier
                || pattern.is_some_and(|pattern| pattern.is_match(&source.identifier)))
    }

    fn convert(&self, source: &Source) -> Source {
        let mut changed = source.clone();
        let new = &self.updates.identifier;
        if !new.is_empty() {
            changed.identifier = match &self.pattern {
                Some(pattern) => pattern.replace_all(&source.identifier, new).into_owned(),
                None => new.clone(),
            };
        }
        changed.attrs.extend(self.updates.attrs.clone());
        changed
    }
}

fn unusable(from: &Source, to: &Source, reason: &str) -> PolicyError {
    let (from, to) = (from.identifier.clone(), to.identifier.clone());
    PolicyError::Unusable { from, to, reason: reason.to_owned() }
}

/// `url` without the login in it, which is nobody's business.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host = rest.split('/').next().unwrap_or(rest);
    match host.rsplit_once('@') {
        Some((login, _)) => format!("{scheme}://{}", &rest[login.len() + 1..]),
        None => url.to_owned(),
    }
}

/// Host and path of a repository, as BuildKit's identifiers have them.
fn git_place(remote: &str) -> String {
    match without_login(remote).split_once("://") {
        Some((_, place)) => place.to_owned(),
        // `user@host:path`
        None => {
            let place = remote.split_once('@').map_or(remote, |(_, place)| place);
            place.replacen(':', "/", 1)
        }
    }
}

/// `#REF[:SUBDIR]` of a checkout, if there is any of it.
fn fragment(op: &GitOp) -> String {
    let reference = op.reference.as_deref().unwrap_or_default();
    match &op.subdir {
        Some(subdir) => format!("#{reference}:{subdir}"),
        None if reference.is_empty() => String::new(),
        None => format!("#{reference}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn policy(rules: &str) -> SourcePolicy {
        SourcePolicy::parse("p.json", format!("{{\"rules\":[{rules}]}}").as_bytes()).unwrap()
    }

    fn image(policy: &SourcePolicy, name: &str) -> Result<String, String> {
        let reference = Reference::parse(name).unwrap();
        policy.image(&reference).map(|image| image.to_string()).map_err(|error| error.to_string())
    }

    const DENY_ALL: &str = r#"{"action":"DENY","selector":{"identifier":"docker-image://*"}}"#;

    #[test]
    fn the_last_rule_that_matches_counts() {
        let busybox = r#"{"action":"ALLOW","selector":{"match_type":"EXACT",
            "identifier":"docker-image://docker.io/library/busybox:latest"}}"#;
        let allowed = policy(&format!("{DENY_ALL},{busybox}"));
        assert_eq!(image(&allowed, "busybox").unwrap(), "docker.io/library/busybox:latest");
        let error = image(&allowed, "busybox:1").unwrap_err();
        let text = "source \"docker-image://docker.io/library/busybox:1\" denied by policy";
        assert_eq!(error, text);
        assert!(image(&policy(&format!("{busybox},{DENY_ALL}")), "busybox").is_err());
        assert!(image(&policy(""), "busybox").is_ok());
    }

    #[test]
    fn what_a_wildcard_stood_for_can_be_used() {
        let mirror = policy(
            r#"{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/*"},
            "updates":{"identifier":"docker-image://mirror.example/hub/${1}"}}"#,
        );
        assert_eq!(image(&mirror, "busybox:1").unwrap(), "mirror.example/hub/busybox:1");
        assert_eq!(image(&mirror, "a/b").unwrap(), "docker.io/a/b:latest");
        let regex = policy(
            r#"{"action":"CONVERT","selector":{"matchType":"REGEX","identifier":"busybox:(\\d)$"},
            "updates":{"identifier":"busybox:$1.36"}}"#,
        );
        assert_eq!(image(&regex, "busybox:1").unwrap(), "docker.io/library/busybox:1.36");
    }

    #[test]
    fn what_was_changed_is_looked_at_again() {
        let convert = |from: &str, to: &str| {
            format!(
                r#"{{"action":"CONVERT","selector":{{"match_type":"EXACT","identifier":
                "docker-image://docker.io/library/{from}"}},
                "updates":{{"identifier":"docker-image://docker.io/library/{to}"}}}}"#
            )
        };
        let deny = r#"{"action":"DENY","selector":{"identifier":"*/c:1"}}"#;
        let rules = format!("{deny},{},{}", convert("a:1", "b:1"), convert("b:1", "c:1"));
        assert!(image(&policy(&rules), "a:1").unwrap_err().contains("c:1\" denied by policy"));
        let rules = format!("{},{}", convert("a:1", "b:1"), convert("b:1", "a:1"));
        assert!(image(&policy(&rules), "a:1").unwrap_err().contains("too many mutations"));
        let local =
            convert("a:1", "b:1").replace("\"docker-image://docker.io/library/b:1", "\"local://x");
        assert!(image(&policy(&local), "a:1").unwrap_err().contains("only an image"));
    }

    #[test]
    fn downloads_are_pinned_and_moved() {
        let digest = Digest::of(b"x");
        let pin = policy(&format!(
            r#"{{"action":"CONVERT","selector":{{"identifier":"https://a.example/*"}},
            "updates":{{"attrs":{{"http.checksum":"{digest}"}}}}}},
            {{"action":"CONVERT","selector":{{"identifier":"https://a.example/old"}},
            "updates":{{"identifier":"https://b.example/new"}}}},
            {{"action":"DENY","selector":{{"identifier":"http*","constraints":[
            {{"key":"http.checksum","value":"^sha256:","condition":"MATCHES"}}]}}}},
            {{"action":"ALLOW","selector":{{"identifier":"https://b.example/*"}}}}"#
        ));
        let mut op = HttpOp::new("https://me:secret@a.example/old", "old");
        pin.http(&mut op).unwrap();
        assert_eq!((op.url.as_str(), op.checksum), ("https://b.example/new", Some(digest)));
        let mut op = HttpOp::new("https://me:secret@a.example/other", "other");
        let error = pin.http(&mut op).unwrap_err().to_string();
        assert_eq!(error, "source \"https://a.example/other\" denied by policy");
        let bad = policy(
            r#"{"action":"CONVERT","selector":{"identifier":"https://*"},
            "updates":{"attrs":{"http.checksum":"md5:1"}}}"#,
        );
        assert!(bad.http(&mut op).is_err());
    }

    #[test]
    fn checkouts_are_named_by_place_and_reference() {
        let commit = "0123456789012345678901234567890123456789";
        let pin = policy(&format!(
            r#"{{"action":"CONVERT","selector":{{"identifier":"git://git.example/r.git#v1"}},
            "updates":{{"identifier":"git://git.example/r.git#{commit}:sub"}}}},
            {{"action":"CONVERT","selector":{{"identifier":"git://old.example/*"}},
            "updates":{{"identifier":"git://new.example/$1"}}}}"#
        ));
        let git = |remote: &str, reference: &str| {
            let reference = Some(reference.to_owned());
            let mut op = GitOp { remote: remote.to_owned(), reference, ..GitOp::default() };
            pin.git(&mut op).unwrap();
            (op.remote, op.reference.unwrap_or_default(), op.subdir.unwrap_or_default())
        };
        let pinned = |remote: &str| (remote.to_owned(), commit.to_owned(), "sub".to_owned());
        for remote in ["https://me@git.example/r.git", "git@git.example:r.git"] {
            assert_eq!(git(remote, "v1"), pinned(remote));
        }
        let moved = git("https://me@old.example/r.git", "v2");
        assert_eq!((moved.0.as_str(), moved.1.as_str()), ("https://new.example/r.git", "v2"));
    }

    #[test]
    fn mistakes_are_told() {
        let bad = |json: &str, part: &str| {
            let error = SourcePolicy::parse("p.json", json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("invalid source policy p.json: "), "{error}");
            assert!(error.contains(part), "{error}");
        };
        bad("", "EOF");
        bad(r#"{"rule":[]}"#, "unknown field `rule`");
        bad(r#"{"rules":[{"action":"DENY"}]}"#, "missing field `selector`");
        bad(r#"{"rules":[{"action":"deny","selector":{"identifier":"x"}}]}"#, "`DENY`");
        bad(r#"{"rules":[{"action":"CONVERT","selector":{"identifier":"x"}}]}"#, "rule 1: CONVERT");
        bad(r#"{"rules":[{"selector":{"identifier":"a**"}}]}"#, "invalid wildcard");
        bad(r#"{"rules":[{"selector":{"identifier":"(","match_type":"REGEX"}}]}"#, "rule 1: ");
    }
}
