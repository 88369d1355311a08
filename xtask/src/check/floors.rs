//! The house has floors, and what a crate builds on lies on a floor below its own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::shell::{cargo, output, root};

/// The floor of each crate; docs/architecture.md says what is behind each door.
const FLOORS: [(&str, u8); 18] = [
    ("bld-cli", 5),
    ("bld-server", 4),
    ("bld-engine", 3),
    ("bld-cache", 2),
    ("bld-export", 2),
    ("bld-registry", 2),
    ("bld-remote", 2),
    ("bld-solve", 2),
    ("bld-graph", 1),
    ("bld-http", 1),
    ("bld-layer", 1),
    ("bld-network", 1),
    ("bld-sandbox", 1),
    ("bld-store", 1),
    ("bld-compose", 0),
    ("bld-dockerfile", 0),
    ("bld-event", 0),
    ("bld-oci", 0),
];

/// May be used by tests and chores only, and stands on floor 1: it looks at the product from outside.
const TEST_ONLY: (&str, u8) = ("bld-testkit", 1);

/// Not a part of the house.
const OUTSIDE: &str = "xtask";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `null` for a normal one, else `dev` or `build`.
    kind: Option<String>,
}

impl Dependency {
    fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// The packages of the workspace with their direct dependencies.
pub(super) fn packages() -> Result<Vec<Package>> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("read cargo's metadata")?;
    Ok(metadata.packages)
}

pub(super) fn check() -> Result<()> {
    let packages = packages()?;
    let mut problems = wrong_arrows(&packages);
    problems.extend(undocumented(&packages)?);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn wrong_arrows(packages: &[Package]) -> Vec<String> {
    let floors: BTreeMap<_, _> = FLOORS.into_iter().chain([TEST_ONLY]).collect();
    let mut problems = Vec::new();
    for package in packages.iter().filter(|package| package.name != OUTSIDE) {
        let name = &package.name;
        let Some(floor) = floors.get(name.as_str()) else {
            problems.push(format!("{name} has no floor: give it one in xtask/src/check/floors.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let wanted = &dependency.name;
            let Some(below) = floors.get(wanted.as_str()) else {
                if wanted == OUTSIDE {
                    problems.push(format!("{name} depends on {OUTSIDE}"));
                }
                continue;
            };
            if wanted == TEST_ONLY.0 {
                if !dependency.is_for_tests() {
                    problems.push(format!("{name} depends on {wanted}, which is for tests only"));
                }
            } else if below >= floor {
                problems.push(format!(
                    "{name} (floor {floor}) depends on {wanted} (floor {below}): arrows point down"
                ));
            }
        }
    }
    problems
}

/// Every crate from elsewhere that we build on is there for a reason, which is written down.
fn undocumented(packages: &[Package]) -> Result<Vec<String>> {
    const PAGE: &str = "docs/dependencies.md";
    let text = std::fs::read_to_string(root().join(PAGE)).context(PAGE)?;
    let own: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let used: BTreeSet<_> = packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .filter(|name| !own.contains(name))
        .collect();
    let listed: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let missing = used.difference(&listed).map(|name| format!("{PAGE} has no line for {name}"));
    let stale =
        listed.difference(&used).map(|name| format!("{PAGE} lists {name}, which is not used"));
    Ok(missing.chain(stale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
            })
            .collect();
        Package { name: name.to_owned(), dependencies }
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_found() {
        let fine = [
            package(
                "bld-solve",
                &[("bld-store", None), ("bld-testkit", Some("dev")), ("serde", None)],
            ),
            package("xtask", &[("bld-testkit", None)]),
        ];
        assert!(wrong_arrows(&fine).is_empty());
        let wrong = [
            package("bld-store", &[("bld-layer", None), ("bld-engine", Some("dev"))]),
            package("bld-solve", &[("bld-testkit", None), ("xtask", None)]),
            package("bld-attic", &[]),
        ];
        assert_eq!(wrong_arrows(&wrong).len(), 5);
    }
}
