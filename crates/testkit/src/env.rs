//! A place of its own for each test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{Cmd, HostState, Output, Terminal, User, rootfs, write_archive};

/// A directory with a store, a home and room for contexts; gone with its containers when dropped.
pub struct TestEnv {
    bld: PathBuf,
    directory: TempDir,
    /// Who runs the program, if that is not root.
    user: Option<User>,
}

impl TestEnv {
    /// Prepares a place to run the program `bld` in, with an empty store.
    ///
    /// # Panics
    /// When not run as root: containers are made for real.
    pub fn new(bld: impl Into<PathBuf>) -> Self {
        Self::new_in(bld, &std::env::temp_dir())
    }

    /// The same somewhere below the directory `parent`.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn new_in(bld: impl Into<PathBuf>, parent: &Path) -> Self {
        Self::new_as(bld, parent, User::by_variable())
    }

    /// A place for an ordinary user, with an image `busybox:latest` in the store.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn of_user(bld: impl Into<PathBuf>, user: User) -> Self {
        let env = Self::new_as(bld, &std::env::temp_dir(), Some(user));
        env.load_busybox();
        env
    }

    fn new_as(bld: impl Into<PathBuf>, parent: &Path, user: Option<User>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("bld-test-")
            .tempdir_in(parent)
            .expect("make a temporary directory");
        let id = Cmd::new("id").arg("-u").ok();
        assert_eq!(id.text(), "0", "these tests make containers: run them as root");
        for name in ["root", "home", "work"] {
            fs::create_dir(directory.path().join(name)).expect("make a directory");
        }
        if let Some(user) = user {
            user.own(directory.path());
        }
        Self { bld: bld.into(), directory, user }
    }

    /// The same with an image `busybox:latest` in the store.
    pub fn with_busybox(bld: impl Into<PathBuf>) -> Self {
        let env = Self::new(bld);
        env.load_busybox();
        env
    }

    /// Loads `busybox:latest` into the store.
    pub fn load_busybox(&self) {
        let archive = self.directory.path().join("busybox.tar");
        if !archive.exists() {
            let layer = rootfs::busybox().expect("make a busybox");
            write_archive(&archive, "docker.io/library/busybox:latest", &layer, &["sh"])
                .expect("write an archive");
        }
        self.bld(["load", "-i"]).arg(archive).ok();
    }

    /// Whether the program is run by an ordinary user.
    pub fn is_rootless(&self) -> bool {
        self.user.is_some()
    }

    /// The store's directory.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Leaves its files behind when it is dropped. Containers are removed all the same.
    pub fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A path in the working directory.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("work").join(relative)
    }

    /// Writes a file in the working directory, with the directories it needs.
    pub fn write(&self, relative: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        let parent = path.parent().expect("a file has a directory");
        fs::create_dir_all(parent).expect("make directories");
        fs::write(&path, contents).expect("write a file");
        // Whoever runs the program has made it, and its directory.
        if let Some(user) = self.user {
            user.own(parent);
        }
        path
    }

    /// Writes an executable file in the working directory.
    pub fn write_script(&self, relative: &str, contents: &str) -> PathBuf {
        let path = self.write(relative, contents);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set a mode");
        path
    }

    /// Another program, run by whoever runs `bld` here, in the working directory and with the store.
    pub fn program(&self, name: &str) -> Cmd {
        let program = Cmd::new(name);
        let program = match self.user {
            Some(user) => program.user(user),
            None => program,
        };
        program.cwd(self.path("")).env("BLD_ROOT", self.root()).env("HOME", self.home())
    }

    /// The program with arguments, in the working directory.
    pub fn bld<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Cmd {
        let program = Cmd::new(&self.bld);
        let program = match self.user {
            Some(user) => program.user(user),
            None => program,
        };
        program
            .args(arguments)
            .cwd(self.path(""))
            .env("BLD_ROOT", self.root())
            .env("HOME", self.home())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_DATA_HOME")
            .env_remove("DOCKER_CONFIG")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_PROFILE")
            .env_remove("ACTIONS_CACHE_URL")
            .env_remove("ACTIONS_RESULTS_URL")
            .env_remove("ACTIONS_CACHE_SERVICE_V2")
            .env_remove("ACTIONS_RUNTIME_TOKEN")
            .env_remove("BLD_CONFIG")
            .env_remove("CONTAINERS_REGISTRIES_CONF")
            .env_remove("REGISTRIES_CONFIG_PATH")
            .env_remove("BUILDKIT_PROGRESS")
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("NO_COLOR")
    }

    /// The program with arguments, which must not need quotes, on a terminal of 33 rows and 101
    /// columns.
    pub fn terminal(&self, arguments: &str) -> Terminal {
        let words = self.user.map(|user| format!("setpriv {} ", user.words().join(" ")));
        let words = words.unwrap_or_default();
        let line = format!("{words}{} {arguments}", self.bld.display());
        Terminal::start(self.bld(["build"]).command(), &line, (33, 101))
    }

    /// Builds `dockerfile` as `tag`, with the working directory's `ctx` (made when missing) as context.
    pub fn build<'a>(
        &self,
        tag: &str,
        dockerfile: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Output {
        fs::create_dir_all(self.path("ctx")).expect("make the context");
        self.bld(["build", "--progress", "plain", "-t", tag, "-f", "-"])
            .args(arguments)
            .arg(self.path("ctx"))
            .stdin(dockerfile)
            .run()
    }

    /// What this environment's commands have left behind on the machine.
    ///
    /// Containers that run on purpose count too: remove them first.
    pub fn leftovers(&self) -> Vec<String> {
        HostState::belonging_to(&self.root())
    }

    /// Fails the test when anything is left behind; what is on its way out gets a moment.
    pub fn assert_nothing_left(&self) {
        let mut left = self.leftovers();
        for _ in 0..100 {
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            left = self.leftovers();
        }
        panic!("left behind:\n{}", left.join("\n"));
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let containers = self.bld(["ps", "-aq"]).run();
        let ids: Vec<_> = containers.stdout.split_whitespace().collect();
        if !ids.is_empty() {
            self.bld(["rm", "-f"]).args(ids).run();
        }
        if self.root().join("networks").exists() {
            self.bld(["network", "prune", "-f"]).run();
        }
    }
}
