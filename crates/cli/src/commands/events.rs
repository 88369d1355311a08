//! `bld events`

use std::io::{self, Write as _};
use std::ops::ControlFlow;

use bld_engine::events::{Event, EventQuery, Subject};
use serde_json::Value;

use super::filter::{self, Filters};
use crate::error::Failure;
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options, Template};

/// Get real time events of containers, images, networks and volumes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string")]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string")]
    until: Option<String>,
}

/// How an event is written.
enum Form {
    Text,
    Json,
    Template(Template),
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let form = match args.format.as_deref().map(str::trim) {
        None | Some("") => Form::Text,
        Some("json") => Form::Json,
        Some(template) => {
            let template = template.replace("\\t", "\t").replace("\\n", "\n");
            Form::Template(Template::parse(&template).map_err(Failure::unreadable)?)
        }
    };
    let mut broken = None;
    session.engine.events(&query(args)?, &mut |event| {
        let written = form.show(&event).and_then(|line| {
            let mut out = io::stdout().lock();
            Ok(writeln!(out, "{line}").and_then(|()| out.flush())?)
        });
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                broken = Some(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(0), Err)
}

fn query(args: &Args) -> Result<EventQuery, Failure> {
    const KNOWN: [&str; 14] = [
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ];
    let filters = Filters::parse(&args.filter, &KNOWN)?;
    let when =
        |text: &Option<String>| text.as_deref().map(filter::time).transpose().map_err(Failure::new);
    let mut subjects = filters.all("type");
    // Nothing here is of these kinds.
    for foreign in ["config", "daemon", "node", "plugin", "secret", "service"] {
        if !filters.all(foreign).is_empty() {
            subjects = vec![foreign.to_owned()];
        }
    }
    Ok(EventQuery {
        since: when(&args.since)?,
        until: when(&args.until)?,
        subjects,
        actions: filters.all("event"),
        containers: filters.all("container"),
        images: filters.all("image"),
        networks: filters.all("network"),
        volumes: filters.all("volume"),
        scopes: filters.all("scope"),
        labels: filters.labels("label"),
    })
}

impl Form {
    fn show(&self, event: &Event) -> Result<String, Failure> {
        match self {
            Self::Text => Ok(text(event)),
            Self::Json => {
                let mut document = document(event)?;
                if let Value::Object(fields) = &mut document {
                    fields.retain(|_, value| *value != "");
                }
                Ok(document.to_string())
            }
            Self::Template(template) => {
                let options =
                    Options { missing: Missing::Error, go_fields: true, ..Options::default() };
                Ok(template.render(&document(event)?, &options)?)
            }
        }
    }
}

/// As docker's: the time, what, and in brackets all that is known.
fn text(event: &Event) -> String {
    let time = jiff::Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    let zone =
        if time.offset().is_zero() { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    let known: Vec<String> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    let (subject, action, id) = (event.subject.name(), &event.action, &event.actor.id);
    format!("{}{zone} {subject} {action} {id}{known}", time.strftime("%Y-%m-%dT%H:%M:%S%.9f"))
}

/// The event with the older names that docker still has for containers and images.
fn document(event: &Event) -> Result<Value, Failure> {
    let mut document = serde_json::to_value(event).map_err(io::Error::from)?;
    let is_old = matches!(event.subject, Subject::Container | Subject::Image);
    if let Value::Object(fields) = &mut document {
        let image = event.actor.attributes.get("image").cloned().unwrap_or_default();
        let old = |value: &str| if is_old { value.to_owned() } else { String::new() };
        fields.insert("status".to_owned(), old(&event.action).into());
        fields.insert("id".to_owned(), old(&event.actor.id).into());
        fields.insert("from".to_owned(), old(&image).into());
    }
    Ok(document)
}
