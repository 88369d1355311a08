//! Rules for parts of registries, as those of containers' tools have them: where a name's images are, which
//! mirrors they have, and which must not be used. See containers-registries.conf(5).

use bld_oci::Reference;

use crate::error::RegistryError;

/// A rule for all names that begin alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What the names begin with: `host[:port][/path]`, or `*.domain` for all hosts below a domain.
    pub prefix: String,
    /// What is to be read in the prefix's place, in the same form. None: the name says it.
    pub location: Option<String>,
    /// Certificates are not verified, and plain HTTP is spoken when HTTPS is not answered.
    pub insecure: bool,
    /// None of it may be used.
    pub blocked: bool,
    /// What is asked first, in this order, when reading.
    pub mirrors: Vec<RuleMirror>,
}

/// A mirror of what a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMirror {
    /// What is to be read in the prefix's place: `host[:port][/path]`.
    pub location: String,
    /// As [`Rule::insecure`].
    pub insecure: bool,
    /// Whether it is asked what tags name.
    pub tags: bool,
    /// Whether it is asked for what has a certain digest.
    pub digests: bool,
}

impl Rule {
    /// The rule for a name among `rules`: the one that says most of it.
    pub(crate) fn of<'a>(rules: &'a [Self], reference: &Reference) -> Option<&'a Self> {
        Self::of_name(rules, &reference.name())
    }

    /// As [`of`](Self::of), for a registry, or a repository of one.
    pub(crate) fn of_name<'a>(rules: &'a [Self], name: &str) -> Option<&'a Self> {
        let matching = rules.iter().filter_map(|rule| Some((rule.matched(name)?, rule)));
        // Of several that say as much, the first.
        matching.rev().max_by_key(|(length, _)| *length).map(|(_, rule)| rule)
    }

    /// How many bytes of `name` the prefix stands for, if it fits.
    fn matched(&self, name: &str) -> Option<usize> {
        let end = match self.prefix.strip_prefix('*') {
            Some(domain) => {
                let host = name.split(['/', ':']).next().unwrap_or_default();
                host.ends_with(domain).then_some(host.len())?
            }
            None => name.starts_with(&self.prefix).then_some(self.prefix.len())?,
        };
        name[end..]
            .is_empty()
            .then_some(end)
            .or_else(|| name[end..].starts_with(['/', ':']).then_some(end))
    }

    /// The repository of `reference` with `location` in the prefix's place.
    ///
    /// # Errors
    /// [`RegistryError::Config`] if that is no name.
    pub(crate) fn moved(
        &self,
        reference: &Reference,
        location: &str,
    ) -> Result<Reference, RegistryError> {
        let name = reference.name();
        let rest = &name[self.matched(&name).unwrap_or(name.len())..];
        let moved = format!("{location}{rest}");
        let wrong = |reason: &dyn std::fmt::Display| RegistryError::Config {
            reason: format!("{name} is said to be at {moved:?}: {reason}"),
        };
        let found = Reference::parse(&moved).map_err(|error| wrong(&error))?;
        if found.name() == moved { Ok(found) } else { Err(wrong(&"it names no registry")) }
    }

    /// That what it is for may be used.
    ///
    /// # Errors
    /// [`RegistryError::Config`] if it is blocked.
    pub(crate) fn check(&self, name: &str) -> Result<(), RegistryError> {
        if !self.blocked {
            return Ok(());
        }
        let reason =
            format!("{name} is blocked by the rule for {} in registries.conf", self.prefix);
        Err(RegistryError::Config { reason })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn rule(prefix: &str) -> Rule {
        Rule { prefix: prefix.to_owned(), ..Rule::default() }
    }

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules = ["r.example", "r.example/team", "*.example", "*.r.example", "r.example:5000"];
        let rules = rules.map(rule);
        for (name, prefix) in [
            ("r.example/x", Some("r.example")),
            ("r.example/team/x:1", Some("r.example/team")),
            ("r.example/teams/x", Some("r.example")),
            ("r.example/team", Some("r.example/team")),
            ("r.example:5000/x", Some("r.example:5000")),
            ("s.example:5000/x", Some("*.example")),
            ("a.b.r.example/x", Some("*.example")),
            ("example.com/x", None),
            ("other.org/r.example/x", None),
        ] {
            let found = Rule::of(&rules, &reference(name)).map(|rule| &*rule.prefix);
            assert_eq!(found, prefix, "{name}");
        }
    }

    #[test]
    fn the_location_takes_the_place_of_the_prefix() {
        let moved = |prefix: &str, location: &str, name: &str| {
            let moved = rule(prefix).moved(&reference(name), location);
            moved.map(|moved| moved.name()).map_err(|error| error.to_string())
        };
        assert_eq!(
            moved("r.example/a", "s.example/b/c", "r.example/a/x:1").unwrap(),
            "s.example/b/c/x"
        );
        assert_eq!(
            moved("docker.io", "m.example:5000", "busybox").unwrap(),
            "m.example:5000/library/busybox"
        );
        assert_eq!(moved("*.example", "m.example/all", "r.example/x").unwrap(), "m.example/all/x");
        assert!(moved("r.example", "nowhere", "r.example/x").unwrap_err().contains("no registry"));
        assert!(
            moved("r.example", "m.example/A", "r.example/x")
                .unwrap_err()
                .contains("is said to be at")
        );
    }
}
