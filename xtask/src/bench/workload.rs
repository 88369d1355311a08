//! What is timed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    containers::Life,
    data::{MIB, Random, write_tree},
    shapes::shapes,
};

/// One thing to time.
pub(super) struct Workload {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The directory with the Dockerfile.
    pub(super) context: PathBuf,
    /// What the image is called.
    pub(super) tag: String,
    /// Whether each run has a store of its own.
    pub(super) fresh: bool,
    pub(super) start: Start,
    pub(super) action: Action,
    /// A file that changes before each run.
    pub(super) changing: Option<PathBuf>,
    /// Whether it is worth seeing what it takes to make an image of the result at once.
    pub(super) images: bool,
    /// A tree that `cp -a` copies for comparison.
    pub(super) tree: Option<PathBuf>,
    pub(super) goal: Option<Goal>,
    /// Bytes of memory it is to stay below.
    pub(super) memory: Option<u64>,
    /// Whether it leaves gigabytes in the stores, which then end with it.
    pub(super) bulky: bool,
}

/// What a builder's store holds before the first run, or each of them if it is fresh.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing.
    Nothing,
    /// The base images, which a build of this context has brought.
    Base(PathBuf),
    /// The image.
    Built,
    /// All that doing the same leaves.
    Done,
}

/// What happens while the time runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A build that may use the cache.
    Build,
    /// A build that may not.
    BuildWithoutCache,
    /// A build that may not, with a result outside of the store.
    Export(Format),
    /// The image goes to a registry that has nothing.
    Push,
    /// The image goes to the registry that has all of it but this name.
    PushAgain,
    /// The image comes from a registry and is unpacked.
    Pull,
    /// The image becomes an archive of docker's format.
    Save,
    /// An archive of OCI's format, which is what the context is here, becomes an image and is
    /// unpacked.
    Load,
    /// A build that finds everything in its cache, which goes to a registry that has nothing.
    CacheTo,
    /// A build that finds everything in a cache which is in a registry.
    CacheFrom,
    /// The Dockerfile is checked and nothing built.
    Check,
    /// A container of the image runs `true`, on the host's network or the one it gets by default.
    Run { host: bool },
    /// Containers of the image that run.
    Live(Life),
}

/// What a build can leave outside of the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
    Directory,
}

/// The most that bld should need.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// Seconds.
    Within(f64),
    /// A share of what another needs; where it was not measured, so many seconds.
    Share(f64, &'static str, f64),
    /// A share of what the quickest of the others needs.
    ShareOfBest(f64),
}

/// The archive with the Debian, beside the directory of the lab.
pub(super) const DEBIAN: &str = "debian.tar";

/// What the image of a workload is called where that does not matter.
const TAG: &str = "bench/image:1";

impl Workload {
    fn new(
        id: &'static str,
        title: &'static str,
        context: &Path,
        start: Start,
        action: Action,
    ) -> Self {
        Self {
            id,
            title,
            context: context.to_owned(),
            tag: TAG.to_owned(),
            fresh: false,
            start,
            action,
            changing: None,
            images: false,
            tree: None,
            goal: None,
            memory: None,
            bulky: false,
        }
    }

    fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    fn images(mut self) -> Self {
        self.images = true;
        self
    }

    fn memory(mut self, most: u64) -> Self {
        self.memory = Some(most);
        self
    }

    fn bulky(mut self) -> Self {
        self.bulky = true;
        self
    }

    fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }
}

/// Where contexts are written, and what they are built upon.
pub(super) struct Lab<'a> {
    pub(super) directory: &'a Path,
    /// The registry with the base images.
    pub(super) registry: &'a str,
    /// The registry that is emptied before each push.
    pub(super) target: &'a str,
}

