//! Writing the journal of a build.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use bld_dockerfile::lint::is_secret_name;
use bld_event::{Event, EventKind, Events, VertexId};
use bld_store::{Journal, Store};
use serde::Serialize;

use super::{Begin, Counts, End, Line, Said, Status, Trigger};
use crate::build::{
    BuildRequest, BuildResult, Context, DockerfileSource, NamedContext, NetworkMode, Remote,
};
use crate::error::IoContext as _;
use crate::{Engine, Result};

/// How long an event waits to be written while steps run.
const DELAY: Duration = Duration::from_millis(100);

/// Most bytes of the output of steps that one journal takes; the logs of steps have all of it.
const MOST_OUTPUT: usize = 16 << 20;

/// Of builds in which nothing ran, one in so many looks for journals to remove.
const SELDOM: u8 = 16;

/// The journal of a build that is going on. Whatever becomes of it, the build goes on.
///
/// Nothing is written before something has to be waited for: a build that knows everything leaves its
/// journal in one piece when it ends.
#[derive(Debug)]
pub struct BuildLog {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    journal: Journal,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    file: Option<File>,
    /// Why nothing more is written.
    failure: Option<crate::EngineError>,
    /// Steps of the build; tasks that support it are none.
    steps: HashSet<VertexId>,
    counts: Counts,
    output: usize,
    is_over: bool,
}

impl Engine {
    /// Begins the journal of a build that `trigger` asked for.
    pub fn log_build(&self, request: &BuildRequest, trigger: Trigger) -> Result<BuildLog> {
        let mut state = State::default();
        state.push(&Line::Begin(Box::new(Begin { trigger: Some(trigger), ..begin(request) })));
        let shared = Shared {
            store: self.store()?.clone(),
            journal: Journal::new()?,
            state: Mutex::new(state),
            wake: Condvar::new(),
        };
        Ok(BuildLog { shared: Arc::new(shared), writer: Arc::default() })
    }
}

impl BuildLog {
    /// What the build is called by.
    pub fn reference(&self) -> &str {
        &self.shared.journal.reference
    }

    /// A sink that writes every event down and hands it on to `events`.
    pub fn tee(&self, events: Events) -> Events {
        let (shared, writer) = (Arc::clone(&self.shared), Arc::clone(&self.writer));
        Events::new(move |event| {
            if shared.enter(&event) {
                start(&shared, &writer);
            }
            events.pass(event);
        })
    }

    /// Writes down what was said about what the build made.
    pub fn attested(&self, said: &[Said]) {
        let mut state = self.shared.state();
        for one in said {
            state.push(&Line::Said(Box::new(one.clone())));
        }
    }

