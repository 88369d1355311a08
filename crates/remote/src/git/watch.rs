//! Making sure that git ends when we do.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;

/// Waits for the end of its input, then ends the process group that its name says.
const SCRIPT: &str = "read -r _; kill -s KILL -- \"-$0\"";

/// A shell that ends a process group when this process dies, however it dies: git would wait for a
/// server as long as that likes. Dropped, it does nothing more.
///
/// The kernel's signal at a parent's death would reach git and not its helpers.
pub(super) struct Watch(Child);

impl Watch {
    /// Watches over the processes of `group`.
    pub(super) fn over(group: Pid) -> io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", SCRIPT, &group.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal sends to all of us is none of its business.
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Before its input ends: the group may be somebody else's by now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
