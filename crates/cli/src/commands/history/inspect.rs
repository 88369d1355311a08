//! `bld history inspect`: one build with its steps and their reasons.

use std::fmt::Write as _;

use bld_engine::history::{BuildRecord, Said, Status, Trigger};
use serde_json::{Value, json};

use crate::error::Failure;
use crate::output::table;
use crate::progress::{Mode, Replay, StepReport, Why};
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options, Template};

/// Inspect a build record
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'pretty', 'json' or 'TEMPLATE'
    #[arg(long, value_name = "string", default_value = "pretty")]
    format: String,
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let build = session.engine.find_build(args.reference.as_deref().unwrap_or_default())?;
    let steps = steps(session, &build)?;
    let said = session.engine.build_attestations(&build)?;
    match args.format.as_str() {
        "pretty" | "" => session.print(&pretty(&build, &steps, &said))?,
        "json" => session.say(&format!("{:#}", document(&build, &steps, &said)))?,
        format => {
            let options = Options { missing: Missing::Error, ..Options::default() };
            let document = document(&build, &steps, &said);
            session.say(&Template::parse(format)?.render(&document, &options)?)?;
        }
    }
    Ok(0)
}

/// The steps of a build, as far as they are known.
pub(crate) fn steps(session: &Session, build: &BuildRecord) -> Result<Vec<StepReport>, Failure> {
    let mut replay = Replay::new(Mode::None);
    for event in session.engine.build_events(build)? {
        replay.event(&event)?;
    }
    Ok(replay.finish()?)
}

/// The state in buildx's words.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Canceled => "canceled",
    }
}

