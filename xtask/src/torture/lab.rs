//! Where it happens: a store, a registry, and the commands that are run on them.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use bld_testkit::{Cmd, Output, Registry, TestEnv, rootfs, write_archive};

use super::random::Random;

/// Files in the context.
const FILES: u64 = 120;

/// Says what the build made; `N` is in every file that a step wrote.
const PROOF: &str = "cat /n /d/1 /d/20; cat /one? | wc -c; ls /files | wc -l";

/// A place for experiments.
pub(super) struct Lab {
    pub(super) env: TestEnv,
    registry: Registry,
    /// The control group that those of all steps lie in.
    group: String,
    /// The bridge of the containers.
    bridge: String,
}

impl Lab {
    /// An empty store below `parent`, a registry with a base image, and a context.
    pub(super) fn new(bld: &Path, parent: &Path) -> Result<Self> {
        let lab = Self {
            env: TestEnv::new_in(bld, parent),
            registry: Registry::start()?,
            group: format!("bld-torture-{}", std::process::id()),
            bridge: format!("bldt{}", std::process::id() % 100_000),
        };
        let archive = lab.env.path("base.tar");
        write_archive(&archive, "docker.io/library/base:1", &rootfs::busybox()?, &["sh"])?;
        lab.registry.upload(&archive, "base:1");
        for n in 0..FILES {
            lab.env.write(&format!("ctx/files/{n}"), n.to_string().repeat(200));
        }
        let base = format!("{}/base:1", lab.registry.host());
        lab.env.write("ctx/Dockerfile", dockerfile(&base));
        Ok(lab)
    }

    /// Gives the store what commands expect there.
    pub(super) fn prepare(&self) -> Result<()> {
        self.env.load_busybox();
        succeeded(&self.build(0, "kept:1", &[]).run())
    }

    pub(super) fn bld<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Cmd {
        self.env.bld(arguments).env("BLD_BRIDGE", &self.bridge)
    }

    /// Builds the context with the argument `n` as `tag`.
    pub(super) fn build(&self, n: u64, tag: &str, arguments: &[&str]) -> Cmd {
        let (argument, group) = (format!("N={n}"), format!("--cgroup-parent={}", self.group));
        let words = ["build", "--progress=plain", &group, "--build-arg", &argument, "-t", tag];
        self.bld(words.into_iter().chain(arguments.iter().copied())).arg("ctx")
    }

    /// Some command that writes to the store, and what it is called. Of those that run at once each
    /// has its own `slot`: what they export goes to different places.
    pub(super) fn command(&self, slot: u64, random: &mut Random) -> (&'static str, Cmd) {
        let tag = format!("t:{}", random.below(3));
        let n = random.below(5);
        let base = format!("{}/base:1", self.registry.host());
        match random.below(12) {
            0..=2 => {
                let file = self.env.path(format!("ctx/files/{}", random.below(FILES)));
                // An editor's way of saving, which no build sees half of.
                let _unsaved = fs::write(file, random.below(10).to_string().repeat(200));
                ("build", self.build(n, &tag, &[]))
            }
            3 => ("build without cache", self.build(n, &tag, &["--no-cache"])),
            4 => {
                let output = format!("type=oci,dest=image{slot}.tar");
                ("export of an archive", self.build(n, &tag, &["-o", &output]))
            }
            5 => {
                let output = format!("type=local,dest=files{slot}");
                ("export of files", self.build(n, &tag, &["-o", &output]))
            }
            6 => ("pull", self.bld(["pull", &base])),
            7 => ("removal", self.bld(["rmi", "-f", &base])),
            8 => ("prune of everything", self.bld(["prune", "-af"])),
            9 => ("prune", self.bld(["prune", "-f", "--max-used-space", "1mb"])),
            10 => ("prune of images", self.bld(["image", "prune", "-f"])),
            _ => {
                let script = "echo 1 > /v/file; dd if=/dev/zero of=/big bs=64k count=9 2>/dev/null";
                let network = ["host", "bridge"][random.below(2) as usize];
                let words = ["run", "--rm", "-v", "vol:/v", "--network", network, "busybox"];
                ("run", self.bld(words).args(["sh", "-c", script]))
            }
        }
    }

