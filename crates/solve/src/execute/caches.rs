//! `RUN --mount=type=cache`: directories that outlive the build.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bld_graph::{Input, MountKind, MountOp, Op, Sharing};
use bld_layer::owner;
use bld_store::{CacheAccess, CacheHold, CacheName};

use super::mounts::io;
use crate::error::StepFailure;
use crate::solver::Build;

/// Mode, user and group of a directory of which nothing is said.
const USUAL: (u32, u32, u32) = (0o755, 0, 0);

/// The names of the cache mounts of step `index`.
pub(crate) fn cache_mounts(build: &Build, index: usize) -> Vec<CacheName> {
    let Op::Exec(op) = build.op(index) else { return Vec::new() };
    let caches = Caches::new(build, index);
    op.mounts.iter().filter_map(Wanted::of).map(|want| caches.name(&want, 0)).collect()
}

/// The cache mounts of one step, held while it runs.
pub(super) struct Caches<'a> {
    build: &'a Build,
    index: usize,
    /// By the key of the name, without the number of the copy.
    held: BTreeMap<String, CacheHold>,
}

/// How a cache mount begins, and how it is shared.
struct Wanted<'a> {
    id: &'a str,
    sharing: Sharing,
    mode: u32,
    uid: u32,
    gid: u32,
    input: Option<usize>,
    source: &'a str,
}

impl<'a> Wanted<'a> {
    /// None: the mount is another one.
    fn of(mount: &'a MountOp) -> Option<Self> {
        match &mount.kind {
            MountKind::Cache { id, sharing, input, source, mode, uid, gid, .. } => Some(Self {
                id,
                sharing: *sharing,
                mode: *mode,
                uid: *uid,
                gid: *gid,
                input: *input,
                source,
            }),
            _ => None,
        }
    }

    /// How hard it is to get.
    fn claim(&self) -> u8 {
        match self.sharing {
            Sharing::Shared => 0,
            Sharing::Private => 1,
            Sharing::Locked => 2,
        }
    }
}

impl<'a> Caches<'a> {
    pub(super) fn new(build: &'a Build, index: usize) -> Self {
        Self { build, index, held: BTreeMap::new() }
    }

    /// Takes all that `mounts` ask for: each once, as the mount wants it that wants most of it, and in
    /// one order everywhere, so that no two steps wait for each other.
    pub(super) fn take(&mut self, mounts: &[MountOp]) -> Result<(), StepFailure> {
        let mut wanted: BTreeMap<String, Wanted<'_>> = BTreeMap::new();
        for want in mounts.iter().filter_map(Wanted::of) {
            let key = self.name(&want, 0).key();
            if wanted.get(&key).is_none_or(|known| known.claim() < want.claim()) {
                wanted.insert(key, want);
            }
        }
        for (key, want) in wanted {
            let hold = self.hold(&want)?;
            self.held.insert(key, hold);
        }
        Ok(())
    }

    /// The directory of a mount that was taken.
    pub(super) fn dir(&self, mount: &MountOp) -> Result<PathBuf, StepFailure> {
        let key = Wanted::of(mount).map(|want| self.name(&want, 0).key());
        let hold = key.and_then(|key| self.held.get(&key));
        let hold =
            hold.ok_or_else(|| StepFailure::Unsupported(format!("a cache at {}", mount.target)))?;
        Ok(hold.dir().to_owned())
    }

    fn hold(&self, want: &Wanted<'_>) -> Result<CacheHold, StepFailure> {
        let mut copy = 0;
        let mut is_told = false;
        self.build.poll(|| {
            loop {
                let name = self.name(want, copy);
                match self.build.env.store.hold_cache_mount(&name, want.claim() > 0)? {
                    CacheAccess::Held(hold) => {
                        self.build.env.store.touch_cache_mount(&name)?;
                        return Ok(Some(hold));
                    }
                    CacheAccess::Missing => self.make(&name, want)?,
                    // Somebody else has it: the next copy.
                    CacheAccess::Busy if want.sharing == Sharing::Private => copy += 1,
                    CacheAccess::Busy => {
                        if !std::mem::replace(&mut is_told, true) {
                            let id = want.id;
                            let text = format!("waiting for others to be done with the cache {id}");
                            self.build.note(self.index, &text);
                        }
                        return Ok(None);
                    }
                }
            }
        })
    }

    /// Makes and fills a cache mount.
    fn make(&self, name: &CacheName, want: &Wanted<'_>) -> Result<(), StepFailure> {
        let Build { env, steps, .. } = self.build;
        if env.shared.bring_cache_mount(name, steps[self.index].id) {
            return Ok(());
        }
        let store = &env.store;
        let dir = store.scratch()?;
        let path = dir.path();
        let (mut mode, mut uid, mut gid) = (want.mode, want.uid, want.gid);
        if let Some(number) = want.input {
            let tree = self.build.input_tree(self.index, number)?;
            let item = tree.item(want.source)?;
            tree.copy(&item, &path, Path::new("/"), false)?;
            let meta = &item.node.meta;
            if want.source != "/" && meta.is_dir() {
                (mode, uid, gid) = (meta.mode, meta.uid, meta.gid);
            }
        }
        let (uid, gid) = owner(uid, gid);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .and_then(|()| chown(&path, Some(uid), Some(gid)))
            .map_err(io("create", &path))?;
        Ok(store.put_cache_mount(name, dir, None)?)
    }

    /// What names a cache mount: its id, and how it begins where that is out of the ordinary. So two
    /// mounts of one id that disagree about the beginning are two caches.
    fn name(&self, want: &Wanted<'_>, copy: u32) -> CacheName {
        let &Wanted { mode, uid, gid, source, .. } = want;
        let mut variant = Vec::new();
        if (mode, uid, gid) != USUAL {
            variant.push(format!("{mode:o}:{uid}:{gid}"));
        }
        let seed = want.input.map(Input::From).and_then(|wanted| {
            self.build.steps[self.index].inputs.iter().find(|input| input.input == wanted)
        });
        if let Some(seed) = seed {
            variant.push(format!("{}:{source}", seed.definition));
        }
        if copy > 0 {
            variant.push(format!("copy {copy}"));
        }
        CacheName { id: want.id.to_owned(), variant: variant.join("|") }
    }
}
