//! `compose cp`, `pause`, `unpause`, `wait` and `events`.

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use bld_engine::containers::Status;
use bld_engine::events::{Event, EventQuery, Subject};
use serde_json::json;

use super::Place;
use super::down::standing;
use super::project::{self, PROJECT, SERVICE, tell};
use super::service::parsed;
use crate::commands;
use crate::commands::filter;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Copy files/folders between a service container and the local filesystem
#[derive(Debug, clap::Args)]
pub(super) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Index of the container if service has multiple replicas
    #[arg(long, value_name = "int")]
    index: Option<u32>,
    #[arg(value_name = "SERVICE:SRC_PATH|SRC_PATH|-", allow_hyphen_values = true)]
    source: String,
    #[arg(value_name = "SERVICE:DEST_PATH|DEST_PATH|-", allow_hyphen_values = true)]
    dest: String,
}

/// Pause services
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Unpause services
#[derive(Debug, clap::Args)]
pub(super) struct UnpauseArgs {
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Block until containers of the services stop
#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Receive real time events from containers
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    /// Output events as a stream of json objects
    #[arg(long)]
    json: bool,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(super) fn cp(args: &CpArgs, place: &Place, session: &Session) -> Outcome {
    let named = |word: &String| -> Result<String, Failure> {
        // As `cp`: what is absolute, or begins with a dot, is on the host.
        let Some((service, path)) = word.split_once(':').filter(|_| !word.starts_with(['/', '.']))
        else {
            return Ok(word.clone());
        };
        let present = standing(place, &[service.to_owned()], session)?;
        let wanted = args.index.unwrap_or(present[0].number);
        let found = present.iter().find(|member| member.number == wanted);
        let missing = || Failure::new(format!("service {service:?} has no container {wanted}"));
        Ok(format!("{}:{path}", found.ok_or_else(missing)?.container.name))
    };
    let mut words = Vec::new();
    words.extend(args.archive.then(|| "--archive".to_owned()));
    words.extend(args.follow_link.then(|| "--follow-link".to_owned()));
    words.extend(["--".to_owned(), named(&args.source)?, named(&args.dest)?]);
    commands::cp::run(&parsed(words)?, session)
}

pub(super) fn pause(args: &PauseArgs, place: &Place, session: &Session) -> Outcome {
    for member in standing(place, &args.services, session)? {
        let container = &member.container;
        if container.state.status == Status::Running {
            session.engine.pause_container(&container.id)?;
            tell(session, "Container", &container.name, "Paused");
        }
    }
    Ok(0)
}

pub(super) fn unpause(args: &UnpauseArgs, place: &Place, session: &Session) -> Outcome {
    for member in standing(place, &args.services, session)? {
        let container = &member.container;
        if container.state.status == Status::Paused {
            session.engine.unpause_container(&container.id)?;
            tell(session, "Container", &container.name, "Unpaused");
        }
    }
    Ok(0)
}

pub(super) fn wait(args: &WaitArgs, place: &Place, session: &Session) -> Outcome {
    let mut worst = 0;
    for member in standing(place, &args.services, session)? {
        let container = &member.container;
        let code = session.engine.wait_container(&container.id)?;
        session.say(&format!("container {:?} exited with status code {code}", container.id))?;
        worst = worst.max(u8::try_from(code).unwrap_or(u8::MAX));
    }
    Ok(worst)
}

pub(super) fn events(args: &EventsArgs, place: &Place, session: &Session) -> Outcome {
    let when =
        |text: &Option<String>| text.as_deref().map(filter::time).transpose().map_err(Failure::new);
    let query = EventQuery {
        since: when(&args.since)?,
        until: when(&args.until)?,
        subjects: vec![Subject::Container.name().to_owned()],
        labels: vec![(PROJECT.to_owned(), Some(project::name(place, session)?))],
        ..EventQuery::default()
    };
    let mut broken = None;
    session.engine.events(&query, &mut |event| {
        let service = event.actor.attributes.get(SERVICE).cloned().unwrap_or_default();
        if !args.services.is_empty() && !args.services.contains(&service) {
            return ControlFlow::Continue(());
        }
        let line = line(&event, &service, args.json);
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(0), |error| Err(error.into()))
}

/// An event as Docker Compose shows it: without the labels by which it knows what is its own.
fn line(event: &Event, service: &str, as_json: bool) -> String {
    let mut attributes = event.actor.attributes.clone();
    attributes.retain(|name, _| !name.starts_with("com.docker.compose."));
    let time = jiff::Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    let (action, id) = (&event.action, &event.actor.id);
    if as_json {
        let time = time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string();
        return json!({
            "time": time, "type": "container", "service": service, "id": id, "action": action,
            "attributes": attributes,
        })
        .to_string();
    }
    let known: Vec<_> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let time = time.strftime("%Y-%m-%d %H:%M:%S%.6f");
    format!("{time} container {action} {id} ({})", known.join(", "))
}
