//! `bld why`

use std::fmt::Write as _;
use std::time::SystemTime;

use bld_engine::EngineError;
use bld_engine::history::BuildRecord;
use bld_engine::steps::looks_like_id;

use super::history::inspect;
use super::ps::ago;
use crate::error::Failure;
use crate::progress::{StepReport, Why};
use crate::session::{Outcome, Session};

/// Say why the steps of a build ran
///
/// IMAGE stands for the build that made it, STEP is the id of one of its steps, and BUILD a reference
/// that "bld history ls" shows, or ^N for the Nth build before the last. Without any, it is the last
/// build.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    #[arg(value_name = "IMAGE|STEP|BUILD")]
    what: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let what = args.what.as_deref().unwrap_or_default();
    let engine = &session.engine;
    if looks_like_id(what) {
        let builds = engine.builds_of_step(what)?;
        if !builds.is_empty() {
            session.print(&of_step(session, what, &builds)?)?;
            return Ok(0);
        }
    }
    let build = match engine.find_build(what) {
        Err(EngineError::NoSuchBuild { .. }) if !what.is_empty() => of_image(session, what)?,
        found => found?,
    };
    let steps = inspect::steps(session, &build)?;
    session.print(&of_build(&build, &steps))?;
    Ok(0)
}

/// The build that made an image: the newest in which something ran, for others only found it again.
fn of_image(session: &Session, name: &str) -> Result<BuildRecord, Failure> {
    let image = match session.engine.find_image(name) {
        Err(EngineError::NoSuchImage { .. }) => {
            return Err(Failure::new(format!("no such image, step or build: {name}"))
                .with_hint("`bld history ls` lists builds, `bld images` images"));
        }
        found => found?,
    };
    let id = image.id.to_string();
    let mut builds = session.engine.builds()?;
    builds.retain(|build| build.image.as_deref() == Some(&id));
    let ran = builds.iter().position(|build| build.steps.cached < build.steps.total);
    if builds.is_empty() {
        return Err(Failure::new(format!("no build of the image {name} is remembered")).with_hint(
            "it was pulled or loaded, or its record was removed; `bld history ls` lists the others",
        ));
    }
    Ok(builds.swap_remove(ran.unwrap_or(0)))
}

/// One line for the build, one for each of its steps.
fn of_build(build: &BuildRecord, steps: &[StepReport]) -> String {
    let mut text = headline(build);
    for step in steps {
        text.push_str(&told(step, false));
    }
    text
}

/// A step in the newest build that has made it, or, where none has, that has found it.
fn of_step(session: &Session, id: &str, builds: &[BuildRecord]) -> Result<String, Failure> {
    let mut found: Option<(&BuildRecord, StepReport)> = None;
    for build in builds {
        for step in
            inspect::steps(session, build)?.into_iter().filter(|step| step.id.starts_with(id))
        {
            let is_miss = matches!(step.why, Some(Why::Miss(_)));
            if is_miss || found.is_none() {
                found = Some((build, step));
            }
            if is_miss {
                break;
            }
        }
        if matches!(&found, Some((_, StepReport { why: Some(Why::Miss(_)), .. }))) {
            break;
        }
    }
    Ok(found.map(|(build, step)| headline(build) + &told(&step, true)).unwrap_or_default())
}

fn headline(build: &BuildRecord) -> String {
    format!(
        "{} {}, {}: {} in {:.1}s, {} of {} steps cached\n",
        build.reference,
        build.begin.name,
        ago(build.began, SystemTime::now()).to_lowercase(),
        inspect::word(build.status),
        build.duration().as_secs_f64(),
        build.steps.cached,
        build.steps.total,
    )
}

/// A step and its reason; with `whole`, everything that is known to have changed.
fn told(step: &StepReport, whole: bool) -> String {
    let Some(line) = step.explained() else { return String::new() };
    let mut text = match step.state {
        "cached" => format!("{line}\n"),
        "done" => format!("{line} ({:.1}s)\n", step.took.as_secs_f64()),
        state => format!("{line} ({state})\n"),
    };
    let Some(Why::Miss(miss)) = &step.why else { return text };
    if whole && miss.changes.len() > 1 {
        for change in &miss.changes {
            let _infallible = writeln!(text, "{:18}- {change}", "");
        }
    }
    if let Some(advice) = &miss.advice {
        let _infallible = writeln!(text, "{:18}hint: {advice}", "");
    }
    text
}