    /// Ends the journal.
    ///
    /// # Errors
    /// It could not be written, or not all of it.
    pub fn finish(
        self,
        status: Status,
        error: Option<String>,
        result: Option<&BuildResult>,
    ) -> Result<()> {
        let (is_new, counts) = {
            let mut state = self.shared.state();
            state.is_over = true;
            (state.file.is_none(), state.counts)
        };
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has written what it could.
            let _panicked = writer.join();
        }
        self.shared.state().push(&Line::End(Box::new(End {
            at: SystemTime::now(),
            status,
            error,
            image: result.and_then(|result| result.image_id).map(|id| id.to_string()),
            names: result.map(|result| result.names.clone()).unwrap_or_default(),
            steps: counts,
        })));
        self.shared.write();
        let failure = {
            let mut state = self.shared.state();
            // Others may still have the sink.
            state.file = None;
            state.failure.take()
        };
        if failure.is_some() {
            // Half a journal would tell of a build that was killed.
            let _ = self.shared.store.remove_journal(&self.shared.journal);
        }
        let letter = self.reference().bytes().next().unwrap_or_default();
        if !is_new || letter.is_multiple_of(SELDOM) {
            // The next build tries again.
            let _ = self.shared.store.remove_old_journals();
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Starts the thread that writes while the build goes on, unless it runs.
fn start(shared: &Arc<Shared>, writer: &Mutex<Option<JoinHandle<()>>>) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.is_none() {
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("journal".to_owned());
        // Without a thread everything is written at the end.
        *writer = thread.spawn(move || shared.write_on()).ok();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an event; tells whether there is something to be waited for now.
    fn enter(&self, event: &Event) -> bool {
        let mut state = self.state();
        if state.is_over {
            return false;
        }
        match &event.kind {
            EventKind::Planned(vertex) if !vertex.internal => {
                state.counts.total += 1;
                state.steps.insert(event.id);
            }
            EventKind::Cached(_) if state.steps.contains(&event.id) => {
                state.counts.cached += 1;
                state.counts.completed += 1;
            }
            EventKind::Done if state.steps.contains(&event.id) => state.counts.completed += 1,
            // Of progress it is the end that is of interest later.
            EventKind::Progress(progress) if !progress.done => return true,
            EventKind::Log { data, .. } => {
                let before = state.output;
                state.output += data.len();
                if state.output > MOST_OUTPUT {
                    if before <= MOST_OUTPUT {
                        let message = format!(
                            "output ends here in the history, after {} MiB: bld logs has all of it",
                            MOST_OUTPUT >> 20
                        );
                        let kind = EventKind::Note { message };
                        state.push(&Line::Event(Event { at: event.at, id: event.id, kind }));
                    }
                    return false;
                }
            }
            _ => {}
        }
        state.push(&Written { event });
        match event.kind {
            EventKind::Missed(_) | EventKind::Log { .. } | EventKind::Note { .. } => true,
            EventKind::Started => state.steps.contains(&event.id),
            _ => false,
        }
    }

    /// Writes what there is again and again until the build is over.
    fn write_on(&self) {
        loop {
            self.write();
            let state = self.state();
            if state.is_over || state.failure.is_some() {
                return;
            }
            let _woken = self.wake.wait_timeout_while(state, DELAY, |state| !state.is_over);
        }
    }

    /// Writes what there is. One thread at a time.
    fn write(&self) {
        let (buffer, file) = {
            let mut state = self.state();
            if state.failure.is_some() || state.buffer.is_empty() {
                return;
            }
            (std::mem::take(&mut state.buffer), state.file.take())
        };
        let written = || -> Result<File> {
            let mut file = match file {
                Some(file) => file,
                None => self.store.begin_journal(&self.journal)?,
            };
            file.write_all(&buffer).at("write", self.store.journal_path(&self.journal))?;
            Ok(file)
        };
        let written = written();
        let mut state = self.state();
        match written {
            Ok(file) => state.file = Some(file),
            Err(error) => {
                state.failure = Some(error);
                state.buffer = Vec::new();
            }
        }
    }
}

impl State {
    fn push(&mut self, line: &impl Serialize) {
        if self.failure.is_some() {
            return;
        }
        let start = self.buffer.len();
        match serde_json::to_writer(&mut self.buffer, line) {
            Ok(()) => self.buffer.push(b'\n'),
            // Nothing that is in a line can fail; half a line would be worse than none.
            Err(_) => self.buffer.truncate(start),
        }
    }
}

/// [`Line::Event`], of an event that belongs to somebody else.
#[derive(Serialize)]
struct Written<'e> {
    event: &'e Event,
}

/// What a build is asked to do, without what nobody may know.
fn begin(request: &BuildRequest) -> Begin {
    let context = match &request.context {
        Context::Dir(dir) => shown(dir),
        Context::Remote(remote) => place(remote),
        Context::Archive(_) | Context::Empty => "-".to_owned(),
    };
    let dockerfile = match &request.dockerfile {
        DockerfileSource::Default => "Dockerfile".to_owned(),
        DockerfileSource::Path(path) => shown(path),
        DockerfileSource::Url(url) => without_login(&url.url),
        DockerfileSource::Text(_) => "-".to_owned(),
    };
    let build_args: HashMap<&String, &String> = request.build_args.iter().collect();
    let mut build_args: Vec<(String, Option<String>)> = build_args
        .into_iter()
        .map(|(name, value)| (name.clone(), (!is_secret_name(name)).then(|| value.clone())))
        .collect();
    build_args.sort();
    let named = |(name, context): (&String, &NamedContext)| {
        let place = match context {
            NamedContext::Dir(dir) => shown(dir),
            NamedContext::Remote(remote) => place(remote),
            NamedContext::Stage(stage) => format!("target:{stage}"),
            NamedContext::Image(image) => format!("docker-image://{image}"),
            NamedContext::OciLayout { path, .. } => format!("oci-layout://{}", path.display()),
        };
        (name.clone(), place)
    };
    Begin {
        name: name(&context, &dockerfile, request.target.as_deref()),
        context,
        dockerfile,
        target: request.target.clone(),
        platform: platforms(&request.platforms),
        named_contexts: request.named_contexts.iter().map(named).collect(),
        tags: request.tags.clone(),
        build_args,
        labels: request.labels.clone().into_iter().collect(),
        network: match request.network {
            NetworkMode::Default => None,
            NetworkMode::Host => Some("host".to_owned()),
            NetworkMode::None => Some("none".to_owned()),
        },
        no_cache: request.no_cache,
        no_cache_filter: request.no_cache_filter.clone(),
        trigger: None,
    }
}

fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn place(remote: &Remote) -> String {
    match remote {
        Remote::Git(git) => without_login(&git.remote),
        Remote::Http(http) => without_login(&http.url),
    }
}

/// A URL without the user and password that it may hold, or what follows a question mark.
fn without_login(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// As buildx names builds.
fn name(context: &str, dockerfile: &str, target: Option<&str>) -> String {
    let last =
        |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let mut name = if context.contains("://") { context.to_owned() } else { last(context) };
    let file = last(dockerfile);
    if !["Dockerfile", "-", ""].contains(&file.as_str()) {
        name = format!("{name}/{file}");
    }
    match target {
        Some(target) => format!("{name} ({target})"),
        None => name,
    }
}

/// `--platform` as it was given.
fn platforms(platforms: &[bld_oci::Platform]) -> Option<String> {
    let names: Vec<_> = platforms.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_named_by_place_file_and_target() {
        assert_eq!(name("/work/app", "/work/app/Dockerfile", None), "app");
        assert_eq!(
            name("/work/app", "/work/app/web.Dockerfile", Some("test")),
            "app/web.Dockerfile (test)"
        );
        assert_eq!(name("https://x/y.git", "Dockerfile", None), "https://x/y.git");
    }

    #[test]
    fn logins_are_left_out() {
        assert_eq!(without_login("https://me:pw@host/a/b@c?token=x"), "https://host/a/b@c");
        assert_eq!(without_login("https://host"), "https://host");
    }
}
