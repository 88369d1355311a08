//! The network namespace that stands for the host's, where an ordinary user may not change that.
//!
//! It is a fact about the process, like its user namespace: bridges are in it, and containers are
//! reached from it, while ports of the host, registries and name servers stay where the process is.
//! `slirp4netns` carries what leaves it through sockets of the user's own, and ends with its keeper.

use std::{
    fs::File,
    io::{self, Read as _},
    net::Ipv4Addr,
    os::fd::{AsFd as _, OwnedFd},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags, open};

use crate::{NetworkError, link, netlink::Socket, netns};

/// The interface by which packets leave the namespace.
const UPLINK: &str = "tap0";

/// Where `slirp4netns` answers as the host's name server; see slirp4netns(1).
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The program, with the places where it is if not on the search path of an ordinary user.
const PROGRAMS: [&str; 3] = ["slirp4netns", "/usr/bin/slirp4netns", "/usr/local/bin/slirp4netns"];

static HOME: OnceLock<Home> = OnceLock::new();

#[derive(Debug)]
struct Home {
    netns: OwnedFd,
    /// A name of the namespace, for others.
    path: PathBuf,
    /// A pipe that is open for writing as long as the namespace is wanted.
    lifeline: PathBuf,
}

/// Makes the network namespace of the process `keeper` the home of bridges, once and for all.
/// `lifeline` is a named pipe that it has open for writing until it ends.
///
/// # Errors
/// There is no such process, or it is somebody else's.
pub fn live_with(keeper: i32, lifeline: PathBuf) -> Result<(), NetworkError> {
    let path = PathBuf::from(format!("/proc/{keeper}/ns/net"));
    let netns = File::open(&path).map_err(NetworkError::io(&path))?.into();
    // Where it is known already it is the same: there is one keeper.
    let _known = HOME.set(Home { netns, path, lifeline });
    Ok(())
}

/// The address at which the host's name servers answer at home, where that is not the host itself.
pub(crate) fn name_server() -> Option<Ipv4Addr> {
    HOME.get().map(|_| NAME_SERVER)
}

/// Does `work` where bridges are.
pub(crate) fn at_home<T: Send>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    match HOME.get() {
        Some(home) => netns::inside(home.netns.as_fd(), work),
        None => work(),
    }
}

/// Takes the calling thread to where containers are reached from, for good.
pub(crate) fn go_home() -> io::Result<()> {
    match HOME.get() {
        Some(home) => Ok(setns(&home.netns, CloneFlags::CLONE_NEWNET)?),
        None => Ok(()),
    }
}

/// Connects home with the world, if it is not. To be called from outside: who is there does not get back.
pub(crate) fn connect() -> Result<(), NetworkError> {
    let Some(home) = HOME.get() else { return Ok(()) };
    if is_connected()? {
        return Ok(());
    }
    let lock = home.lifeline.with_file_name("uplink.lock");
    let _locked = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(NetworkError::io(lock))?;
    if is_connected()? {
        return Ok(());
    }
    for program in PROGRAMS {
        match start(program, home) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(NetworkError::Spawn { program: "slirp4netns", source }),
            Ok(Some(message)) => return Err(NetworkError::Uplink { message }),
            Ok(None) => return Ok(()),
        }
    }
    Err(NetworkError::UplinkMissing)
}

fn is_connected() -> Result<bool, NetworkError> {
    at_home(|| {
        let found = Socket::route().and_then(|socket| link::by_name(&socket, UPLINK));
        Ok(found.map_err(NetworkError::netlink("look up", UPLINK))?.is_some())
    })
}

/// Starts the program and waits until it works; what it says if it does not. It is not waited for: it
/// lives as long as the pipe is open.
fn start(program: &str, home: &Home) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lifeline = open(&home.lifeline, flags, Mode::empty())?;
    let log = home.lifeline.with_file_name("slirp4netns.log");
    let mut command = Command::new(program);
    command
        .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
        .args(["--exit-fd=0", "--ready-fd=1", "--netns-type=path"])
        .arg(&home.path)
        .arg(UPLINK)
        .current_dir("/")
        // What the terminal says to us is not for it.
        .process_group(0)
        .stdin(lifeline)
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?);
    let mut child = command.spawn()?;
    let mut ready = [0];
    let is_ready = match &mut child.stdout {
        Some(stdout) => stdout.read(&mut ready)? == 1,
        None => false,
    };
    if is_ready {
        return Ok(None);
    }
    child.wait()?;
    let text = std::fs::read_to_string(&log)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok(Some(lines.join("; ")))
}
