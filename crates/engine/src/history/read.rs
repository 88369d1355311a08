//! Reading journals, also of builds that run.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bld_event::{Event, EventKind};
use bld_store::{Journal, Store};

use super::{Begin, Counts, End, Line, Said, Status};
use crate::error::IoContext as _;
use crate::{Engine, EngineError, Result};

/// The end of a journal that is read to see how the build ended, bytes. The last line is shorter, but
/// for absurd errors.
const TAIL: u64 = 64 << 10;

/// What is read of a journal at a time, bytes: it may be long, and few want all of it at once.
const PIECE: u64 = 1 << 20;

/// A build that ran here, or still does.
#[derive(Debug, Clone)]
pub struct BuildRecord {
    /// What it is called by.
    pub reference: String,
    /// When it began.
    pub began: SystemTime,
    /// What it was asked to do.
    pub begin: Begin,
    /// Where it stands.
    pub status: Status,
    /// When it ended; none while it runs.
    pub ended: Option<SystemTime>,
    /// Why it failed, in one line.
    pub error: Option<String>,
    /// The id of the image it made.
    pub image: Option<String>,
    /// The names it gave to the image.
    pub names: Vec<String>,
    /// Its steps.
    pub steps: Counts,
    journal: Journal,
}

impl BuildRecord {
    /// Its journal.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// How long it took, or takes so far.
    pub fn duration(&self) -> Duration {
        let end = self.ended.unwrap_or_else(SystemTime::now);
        end.duration_since(self.began).unwrap_or_default()
    }
}

impl Engine {
    /// All builds that are remembered, the newest first.
    pub fn builds(&self) -> Result<Vec<BuildRecord>> {
        let store = self.store()?;
        let mut builds = Vec::new();
        for journal in store.journals()? {
            builds.extend(record(store, journal)?);
        }
        Ok(builds)
    }

    /// The build that `name` stands for: the unique start of a reference, or `^N` for the `N`th build
    /// before the last; the last one if it is empty.
    pub fn find_build(&self, name: &str) -> Result<BuildRecord> {
        let missing = || EngineError::NoSuchBuild { name: name.to_owned() };
        let store = self.store()?;
        let mut journals = store.journals()?;
        let offset = match name.strip_prefix('^') {
            Some(digits) => Some(digits.parse().map_err(|_| missing())?),
            None => name.is_empty().then_some(0),
        };
        let journal = match offset {
            Some(offset) => {
                // Not one that begins at this moment, and cannot be read yet.
                let mut builds =
                    journals.into_iter().filter_map(|one| record(store, one).transpose());
                return builds.nth(offset).unwrap_or_else(|| Err(missing()));
            }
            None => {
                journals.retain(|journal| journal.reference.starts_with(name));
                if let Some(exact) = journals.iter().find(|journal| journal.reference == name) {
                    exact.clone()
                } else if journals.len() > 1 {
                    return Err(EngineError::AmbiguousBuild { prefix: name.to_owned() });
                } else {
                    journals.pop().ok_or_else(missing)?
                }
            }
        };
        record(store, journal)?.ok_or_else(missing)
    }

    /// The builds with a step whose id begins with `id`, the newest first.
    pub fn builds_of_step(&self, id: &str) -> Result<Vec<BuildRecord>> {
        let is_it = |event: &Event| match &event.kind {
            EventKind::Planned(vertex) => {
                vertex.result.as_deref().is_some_and(|result| result.starts_with(id))
            }
            _ => false,
        };
        let mut found = Vec::new();
        for build in self.builds()? {
            if self.build_events(&build)?.iter().any(is_it) {
                found.push(build);
            }
        }
        Ok(found)
    }

    /// What happened in a build, so far.
    pub fn build_events(&self, build: &BuildRecord) -> Result<Vec<Event>> {
        self.follow_build(build)?.events()
    }

    /// The Dockerfile of a build, if it came so far as to read it.
    pub fn build_dockerfile(&self, build: &BuildRecord) -> Result<Option<String>> {
        let mut follower = self.follow_build(build)?;
        while let Some(events) = follower.piece()? {
            let text = events.into_iter().find_map(|event| match event.kind {
                EventKind::Dockerfile { text, .. } => Some(text),
                _ => None,
            });
            if text.is_some() {
                return Ok(text);
            }
        }
        Ok(None)
    }

    /// What was said about what a build made.
    pub fn build_attestations(&self, build: &BuildRecord) -> Result<Vec<Said>> {
        let mut follower = self.follow_build(build)?;
        let mut said = Vec::new();
        while let Some(lines) = follower.lines()? {
            said.extend(lines.into_iter().filter_map(|line| match line {
                Line::Said(said) => Some(*said),
                Line::Begin(_) | Line::Event(_) | Line::End(_) => None,
            }));
        }
        Ok(said)
    }

