//! Waiting for a file to grow.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// Sleeps until a file grows, or for a moment.
pub(crate) struct Watch(Option<OwnedFd>);

impl Watch {
    /// How long a wait takes at most: what else may have changed is looked at that often.
    pub(crate) const MOMENT: Duration = Duration::from_millis(100);

    /// Watches the file that `path` names now.
    pub(crate) fn new(path: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .and_then(|fd| inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY).map(|_| fd));
        // Without a watch (there are limits) the moments alone have to do.
        Self(watch.ok())
    }

    /// Waits until the file has grown since the last wait, or for `most`, a [`MOMENT`](Self::MOMENT) at the
    /// longest.
    pub(crate) fn wait(&mut self, most: Duration) {
        let most = most.min(Self::MOMENT);
        let timeout = Timespec {
            tv_sec: most.as_secs().cast_signed(),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        match &self.0 {
            Some(fd) => {
                let mut fds = [PollFd::new(fd, PollFlags::IN)];
                if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
                    // What exactly happened does not matter: something did.
                    let mut events = [0; 4096];
                    let _drained = rustix::io::read(fd, &mut events);
                }
            }
            None => std::thread::sleep(most),
        }
    }
}
