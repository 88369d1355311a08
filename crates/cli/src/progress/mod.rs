//! Readers of the event stream: what a user sees while a build runs.
//!
//! One thread owns the terminal. It takes events from a [queue](Queue), keeps the state of every
//! step ([`Steps`]) and hands both to the chosen [`Reader`]. The engine's threads only put events
//! into the queue, so a slow terminal never slows a build down by more than memory.

mod lines;
mod plain;
mod queue;
mod rawjson;
mod steps;
mod transfer;
mod tty;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bld_event::{Event, Events};

use queue::Queue;
use steps::Steps;
pub(crate) use steps::{FailedStep, StepReport, Summary, Why};
pub(crate) use transfer::{PULL, PUSH, Words};

/// How long a reader waits for an event before it gets a chance to redraw.
const TICK: Duration = Duration::from_millis(100);

/// `--progress`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, else `plain`.
    #[default]
    Auto,
    /// Running steps below, their output above.
    Tty,
    /// Lines in BuildKit's form.
    Plain,
    /// Nothing but errors, and the id of the image on standard output.
    Quiet,
    /// Nothing but warnings and errors.
    None,
    /// One JSON object per event, in BuildKit's form.
    Rawjson,
}

/// A stream to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdio {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Shows what happens, in one of the ways of [`Mode`].
trait Reader: Send {
    /// `event` has been entered into `steps`.
    fn event(&mut self, event: &Event, steps: &mut Steps) -> io::Result<()>;

    /// Nothing happened for a while.
    fn tick(&mut self, _steps: &mut Steps) -> io::Result<()> {
        Ok(())
    }

    /// The terminal is somebody else's for a while.
    fn pause(&mut self, _steps: &mut Steps) -> io::Result<()> {
        Ok(())
    }

    /// No more events are there for now.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// No more events will come.
    fn finish(&mut self, _steps: &mut Steps) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Message {
    Event(Event),
    /// Leave the terminal alone until `resume` ends; `paused` is to be answered when that is so.
    Pause {
        paused: mpsc::Sender<()>,
        resume: mpsc::Receiver<()>,
    },
    Finish,
}

/// Takes the terminal from the display for a while.
#[derive(Debug, Clone)]
pub(crate) struct Pause(Arc<Queue>);

impl Pause {
    /// Shows everything that was emitted so far, then nothing until the guard is dropped.
    pub(crate) fn hold(&self) -> Paused {
        let (answer, paused) = mpsc::channel();
        let (guard, resume) = mpsc::channel();
        self.0.put(Message::Pause { paused: answer, resume });
        // A display that is gone has left the terminal alone already.
        let _gone = paused.recv();
        Paused(guard)
    }
}

/// While it lives, the terminal is somebody else's.
#[derive(Debug)]
pub(crate) struct Paused(#[expect(dead_code, reason = "its end is the message")] mpsc::Sender<()>);

/// A running reader.
pub(crate) struct Display {
    queue: Arc<Queue>,
    thread: thread::JoinHandle<Summary>,
}

impl Display {
    /// Starts a reader that writes to standard error.
    pub(crate) fn start(mode: Mode) -> io::Result<Self> {
        let stderr = io::stderr();
        let reader: Option<Box<dyn Reader>> = match mode {
            Mode::Auto | Mode::Tty if stderr.is_terminal() => Some(Box::new(tty::Tty::new())),
            Mode::Tty => {
                return Err(io::Error::other(
                    "failed to get console: provided file is not a console",
                ));
            }
            Mode::Auto | Mode::Plain => Some(Box::new(plain::Plain::new(BufWriter::new(stderr)))),
            Mode::Rawjson => Some(Box::new(rawjson::RawJson::new(BufWriter::new(stderr)))),
            Mode::Quiet | Mode::None => None,
        };
        Self::spawn(reader)
    }

    /// Starts a reader for a pull or a push, which writes to standard output or standard error.
    pub(crate) fn transfer(to: Stdio, words: Words) -> io::Result<Self> {
        use indicatif::ProgressDrawTarget;
        let reader: Box<dyn Reader> = match to {
            Stdio::Out if io::stdout().is_terminal() => {
                Box::new(transfer::Bars::new(ProgressDrawTarget::stdout(), words))
            }
            Stdio::Out => Box::new(transfer::Lines::new(io::stdout(), words)),
            Stdio::Err if io::stderr().is_terminal() => {
                Box::new(transfer::Bars::new(ProgressDrawTarget::stderr(), words))
            }
            Stdio::Err => Box::new(transfer::Lines::new(io::stderr(), words)),
        };
        Self::spawn(Some(reader))
    }

    fn spawn(reader: Option<Box<dyn Reader>>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let messages = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || read(&messages, reader))?;
        Ok(Self { queue, thread })
    }

    /// The sink that feeds the reader.
    pub(crate) fn events(&self) -> Events {
        let queue = Arc::clone(&self.queue);
        // After `finish` nobody listens any more, and nobody needs to.
        Events::new(move |event| queue.put(Message::Event(event)))
    }

    /// A way to make the reader leave the terminal alone.
    pub(crate) fn pause(&self) -> Pause {
        Pause(Arc::clone(&self.queue))
    }

    /// Shows everything that was emitted so far and ends the reader.
    pub(crate) fn finish(self) -> Summary {
        self.queue.put(Message::Finish);
        self.thread.join().unwrap_or_default()
    }
}

/// Shows events that were written down, on standard output.
pub(crate) struct Replay {
    steps: Steps,
    reader: Option<Box<dyn Reader>>,
}

impl Replay {
    /// Shows them in the manner of `mode`; a terminal view makes no sense of what is over.
    pub(crate) fn new(mode: Mode) -> Self {
        let reader: Option<Box<dyn Reader>> = match mode {
            Mode::Auto | Mode::Tty | Mode::Plain => Some(Box::new(plain::Plain::new(io::stdout()))),
            Mode::Rawjson => Some(Box::new(rawjson::RawJson::new(io::stdout()))),
            Mode::Quiet | Mode::None => None,
        };
        Self { steps: Steps::default(), reader }
    }

