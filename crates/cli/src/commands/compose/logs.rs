//! `compose logs`, and what `compose up` does while it stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use bld_compose::Project;
use bld_engine::EngineError;
use bld_engine::containers::LogQuery;

use super::Place;
use super::project::{self, Member, members, tell};
use crate::commands::filter;
use crate::error::{Failure, INTERRUPTED};
use crate::session::{Outcome, Session};
use crate::signals;

/// The colours of names, one after the other.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// View output from containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Produce monochrome output
    #[arg(long)]
    no_color: bool,
    /// Don't print prefix in logs
    #[arg(long)]
    no_log_prefix: bool,
    /// Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "string", value_parser = filter::time)]
    since: Option<SystemTime>,
    /// Number of lines to show from the end of the logs for each container
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)
    #[arg(long, value_name = "string", value_parser = filter::time)]
    until: Option<SystemTime>,
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// How lines are shown.
#[derive(Debug, Clone, Copy)]
struct Look {
    width: usize,
    colours: bool,
    prefix: bool,
    timestamps: bool,
}

impl Look {
    fn of(present: &[Member], project: &str) -> Self {
        let width = present.iter().map(|member| member.prefix(project).len()).max().unwrap_or(0);
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = io::stdout().is_terminal() && !no_color;
        Self { width, colours, prefix: true, timestamps: false }
    }

    /// What stands in front of the lines of the `index`th container.
    fn in_front(self, name: &str, index: usize) -> String {
        if !self.prefix {
            return String::new();
        }
        let text = format!("{name:width$}  | ", width = self.width);
        if self.colours {
            let colour = COLOURS[index % COLOURS.len()];
            return format!("\x1b[{colour}m{text}\x1b[0m");
        }
        text
    }
}

pub(super) fn run(args: &Args, place: &Place, session: &Session) -> Outcome {
    let name = project::name(place, session)?;
    let mut present = members(session, &name, &args.services)?;
    present.retain(|member| !member.one_off);
    let query = LogQuery {
        follow: args.follow,
        tail: args.tail.parse().ok(),
        since: args.since,
        until: args.until,
        ..LogQuery::default()
    };
    let mut look = Look::of(&present, &name);
    look.prefix = !args.no_log_prefix;
    look.colours &= !args.no_color;
    look.timestamps = args.timestamps;
    let out = Mutex::new(());
    thread::scope(|scope| {
        let shown: Vec<_> = present
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let front = look.in_front(&member.prefix(&name), index);
                let (query, out) = (&query, &out);
                scope.spawn(move || show(session, &member.container.id, query, look, &front, out))
            })
            .collect();
        for thread in shown {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(0)
    })
}

