//! bld and the others: how each is told to do the same.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bld_testkit::{PODMAN_LIMITS, PeerHouse, peer};

use super::workload::{Action, Format, Workload};
use crate::shell::which;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bld,
    Buildah,
    Podman,
    Docker,
    /// BuildKit, with results that stay in its cache, as bld's stay in its store.
    Buildctl,
    /// BuildKit, with results that are images: each layer is compressed.
    BuildctlImage,
    /// Not a builder, but it moves images as buildah and podman do.
    Skopeo,
    /// Not a builder, but what copying files costs at least.
    Copy,
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
    /// Where podman's commands find the mounts of earlier ones.
    house: Option<PeerHouse>,
}

/// All that may be measured beside bld, in the order of columns.
const PEERS: [(Kind, &str); 7] = [
    (Kind::Buildctl, "buildctl"),
    (Kind::BuildctlImage, "buildctl image"),
    (Kind::Docker, "docker"),
    (Kind::Buildah, "buildah"),
    (Kind::Podman, "podman"),
    (Kind::Skopeo, "skopeo"),
    (Kind::Copy, "cp -a"),
];

/// Where the column of another builder is among the others.
pub(super) fn place(name: &str) -> Option<usize> {
    PEERS.iter().position(|(_, known)| *known == name)
}