    /// Shows the next event.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        self.steps.apply(event);
        match &mut self.reader {
            Some(reader) => reader.event(event, &mut self.steps),
            None => Ok(()),
        }
    }

    /// Shows what is left; every step, in order.
    pub(crate) fn finish(mut self) -> io::Result<Vec<StepReport>> {
        if let Some(reader) = &mut self.reader {
            reader.finish(&mut self.steps)?;
        }
        Ok(self.steps.reports())
    }
}

fn read(queue: &Queue, mut reader: Option<Box<dyn Reader>>) -> Summary {
    let mut steps = Steps::default();
    let mut finished = false;
    while !finished {
        let messages = queue.take(TICK);
        if messages.is_empty() {
            show(&mut reader, |reader| reader.tick(&mut steps));
        }
        for message in messages {
            match message {
                Message::Event(event) => {
                    steps.apply(&event);
                    show(&mut reader, |reader| reader.event(&event, &mut steps));
                }
                Message::Pause { paused, resume } => {
                    show(&mut reader, |reader| reader.pause(&mut steps));
                    show(&mut reader, |reader| reader.flush());
                    // What happens meanwhile waits in the queue.
                    let _answered = paused.send(());
                    let _ended = resume.recv();
                }
                Message::Finish => {
                    show(&mut reader, |reader| reader.finish(&mut steps));
                    finished = true;
                }
            }
        }
        show(&mut reader, |reader| reader.flush());
    }
    steps.into_summary()
}

/// Has `reader` show something. When nobody reads what it writes any more, it is given up: the
/// build goes on in silence.
fn show(
    reader: &mut Option<Box<dyn Reader>>,
    show: impl FnOnce(&mut Box<dyn Reader>) -> io::Result<()>,
) {
    if let Some(Err(_)) = reader.as_mut().map(show) {
        *reader = None;
    }
}

/// Writes one line to `out` in one piece, so that other writers cannot break into it.
fn write_line(out: &mut impl Write, line: &str) -> io::Result<()> {
    let mut line = line.to_owned();
    line.push('\n');
    out.write_all(line.as_bytes())
}
