//! Giving up in the middle of a large file.

use std::io::{self, Write};

use bld_event::Cancel;

/// A writer that fails once what it is for is canceled.
#[derive(Debug)]
pub struct Cancelable<'a, W: ?Sized> {
    out: &'a mut W,
    cancel: &'a Cancel,
}

impl<'a, W: Write + ?Sized> Cancelable<'a, W> {
    /// Passes all on to `out` while `cancel` is not canceled.
    pub fn new(out: &'a mut W, cancel: &'a Cancel) -> Self {
        Self { out, cancel }
    }
}

impl<W: Write + ?Sized> Write for Cancelable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_canceled() {
            return Err(io::Error::other("canceled"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
