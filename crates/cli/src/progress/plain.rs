//! Lines in the form of BuildKit's plain output, which log scrapers of CI systems know.
//!
//! One step at a time has the floor: its lines come out as they arrive, while other steps' lines
//! wait until it ends, falls silent or has talked for long enough. So the output of parallel steps
//! stays readable and is still never late by more than [`FLOOR`].

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use bld_event::{Event, EventKind, VertexId};

use super::steps::{End, Steps};
use super::{Reader, write_line};
use crate::output::units;

/// How long a silent step keeps the floor while others wait.
const SILENCE: Duration = Duration::from_millis(300);
/// How long a talking step keeps the floor while others wait.
const FLOOR: Duration = Duration::from_secs(3);

/// The reader.
pub(super) struct Plain<W> {
    out: W,
    /// The step that has the floor, since when, and when it last said something.
    current: Option<(VertexId, Instant, Instant)>,
    /// Steps with something to say, the longest waiting first.
    waiting: VecDeque<VertexId>,
    /// Something was written before.
    begun: bool,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out, current: None, waiting: VecDeque::new(), begun: false }
    }

    /// Lets `id` speak now or, when another step has the floor, later.
    fn wants(&mut self, id: VertexId, steps: &mut Steps) -> io::Result<()> {
        match self.current {
            Some((current, ..)) if current != id => {
                if !self.waiting.contains(&id) {
                    self.waiting.push_back(id);
                }
                self.yield_floor(steps)
            }
            _ => self.speak(id, steps),
        }
    }

    fn yield_floor(&mut self, steps: &mut Steps) -> io::Result<()> {
        while let Some(&next) = self.waiting.front() {
            if let Some((_, since, last)) = self.current
                && since.elapsed() < FLOOR
                && last.elapsed() < SILENCE
            {
                break;
            }
            self.waiting.pop_front();
            self.speak(next, steps)?;
        }
        Ok(())
    }

    /// Writes everything `id` has to say.
    fn speak(&mut self, id: VertexId, steps: &mut Steps) -> io::Result<()> {
        let number = steps.number(id);
        let now = Instant::now();
        let since = match self.current {
            Some((current, since, _)) if current == id => since,
            previous => {
                if let Some((previous, ..)) = previous {
                    write_line(&mut self.out, &format!("#{} ...", steps.number(previous)))?;
                }
                if std::mem::replace(&mut self.begun, true) {
                    write_line(&mut self.out, "")?;
                }
                let name = steps.get(id).map(|step| step.vertex.name.replace('\n', " "));
                write_line(&mut self.out, &format!("#{number} {}", name.unwrap_or_default()))?;
                now
            }
        };
        self.current = Some((id, since, now));
        let Some(step) = steps.get_mut(id) else { return Ok(()) };
        let finished: Vec<_> = step.progress.extract_if(.., |_, progress| progress.done).collect();
        for (item, progress) in finished {
            // Of what has a digest the numbers are bytes.
            let is_blob = item.starts_with("sha256:") || item.starts_with("extracting ");
            let size = match progress.current {
                bytes if is_blob && bytes > 0 => format!(" {}", units::size(bytes, 4)),
                _ => String::new(),
            };
            write_line(&mut self.out, &format!("#{number} {item}{size} done"))?;
        }
        for line in std::mem::take(&mut step.fresh) {
            let after = line.after.as_secs_f64();
            write_line(&mut self.out, &format!("#{number} {after:.3} {}", line.text))?;
        }
        let took = step.took().as_secs_f64();
        let end = match &step.ended {
            None => return Ok(()),
            Some((_, End::Cached)) => "CACHED".to_owned(),
            Some((_, End::Done)) => format!("DONE {took:.1}s"),
            Some((_, End::Failed(error))) => format!("ERROR: {error}"),
            Some((_, End::Canceled)) => "CANCELED".to_owned(),
        };
        self.current = None;
        write_line(&mut self.out, &format!("#{number} {end}"))
    }
}

