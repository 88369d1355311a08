//! The tests of containers once more, as the users that have no root: one with the ids that `newuidmap` hands
//! out, and one with a single id.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use anyhow::Result;

use crate::shell::{cargo, watch};

/// Who they are, as `BLD_TEST_USER` has it, and their names.
pub(crate) const USERS: [(&str, &str); 2] = [("many", "bld-many"), ("one", "bld-one")];

/// The tests: one of each feature that is tested more than once, so that they take two minutes for each user.
const TESTS: [&str; 17] = [
    "attach::",
    "containers::",
    "cp::",
    "diff::containers_are_compared",
    "events::",
    "health::",
    "intruder::",
    "isolation::copying",
    "isolation::no_",
    "isolation::other",
    "lifecycle::",
    "logs::",
    "moving::containers_are_exported",
    "network::",
    "networks::",
    "system::",
    "update::",
];

/// Whom something is not for.
#[derive(PartialEq, Eq)]
enum Who {
    Both,
    One,
}

/// What they cannot do, or the tests not for them, and why.
const CANNOT: [(&str, Who, &str); 13] = [
    ("attach::what_does_not_run", Who::Both, "pauses: needs control groups"),
    ("events::the_life_of", Who::Both, "pauses: needs control groups"),
    ("update::limits_change", Who::Both, "limits: needs control groups"),
    ("cp::processes_and_usage", Who::Both, "a limit in its statistics: needs control groups"),
    ("intruder::processes_of", Who::Both, "--pid host: needs control groups"),
    ("cp::tar_streams_and_owners", Who::Both, "files of the host belong to nobody inside"),
    ("networks::a_port_for_datagrams", Who::Both, "limits a process of the user from outside"),
    ("networks::a_thousand_ports", Who::Both, "looks into a process of the user from outside"),
    ("networks::a_published_port_shows", Who::Both, "no port is led on by the kernel"),
    ("networks::a_network_has_ipv6", Who::Both, "slirp4netns carries IPv4"),
    ("isolation::copying", Who::One, "its image has files of others"),
    ("moving::containers_are_exported", Who::One, "gives a file to another user"),
    ("intruder::the_kernel", Who::One, "runs as another user"),
];

/// Scenarios of `testdata/transcript` for them: those that need no more than a busybox, no pause and no limit.
pub(crate) fn scenarios(user: &str) -> String {
    let all = "version run-pulls tag-rmi rmi-by-id push build-options run-it exit-codes run-env run-stdin \
               run-files create-start stop-start ps attach top-stats diff-cp volume prune not-found";
    // One of them runs as another user.
    let fits = |name: &&str| user == "many" || *name != "run-env";
    all.split(' ').filter(fits).collect::<Vec<_>>().join(",")
}

/// Runs the tests as `user`; whether all passed. The lines that cargo prints go to `line`.
pub(crate) fn test(user: &str, line: impl FnMut(&str)) -> Result<bool> {
    let mut command = cargo();
    command.env("BLD_TEST_USER", user);
    command.args(["test", "--workspace", "--test", "it", "--"]).args(TESTS);
    for (test, who, why) in &CANNOT {
        if *who == Who::Both || user == "one" {
            println!("not as {user}: {test}: {why}");
            command.args(["--skip", test]);
        }
    }
    watch(&mut command, line)
}

/// What there is of such users. When it is dropped, those who have come go, and the device of tunnels has the
/// mode that it had.
pub(crate) struct Before {
    users: Vec<&'static str>,
    tunnel: Option<Permissions>,
}

/// See tun(4) of the kernel's documentation.
const TUNNEL: &str = "/dev/net/tun";

impl Before {
    pub(crate) fn now() -> Self {
        let exists = |name: &&str| {
            Command::new("id").arg("-u").arg(name).output().is_ok_and(|id| id.status.success())
        };
        let tunnel = fs::metadata(TUNNEL).ok().map(|meta| meta.permissions());
        Self { users: USERS.map(|(_, name)| name).into_iter().filter(exists).collect(), tunnel }
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        for (_, name) in USERS {
            if !self.users.contains(&name) {
                // Fails when no test needed the user, which is fine.
                let _ = Command::new("userdel").arg(name).output();
            }
        }
        if let Some(mode) = self.tunnel.as_ref().map(Permissions::mode) {
            let _gone = fs::set_permissions(TUNNEL, Permissions::from_mode(mode));
        }
    }
}