/// Labels and values, without those that have nothing to say.
fn facts(build: &BuildRecord) -> Vec<(&'static str, String)> {
    let begin = &build.begin;
    let cached = (build.steps.cached * 100).checked_div(build.steps.total).unwrap_or(0);
    let steps = format!("{}/{} ({cached}% cached)", build.steps.completed, build.steps.total);
    let started = jiff::Timestamp::try_from(build.began).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let started = started.to_zoned(jiff::tz::TimeZone::system());
    let trigger =
        |of: fn(&Trigger) -> &String| begin.trigger.as_ref().map(of).cloned().unwrap_or_default();
    let facts = [
        ("Name:", begin.name.clone()),
        ("Ref:", build.reference.clone()),
        ("Command:", begin.trigger.as_ref().map(command).unwrap_or_default()),
        ("Directory:", trigger(|trigger| &trigger.directory)),
        ("User:", trigger(|trigger| &trigger.user)),
        ("Context:", begin.context.clone()),
        ("Dockerfile:", begin.dockerfile.clone()),
        ("Target:", begin.target.clone().unwrap_or_default()),
        ("Platforms:", begin.platform.clone().unwrap_or_default()),
        ("Tags:", begin.tags.join(", ")),
        ("Started:", started.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        ("Duration:", super::builds::duration(build)),
        ("Status:", word(build.status).to_owned()),
        ("Error:", build.error.clone().unwrap_or_default()),
        ("Build Steps:", steps),
        ("Image:", build.image.clone().unwrap_or_default()),
        ("Network:", begin.network.clone().unwrap_or_default()),
        ("No Cache:", if begin.no_cache { "true".to_owned() } else { String::new() }),
        ("No Cache Filter:", begin.no_cache_filter.join(", ")),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn pretty(build: &BuildRecord, steps: &[StepReport], said: &[Said]) -> String {
    let row = |(label, value): (&'static str, String)| vec![label.to_owned(), value];
    let mut text = table::align(&facts(build).into_iter().map(row).collect::<Vec<_>>());
    let begin = &build.begin;
    let arguments = begin.build_args.iter().map(|(name, value)| {
        (name.clone(), value.clone().unwrap_or_else(|| "(not kept: it may be a secret)".to_owned()))
    });
    for (title, pairs) in [
        ("NAMED CONTEXT", begin.named_contexts.clone()),
        ("BUILD ARG", arguments.collect()),
        ("LABEL", begin.labels.clone()),
        ("ATTESTATION", said.iter().map(attested).collect()),
    ] {
        if !pairs.is_empty() {
            let mut rows = vec![vec![title.to_owned(), "VALUE".to_owned()]];
            rows.extend(pairs.into_iter().map(|(name, value)| vec![name, value]));
            let _infallible = write!(text, "\n{}", table::align(&rows));
        }
    }
    if !steps.is_empty() {
        text.push_str("\nSteps:\n");
    }
    for step in steps {
        let line = step.explained().unwrap_or_else(|| {
            format!("{:12} -    {}", step.id.get(..12).unwrap_or_default(), step.name)
        });
        let state = match step.state {
            "cached" => String::new(),
            "done" => format!(" ({:.1}s)", step.took.as_secs_f64()),
            state => format!(" ({state})"),
        };
        let _infallible = writeln!(text, "{line}{state}");
    }
    let _infallible = write!(
        text,
        "\nPrint build logs: bld history logs {0}\nSay why steps ran: bld why {0}\n",
        build.reference
    );
    text
}

/// The record under buildx's keys, and the steps.
fn document(build: &BuildRecord, steps: &[StepReport], said: &[Said]) -> Value {
    let begin = &build.begin;
    let mut document = json!({
        "Name": begin.name,
        "Ref": build.reference,
        "Context": begin.context,
        "Dockerfile": begin.dockerfile,
        "StartedAt": super::time(build.began),
        "Duration": u64::try_from(build.duration().as_nanos()).unwrap_or(u64::MAX),
        "Status": word(build.status),
        "NumCompletedSteps": build.steps.completed,
        "NumTotalSteps": build.steps.total,
        "NumCachedSteps": build.steps.cached,
        "Config": config(build),
        "Steps": steps.iter().map(step).collect::<Vec<_>>(),
    });
    let pairs = |pairs: &mut dyn Iterator<Item = (String, Option<String>)>| -> Value {
        pairs.map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
    };
    let given = |pairs: &[(String, String)]| -> Vec<(String, Option<String>)> {
        pairs.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
    };
    let more = [
        ("CompletedAt", build.ended.map(|at| super::time(at).into())),
        ("Error", build.error.as_ref().map(|error| json!({ "Message": error }))),
        ("Target", begin.target.clone().map(Value::from)),
        ("Platform", begin.platform.clone().map(|platform| json!([platform]))),
        ("Tags", (!begin.tags.is_empty()).then(|| json!(begin.tags))),
        ("Image", build.image.clone().map(Value::from)),
        (
            "Trigger",
            begin.trigger.as_ref().map(|trigger| {
                json!({
                    "Command": trigger.command,
                    "Directory": trigger.directory,
                    "User": trigger.user,
                })
            }),
        ),
        ("Attestations", Some(said.iter().map(attestation).collect())),
        ("NamedContexts", Some(pairs(&mut given(&begin.named_contexts).into_iter()))),
        ("BuildArgs", Some(pairs(&mut begin.build_args.clone().into_iter()))),
        ("Labels", Some(pairs(&mut given(&begin.labels).into_iter()))),
    ];
    for (key, value) in more {
        if let Some(value) =
            value.filter(|value| value.as_array().is_none_or(|list| !list.is_empty()))
        {
            document[key] = value;
        }
    }
    document
}

fn attested(said: &Said) -> (String, String) {
    (said.predicate_type.clone(), said.places.join(", "))
}

fn attestation(said: &Said) -> Value {
    json!({
        "PredicateType": said.predicate_type,
        "Places": said.places,
        "Predicate": said.predicate,
    })
}

/// A command line as it can be typed again, but for what is hidden.
pub(super) fn command(trigger: &Trigger) -> String {
    let quoted = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    trigger.command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn config(build: &BuildRecord) -> Value {
    let mut config = json!({});
    if let Some(network) = &build.begin.network {
        config["Network"] = json!(network);
    }
    if build.begin.no_cache {
        config["NoCache"] = json!(true);
    }
    if !build.begin.no_cache_filter.is_empty() {
        config["NoCacheFilter"] = json!(build.begin.no_cache_filter);
    }
    config
}

/// A step with its reason; ours, not buildx's.
fn step(step: &StepReport) -> Value {
    let mut document = json!({ "Name": step.name, "Id": step.id, "State": step.state });
    match &step.why {
        Some(Why::Hit(hit)) => {
            document["Result"] = json!("hit");
            document["Kind"] = json!(hit.word());
            document["Reason"] = json!(hit.to_string());
        }
        Some(Why::Miss(miss)) => {
            document["Result"] = json!("miss");
            document["Kind"] = json!(miss.kind.word());
            document["Reason"] = json!(miss.to_string());
            document["Changes"] = json!(miss.changes);
            if let Some(advice) = &miss.advice {
                document["Advice"] = json!(advice);
            }
        }
        None => {}
    }
    if let Some(started) = step.started {
        document["StartedAt"] = super::time(started).into();
        document["Duration"] = u64::try_from(step.took.as_nanos()).unwrap_or(u64::MAX).into();
    }
    if let Some(error) = &step.error {
        document["Error"] = json!(error);
    }
    document
}
