//! Network namespaces without a process or a bind mount to hold them.

use std::{
    fs::{self, File},
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

use crate::{NetworkError, link, netlink::Socket};

/// The loopback device is the first link of every namespace.
const LOOPBACK: u32 = 1;

/// Groups that may ping: all of them.
const PINGING: &str = "ipv4/ping_group_range";

/// Settings of IPv6, a directory for each interface.
const SETTINGS6: &str = "/proc/sys/net/ipv6/conf";

/// Whether packets are forwarded from and to any of them.
const FORWARDING6: &str = "all/forwarding";

/// Settings of a new namespace, by their path under `/proc/sys/net`.
const SETTINGS: [(&str, &str); 3] = [
    // No address of its own making on the interfaces to come: IPv6 is for loopback only.
    ("ipv6/conf/default/disable_ipv6", "1"),
    // As Docker has it since 20.10: a container needs no privilege for port 80 or for ping.
    ("ipv4/ip_unprivileged_port_start", "0"),
    (PINGING, "0 2147483647"),
];

/// Creates a network namespace with loopback up and nothing else.
///
/// The namespace lives as long as the returned descriptor, a duplicate of it, or a process that has
/// entered it. It is made on a thread of its own, so the caller's threads stay where they are.
/// Needs `CAP_SYS_ADMIN`.
pub fn new_netns() -> Result<OwnedFd, NetworkError> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(failed("create"))?;
        let namespace = File::open("/proc/thread-self/ns/net").map_err(failed("open"))?;
        Socket::route()
            .and_then(|socket| link::set_up(&socket, LOOPBACK))
            .map_err(NetworkError::netlink("bring up", "lo"))?;
        for (name, value) in SETTINGS {
            let path = Path::new("/proc/sys/net").join(name);
            match fs::write(&path, value) {
                // The kernel was built or booted without this feature.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // In a user namespace, not all of them exist.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && name == PINGING => {
                    let all = format!("0 {}", last_group());
                    fs::write(&path, all).map_err(NetworkError::io(path))?;
                }
                done => done.map_err(NetworkError::io(path))?,
            }
        }
        Ok(namespace.into())
    })
}

/// The last of the groups that exist, counted from root's.
fn last_group() -> u32 {
    let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    let ends = map.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (first, count) = (fields.next()?.parse::<u32>(), fields.nth(1)?.parse::<u32>());
        first.ok()?.checked_add(count.ok()?.checked_sub(1)?)
    });
    ends.max().unwrap_or(0)
}

/// Lets the interface `name` of this thread's namespace have IPv6 addresses; those that it is given, not
/// those that routers tell of.
pub(crate) fn allow_ipv6(name: &str) -> Result<(), NetworkError> {
    for (setting, value) in [("accept_ra", "0"), ("disable_ipv6", "0")] {
        let path = Path::new(SETTINGS6).join(name).join(setting);
        fs::write(&path, value).map_err(NetworkError::io(path))?;
    }
    Ok(())
}

/// Has the host forward IPv6. Interfaces that learn their route from routers, which those who forward do
/// not by themselves, go on learning it.
pub(crate) fn forward_ipv6() -> Result<(), NetworkError> {
    if forwards_ipv6()? {
        return Ok(());
    }
    for entry in fs::read_dir(SETTINGS6).map_err(NetworkError::io(SETTINGS6))? {
        let path = entry.map_err(NetworkError::io(SETTINGS6))?.path().join("accept_ra");
        // An interface may go while we look.
        if is_on(&path).unwrap_or(false) {
            let _gone = fs::write(&path, "2");
        }
    }
    let all = Path::new(SETTINGS6).join(FORWARDING6);
    fs::write(&all, "1").map_err(NetworkError::io(all))
}

/// Whether the host forwards IPv6.
pub(crate) fn forwards_ipv6() -> Result<bool, NetworkError> {
    is_on(&Path::new(SETTINGS6).join(FORWARDING6))
}

fn is_on(setting: &Path) -> Result<bool, NetworkError> {
    Ok(fs::read(setting).map_err(NetworkError::io(setting))?.first() == Some(&b'1'))
}

/// Runs `work` on a thread that has entered `namespace`.
pub(crate) fn inside<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    on_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(failed("enter"))?;
        work()
    })
}

fn on_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, work)
            .map_err(failed("start a thread for"))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn failed<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> NetworkError {
    move |source| NetworkError::Namespace { operation, source: source.into() }
}