impl<W: Write + Send> Reader for Plain<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn event(&mut self, event: &Event, steps: &mut Steps) -> io::Result<()> {
        match &event.kind {
            EventKind::Planned(_) | EventKind::Missed(_) | EventKind::Dockerfile { .. } => {
                return Ok(());
            }
            // A step that was given up before it began has nothing to say.
            EventKind::Canceled if steps.get(event.id).is_some_and(|s| s.started.is_none()) => {
                return Ok(());
            }
            EventKind::Progress(progress) if !progress.done => return Ok(()),
            EventKind::Log { .. } if steps.get(event.id).is_some_and(|s| s.fresh.is_empty()) => {
                return Ok(());
            }
            EventKind::Warning { .. } if steps.get(event.id).is_some_and(|s| s.reads_file) => {
                return Ok(());
            }
            EventKind::Warning { message, .. } => {
                self.wants(event.id, steps)?;
                let number = steps.number(event.id);
                return write_line(&mut self.out, &format!("#{number} WARN: {message}"));
            }
            _ => {}
        }
        self.wants(event.id, steps)?;
        self.yield_floor(steps)
    }

    fn tick(&mut self, steps: &mut Steps) -> io::Result<()> {
        self.yield_floor(steps)
    }

    fn pause(&mut self, steps: &mut Steps) -> io::Result<()> {
        self.finish(steps)
    }

    fn finish(&mut self, steps: &mut Steps) -> io::Result<()> {
        while let Some(next) = self.waiting.pop_front() {
            self.speak(next, steps)?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bld_event::{Stream, Vertex};

    use super::*;

    fn run(script: &[(VertexId, u64, EventKind)]) -> io::Result<String> {
        let mut steps = Steps::default();
        let mut plain = Plain::new(Vec::new());
        for (id, ms, kind) in script {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(*ms);
            let event = Event { at, id: *id, kind: kind.clone() };
            steps.apply(&event);
            plain.event(&event, &mut steps)?;
        }
        plain.finish(&mut steps)?;
        Ok(String::from_utf8_lossy(&plain.out).into_owned())
    }

    fn planned(id: VertexId, name: &str) -> EventKind {
        EventKind::Planned(Vertex {
            id,
            name: name.to_owned(),
            stage: String::new(),
            inputs: Vec::new(),
            lines: None,
            internal: false,
            result: None,
        })
    }

    fn log(text: &str) -> EventKind {
        EventKind::Log { stream: Stream::Stdout, data: text.as_bytes().to_vec() }
    }

    #[test]
    fn steps_read_as_from_buildkit() -> io::Result<()> {
        let (a, b, c) = (VertexId::next(), VertexId::next(), VertexId::next());
        let text = run(&[
            (a, 0, planned(a, "[1/3] FROM busybox")),
            (b, 0, planned(b, "[2/3] RUN make")),
            (c, 0, planned(c, "[3/3] RUN never")),
            (a, 0, EventKind::Cached(bld_event::Hit::Definition)),
            (b, 0, EventKind::Started),
            (b, 100, EventKind::Note { message: "waiting".into() }),
            (b, 123, log("one\ntwo")),
            (b, 1300, EventKind::Failed { error: "exit code: 1".into() }),
            (c, 1300, EventKind::Canceled),
        ])?;
        assert_eq!(
            text,
            "#1 [1/3] FROM busybox\n#1 CACHED\n\n#2 [2/3] RUN make\n#2 0.100 waiting\n#2 0.123 one\n#2 1.300 two\n\
             #2 ERROR: exit code: 1\n"
        );
        Ok(())
    }

    #[test]
    fn parallel_steps_take_turns() -> io::Result<()> {
        let (a, b) = (VertexId::next(), VertexId::next());
        let text = run(&[
            (a, 0, planned(a, "[a 1/1] RUN a")),
            (b, 0, planned(b, "[b 1/1] RUN b")),
            (a, 0, EventKind::Started),
            (b, 0, EventKind::Started),
            (a, 10, log("a1\n")),
            (b, 20, log("b1\n")),
            (a, 30, log("a2\n")),
            (a, 500, EventKind::Done),
            (b, 700, EventKind::Done),
        ])?;
        assert_eq!(
            text,
            "#1 [a 1/1] RUN a\n#1 0.010 a1\n#1 0.030 a2\n#1 DONE 0.5s\n\n\
             #2 [b 1/1] RUN b\n#2 0.020 b1\n#2 DONE 0.7s\n"
        );
        Ok(())
    }
}
