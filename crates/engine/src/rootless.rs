//! An ordinary user as root over containers of his own.
//!
//! Whoever is not root enters a user namespace before anything else is done, and is root there. All
//! processes of a store share it: it is kept by a process that does nothing else (see
//! [`bld_sandbox::user_namespace`]), which ends soon after the last of them. Each of them has a named
//! pipe open for that; the one that starts the keeper writes down which process it is.
//!
//! Which ids there are in it is up to the machine: those that `newuidmap` hands out by `/etc/subuid`,
//! or none but root, who is the user himself outside.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bld_sandbox::user_namespace;
use nix::unistd::{Uid, User};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use rustix::process::{getgid, getuid};

use crate::containers::ProcessId;
use crate::error::IoContext as _;
use crate::{EngineError, Result};

/// Which process the keeper is.
const RECORD: &str = "keeper";
/// Held by whoever looks for the keeper, starts it, or is it and ends.
const LOCK: &str = "keeper.lock";
/// Open in everyone who needs the keeper.
const NEEDED: &str = "keeper.needed";
/// Open in the keeper.
const KEPT: &str = "keeper.kept";

/// How long the keeper waits for somebody else: the next command of a script needs none of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// Enters the user namespace of the store whose run-time directory is `run_dir`, with the rights of root
/// there. To be called by those who are not root, before any thread is started.
///
/// # Errors
/// The machine lets no ordinary user do that.
pub fn enter(run_dir: &Path) -> Result<()> {
    let failed = |source| EngineError::Rootless { source };
    fs::create_dir_all(run_dir).at("create", run_dir)?;
    let lock = run_dir.join(LOCK);
    let _locked =
        File::create(&lock).and_then(|file| file.lock().map(|()| file)).at("lock", &lock)?;
    for pipe in [NEEDED, KEPT] {
        match mknodat(CWD, run_dir.join(pipe), FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).at("create", run_dir.join(pipe)),
        }
    }
    // Before anything else: who looks whether it is needed has the lock.
    need(run_dir)?;
    let keeper = match recorded(run_dir) {
        Some(keeper) => keeper,
        None => start(run_dir)?,
    };
    user_namespace::enter(keeper.pid).map_err(failed)?;
    Ok(bld_network::live_with(keeper.pid, run_dir.join(KEPT))?)
}

/// Whether this process was started by one that has [entered](enter), as the monitor of a container is;
/// it takes part in what that shares with others then.
///
/// # Errors
/// The keeper can't be reached.
pub fn has_entered(run_dir: &Path) -> Result<bool> {
    let own = fs::metadata("/proc/self/ns/user").map(|meta| meta.ino());
    let Some(keeper) = recorded(run_dir) else { return Ok(false) };
    let kept = fs::metadata(format!("/proc/{}/ns/user", keeper.pid)).map(|meta| meta.ino());
    if !own.is_ok_and(|own| kept.is_ok_and(|kept| own == kept)) {
        return Ok(false);
    }
    need(run_dir)?;
    bld_network::live_with(keeper.pid, run_dir.join(KEPT))?;
    Ok(true)
}

/// Says, for as long as this process lives, that the keeper is needed.
fn need(run_dir: &Path) -> Result<()> {
    static NEED: OnceLock<File> = OnceLock::new();
    let path = run_dir.join(NEEDED);
    // To read as well, so that it never waits for somebody at the other end.
    let pipe = File::options().read(true).write(true).open(&path).at("open", &path)?;
    let _kept = NEED.set(pipe);
    Ok(())
}

/// The keeper, if it lives.
fn recorded(run_dir: &Path) -> Option<ProcessId> {
    let text = fs::read(run_dir.join(RECORD)).ok()?;
    serde_json::from_slice::<ProcessId>(&text).ok().filter(|keeper| keeper.is_alive())
}

/// Starts a keeper.
fn start(run_dir: &Path) -> Result<ProcessId> {
    let pid = user_namespace::keep(give_ids, || stay(run_dir))
        .map_err(|source| EngineError::Rootless { source })?;
    let gone = || EngineError::Rootless { source: io::ErrorKind::NotFound.into() };
    let keeper = ProcessId::of(pid).ok_or_else(gone)?;
    let path = run_dir.join(RECORD);
    let text = serde_json::to_vec(&keeper).map_err(io::Error::from).at("write", &path)?;
    fs::write(&path, text).at("write", &path)?;
    Ok(keeper)
}

/// What the keeper does: it waits until nobody needs it.
fn stay(run_dir: &Path) {
    let pipe = |name, flags| open(run_dir.join(name), flags | OFlags::NONBLOCK, Mode::empty());
    let (Ok(needed), Ok(_kept)) = (pipe(NEEDED, OFlags::RDONLY), pipe(KEPT, OFlags::RDWR)) else {
        return;
    };
    loop {
        {
            // Who needs it has the pipe open before letting go of this.
            let locked = File::open(run_dir.join(LOCK)).and_then(|file| file.lock().map(|()| file));
            // Without writers there is an end to read; with them there is nothing.
            if locked.is_err() || !matches!(rustix::io::read(&needed, &mut [0]), Err(Errno::AGAIN))
            {
                let _gone = fs::remove_file(run_dir.join(RECORD));
                return;
            }
        }
        let mut ended = [PollFd::from_borrowed_fd(needed.as_fd(), PollFlags::empty())];
        if poll(&mut ended, None).is_ok() {
            std::thread::sleep(PATIENCE);
        }
    }
}

/// Gives the user namespace of the process `pid` its ids.
fn give_ids(pid: i32) -> io::Result<()> {
    let ids = [
        ("newuidmap", "uid_map", getuid().as_raw(), subordinate("/etc/subuid")),
        ("newgidmap", "gid_map", getgid().as_raw(), subordinate("/etc/subgid")),
    ];
    // All or nothing: a user without his group, or the other way round, helps nobody.
    let many = ids.iter().all(|(program, _, own, ranges)| {
        let mut command = Command::new(program);
        command.arg(pid.to_string()).args(["0", &own.to_string(), "1"]);
        let mut next = 1;
        for (first, count) in ranges {
            command.args([next, *first, *count].map(|number| number.to_string()));
            next += count;
        }
        !ranges.is_empty() && command.output().is_ok_and(|output| output.status.success())
    });
    if many {
        return Ok(());
    }
    let write = |name: &str, text: &str| match fs::write(format!("/proc/{pid}/{name}"), text) {
        // It has been given by the program whose sibling failed.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && name == "uid_map" => {
            Ok(())
        }
        written => written,
    };
    write("setgroups", "deny")?;
    ids.iter().try_for_each(|(_, map, own, _)| write(map, &format!("0 {own} 1\n")))
}

/// The ranges of ids that a file such as `/etc/subuid` gives this user, see subuid(5).
fn subordinate(file: &str) -> Vec<(u32, u32)> {
    let uid = Uid::current();
    let name = match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => String::new(),
    };
    ranges(&fs::read_to_string(file).unwrap_or_default(), &[&name, &uid.to_string()])
}

fn ranges(text: &str, names: &[&str]) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        fields.next().filter(|name| names.contains(name))?;
        let range: (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(range).filter(|(_, count)| *count > 0)
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_go_by_name_or_number() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nann:7:0\nann:x:1\n";
        assert_eq!(ranges(text, &["ann", "1000"]), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(ranges(text, &["carl", "1002"]), []);
    }
}
