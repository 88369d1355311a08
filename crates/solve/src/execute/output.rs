//! Where the output of a step goes: to the event stream, and whole into a file.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bld_event::{EventKind, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};

use super::mask::{Mask, Masked};
use crate::error::StepFailure;
use crate::flight::mark_written;
use crate::solver::Build;

/// Bytes read from a pipe at once; a pipe holds no more.
const CHUNK: usize = 64 << 10;

/// The reading ends of a step's standard output and error.
pub(super) struct Output<'a> {
    build: &'a Build,
    index: usize,
    file: File,
    open: Vec<Source>,
}

struct Source {
    pipe: OwnedFd,
    stream: Stream,
    masked: Masked,
}

impl<'a> Output<'a> {
    /// Makes the pipes of step `index` and the file for what comes through them, which `log` is set
    /// to; gives the writing ends too.
    pub(super) fn new(
        build: &'a Build,
        index: usize,
        mask: &Mask,
        log: &mut Option<PathBuf>,
    ) -> Result<(Self, OwnedFd, OwnedFd), StepFailure> {
        let id = build.steps[index].definition.unwrap_or(build.steps[index].op);
        let path = build.env.store.step_log(&id);
        // A new file: somebody may be reading what an earlier run wrote.
        let file = match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => File::create_new(&path),
        };
        let file = file
            .and_then(|file| mark_written(&file).map(|()| file))
            .map_err(StepFailure::io(format!("create {}", path.display())))?;
        *log = Some(path);
        let (out, out_end) = pipe()?;
        let (err, err_end) = pipe()?;
        let source = |pipe, stream| Source { pipe, stream, masked: Masked::new(mask.clone()) };
        let open = vec![source(out, Stream::Stdout), source(err, Stream::Stderr)];
        Ok((Self { build, index, file, open }, out_end, err_end))
    }

    /// Passes on what arrives until the process has ended and both pipes are drained. A process in
    /// the background that keeps a pipe open does not keep the step from ending.
    pub(super) fn forward(mut self, process: impl AsFd) -> Result<(), StepFailure> {
        let mut buffer = vec![0; CHUNK];
        while !self.open.is_empty() {
            let (ready, over) = self.wait(&process)?;
            let mut read_any = false;
            let mut ended = Vec::new();
            for number in (0..self.open.len()).filter(|&number| ready[number]) {
                match read(&self.open[number].pipe, &mut buffer) {
                    Ok(length) if length > 0 => {
                        read_any = true;
                        let source = &mut self.open[number];
                        let (shown, stream) =
                            (source.masked.pass(&buffer[..length]), source.stream);
                        self.write(stream, &shown)?;
                    }
                    Err(Errno::INTR) => read_any = true,
                    Ok(_) | Err(_) => ended.push(number),
                }
            }
            while let Some(number) = ended.pop() {
                self.close(number)?;
            }
            if over && !read_any {
                break;
            }
        }
        while !self.open.is_empty() {
            self.close(0)?;
        }
        Ok(())
    }

    /// Waits until something happens; tells which pipes are ready and whether the process is over.
    fn wait(&self, process: &impl AsFd) -> Result<(Vec<bool>, bool), StepFailure> {
        let pipes = self.open.iter().map(|source| PollFd::new(&source.pipe, PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> =
            pipes.chain([PollFd::new(process, PollFlags::IN)]).collect();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StepFailure::io("wait for output")(error.into())),
        }
        let mut ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let over = ready.pop().unwrap_or(true);
        Ok((ready, over))
    }

    fn close(&mut self, number: usize) -> Result<(), StepFailure> {
        let mut source = self.open.remove(number);
        let rest = source.masked.end();
        self.write(source.stream, &rest)
    }

    fn write(&mut self, stream: Stream, data: &[u8]) -> Result<(), StepFailure> {
        if data.is_empty() {
            return Ok(());
        }
        self.file.write_all(data).map_err(StepFailure::io("write the log of the step"))?;
        self.build.emit(self.index, EventKind::Log { stream, data: data.to_vec() });
        Ok(())
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StepFailure> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| StepFailure::io("make a pipe")(error.into()))
}
