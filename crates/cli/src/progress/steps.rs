//! What is known of every step: the state that the readers share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use bld_event::{Event, EventKind, Hit, Miss, Progress, Stream, Vertex, VertexId};

use super::lines::Lines;

/// How much of a step's output is kept for the report of its failure. All of it is on disk.
const KEPT_LOG: usize = 8 << 20;

/// One line of a step's output.
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    /// Since the step began.
    pub(crate) after: Duration,
    /// Without its end.
    pub(crate) text: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Cached,
    Done,
    Failed(String),
    Canceled,
}

/// Why a result was known, or was not.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// It was.
    Hit(Hit),
    /// It was not.
    Miss(Miss),
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) vertex: Vertex,
    /// The number it is shown under, given when it is first shown.
    pub(super) number: Option<u32>,
    pub(super) started: Option<SystemTime>,
    pub(super) ended: Option<(SystemTime, End)>,
    pub(super) progress: BTreeMap<String, Progress>,
    /// Why its result was known, or was not.
    pub(super) why: Option<Why>,
    /// It reads the Dockerfile: what is wrong with that is listed when all is over.
    pub(super) reads_file: bool,
    /// Lines that the reader has not shown yet.
    pub(super) fresh: Vec<LogLine>,
    streams: [Lines; 2],
    log: VecDeque<LogLine>,
    log_size: usize,
    /// How many lines in front of `log` are only on disk any more.
    dropped: usize,
}

impl Step {
    fn new(vertex: Vertex) -> Self {
        Self {
            vertex,
            number: None,
            started: None,
            ended: None,
            progress: BTreeMap::new(),
            why: None,
            reads_file: false,
            fresh: Vec::new(),
            streams: <[Lines; 2]>::default(),
            log: VecDeque::new(),
            log_size: 0,
            dropped: 0,
        }
    }

    /// Since the step began, up to `now`.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        self.started.and_then(|start| now.duration_since(start).ok()).unwrap_or_default()
    }

    /// How long it took; nothing while it runs.
    pub(super) fn took(&self) -> Duration {
        self.ended.as_ref().map(|(at, _)| self.age(*at)).unwrap_or_default()
    }

    fn keep(&mut self, at: SystemTime, lines: Vec<String>) {
        let after = self.age(at);
        for text in lines {
            self.log_size += text.len();
            self.log.push_back(LogLine { after, text: text.clone() });
            self.fresh.push(LogLine { after, text });
        }
        while self.log_size > KEPT_LOG
            && let Some(line) = self.log.pop_front()
        {
            self.log_size -= line.text.len();
            self.dropped += 1;
        }
    }

    fn end(&mut self, at: SystemTime, end: End) {
        for stream in 0..self.streams.len() {
            if let Some(line) = self.streams[stream].rest() {
                self.keep(at, vec![line]);
            }
        }
        if !matches!(end, End::Failed(_)) {
            self.log = VecDeque::new();
        }
        self.ended = Some((at, end));
    }
}

/// All steps of one stream of events.
#[derive(Debug, Default)]
pub(super) struct Steps {
    known: HashMap<VertexId, Step>,
    failed: Vec<VertexId>,
    last_number: u32,
}

impl Steps {
    /// Enters an event.
    pub(super) fn apply(&mut self, event: &Event) {
        if let EventKind::Planned(vertex) = &event.kind {
            self.known.insert(event.id, Step::new(vertex.clone()));
            return;
        }
        let Some(step) = self.known.get_mut(&event.id) else { return };
        let at = event.at;
        match &event.kind {
            EventKind::Started => step.started = Some(at),
            EventKind::Progress(progress) => {
                step.progress.insert(progress.item.clone(), progress.clone());
            }
            EventKind::Log { stream, data } => {
                let stream = usize::from(*stream == Stream::Stderr);
                let lines = step.streams[stream].push(data);
                step.keep(at, lines);
            }
            // Shown among the lines, and no part of the output.
            EventKind::Note { message } => {
                let after = step.age(at);
                step.fresh.push(LogLine { after, text: message.clone() });
            }
            EventKind::Cached(hit) => {
                step.why = Some(Why::Hit(hit.clone()));
                step.end(at, End::Cached);
            }
            EventKind::Missed(miss) => step.why = Some(Why::Miss(miss.clone())),
            EventKind::Done => step.end(at, End::Done),
            EventKind::Failed { error } => {
                step.end(at, End::Failed(error.clone()));
                self.failed.push(event.id);
            }
            EventKind::Canceled => step.end(at, End::Canceled),
            EventKind::Dockerfile { .. } => step.reads_file = true,
            EventKind::Planned(_) | EventKind::Warning { .. } => {}
        }
    }

