//! bld and the others: how each is told to do the same.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bld_testkit::{PODMAN_LIMITS, peer};

use super::workload::{Action, Workload};
use crate::shell::which;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bld,
    Buildah,
    Podman,
    Docker,
    Buildctl,
}

/// A program that builds images.
pub(super) struct Builder {
    kind: Kind,
    pub(super) name: &'static str,
    program: PathBuf,
    /// Where its stores are, for those that can have one of their own.
    stores: PathBuf,
    /// How many stores it has had.
    store: Cell<usize>,
    /// Whether it works on a store that holds things of others.
    pub(super) shares_its_store: bool,
}

/// The other builders installed here that answer.
pub(super) fn peers(directory: &Path, only: &[String]) -> Vec<Builder> {
    let known = [
        (Kind::Buildah, "buildah"),
        (Kind::Podman, "podman"),
        (Kind::Docker, "docker"),
        (Kind::Buildctl, "buildctl"),
    ];
    let mut found = Vec::new();
    for (kind, name) in known {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        if which(name).is_none() {
            println!("{name}: not installed");
            continue;
        }
        let shares_its_store = matches!(kind, Kind::Docker | Kind::Buildctl);
        let program = name.into();
        let stores = directory.join(name);
        let store = Cell::new(0);
        let builder = Builder { kind, name, program, stores, store, shares_its_store };
        match builder.version() {
            Ok(version) => {
                println!("{name}: {version}");
                found.push(builder);
            }
            Err(error) => println!("{name}: installed, but does not answer: {error:#}"),
        }
    }
    found
}

impl Builder {
    pub(super) fn bld(program: PathBuf, stores: PathBuf) -> Self {
        let store = Cell::new(0);
        Self { kind: Kind::Bld, name: "bld", program, stores, store, shares_its_store: false }
    }

    fn store(&self) -> PathBuf {
        self.stores.join(self.store.get().to_string())
    }

    /// What it calls itself; fails when its daemon does not answer.
    pub(super) fn version(&self) -> Result<String> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Docker => command.args(["version", "--format", "{{.Server.Version}}"]),
            Kind::Buildctl => command.args(["debug", "workers"]),
            _ => command.arg("--version"),
        };
        let output = command.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", error.lines().next().unwrap_or("no reason given"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = if self.kind == Kind::Buildctl { "daemon answers".to_owned() } else { text };
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn start(&self) -> Command {
        match self.kind {
            Kind::Bld => {
                let mut command = Command::new(&self.program);
                command.env("BLD_ROOT", self.store());
                command
            }
            Kind::Buildah | Kind::Podman => {
                let mut command = peer(self.name);
                command.arg("--root").arg(self.store().join("root"));
                command.arg("--runroot").arg(self.store().join("run"));
                command
            }
            Kind::Docker => {
                let mut command = Command::new(&self.program);
                command.env("DOCKER_BUILDKIT", "1");
                command
            }
            Kind::Buildctl => Command::new(&self.program),
        }
    }

    /// The command for a workload.
    pub(super) fn command(&self, workload: &Workload) -> Command {
        match &workload.action {
            Action::Build => self.build(workload, false),
            Action::BuildWithoutCache => self.build(workload, true),
            Action::Check => self.check(workload),
            Action::Run(image) => self.run(image),
        }
    }

    pub(super) fn can(&self, workload: &Workload) -> bool {
        let runs = matches!(self.kind, Kind::Bld | Kind::Podman | Kind::Docker);
        let builds = self.kind != Kind::Podman; // it builds by way of buildah's code
        let checks = matches!(self.kind, Kind::Bld | Kind::Docker);
        match workload.action {
            Action::Run(_) => runs,
            Action::Check => checks,
            Action::Build | Action::BuildWithoutCache => builds,
        }
    }

    /// Builds on the host's network, which all of them can do.
    pub(super) fn build(&self, workload: &Workload, without_cache: bool) -> Command {
        let context = &workload.context;
        let mut command = self.start();
        if self.kind == Kind::Buildctl {
            command.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
            for name in ["context", "dockerfile"] {
                command.arg("--local").arg(format!("{name}={}", context.display()));
            }
            command.args(["--output", "type=image,name=bench/image:1"]);
        } else {
            command.args(["build", "--network", "host", "-t", "bench/image:1"]);
        }
        match self.kind {
            Kind::Buildah | Kind::Podman => {
                command.args(["--layers", "--jobs", "8", "--tls-verify=false"]);
            }
            Kind::Docker | Kind::Bld => {
                command.args(["--progress", "plain"]);
            }
            Kind::Buildctl => {}
        }
        if without_cache {
            command.arg("--no-cache");
        }
        if self.kind != Kind::Buildctl {
            command.arg(context);
        }
        command
    }

    /// Checks the Dockerfile; warnings are no failure here.
    fn check(&self, workload: &Workload) -> Command {
        let mut command = self.start();
        command.args(["build", "--call=check,ignorestatus=true"]).arg(&workload.context);
        command
    }

    fn run(&self, image: &str) -> Command {
        let mut command = self.start();
        command.args(["run", "--rm", "--network", "host"]);
        if self.kind == Kind::Podman {
            command.args(PODMAN_LIMITS).arg("--tls-verify=false");
        }
        command.args([image, "true"]);
        command
    }

    /// Gives it an empty store.
    ///
    /// Where it can have one of its own that is a new one, and the old one stays: ext4 is slow to make
    /// files in the minutes after others were removed, and that is not what is to be measured.
    pub(super) fn empty(&self) -> Result<()> {
        let commands: &[&[&str]] = match self.kind {
            Kind::Bld | Kind::Buildah | Kind::Podman => {
                self.store.set(self.store.get() + 1);
                &[]
            }
            Kind::Docker => &[
                &["image", "prune", "--all", "--force"],
                &["builder", "prune", "--all", "--force"],
            ],
            Kind::Buildctl => &[&["prune", "--all"]],
        };
        for arguments in commands {
            let output = self.start().args(*arguments).output()?;
            ensure!(
                output.status.success(),
                "{} {}: {}",
                self.name,
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Gives the space back that the measurements took.
    pub(super) fn forget(&self) -> Result<()> {
        if self.shares_its_store || !self.stores.exists() {
            return Ok(());
        }
        // What buildah has mounted it unmounts only when it is told to remove the container.
        if matches!(self.kind, Kind::Buildah | Kind::Podman) {
            for store in (0..=self.store.get()).rev() {
                self.store.set(store);
                if self.store().exists() {
                    self.start().args(["rm", "--all"]).output()?;
                }
            }
        }
        fs::remove_dir_all(&self.stores).with_context(|| self.stores.display().to_string())
    }
}
