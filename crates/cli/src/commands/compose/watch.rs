//! `compose watch`: what a service's `develop` says is done as files change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use bld_compose::{Action, Hook, Project, Service, Trigger};
use bld_dockerfile::ignore::{IgnoreError, Patterns};
use bld_engine::EngineError;
use bld_engine::containers::{PlacedContent, PlacedFile};
use bld_engine::images::ImageFilter;

use super::files::{self, Choice, Files, Waiter};
use super::project::{self, Member, members, tell};
use super::service::{image, parsed};
use super::{Place, up};
use crate::commands;
use crate::error::Failure;
use crate::session::{Outcome, Session};

/// What editors leave beside files for a moment, and what keeps their history.
const FLEETING: [&str; 8] =
    ["**/.git", "**/.#*", "**/#*#", "**/*~", "**/*.swp", "**/*.swx", "**/4913", "**/.idea"];

/// Watch build context for service and rebuild/refresh containers when files are updated
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not build & start services before watching
    #[arg(long)]
    no_up: bool,
    /// Prune dangling images on rebuild
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_name = "bool")]
    prune: bool,
    /// Hide build output
    #[arg(long)]
    quiet: bool,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// One trigger of a service, and what was there at the last look.
struct Watched<'a> {
    service: &'a str,
    trigger: &'a Trigger,
    choice: Choice,
    seen: Files,
}

/// What is to be done about a service.
#[derive(Default)]
struct Work<'a> {
    rebuild: bool,
    restart: bool,
    changed: Vec<PlacedFile>,
    removed: BTreeSet<PathBuf>,
    hooks: Vec<&'a Hook>,
}

pub(super) fn run(args: &Args, place: &Place, session: &Session) -> Outcome {
    let project = project::read(place, &args.services, session)?;
    let mut watched = triggers(&project, &args.services)?;
    if !args.no_up {
        let up = up::Args::for_watch(&args.services, args.quiet);
        let code = up::run(&up, place, session)?;
        if code != 0 {
            return Ok(code);
        }
    }
    let mut waiter = Waiter::new();
    let mut first = BTreeMap::new();
    for one in &mut watched {
        look(one, &mut waiter, &mut first)?;
    }
    // Nothing is new yet, but for what is wanted in the containers before the first change.
    for (service, work) in &mut first {
        let initial: Vec<_> = watched
            .iter()
            .filter(|one| one.service == *service && one.trigger.initial_sync)
            .collect();
        work.rebuild = false;
        work.restart = false;
        work.changed.retain(|file| {
            let target = |one: &&Watched<'_>| one.trigger.target.clone().unwrap_or_default();
            initial.iter().any(|one| file.target.starts_with(target(one)))
        });
    }
    first.retain(|_, work| !work.changed.is_empty());
    session.tell("Watch enabled");
    attend(session, place, &project, args, first);
    loop {
        waiter.wait();
        let mut work = BTreeMap::new();
        for one in &mut watched {
            look(one, &mut waiter, &mut work)?;
        }
        attend(session, place, &project, args, work);
    }
}

/// Whether there is anything to watch.
///
/// # Errors
/// There is not, or it says what can't be.
pub(super) fn check(project: &Project, services: &[String]) -> Result<(), Failure> {
    triggers(project, services).map(drop)
}

/// Watches on a thread of its own, until the process ends.
pub(super) fn beside(place: &Place, session: &Session, services: &[String]) {
    let args = Args { no_up: true, prune: true, quiet: false, services: services.to_vec() };
    let (place, session) = (place.clone(), session.another());
    thread::spawn(move || {
        if let Err(failure) = run(&args, &place, &session) {
            failure.print("Error: ");
        }
    });
}

/// Does what is to be done; what fails is said, and may work after the next change.
fn attend(
    session: &Session,
    place: &Place,
    project: &Project,
    args: &Args,
    work: BTreeMap<&str, Work<'_>>,
) {
    for (service, work) in work {
        let done = if work.rebuild {
            rebuild(session, place, project, service, args)
        } else {
            refresh(session, project, service, &work)
        };
        if let Err(failure) = done {
            failure.print("Error: ");
        }
    }
}

/// What of the services that are meant is to be watched.
fn triggers<'a>(project: &'a Project, wanted: &[String]) -> Result<Vec<Watched<'a>>, Failure> {
    let mut watched = Vec::new();
    for (name, service) in &project.services {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        for trigger in &service.develop.watch {
            let wrong = |what: &str| {
                Failure::new(format!("service {name:?}: watch {}: {what}", trigger.path))
            };
            if trigger.action.syncs() && trigger.target.is_none() {
                return Err(wrong("to copy files, a target is needed"));
            }
            if trigger.action == Action::Rebuild && service.build.is_none() {
                return Err(wrong("to rebuild it, the service needs a build"));
            }
            let choice = choice(service, trigger).map_err(|error| wrong(&error.to_string()))?;
            watched.push(Watched { service: name, trigger, choice, seen: Files::new() });
        }
    }
    if watched.is_empty() {
        return Err(Failure::new(
            "none of the selected services is configured for watch, consider setting a 'develop' \
             section",
        ));
    }
    Ok(watched)
}

/// What of a trigger's files counts: what `.dockerignore` there leaves in, and the trigger itself.
fn choice(service: &Service, trigger: &Trigger) -> Result<Choice, IgnoreError> {
    let mut ignored: Vec<String> = FLEETING.map(str::to_owned).into();
    let context = service.build.as_ref().map(|build| Path::new(&build.context));
    if context == Some(Path::new(&trigger.path)) {
        let file = Path::new(&trigger.path).join(".dockerignore");
        let text = fs::read_to_string(file).unwrap_or_default();
        ignored.extend(bld_dockerfile::ignore::lines(&text).map(|(_, pattern)| pattern));
    }
    ignored.extend(trigger.ignore.iter().cloned());
    Ok(Choice {
        ignored: Patterns::new(ignored.iter().map(String::as_str))?,
        included: Patterns::new(trigger.include.iter().map(String::as_str))?,
    })
}