/// The other builders installed here that answer.
pub(super) fn peers(directory: &Path, only: &[String]) -> Vec<Builder> {
    let mut found = Vec::new();
    for (kind, name) in PEERS {
        let program = name.split(' ').next().unwrap_or(name);
        if !only.is_empty() && !only.iter().any(|wanted| wanted == program) {
            continue;
        }
        if which(program).is_none() {
            println!("{name}: not installed");
            continue;
        }
        let stores = directory.join(program);
        let house = (kind == Kind::Podman).then(PeerHouse::new);
        let program = program.into();
        let builder = Builder { kind, name, program, stores, store: Cell::new(0), house };
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
        Self { kind: Kind::Bld, name: "bld", program, stores, store: Cell::new(0), house: None }
    }

    /// Its store of now.
    pub(super) fn store(&self) -> PathBuf {
        self.stores.join(self.store.get().to_string())
    }

    /// Whether it has a daemon, whose store holds things of others and whose work is not seen in the
    /// time and memory of the command.
    pub(super) fn has_daemon(&self) -> bool {
        matches!(self.kind, Kind::Docker | Kind::Buildctl | Kind::BuildctlImage)
    }

    /// What it calls itself; fails when its daemon does not answer.
    pub(super) fn version(&self) -> Result<String> {
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Docker => command.args(["version", "--format", "{{.Server.Version}}"]),
            Kind::Buildctl | Kind::BuildctlImage => command.args(["debug", "info"]),
            _ => command.arg("--version"),
        };
        let output = command.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", error.lines().next().unwrap_or("no reason given"));
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = if self.has_daemon() { usize::MAX } else { 1 };
        let words: Vec<_> = text.lines().take(lines).flat_map(str::split_whitespace).collect();
        Ok(words.join(" "))
    }

    pub(super) fn start(&self) -> Command {
        match self.kind {
            Kind::Bld => {
                let mut command = Command::new(&self.program);
                command.env("BLD_ROOT", self.store());
                command
            }
            Kind::Buildah | Kind::Podman => {
                let house = self.house.as_ref();
                let mut command = house.map_or_else(|| peer(self.name), |h| h.start(self.name));
                command.arg("--root").arg(self.store().join("root"));
                command.arg("--runroot").arg(self.store().join("run"));
                command
            }
            Kind::Docker => {
                let mut command = Command::new(&self.program);
                command.env("DOCKER_BUILDKIT", "1");
                command
            }
            Kind::Skopeo => peer(self.name),
            Kind::Buildctl | Kind::BuildctlImage | Kind::Copy => Command::new(&self.program),
        }
    }

    pub(super) fn can(&self, workload: &Workload) -> bool {
        // Podman builds by way of buildah's code.
        let builds = !matches!(self.kind, Kind::Podman | Kind::Skopeo | Kind::Copy);
        let is_buildkit = matches!(self.kind, Kind::Buildctl | Kind::BuildctlImage);
        match workload.action {
            _ if self.kind == Kind::Copy => workload.tree.is_some(),
            Action::Run { .. } | Action::Live(_) => {
                matches!(self.kind, Kind::Bld | Kind::Podman | Kind::Docker)
            }
            Action::Check => {
                self.kind == Kind::Bld || (self.kind == Kind::Docker && self.has_flag("--call"))
            }
            Action::Pull | Action::Load => !is_buildkit,
            Action::CacheTo | Action::CacheFrom => {
                matches!(self.kind, Kind::Bld | Kind::Buildctl)
            }
            _ if self.kind == Kind::BuildctlImage => workload.images,
            Action::Export(Format::Zstd) if self.kind == Kind::Docker => false,
            _ => builds,
        }
    }

    /// Whether its `build` has this flag, which not all versions have.
    fn has_flag(&self, flag: &str) -> bool {
        let help = self.start().args(["build", "--help"]).output();
        help.is_ok_and(|help| {
            String::from_utf8_lossy(&help.stdout).split_whitespace().any(|word| word == flag)
        })
    }

    /// The commands for a workload; what it makes outside of the store goes to `out`.
    pub(super) fn commands(&self, workload: &Workload, out: &Path) -> Vec<Command> {
        let Workload { context, tag, .. } = workload;
        if let (Kind::Copy, Some(tree)) = (self.kind, &workload.tree) {
            let mut command = self.start();
            command.arg("-a").arg(tree).arg(self.store().join("copy"));
            return vec![command];
        }
        match workload.action {
            Action::Build => self.build(context, tag),
            Action::BuildWithoutCache => {
                vec![self.build_with(context, tag, &["--no-cache".to_owned()])]
            }
            Action::Export(format) => self.export(workload, format, out),
            Action::Push => self.push(workload),
            Action::PushAgain => {
                let again = format!("{tag}-again");
                let mut tagged = self.start();
                tagged.arg("tag").arg(tag).arg(&again);
                let name = (self.kind != Kind::Buildctl).then_some(tagged);
                name.into_iter().chain([self.push_as(context, &again)]).collect()
            }
            Action::Pull => vec![self.pull(tag)],
            Action::Save => vec![self.save(context, tag, out)],
            Action::Load => vec![self.load(context)],
            Action::CacheTo => self.cache_to(workload),
            Action::CacheFrom => vec![self.build_with(context, tag, &[self.cache("from", tag)])],
            Action::Check => vec![self.check(context)],
            Action::Run { host } => vec![self.run(tag, host)],
            Action::Live(life) => life.commands(self, tag),
        }
    }

    /// Builds a context as an image of this name.
    pub(super) fn build(&self, context: &Path, tag: &str) -> Vec<Command> {
        match self.kind {
            Kind::Copy | Kind::Skopeo => Vec::new(),
            _ => vec![self.build_with(context, tag, &[])],
        }
    }

    /// Builds on the host's network, which all of them can do.
    fn build_with(&self, context: &Path, tag: &str, options: &[String]) -> Command {
        let mut command = self.start();
        command.arg("build");
        match self.kind {
            Kind::Buildctl | Kind::BuildctlImage => {
                command.args(["--progress", "plain", "--frontend", "dockerfile.v0"]).args(options);
                for name in ["context", "dockerfile"] {
                    command.arg("--local").arg(format!("{name}={}", context.display()));
                }
                if self.kind == Kind::BuildctlImage {
                    command.arg("--output").arg(format!("type=image,name={tag}"));
                }
                return command;
            }
            Kind::Buildah | Kind::Podman => {
                command.args(["--layers", "--jobs", "8", "--tls-verify=false"]);
            }
            _ => {
                command.args(["--progress", "plain"]);
            }
        }
        command.args(["--network", "host", "-t", tag]).args(options).arg(context);
        command
    }

    fn export(&self, workload: &Workload, format: Format, out: &Path) -> Vec<Command> {
        let Workload { context, tag, .. } = workload;
        let dest = out.display();
        let mut options = vec!["--no-cache".to_owned()];
        let compression = match format {
            Format::Directory => {
                options.push(format!("--output=type=local,dest={dest}"));
                return vec![self.build_with(context, tag, &options)];
            }
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        };
        let after = match self.kind {
            Kind::Buildah => {
                let mut push = self.start();
                push.args(["push", "--compression-format", compression]);
                push.arg(format!("localhost/{tag}")).arg(format!("oci-archive:{dest}"));
                Some(push)
            }
            Kind::Docker => {
                let mut save = Command::new("sh");
                save.args(["-c", "docker save \"$1\" | gzip > \"$2\"", "sh", tag]).arg(out);
                Some(save)
            }
            _ => {
                options.push(format!("--output=type=oci,dest={dest},compression={compression}"));
                None
            }
        };
        [self.build_with(context, tag, &options)].into_iter().chain(after).collect()
    }

    /// Puts the image into its registry.
    pub(super) fn push(&self, workload: &Workload) -> Vec<Command> {
        vec![self.push_as(&workload.context, &workload.tag)]
    }

    /// Builds with a cache that goes to the image's registry.
    pub(super) fn cache_to(&self, workload: &Workload) -> Vec<Command> {
        let Workload { context, tag, .. } = workload;
        vec![self.build_with(context, tag, &[self.cache("to", tag)])]
    }

    /// Has a build keep or use a cache in the registry of `tag`.
    fn cache(&self, direction: &str, tag: &str) -> String {
        let option = match (self.kind, direction) {
            (Kind::Buildctl, "to") => "--export-cache",
            (Kind::Buildctl, _) => "--import-cache",
            (_, "to") => "--cache-to",
            _ => "--cache-from",
        };
        let mode = if direction == "to" { ",mode=max" } else { "" };
        // Each has its own: none finds anything in the cache of another.
        format!("{option}=type=registry,ref={tag}-cache-{}{mode}", self.name)
    }

    /// Brings an image, where that is not so yet.
    pub(super) fn pulled(&self, image: &str) -> Vec<Command> {
        vec![self.pull(image)]
    }

    fn pull(&self, image: &str) -> Command {
        let mut command = self.start();
        match self.kind {
            Kind::Skopeo => {
                command.args(["copy", "--src-tls-verify=false"]);
                command.arg(format!("docker://{image}")).arg(self.containers_storage(image));
            }
            Kind::Buildah | Kind::Podman => {
                command.args(["pull", "--tls-verify=false", image]);
            }
            _ => {
                command.args(["pull", image]);
            }
        }
        command
    }

    /// Skopeo's word for an image in a store of buildah's kind.
    fn containers_storage(&self, image: &str) -> String {
        let (root, run) = (self.store().join("root"), self.store().join("run"));
        format!("containers-storage:[overlay@{}+{}]{image}", root.display(), run.display())
    }

    fn save(&self, context: &Path, tag: &str, out: &Path) -> Command {
        let dest = out.display();
        if self.kind == Kind::Buildctl {
            return self.build_with(
                context,
                tag,
                &[format!("--output=type=docker,dest={dest},name={tag}")],
            );
        }
        let mut command = self.start();
        match self.kind {
            Kind::Buildah => {
                command.args(["push", tag]).arg(format!("docker-archive:{dest}:{tag}"));
            }
            _ => {
                command.args(["save", "-o"]).arg(out).arg(tag);
            }
        }
        command
    }

    fn load(&self, archive: &Path) -> Command {
        let from = format!("oci-archive:{}", archive.display());
        let mut command = self.start();
        match self.kind {
            Kind::Skopeo => {
                command.args(["copy", &from, &self.containers_storage("debian:latest")]);
            }
            Kind::Buildah => {
                command.args(["pull", &from]);
            }
            _ => {
                command.args(["load", "-i"]).arg(archive);
            }
        }
        command
    }

    fn push_as(&self, context: &Path, tag: &str) -> Command {
        if self.kind == Kind::Buildctl {
            return self.build_with(
                context,
                tag,
                &[format!("--output=type=image,name={tag},push=true")],
            );
        }
        let mut command = self.start();
        command.arg("push");
        if self.kind == Kind::Buildah {
            command.arg("--tls-verify=false");
        }
        command.arg(tag);
        command
    }

    /// Checks the Dockerfile; warnings are no failure here.
    fn check(&self, context: &Path) -> Command {
        let mut command = self.start();
        command.args(["build", "--call=check,ignorestatus=true"]).arg(context);
        command
    }

    fn run(&self, image: &str, host: bool) -> Command {
        let mut command = self.start();
        command.args(["run", "--rm"]);
        if host {
            command.args(["--network", "host"]);
        }
        command.args(self.limits()).args([image, "true"]);
        command
    }

    /// What `run` has to be told besides what everybody is told.
    pub(super) fn limits(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Podman => PODMAN_LIMITS.into_iter().chain(["--tls-verify=false"]).collect(),
            _ => Vec::new(),
        }
    }

    /// Gives it an empty store.
    ///
    /// Where it can have one of its own that is a new one, and the old one stays: ext4 is slow to make
    /// files in the minutes after others were removed, and that is not what is to be measured.
    pub(super) fn empty(&self) -> Result<()> {
        let commands: &[&[&str]] = match self.kind {
            Kind::Bld | Kind::Buildah | Kind::Podman | Kind::Skopeo | Kind::Copy => {
                self.store.set(self.store.get() + 1);
                fs::create_dir_all(self.store())?;
                &[]
            }
            Kind::Docker => &[
                &["image", "prune", "--all", "--force"],
                &["builder", "prune", "--all", "--force"],
            ],
            Kind::Buildctl | Kind::BuildctlImage => &[&["prune", "--all"]],
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

    /// Gives the space back that the measurements took, if that harms nobody.
    pub(super) fn forget(&self) -> Result<()> {
        if self.has_daemon() || !self.stores.exists() {
            return Ok(());
        }
        // What buildah has mounted it unmounts only when it is told to remove the container.
        if matches!(self.kind, Kind::Buildah | Kind::Podman) {
            let last = self.store.get();
            let running = self.kind == Kind::Podman;
            let force: &[&str] = if running { &["--force", "--time", "0"] } else { &[] };
            for store in (0..=last).rev() {
                self.store.set(store);
                if self.store().exists() {
                    self.start().args(["rm", "--all"]).args(force).output()?;
                }
            }
            self.store.set(last);
        }
        fs::remove_dir_all(&self.stores).with_context(|| self.stores.display().to_string())
    }
}
