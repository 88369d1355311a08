//! The socket by which a runtime hands over the terminal of a process.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Result;
use crate::error::IoContext as _;

/// A socket that waits for a terminal.
pub(super) struct Console {
    listener: UnixListener,
    /// Names of sockets are short; by this descriptor the directory's is.
    dir: OwnedFd,
    name: String,
    pub(super) rows: u16,
    pub(super) columns: u16,
}

impl Console {
    /// Opens one in `dir`, for a terminal of that size.
    pub(super) fn open(dir: &Path, rows: u16, columns: u16) -> Result<Self> {
        fs::create_dir_all(dir).at("create", dir)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(dir, flags, Mode::empty()).at("open", dir)?;
        let name = format!("console-{}", std::process::id());
        let path = format!("/proc/self/fd/{}/{name}", fd.as_raw_fd());
        let _none = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).at("listen at", &path)?;
        // Whoever was to connect has done so, or has failed, by the time we ask.
        listener.set_nonblocking(true).at("listen at", &path)?;
        Ok(Self { listener, dir: fd, name, rows, columns })
    }

    /// Where the runtime finds it.
    pub(super) fn path(&self) -> String {
        let (process, dir) = (std::process::id(), self.dir.as_raw_fd());
        format!("/proc/{process}/fd/{dir}/{}", self.name)
    }

    /// The terminal that was handed over.
    pub(super) fn receive(self, dir: &Path) -> Result<OwnedFd> {
        let (action, what) = ("receive", "the container's terminal");
        let (stream, _) = self.listener.accept().at(action, what)?;
        let _left = fs::remove_file(dir.join(&self.name));
        stream.set_nonblocking(false).at(action, what)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 256];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, flags)
            .at(action, what)?;
        let terminal = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let missing = std::io::Error::from(std::io::ErrorKind::InvalidData);
        let terminal = terminal.ok_or(missing).at(action, what)?;
        let size = Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).at("set the size of", what)?;
        Ok(terminal)
    }
}