/// Notes what has changed since the last look.
fn look<'a>(
    one: &mut Watched<'a>,
    waiter: &mut Waiter,
    work: &mut BTreeMap<&'a str, Work<'a>>,
) -> Result<(), Failure> {
    let root = Path::new(&one.trigger.path);
    let now = files::find(root, &one.choice)?;
    waiter.add(root, &now);
    let (changed, removed) = files::differences(&one.seen, &now);
    one.seen = now;
    if changed.is_empty() && removed.is_empty() {
        return Ok(());
    }
    let work = work.entry(one.service).or_default();
    let action = one.trigger.action;
    work.rebuild |= action == Action::Rebuild;
    work.restart |= matches!(action, Action::Restart | Action::SyncRestart);
    if action == Action::SyncExec {
        work.hooks.extend(&one.trigger.exec);
    }
    let Some(target) = one.trigger.target.as_ref().filter(|_| action.syncs()) else {
        return Ok(());
    };
    // A path joined with nothing would end with a slash.
    let join = |base: &Path, path: &PathBuf| {
        if path.as_os_str().is_empty() { base.to_owned() } else { base.join(path) }
    };
    let target = Path::new(target);
    work.changed.extend(changed.iter().map(|path| PlacedFile {
        target: join(target, path),
        content: PlacedContent::Host(join(root, path)),
    }));
    work.removed.extend(removed.iter().map(|path| join(target, path)));
    Ok(())
}

/// The containers of a service that run.
fn running(session: &Session, project: &Project, service: &str) -> Result<Vec<Member>, Failure> {
    let mut present = members(session, &project.name, &[service.to_owned()])?;
    present.retain(|member| !member.one_off && member.container.state.is_running());
    Ok(present)
}

/// Copies, removes, runs and restarts.
fn refresh(
    session: &Session,
    project: &Project,
    service: &str,
    work: &Work<'_>,
) -> Result<(), Failure> {
    let present = running(session, project, service)?;
    let count = work.changed.len() + work.removed.len();
    if count > 0 {
        session.tell(&format!("Syncing service {service:?} after {count} changes were detected"));
    }
    for member in &present {
        let id = &member.container.id;
        if !work.changed.is_empty() {
            session.engine.place_files(id, work.changed.clone())?;
        }
        if !work.removed.is_empty() {
            let gone = work.removed.iter().map(|path| path.display().to_string());
            let words = ["rm", "-rf", "--"].map(str::to_owned).into_iter().chain(gone);
            execute(session, id, &[], words)?;
        }
        for hook in &work.hooks {
            let mut flags = Vec::new();
            flags.extend(hook.user.iter().map(|user| format!("--user={user}")));
            flags.extend(hook.working_dir.iter().map(|dir| format!("--workdir={dir}")));
            flags.extend(hook.privileged.then(|| "--privileged".to_owned()));
            flags.extend(hook.environment.0.iter().map(|(name, value)| match value {
                Some(value) => format!("--env={name}={value}"),
                None => format!("--env={name}"),
            }));
            execute(session, id, &flags, hook.command.0.iter().cloned())?;
        }
        if work.restart {
            session.engine.stop_container(id, None, None)?;
            session.engine.start_container(id)?;
            tell(session, "Container", &member.container.name, "Restarted");
        }
    }
    Ok(())
}

/// Runs a command in a container.
fn execute(
    session: &Session,
    id: &str,
    flags: &[String],
    words: impl Iterator<Item = String>,
) -> Result<(), Failure> {
    let line = flags.iter().cloned().chain([id.to_owned()]).chain(words).collect();
    match commands::exec::run(&parsed(line)?, session)? {
        0 => Ok(()),
        code => Err(Failure::new(format!("a command ended with exit code {code}"))),
    }
}

/// Builds a service's image, and puts new containers in place of those there are.
fn rebuild(
    session: &Session,
    place: &Place,
    project: &Project,
    service: &str,
    args: &Args,
) -> Result<(), Failure> {
    session.tell(&format!("Rebuilding service(s) [{service:?}] after changes were detected..."));
    let name = image(project, service, &project.services[service]);
    let before = session.engine.find_image(&name).ok();
    let up = up::Args::for_rebuild(service, args.quiet);
    if up::run(&up, place, session)? != 0 {
        return Err(Failure::new(format!("service {service:?} could not be built")));
    }
    session.tell(&format!("service(s) [{service:?}] successfully built"));
    let now = session.engine.find_image(&name).ok();
    match before {
        Some(before) if args.prune && now.is_some_and(|now| now.id != before.id) => {
            drop_nameless(session, &before.id.to_string())
        }
        _ => Ok(()),
    }
}

/// Removes an image that has no name, and that no container was made from.
fn drop_nameless(session: &Session, id: &str) -> Result<(), Failure> {
    let nameless = ImageFilter { dangling: Some(true), ..ImageFilter::default() };
    let images = session.engine.images(&nameless)?;
    if !images.iter().any(|image| image.record.id.to_string() == id) {
        return Ok(());
    }
    match session.engine.remove_image(id, false).map(drop) {
        Ok(()) | Err(EngineError::NoSuchImage { .. } | EngineError::ImageInUse(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
