//! The view of a pull or a push, in docker's words.
//!
//! Each blob is one item of the progress of a vertex: `sha256:…` while it travels, `extracting
//! sha256:…` while it is unpacked.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use bld_event::{Event, EventKind, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::steps::Steps;
use super::tty::style;
use super::{Reader, write_line};

/// What the states of a blob are called.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// Of what does not have to travel.
    there: &'static str,
    /// Whether that is said to begin, too.
    there_begins: bool,
    begin: &'static str,
    moving: &'static str,
    arrived: &'static str,
    unpacking: &'static str,
    end: &'static str,
}

/// The words of a download.
pub(crate) const PULL: Words = Words {
    there: "Already exists",
    there_begins: false,
    begin: "Pulling fs layer",
    moving: "Downloading",
    arrived: "Download complete",
    unpacking: "Extracting",
    end: "Pull complete",
};

/// The words of an upload.
pub(crate) const PUSH: Words = Words {
    there: "Layer already exists",
    there_begins: true,
    begin: "Preparing",
    moving: "Pushing",
    arrived: "Pushed",
    unpacking: "Compressing",
    end: "Compressed",
};

/// One step in the life of a blob: its short name, the word for where it is, and how far.
struct Moment<'a> {
    blob: String,
    word: &'static str,
    unpacking: bool,
    progress: &'a Progress,
}

impl Moment<'_> {
    /// Whether the blob does not have to travel: the first there is to say of it is that it has arrived.
    fn is_there(&self, has_moved: bool) -> bool {
        self.progress.done && !self.unpacking && !has_moved
    }
}

fn moment<'a>(event: &'a Event, words: &Words) -> Option<Moment<'a>> {
    let EventKind::Progress(progress) = &event.kind else { return None };
    let (digest, unpacking) = match progress.item.split_once(' ') {
        Some((_, digest)) => (digest, true),
        None => (progress.item.as_str(), false),
    };
    let blob = digest.strip_prefix("sha256:")?.chars().take(12).collect();
    let word = match (unpacking, progress.done) {
        (true, true) => words.end,
        (true, false) => words.unpacking,
        (false, true) => words.arrived,
        (false, false) => words.moving,
    };
    Some(Moment { blob, word, unpacking, progress })
}

/// One line for each change of state.
pub(crate) struct Lines<W> {
    out: W,
    words: Words,
    said: HashSet<(String, &'static str)>,
    /// Blobs of which there was more to say than that they are there.
    moved: HashSet<String>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W, words: Words) -> Self {
        Self { out, words, said: HashSet::new(), moved: HashSet::new() }
    }

    fn say(&mut self, blob: &str, word: &'static str) -> io::Result<()> {
        if self.said.insert((blob.to_owned(), word)) {
            write_line(&mut self.out, &format!("{blob}: {word}"))?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Reader for Lines<W> {
    fn event(&mut self, event: &Event, _steps: &mut Steps) -> io::Result<()> {
        let Some(moment) = moment(event, &self.words) else { return Ok(()) };
        let Words { begin, there, there_begins, .. } = self.words;
        let has_moved = self.moved.contains(&moment.blob);
        if moment.is_there(has_moved) {
            if there_begins {
                self.say(&moment.blob, begin)?;
            }
            return self.say(&moment.blob, there);
        }
        if !has_moved {
            self.moved.insert(moment.blob.clone());
        }
        self.say(&moment.blob, begin)?;
        if moment.progress.done { self.say(&moment.blob, moment.word) } else { Ok(()) }
    }
}

/// A bar for each blob.
pub(crate) struct Bars {
    all: MultiProgress,
    words: Words,
    blobs: HashMap<String, ProgressBar>,
}

impl Bars {
    /// Draws on `target`.
    pub(crate) fn new(target: ProgressDrawTarget, words: Words) -> Self {
        Self { all: MultiProgress::with_draw_target(target), words, blobs: HashMap::new() }
    }
}

impl Reader for Bars {
    fn event(&mut self, event: &Event, _steps: &mut Steps) -> io::Result<()> {
        let Some(moment) = moment(event, &self.words) else { return Ok(()) };
        let is_there = moment.is_there(self.blobs.contains_key(&moment.blob));
        let bar = self.blobs.entry(moment.blob.clone()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_prefix(moment.blob.clone());
            bar
        });
        bar.set_message(if is_there { self.words.there } else { moment.word });
        let is_last = moment.progress.done && (moment.unpacking || moment.progress.total.is_none());
        if is_there || is_last {
            bar.set_style(style("{prefix}: {msg}"));
            bar.abandon();
        } else {
            bar.set_style(moving_style());
            bar.set_length(moment.progress.total.unwrap_or(0));
            bar.set_position(moment.progress.current);
        }
        Ok(())
    }

    fn finish(&mut self, _steps: &mut Steps) -> io::Result<()> {
        for bar in self.blobs.values() {
            bar.set_style(style("{prefix}: {msg}"));
            bar.abandon();
        }
        Ok(())
    }
}

fn moving_style() -> ProgressStyle {
    style("{prefix}: {msg} [{bar:50}] {decimal_bytes}/{decimal_total_bytes}").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bld_event::VertexId;

    use super::*;

    /// What is told of a blob that is there, and of one that comes.
    fn told(words: Words) -> io::Result<String> {
        let mut lines = Lines::new(Vec::new(), words);
        let id = VertexId::next();
        for (item, current, done) in [
            ("sha256:fedcba9876543210", 9, true),
            ("sha256:0123456789abcdef", 0, false),
            ("sha256:0123456789abcdef", 5, false),
            ("sha256:0123456789abcdef", 9, true),
            ("extracting sha256:0123456789abcdef", 9, true),
        ] {
            let progress = Progress { item: item.into(), current, total: Some(9), done };
            let event = Event { at: SystemTime::now(), id, kind: EventKind::Progress(progress) };
            lines.event(&event, &mut Steps::default())?;
        }
        Ok(String::from_utf8_lossy(&lines.out).into_owned())
    }

    #[test]
    fn transfers_read_as_from_docker() -> io::Result<()> {
        assert_eq!(
            told(PULL)?,
            "fedcba987654: Already exists\n0123456789ab: Pulling fs layer\n\
             0123456789ab: Download complete\n0123456789ab: Pull complete\n"
        );
        assert_eq!(
            told(PUSH)?,
            "fedcba987654: Preparing\nfedcba987654: Layer already exists\n0123456789ab: Preparing\n\
             0123456789ab: Pushed\n0123456789ab: Compressed\n"
        );
        Ok(())
    }
}