    /// Follows what happens in a build.
    pub fn follow_build(&self, build: &BuildRecord) -> Result<Follower> {
        let store = self.store()?;
        let missing = || EngineError::NoSuchBuild { name: build.reference.clone() };
        let file = store.open_journal(&build.journal)?.ok_or_else(missing)?.file;
        Ok(Follower {
            store: store.clone(),
            journal: build.journal.clone(),
            path: store.journal_path(&build.journal),
            file,
            rest: Vec::new(),
        })
    }

    /// Forgets a build, unless it runs; whether it did.
    pub fn remove_build(&self, build: &BuildRecord) -> Result<bool> {
        Ok(self.store()?.remove_journal(&build.journal)?)
    }
}

/// Reads a journal, also while it is written.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    journal: Journal,
    path: PathBuf,
    file: File,
    /// The beginning of a line whose end was not there yet.
    rest: Vec<u8>,
}

impl Follower {
    /// The events that were written since the last call.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut all = Vec::new();
        while let Some(events) = self.piece()? {
            all.extend(events);
        }
        Ok(all)
    }

    /// The next of the events that were written since the last call; `None` when there are no more by now.
    pub fn piece(&mut self) -> Result<Option<Vec<Event>>> {
        let Some(lines) = self.lines()? else { return Ok(None) };
        let events = lines.into_iter().filter_map(|line| match line {
            Line::Event(event) => Some(event),
            Line::Begin(_) | Line::Said(_) | Line::End(_) => None,
        });
        Ok(Some(events.collect()))
    }

    /// The next lines, some of which may not be whole yet; `None` at the end.
    fn lines(&mut self) -> Result<Option<Vec<Line>>> {
        let mut piece = (&mut self.file).take(PIECE);
        if piece.read_to_end(&mut self.rest).at("read", &self.path)? == 0 {
            return Ok(None);
        }
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = self.rest[..end].split(|byte| *byte == b'\n').filter_map(parse).collect();
        self.rest.drain(..end);
        Ok(Some(lines))
    }

    /// Whether more may come. To be asked before the events that may be the last are read.
    pub fn is_live(&self) -> Result<bool> {
        Ok(self.store.open_journal(&self.journal)?.is_some_and(|journal| journal.is_live))
    }
}

/// A line, unless a newer version or a torn write made it.
fn parse(line: &[u8]) -> Option<Line> {
    serde_json::from_slice(line).ok()
}

/// What a journal says; none if it was removed, or only just begun.
fn record(store: &Store, journal: Journal) -> Result<Option<BuildRecord>> {
    let path = store.journal_path(&journal);
    let Some(mut open) = store.open_journal(&journal)? else { return Ok(None) };
    let mut head = Vec::new();
    let length = open.file.metadata().at("read", &path)?.len();
    // The first line is all there is to be known of a build that runs; most journals are short.
    (&mut open.file).take(TAIL).read_to_end(&mut head).at("read", &path)?;
    let Some(Line::Begin(begin)) = head.split(|byte| *byte == b'\n').next().and_then(parse) else {
        return Ok(None);
    };
    let mut tail = Vec::new();
    if length > TAIL {
        open.file.seek(SeekFrom::Start(length - TAIL)).at("read", &path)?;
        open.file.read_to_end(&mut tail).at("read", &path)?;
    } else {
        tail = head;
    }
    let last = tail.strip_suffix(b"\n").and_then(|tail| tail.rsplit(|byte| *byte == b'\n').next());
    let end = match last.and_then(parse) {
        Some(Line::End(end)) => *end,
        _ => unfinished(&mut open.file, open.is_live, &path)?,
    };
    let is_live = end.status == Status::Running;
    Ok(Some(BuildRecord {
        reference: journal.reference.clone(),
        began: journal.began,
        begin: *begin,
        status: end.status,
        ended: (!is_live).then_some(end.at),
        error: end.error,
        image: end.image,
        names: end.names,
        steps: end.steps,
        journal,
    }))
}

/// What there is to say of a build that has not come to its end: it runs, or was killed.
fn unfinished(file: &mut File, is_live: bool, path: &std::path::Path) -> Result<End> {
    file.seek(SeekFrom::Start(0)).at("read", path)?;
    let mut steps = Counts::default();
    let mut known = std::collections::HashSet::new();
    for line in BufReader::new(&mut *file).split(b'\n') {
        let Some(Line::Event(event)) = parse(&line.at("read", path)?) else { continue };
        match event.kind {
            EventKind::Planned(vertex) if !vertex.internal => {
                steps.total += 1;
                known.insert(event.id);
            }
            EventKind::Cached(_) if known.contains(&event.id) => {
                steps.cached += 1;
                steps.completed += 1;
            }
            EventKind::Done if known.contains(&event.id) => steps.completed += 1,
            _ => {}
        }
    }
    let at = file.metadata().and_then(|metadata| metadata.modified()).at("read", path)?;
    let killed = "the process that ran the build ended before it did".to_owned();
    Ok(End {
        at,
        status: if is_live { Status::Running } else { Status::Canceled },
        error: (!is_live).then_some(killed),
        image: None,
        names: Vec::new(),
        steps,
    })
}