/// Shows the log of one container, line by line.
fn show(
    session: &Session,
    id: &str,
    query: &LogQuery,
    look: Look,
    front: &str,
    out: &Mutex<()>,
) -> Result<(), Failure> {
    let mut broken = None;
    let shown = session.engine.container_logs(id, query, &mut |entry| {
        let mut text = front.to_owned();
        if look.timestamps {
            let at = jiff::Timestamp::try_from(entry.time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            // Writing to a text cannot fail.
            let _infallible = write!(text, "{at:.9} ");
        }
        text.push_str(entry.text.trim_end_matches('\n'));
        text.push('\n');
        let _one_at_a_time = out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    match (shown, broken) {
        (_, Some(error)) => Err(error.into()),
        // It was removed meanwhile, or nothing is kept of it.
        (Err(EngineError::NoSuchContainer { .. } | EngineError::NoLog { .. }) | Ok(()), None) => {
            Ok(())
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// An id of a container that has ended, or none for a signal.
type End = Option<String>;

/// Signals that ask for an end. They end this process, as ever, until somebody listens.
pub(super) struct Interrupts(Arc<Mutex<Option<mpsc::Sender<End>>>>);

impl Interrupts {
    /// To be called before any thread is started, which would take them the old way.
    pub(super) fn watch() -> io::Result<Self> {
        let listener = Arc::new(Mutex::new(None::<mpsc::Sender<End>>));
        let heard = Arc::clone(&listener);
        signals::handle(&signals::ENDING, move |signal| {
            match &*heard.lock().unwrap_or_else(PoisonError::into_inner) {
                // Whoever listened may have gone already.
                Some(listener) => drop(listener.send(None)),
                None => signals::let_through(signal),
            }
        })?;
        Ok(Self(listener))
    }

    fn listen(&self, listener: mpsc::Sender<End>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

/// How it comes to an end.
pub(super) struct Ends<'a> {
    /// The first container that ends takes all others along.
    pub(super) aborts: bool,
    /// The service whose exit code counts.
    pub(super) code_from: Option<&'a str>,
    /// Seconds that a container has to end in.
    pub(super) timeout: Option<i64>,
    /// Others may come in the place of those that end, until a signal says that it is enough.
    pub(super) replaced: bool,
}

/// How often those are looked for.
const MOMENT: Duration = Duration::from_millis(300);

/// Shows what the containers write until all have ended, or a signal stops them.
pub(super) fn attend(
    session: &Session,
    project: &Project,
    order: &[String],
    interrupts: &Interrupts,
    &Ends { aborts, code_from, timeout, replaced }: &Ends<'_>,
) -> Outcome {
    let name = &project.name;
    let current = || -> Result<Vec<Member>, Failure> {
        let mut present = members(session, name, order)?;
        present.retain(|member| !member.one_off);
        Ok(present)
    };
    let present = current()?;
    let look = Look::of(&present, name);
    let (tell_end, ends) = mpsc::channel::<End>();
    interrupts.listen(tell_end.clone());
    let mut stops = false;
    let names: Vec<_> = present.iter().map(|member| member.prefix(name)).collect();
    session.tell(&format!("Attaching to {}", names.join(", ")));
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let out = Mutex::new(());
    thread::scope(|scope| {
        let mut known = BTreeSet::new();
        let mut left = 0_usize;
        let mut attach = |members: &[Member], left: &mut usize| {
            for member in members {
                let id = member.container.id.clone();
                if !known.insert(id.clone()) {
                    continue;
                }
                *left += 1;
                let front = look.in_front(&member.prefix(name), known.len() - 1);
                let (query, out, tell_end) = (&query, &out, tell_end.clone());
                scope.spawn(move || {
                    if let Err(failure) = show(session, &id, query, look, &front, out) {
                        failure.print("Error: ");
                    }
                    let _gone = tell_end.send(Some(id));
                });
            }
        };
        attach(&present, &mut left);
        while left > 0 || (replaced && !stops) {
            let end = if replaced { ends.recv_timeout(MOMENT).ok() } else { ends.recv().ok() };
            match end {
                Some(Some(id)) => {
                    left -= 1;
                    say_end(session, &id)?;
                    if aborts && left > 0 {
                        session.tell("Aborting on container exit...");
                        stop_all(session, &current()?, timeout)?;
                    }
                }
                Some(None) if !std::mem::replace(&mut stops, true) => {
                    session.tell("Gracefully stopping... (press Ctrl+C again to force)");
                    let present = current()?;
                    // Beside us, so that the next signal is heard.
                    scope.spawn(move || {
                        if let Err(failure) = stop_all(session, &present, timeout) {
                            failure.print("Error: ");
                        }
                    });
                }
                Some(None) => kill_all(session, &current()?)?,
                None if replaced => {
                    let mut new = current()?;
                    new.retain(|member| member.container.state.is_running());
                    attach(&new, &mut left);
                }
                None => break,
            }
        }
        Ok::<_, Failure>(())
    })?;
    if stops {
        return Ok(INTERRUPTED);
    }
    let Some(service) = code_from else { return Ok(0) };
    let chosen = members(session, name, &[service.to_owned()])?;
    let code = chosen.first().map_or(0, |member| member.container.state.exit_code);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn say_end(session: &Session, id: &str) -> Result<(), Failure> {
    match session.engine.find_container(id) {
        Ok(now) => {
            let code = now.state.exit_code;
            session.say(&format!("{} exited with code {code}", now.name))
        }
        Err(EngineError::NoSuchContainer { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn kill_all(session: &Session, present: &[Member]) -> Result<(), Failure> {
    for member in present {
        match session.engine.kill_container(&member.container.id, "SIGKILL") {
            Ok(()) => tell(session, "Container", &member.container.name, "Killed"),
            Err(EngineError::NoSuchContainer { .. } | EngineError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn stop_all(session: &Session, present: &[Member], timeout: Option<i64>) -> Result<(), Failure> {
    for member in present.iter().rev() {
        match session.engine.stop_container(&member.container.id, None, timeout) {
            Ok(()) => tell(session, "Container", &member.container.name, "Stopped"),
            Err(EngineError::NoSuchContainer { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
