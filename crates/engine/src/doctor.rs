//! What this machine lacks for what `bld` does, and how to get it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bld_sandbox::{CgroupSpec, Ids, Limits, cgroup::Cgroup};
use nix::unistd::User;
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What an administrator or the user can do about it; nothing if it is well.
    pub remedy: Option<String>,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is missing.
    Well,
    /// Something goes without.
    Lacking,
    /// No container runs like this.
    Broken,
}

impl Finding {
    fn well(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: State::Well, detail: detail.into(), remedy: None }
    }

    fn lacking(
        subject: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { subject, state: State::Lacking, detail: detail.into(), remedy }
    }

    fn broken(self) -> Self {
        Self { state: State::Broken, ..self }
    }
}

/// Looks at what containers need. `user` is the number of whoever is not root, who has tried to
/// [enter](crate::rootless::enter) the user namespace with this outcome.
pub fn examine(user: Option<(u32, Result<(), String>)>) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    match user {
        None => {
            findings.push(Finding::well("rights", "root"));
            findings.push(program("nft", "nftables", "networks", "--network host and none work"));
        }
        Some((user, Err(error))) => {
            findings.push(namespaces(user, &error));
            findings.push(programs_for_ids());
        }
        Some((user, Ok(()))) => {
            findings
                .push(Finding::well("rights", format!("user {user}, root in a user namespace")));
            findings.push(ids(user));
            findings.push(program("nft", "nftables", "networks", "--network host and none work"));
            findings.push(program(
                "slirp4netns",
                "slirp4netns",
                "networks of ordinary users",
                "--network host and none work",
            ));
            findings.push(tunnel());
        }
    }
    findings.push(groups());
    findings
}

/// Linux 5.12 has all that is needed; overlayfs in user namespaces came with 5.11.
fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
    match version {
        (Some(major), Some(minor)) if (major, minor) < (5, 12) => {
            Finding::lacking("kernel", release, "Linux 5.12 or later is needed").broken()
        }
        _ => Finding::well("kernel", release),
    }
}

/// Why there is no user namespace for an ordinary user.
fn namespaces(user: u32, error: &str) -> Finding {
    // Each of them with the value at which it is in the way.
    const SWITCHES: [(&str, &str, &str); 3] = [
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bld \
             with the rule `userns,`",
        ),
    ];
    let is =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let switch = SWITCHES.iter().find(|(path, value, _)| is(path, value));
    let remedy = switch.map_or(
        "in a container, it has to be allowed by whoever runs that: the system calls unshare, setns and \
         mount, and a /proc that is not masked"
            .to_owned(),
        |(_, _, remedy)| format!("as root: {remedy}"),
    );
    Finding::lacking("rights", format!("user {user}: {error}"), remedy).broken()
}

/// Which ids an ordinary user has.
fn ids(user: u32) -> Finding {
    if !Ids::own().is_one() {
        return Finding::well("ids", format!("{} users and groups", Ids::own().count()));
    }
    let detail = "one user and group: all files are yours, and `USER` works for root only";
    let programs = programs_for_ids();
    if programs.state != State::Well {
        return Finding { subject: "ids", detail: detail.to_owned(), ..programs };
    }
    let name = match User::from_uid(user.into()) {
        Ok(Some(user)) => user.name,
        _ => user.to_string(),
    };
    let remedy = format!(
        "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name} (ids that \
         /etc/subuid gives nobody else)"
    );
    Finding::lacking("ids", detail, remedy)
}

fn programs_for_ids() -> Finding {
    const NAMES: [&str; 2] = ["newuidmap", "newgidmap"];
    let missing: Vec<_> = NAMES.into_iter().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        return Finding::well("newuidmap", "newuidmap and newgidmap");
    }
    let detail = format!("{} not found", missing.join(" and "));
    Finding::lacking("newuidmap", detail, "as root: apt install uidmap")
}

fn program(name: &'static str, package: &str, what: &str, without: &str) -> Finding {
    match find(name) {
        Some(path) => Finding::well(name, path.display().to_string()),
        None => Finding::lacking(
            name,
            format!("not found: {what} need it ({without})"),
            format!("as root: apt install {package}"),
        ),
    }
}

/// A program, where ordinary users find it or where only root looks.
fn find(name: &str) -> Option<PathBuf> {
    const PLACES: [&str; 6] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    PLACES.into_iter().map(|dir| Path::new(dir).join(name)).find(is_program)
}

/// What `slirp4netns` makes its interface of.
fn tunnel() -> Finding {
    const DEVICE: &str = "/dev/net/tun";
    match accessat(CWD, DEVICE, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) => Finding::well("tunnel", DEVICE),
        Err(error) => Finding::lacking(
            "tunnel",
            format!("{DEVICE}: {error}: networks of ordinary users need it"),
            format!("as root: modprobe tun; chmod 666 {DEVICE}"),
        ),
    }
}

/// Control groups, as far as groups can be made in them.
fn groups() -> Finding {
    let wanted = Limits {
        memory: Some(1 << 30),
        pids: Some(100),
        cpu_quota: Some(100_000),
        ..Limits::default()
    };
    let (_, without) = wanted.within_rights();
    let spec = CgroupSpec { name: "doctor".to_owned(), ..CgroupSpec::default() };
    let made = Cgroup::create(&spec);
    let remove = made.as_ref().map(Cgroup::remove);
    match (&made, remove, without.as_slice()) {
        (Err(error), _, _) => {
            Finding::lacking("control groups", error.to_string(), "mount cgroup2").broken()
        }
        (Ok(group), _, []) if !group.is_nowhere() => Finding::well("control groups", "all limits"),
        (Ok(group), _, without) => {
            let pausing =
                if group.is_nowhere() { "pause, stats of input and output, " } else { "" };
            Finding::lacking(
                "control groups",
                format!("none of one's own for: {pausing}{}", without.join(", ")),
                "with cgroup v2 and systemd: run bld in a unit of the user's, such as \
                 `systemd-run --user --scope -p Delegate=yes bash`",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_complaint_says_what_to_do() {
        let findings = [
            examine(Some((1000, Err("Operation not permitted".to_owned())))),
            examine(Some((1000, Ok(())))),
            examine(None),
        ];
        for finding in findings.iter().flatten() {
            assert_eq!(finding.remedy.is_none(), finding.state == State::Well, "{finding:?}");
            assert!(!finding.detail.is_empty(), "{finding:?}");
        }
        assert!(findings[0].iter().any(|finding| finding.state == State::Broken));
    }
}
