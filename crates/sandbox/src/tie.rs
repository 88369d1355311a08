//! Programs of the host that must not outlive who started them.

#![expect(unsafe_code, reason = "a child of std::process acts between fork(2) and execve(2)")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::sys;

/// Makes the kernel kill the program that `command` starts when the thread that starts it ends,
/// with the process or alone. So that thread must wait for the program. What the program starts
/// itself is not killed, and neither is one with a setuid or setgid bit.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: the closure makes two system calls; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            sys::kill_on_parent_death()?;
            // The parent may have died before that was asked for.
            if std::os::unix::process::parent_id() == parent {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        })
    }
}