    /// Fails unless the store is whole and nothing of dead commands is left on the machine.
    pub(super) fn verify(&self) -> Result<()> {
        // What is on its way out gets a moment; the kernel takes links away when it has time.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut left = self.env.leftovers();
            let links = fs::read_dir(format!("/sys/class/net/{}/brif", self.bridge));
            let links = links.into_iter().flatten().flatten();
            left.extend(links.map(|link| format!("link {}", link.file_name().to_string_lossy())));
            if left.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "left behind:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
        succeeded(&self.bld(["system", "check"]).run())
    }

    /// Fails unless a build works and makes what it should, and leaves no control group.
    pub(super) fn works(&self, n: u64) -> Result<()> {
        succeeded(&self.build(n, "proof:1", &[]).run())?;
        let made =
            self.bld(["run", "--rm", "--network", "none", "proof:1", "sh", "-c", PROOF]).run();
        succeeded(&made)?;
        let words: Vec<_> = made.stdout.split_whitespace().map(str::to_owned).collect();
        let n = n.to_string();
        let expected = [&n, &n, &n, "1572864", &FILES.to_string()].map(String::from);
        ensure!(
            words == expected,
            "the image is not what it should be: {words:?}, not {expected:?}"
        );
        // Groups of the dead are swept before a step runs; all of them may have been known above.
        succeeded(&self.build(0, "proof:2", &["--no-cache-filter=two"]).run())?;
        let mut groups = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &self.group, 4, &mut groups);
        for group in groups {
            let inside = fs::read_dir(&group)?.flatten().filter(|entry| entry.path().is_dir());
            let inside: Vec<_> = inside.map(|entry| entry.path().display().to_string()).collect();
            ensure!(inside.is_empty(), "control groups are left: {}", inside.join(", "));
        }
        Ok(())
    }

    /// Takes the bridge of the containers away, and its rules.
    pub(super) fn unplug(&self) {
        // What is not there need not go.
        for command in [
            ["ip", "link", "delete", self.bridge.as_str()].as_slice(),
            &["nft", "delete", "table", "ip", &self.bridge],
        ] {
            Cmd::new(command[0]).args(&command[1..]).run();
        }
    }

    /// Lets the store be, for somebody to look at; all else goes as always.
    pub(super) fn keep(mut self) -> String {
        self.env.keep();
        self.env.root().display().to_string()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.unplug();
        let mut groups = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &self.group, 4, &mut groups);
        for group in groups {
            let _busy = fs::remove_dir(group);
        }
    }
}

/// Fails unless the command has succeeded.
pub(super) fn succeeded(output: &Output) -> Result<()> {
    if output.code != 0 {
        bail!("{output}");
    }
    Ok(())
}

/// Directories called `name`, at most `depth` levels down.
fn find(directory: &Path, name: &str, depth: usize, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name() == name {
                found.push(entry.path());
            } else if depth > 0 {
                find(&entry.path(), name, depth - 1, found);
            }
        }
    }
}

/// Two stages, files of the context, a cache mount, and a good many bytes that differ each time.
fn dockerfile(base: &str) -> String {
    format!(
        "FROM {base} AS one\n\
         ARG N\n\
         COPY files /files\n\
         RUN --mount=type=cache,id=torture,target=/cache \
         for i in 1 2 3 4 5 6; do echo $N $i >> /cache/log; \
         dd if=/dev/urandom of=/one$i bs=64k count=4 2>/dev/null || exit 3; done\n\
         FROM busybox AS two\n\
         ARG N\n\
         RUN mkdir /d && for i in $(seq 20); do echo $N > /d/$i || exit 3; done\n\
         FROM one\n\
         ARG N\n\
         COPY --from=two /d /d\n\
         RUN echo $N > /n\n"
    )
}