impl Lab<'_> {
    pub(super) fn busybox(&self) -> String {
        format!("{}/busybox:latest", self.registry)
    }

    fn debian(&self) -> String {
        format!("{}/debian:latest", self.registry)
    }

    /// The archive that the Debian is from.
    fn archive(&self) -> PathBuf {
        self.directory.with_file_name(DEBIAN)
    }

    /// Writes a context with nothing but a Dockerfile, or the Dockerfile of one that has more.
    pub(super) fn context(&self, name: &str, dockerfile: &str) -> Result<PathBuf> {
        let context = self.directory.join(name);
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), dockerfile)?;
        Ok(context)
    }

    /// A Dockerfile of so many steps.
    pub(super) fn steps(&self, count: usize) -> String {
        (0..count).fold(format!("FROM {}\n", self.busybox()), |mut text, n| {
            let _ = writeln!(text, "RUN echo step{n} > /s{n}");
            text
        })
    }

    /// A context of so many files, `total` bytes together, and one that may be changed, and the
    /// path of that one. The files are written once.
    pub(super) fn files(
        &self,
        name: &str,
        count: usize,
        total: usize,
    ) -> Result<(PathBuf, PathBuf)> {
        let context = self.context(name, &format!("FROM {}\nCOPY . /app\n", self.busybox()))?;
        fs::write(context.join(".dockerignore"), "Dockerfile\n.dockerignore\n")?;
        self.once(name, || write_tree(&context.join("tree"), count, total))?;
        let changing = context.join("touched.txt");
        fs::write(&changing, "0\n")?;
        Ok((context, changing))
    }

    /// Does what need not be done again by later runs of the benchmark.
    fn once(&self, name: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = self.directory.join(format!("{name}.done"));
        if !done.exists() {
            make()?;
            fs::write(done, "")?;
        }
        Ok(())
    }

    /// The context whose first step writes 520 MB, half of them text.
    fn large(&self) -> Result<PathBuf> {
        let text = format!(
            "FROM {} AS seed\n\
             COPY seed.rnd seed.txt /\n\
             RUN mkdir /out && for i in $(seq 1 31); do \
             cat /seed.rnd > /out/$i.rnd; cat /seed.txt > /out/$i.txt; done\n\
             RUN du -sm /out\n",
            self.busybox()
        );
        let context = self.context("W4", &text)?;
        self.once("W4", || {
            let mut random = Random::new(1);
            fs::write(context.join("seed.txt"), random.text(8 * MIB))?;
            Ok(fs::write(context.join("seed.rnd"), random.bytes(8 * MIB))?)
        })?;
        Ok(context)
    }

    /// The context that compiles with what apt installs.
    fn compiler(&self) -> Result<PathBuf> {
        let text = format!(
            "FROM {} AS build\n\
             RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y \
             --no-install-recommends curl ca-certificates git build-essential\n\
             COPY hello.c /src/hello.c\n\
             RUN gcc -O2 -static -o /hello /src/hello.c\n\
             FROM {}\n\
             COPY --from=build /hello /hello\n\
             RUN /hello\n\
             CMD [\"/hello\"]\n",
            self.debian(),
            self.busybox()
        );
        let context = self.context("W6", &text)?;
        let program = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";
        fs::write(context.join("hello.c"), program)?;
        Ok(context)
    }

    /// Writes all contexts.
    pub(super) fn workloads(&self) -> Result<Vec<Workload>> {
        use Action::{
            Build, BuildWithoutCache, CacheFrom, CacheTo, Check, Export, Live, Load, Pull, Push,
            PushAgain, Run, Save,
        };
        use Goal::{Share, ShareOfBest, Within};

        let (busybox, debian) = (self.busybox(), self.debian());
        let base = Start::Base(self.context("base", &format!("FROM {busybox}\nRUN true\n"))?);
        let bases =
            format!("FROM {debian} AS a\nRUN true\nFROM {busybox}\nCOPY --from=a /etc/passwd /\n");
        let bases = Start::Base(self.context("bases", &bases)?);
        let ten = self.context("W1", &self.steps(10))?;
        let one = self.context("W2a", &self.steps(1))?;
        let (files, changing) = self.files("W3", 20_000, 500 * MIB)?;
        let large = self.large()?;
        let mut stages = String::new();
        for n in 0..8 {
            let _ = writeln!(stages, "FROM {busybox} AS s{n}\nRUN sleep 0.5 && echo {n} > /o{n}");
        }
        let _ = writeln!(stages, "FROM {busybox}");
        for n in 0..8 {
            let _ = writeln!(stages, "COPY --from=s{n} /o{n} /o{n}");
        }
        let stages = self.context("W5", &stages)?;
        let compiler = self.compiler()?;
        let pull = self.context("W7", &format!("FROM {debian}\nRUN true\n"))?;
        let pushed = format!("{}/bench:1", self.target);

        let of_large = |id, title, action, seconds| Workload {
            memory: Some(150_000_000),
            goal: Some(Share(0.5, "buildctl", seconds)),
            ..Workload::new(id, title, &large, base.clone(), action).bulky()
        };
        let new = Workload::new;
        let mut workloads = vec![
            new("W1", "10 RUN, nothing changed", &ten, Start::Built, Build).goal(Within(0.006)),
            new("W2", "10 RUN, no cache", &ten, base.clone(), BuildWithoutCache)
                .goal(Within(0.070))
                .images(),
            new("W2a", "1 RUN, no cache", &one, base.clone(), BuildWithoutCache),
            Workload {
                tree: Some(files.join("tree")),
                ..new(
                    "W3a",
                    "COPY of 20,000 files, 500 MB, first time",
                    &files,
                    base.clone(),
                    Build,
                )
                .fresh()
                .goal(Share(1.0, "cp -a", 4.3))
                .images()
            },
            new("W3b", "the same, nothing changed", &files, Start::Built, Build)
                .goal(Within(0.050)),
            Workload {
                changing: Some(changing),
                ..new("W3c", "the same, one small file changed", &files, Start::Built, Build)
                    .goal(Within(0.5))
                    .images()
                    .bulky()
            },
            Workload {
                goal: None,
                ..of_large("W4o", "RUN that writes 520 MB, no cache", BuildWithoutCache, 0.0)
                    .images()
            },
            of_large("W4a", "the same, and an OCI archive, gzip", Export(Format::Gzip), 3.8),
            of_large("W4b", "the same, and an OCI archive, zstd", Export(Format::Zstd), 2.75),
            of_large("W4c", "the same, and a directory", Export(Format::Directory), 1.7),
            new("W5", "8 stages of sleep 0.5, no cache", &stages, base, BuildWithoutCache)
                .goal(Within(0.6)),
            new("W5b", "the same, nothing changed", &stages, Start::Built, Build),
            new(
                "W6",
                "apt-get install of a compiler, compile, copy; no cache",
                &compiler,
                bases,
                BuildWithoutCache,
            ),
            new("W6b", "the same, nothing changed", &compiler, Start::Built, Build)
                .goal(Within(0.008))
                .bulky(),
            new("W7", "pull and unpack Debian, RUN true", &pull, Start::Nothing, Build)
                .fresh()
                .goal(Within(0.9))
                .images(),
            new("W7b", "pull and unpack Debian, nothing else", &pull, Start::Nothing, Pull)
                .tag(&debian)
                .fresh()
                .goal(ShareOfBest(0.5)),
            new("W8", "push the image of W4, first time", &large, Start::Built, Push)
                .tag(&pushed)
                .fresh()
                .goal(ShareOfBest(0.5)),
            new("W8b", "push it again, to another registry", &large, Start::Done, Push)
                .tag(&pushed)
                .goal(ShareOfBest(0.5)),
            new("W8c", "push it under another name", &large, Start::Done, PushAgain)
                .tag(&pushed)
                .goal(ShareOfBest(0.5)),
            new("W8d", "save the image of W4, docker's archive", &large, Start::Built, Save)
                .goal(ShareOfBest(0.5)),
            new("W8e", "load Debian, an OCI archive", &self.archive(), Start::Nothing, Load)
                .fresh()
                .goal(ShareOfBest(0.5)),
            new("W8f", "export the cache of W6, first time", &compiler, Start::Built, CacheTo)
                .tag(&pushed)
                .fresh()
                .goal(ShareOfBest(0.5)),
            new("W8g", "build W6 from that cache", &compiler, Start::Done, CacheFrom)
                .tag(&pushed)
                .fresh()
                .goal(ShareOfBest(0.5))
                .bulky(),
            new("W9", "run --rm busybox true, host network", &one, Start::Done, Run { host: true })
                .tag(&busybox)
                .goal(Within(0.012)),
            new("W9b", "the same, default network", &one, Start::Done, Run { host: false })
                .tag(&busybox)
                .goal(Within(0.030)),
            new("W13", "exec true in a container", &one, Start::Done, Live(Life::Exec))
                .tag(&busybox)
                .goal(ShareOfBest(0.5)),
            new("W14", "run -d until a port answers", &one, Start::Done, Live(Life::Serve))
                .tag(&busybox)
                .goal(ShareOfBest(0.5)),
            new("W15", "stop a container", &one, Start::Done, Live(Life::Stop))
                .tag(&busybox)
                .goal(ShareOfBest(0.5)),
            new("W16", "run -d, 50 at once", &one, Start::Done, Live(Life::Crowd))
                .tag(&busybox)
                .goal(ShareOfBest(0.5)),
            new("W17", "run -d, memory of what holds each", &one, Start::Done, Live(Life::Hold))
                .tag(&busybox)
                .memory(3_000_000),
        ];
        for (id, title, text) in shapes() {
            workloads.push(new(id, title, &self.context(id, &text)?, Start::Nothing, Check));
        }
        Ok(workloads)
    }
}
