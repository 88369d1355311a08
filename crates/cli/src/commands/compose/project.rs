//! Which project is meant, and what of it is there.

use std::collections::BTreeMap;

use bld_compose::{ComposeError, Project, Source, find_files, load, variables};
use bld_dockerfile::{Diagnostic, LineIndex, Span};
use bld_engine::containers::{Container, ContainerFilter};

use super::Place;
use crate::diagnostics;
use crate::error::{Failure, describe};
use crate::session::Session;

/// The labels by which what belongs to a project is known; Docker Compose's.
pub(super) const PROJECT: &str = "com.docker.compose.project";
pub(super) const SERVICE: &str = "com.docker.compose.service";
pub(super) const NUMBER: &str = "com.docker.compose.container-number";
pub(super) const ONE_OFF: &str = "com.docker.compose.oneoff";
pub(super) const HASH: &str = "com.docker.compose.config-hash";
pub(super) const NETWORK: &str = "com.docker.compose.network";
pub(super) const VOLUME: &str = "com.docker.compose.volume";
pub(super) const DEPENDS_ON: &str = "com.docker.compose.depends_on";
pub(super) const IMAGE: &str = "com.docker.compose.image";
pub(super) const VERSION: &str = "com.docker.compose.version";
pub(super) const FILES: &str = "com.docker.compose.project.config_files";
pub(super) const DIRECTORY: &str = "com.docker.compose.project.working_dir";

/// An error about words of a file is shown in the file.
fn failed(error: &ComposeError) -> Failure {
    let ComposeError::Invalid { path, at, problem, excerpt: Some(excerpt) } = error else {
        return Failure::new(describe(error));
    };
    let span = Span { start: excerpt.span.start, end: excerpt.span.end };
    let diagnostic = Diagnostic::error(format!("{at}: {problem}"), span);
    let name = path.display().to_string();
    Failure::shown(diagnostics::render(
        &name,
        &LineIndex::new(&excerpt.text),
        &diagnostic,
        diagnostics::colour(),
    ))
}

/// Reads the project; `wanted` services are there whatever their profiles.
pub(super) fn read(
    place: &Place,
    wanted: &[String],
    session: &Session,
) -> Result<Project, Failure> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut source = Source { environment, env_files: place.env_file.clone(), ..Source::default() };
    let here = match (&place.project_directory, place.file.first().and_then(|file| file.parent())) {
        (Some(directory), _) => directory.clone(),
        (None, Some(beside)) if !beside.as_os_str().is_empty() => beside.to_owned(),
        (None, _) => std::env::current_dir()?,
    };
    let variables = variables(&source, &here).map_err(|error| failed(&error))?;
    let list = |name: &str, separator: char| -> Vec<String> {
        let text = variables.get(name).map_or("", String::as_str);
        text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let mut files = place.file.clone();
    if files.is_empty() {
        files = list("COMPOSE_FILE", ':').into_iter().map(|file| here.join(file)).collect();
    }
    if files.is_empty() {
        files = find_files(&here).map_err(|error| failed(&error))?;
    }
    let name = place.project_name.clone();
    let name = name.or_else(|| source.environment.get("COMPOSE_PROJECT_NAME").cloned());
    source.profiles = [place.profile.clone(), list("COMPOSE_PROFILES", ',')].concat();
    source.files = files;
    source.directory.clone_from(&place.project_directory);
    source.name = name.filter(|name| !name.is_empty());
    source.wanted = wanted.to_vec();
    let wished = variables.get("COMPOSE_COMPATIBILITY").map(|text| text.to_lowercase());
    source.compatibility =
        place.compatibility || matches!(wished.as_deref(), Some("1" | "true" | "t" | "y" | "yes"));
    let project = load(&source).map_err(|error| failed(&error))?;
    for warning in &project.warnings {
        session.tell(&format!("warning: {warning}"));
    }
    for service in wanted {
        if !project.services.contains_key(service) {
            return Err(Failure::new(format!("no such service: {service}")));
        }
    }
    Ok(project)
}

/// The name of the project alone: what is there of it can be seen without its file.
pub(super) fn name(place: &Place, session: &Session) -> Result<String, Failure> {
    match &place.project_name {
        Some(name) => Ok(name.clone()),
        None => read(place, &[], session).map(|project| project.name),
    }
}

/// A container of a project.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) service: String,
    pub(super) number: u32,
    pub(super) one_off: bool,
    pub(super) container: Container,
}

impl Member {
    fn of(container: Container) -> Self {
        let label = |key: &str| container.config.labels.get(key).cloned().unwrap_or_default();
        Self {
            service: label(SERVICE),
            number: label(NUMBER).parse().unwrap_or(0),
            one_off: label(ONE_OFF) == "True",
            container,
        }
    }

    /// The name by which its lines of output are told from others'.
    pub(super) fn prefix(&self, project: &str) -> String {
        let own = &self.container.name;
        let rest = own.strip_prefix(project).and_then(|rest| rest.strip_prefix(['-', '_']));
        rest.unwrap_or(own).to_owned()
    }
}

/// The containers of a project, by service and number; those of `services` only, unless it is empty.
pub(super) fn members(
    session: &Session,
    project: &str,
    services: &[String],
) -> Result<Vec<Member>, Failure> {
    let filter = ContainerFilter {
        all: true,
        labels: vec![(PROJECT.to_owned(), Some(project.to_owned()))],
        ..ContainerFilter::default()
    };
    let mut members: Vec<_> =
        session.engine.containers(&filter)?.into_iter().map(Member::of).collect();
    members.retain(|member| services.is_empty() || services.contains(&member.service));
    members.sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    Ok(members)
}

/// Says what has become of something, as docker does where there is no terminal.
pub(super) fn tell(session: &Session, what: &str, name: &str, became: &str) {
    session.tell(&format!(" {what} {name}  {became}"));
}
