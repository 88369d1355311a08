//! Ordinary users, for what works without root.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, sync::Mutex};

use crate::Cmd;

/// An ordinary user of this machine, made for tests. It stays, without a password or a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number, and that of its group.
    pub id: u32,
}

/// The device of network tunnels, which everybody may use on machines whose devices udev manages.
const TUNNEL: &str = "/dev/net/tun";

impl User {
    /// One with subordinate ids in `/etc/subuid` and `/etc/subgid`, or without.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn new(has_ids: bool) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _only = ONE_AT_A_TIME.lock();
        let name = if has_ids { "bld-many" } else { "bld-one" };
        let id = || Command::new("id").args(["-u", name]).output().expect("run id");
        if !id().status.success() {
            // Users of the system get no subordinate ids, others do.
            let kind = if has_ids { "--no-create-home" } else { "--system" };
            let add = Command::new("useradd")
                .args([kind, "--user-group", "--home-dir", "/nonexistent"])
                .args(["--shell", "/usr/sbin/nologin", name])
                .output()
                .expect("run useradd (package passwd)");
            // Another process may have been quicker.
            assert!(add.status.success() || id().status.success(), "useradd: {add:?}");
        }
        let text = String::from_utf8(id().stdout).expect("a number");
        if fs::metadata(TUNNEL).is_ok_and(|meta| meta.permissions().mode() & 0o666 != 0o666) {
            fs::set_permissions(TUNNEL, fs::Permissions::from_mode(0o666)).expect("set a mode");
        }
        Self { id: text.trim().parse().expect("a number") }
    }

    /// The user that tests are run as: root when the variable `BLD_TEST_USER` says nothing, else `many`
    /// or `one`, who has one id only.
    ///
    /// # Panics
    /// When it says something else.
    pub fn by_variable() -> Option<Self> {
        match std::env::var("BLD_TEST_USER").unwrap_or_default().as_str() {
            "" => None,
            "many" => Some(Self::new(true)),
            "one" => Some(Self::new(false)),
            other => panic!("BLD_TEST_USER is neither `many` nor `one`: {other}"),
        }
    }

    /// Gives the user a directory with all that is in it.
    ///
    /// # Panics
    /// When that fails.
    pub fn own(self, directory: &Path) {
        let owner = format!("{0}:{0}", self.id);
        Cmd::new("chown").args(["-R", &owner]).arg(directory).ok();
    }

    /// The words between `setpriv` and a command that have it run as this user.
    pub fn words(self) -> [String; 5] {
        let id = self.id.to_string();
        ["--reuid".to_owned(), id.clone(), "--regid".to_owned(), id, "--clear-groups".to_owned()]
    }
}
