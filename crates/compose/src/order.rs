//! In which order services are started.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ComposeError, Service};

/// The names of `services`, each after those it depends on.
///
/// # Errors
/// [`ComposeError::Project`] for services that depend on each other, or on one that is not there.
pub(crate) fn order(services: &BTreeMap<String, Service>) -> Result<Vec<String>, ComposeError> {
    let mut done = Vec::new();
    let mut known = BTreeSet::new();
    for name in services.keys() {
        visit(name, services, &mut Vec::new(), &mut known, &mut done)?;
    }
    Ok(done)
}

fn visit(
    name: &str,
    services: &BTreeMap<String, Service>,
    path: &mut Vec<String>,
    known: &mut BTreeSet<String>,
    done: &mut Vec<String>,
) -> Result<(), ComposeError> {
    if path.iter().any(|above| above == name) {
        let circle = [path.as_slice(), &[name.to_owned()]].concat().join(" -> ");
        return Err(ComposeError::Project(format!("dependency cycle detected: {circle}")));
    }
    if known.contains(name) {
        return Ok(());
    }
    let Some(service) = services.get(name) else { return Ok(()) };
    path.push(name.to_owned());
    for (other, dependency) in &service.depends_on {
        if !services.contains_key(other) && dependency.required {
            return Err(ComposeError::Project(format!(
                "service {name:?} depends on undefined service {other:?}: invalid compose project"
            )));
        }
        visit(other, services, path, known, done)?;
    }
    path.pop();
    known.insert(name.to_owned());
    done.push(name.to_owned());
    Ok(())
}