    /// The step `id`, if it was planned.
    pub(super) fn get(&self, id: VertexId) -> Option<&Step> {
        self.known.get(&id)
    }

    /// The step `id`, if it was planned.
    pub(super) fn get_mut(&mut self, id: VertexId) -> Option<&mut Step> {
        self.known.get_mut(&id)
    }

    /// The number `id` is shown under; the first call chooses it.
    pub(super) fn number(&mut self, id: VertexId) -> u32 {
        let Some(step) = self.known.get_mut(&id) else { return 0 };
        *step.number.get_or_insert_with(|| {
            self.last_number += 1;
            self.last_number
        })
    }

    /// Every step.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Step> {
        self.known.values()
    }

    /// Every step of the build, in order; tasks that support it are none.
    pub(super) fn reports(&self) -> Vec<StepReport> {
        let mut steps: Vec<_> = self.known.values().filter(|step| !step.vertex.internal).collect();
        steps.sort_by_key(|step| step.vertex.id);
        steps.into_iter().map(StepReport::of).collect()
    }

    /// What is left to say when all is over.
    pub(super) fn into_summary(mut self) -> Summary {
        let steps = self.reports();
        let failed = self.failed.iter().filter_map(|id| self.known.remove(id));
        let failed = failed
            .filter_map(|step| match step.ended {
                Some((_, End::Failed(_))) => {
                    let (name, dropped) = (step.vertex.name, step.dropped);
                    Some(FailedStep { name, log: step.log.into(), dropped })
                }
                _ => None,
            })
            .collect();
        Summary { failed, steps }
    }
}

/// What there is to say of a step, after it ended or so far.
#[derive(Debug, Clone)]
pub(crate) struct StepReport {
    /// As shown, e.g. `[build 2/5] RUN make`, in one line.
    pub(crate) name: String,
    /// The id by which its result can be asked for, hexadecimal; empty if there is none.
    pub(crate) id: String,
    /// Why its result was known, or was not.
    pub(crate) why: Option<Why>,
    /// `waiting`, `running`, `cached`, `done`, `failed` or `canceled`.
    pub(crate) state: &'static str,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// When it began.
    pub(crate) started: Option<SystemTime>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl StepReport {
    fn of(step: &Step) -> Self {
        let state = match step.ended.as_ref().map(|(_, end)| end) {
            None if step.started.is_some() => "running",
            None => "waiting",
            Some(End::Cached) => "cached",
            Some(End::Done) => "done",
            Some(End::Failed(_)) => "failed",
            Some(End::Canceled) => "canceled",
        };
        let error = match &step.ended {
            Some((_, End::Failed(error))) => Some(error.clone()),
            _ => None,
        };
        Self {
            name: one_line(&step.vertex.name),
            id: step.vertex.result.clone().unwrap_or_default(),
            why: step.why.clone(),
            state,
            error,
            started: step.started,
            took: step.took(),
        }
    }

    /// The step and the reason in one line; none if nothing is known of it.
    pub(crate) fn explained(&self) -> Option<String> {
        let (word, why) = match self.why.as_ref()? {
            Why::Hit(hit) => ("hit", hit.to_string()),
            Why::Miss(miss) => ("miss", miss.to_string()),
        };
        Some(format!("{:12} {word:4} {}: {why}", short(&self.id), self.name))
    }
}

/// The name of a step in one line, with the digest of a base image as short as ids are shown.
fn one_line(name: &str) -> String {
    let name = name.replace('\n', " ");
    match name.split_once("@sha256:") {
        Some((image, digest)) => format!("{image}@sha256:{}", short(digest)),
        None => name,
    }
}

/// As much of an id as tells it from all others.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// What is left to say after the last event.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// The steps that failed, in order.
    pub(crate) failed: Vec<FailedStep>,
    /// Every step, in order.
    pub(crate) steps: Vec<StepReport>,
}

/// A step that failed.
#[derive(Debug)]
pub(crate) struct FailedStep {
    /// As shown, e.g. `[build 2/5] RUN make`.
    pub(crate) name: String,
    /// The output.
    pub(crate) log: Vec<LogLine>,
    /// How many lines of the output came before that.
    pub(crate) dropped: usize,
}
