//! RUN --mount.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bld_graph::{ExecOp, Input, MountKind, MountOp, Sharing};
use bld_layer::View;
use bld_layer::copy::{CopyRequest, Item, copy};
use bld_oci::Digest;
use bld_sandbox::Mount;
use bld_store::{Active, KeyLock};

use crate::error::StepFailure;
use crate::select::{self, Place};
use crate::solver::Build;
use crate::step::Tree;

/// The mounts of one step, and what has to be kept while it runs and removed afterwards.
pub(super) struct Mounts<'a> {
    build: &'a Build,
    index: usize,
    prepared: Vec<Mount>,
    locks: Vec<KeyLock>,
    /// Holds copies of inputs that cannot be shown as they lie on disk.
    scratch: PathBuf,
    copies: usize,
}

impl<'a> Mounts<'a> {
    pub(super) fn new(build: &'a Build, index: usize, active: &Active) -> Self {
        let beside = active.upper().parent().unwrap_or(active.upper());
        let scratch = beside.join("mounts");
        Self { build, index, prepared: Vec::new(), locks: Vec::new(), scratch, copies: 0 }
    }

    /// Prepares all mounts of `op`; gives the variables that secrets are handed over in.
    pub(super) fn add(&mut self, op: &ExecOp) -> Result<Vec<(String, String)>, StepFailure> {
        let mut env = Vec::new();
        for script in &op.scripts {
            self.file(&script.path, script.content.clone().into_bytes(), script.mode, 0, 0);
        }
        for mount in &op.mounts {
            self.mount(mount, &mut env)?;
        }
        Ok(env)
    }

    /// The mounts for the sandbox.
    pub(super) fn take(&mut self) -> Vec<Mount> {
        std::mem::take(&mut self.prepared)
    }

    fn mount(
        &mut self,
        mount: &MountOp,
        env: &mut Vec<(String, String)>,
    ) -> Result<(), StepFailure> {
        let target = mount.target.as_str();
        match &mount.kind {
            MountKind::Bind { input, source, writable } => {
                let source = self.input(*input, source, *writable)?;
                self.bind(target, source, !writable);
            }
            MountKind::Cache { id, sharing, input, source, mode, uid, gid, read_only } => {
                let first = First { mode: *mode, uid: *uid, gid: *gid, input: *input, source };
                let (dir, lock) = self.cache(id, *sharing, &first)?;
                self.locks.extend(lock);
                self.bind(target, dir, *read_only);
            }
            MountKind::Tmpfs { size } => self.prepared.push(Mount {
                kind: bld_sandbox::MountKind::Tmpfs {
                    size: *size,
                    mode: 0o1777,
                    uid: 0,
                    gid: 0,
                    no_exec: false,
                },
                target: target.to_owned(),
            }),
            MountKind::Secret { id, file, env: variable, mode, uid, gid, required } => {
                let Some(value) = self.build.env.secrets.get(id) else {
                    return not_given(
                        *required,
                        "secret",
                        id,
                        "--secret",
                        format!("id={id},src=FILE"),
                    );
                };
                if *file {
                    self.file(target, value.clone(), *mode, *uid, *gid);
                }
                if let Some(variable) = variable {
                    env.push((variable.clone(), String::from_utf8_lossy(value).into_owned()));
                }
            }
            MountKind::Ssh { id, required, .. } => {
                let Some(socket) = self.build.env.ssh.get(id) else {
                    return not_given(*required, "ssh agent", id, "--ssh", id.clone());
                };
                self.bind(target, socket.clone(), false);
            }
        }
        Ok(())
    }

    fn bind(&mut self, target: &str, source: PathBuf, read_only: bool) {
        let kind = bld_sandbox::MountKind::Bind { source, read_only, recursive: false };
        self.prepared.push(Mount { kind, target: target.to_owned() });
    }

    fn file(&mut self, target: &str, contents: Vec<u8>, mode: u32, uid: u32, gid: u32) {
        let kind = bld_sandbox::MountKind::File { contents, mode, uid, gid, read_only: true };
        self.prepared.push(Mount { kind, target: target.to_owned() });
    }

    /// The path on this machine that shows `path` of an input. What lies there as it should be seen
    /// is shown directly; what is filtered, spread over several layers or writable is copied.
    fn input(
        &mut self,
        input: Option<usize>,
        path: &str,
        writable: bool,
    ) -> Result<PathBuf, StepFailure> {
        if let Some(number) = input
            && !writable
            && let Some(shown) = self.build.shown_directly(self.index, number, path)?
        {
            return Ok(shown);
        }
        self.copies += 1;
        let dir = self.scratch.join(self.copies.to_string());
        fs::create_dir_all(&dir).map_err(io("create", &dir))?;
        self.build.fill(self.index, input, path, &dir)?;
        // A file input is copied under its own name.
        let name = Path::new(path).file_name().map(|name| dir.join(name));
        match name.filter(|file| self.build.is_file(self.index, input, path) && file.exists()) {
            Some(file) => Ok(file),
            None => Ok(dir),
        }
    }

    /// The directory of a cache mount, made and filled on first use, and the lock that goes with
    /// it.
    fn cache(
        &self,
        id: &str,
        sharing: Sharing,
        first: &First<'_>,
    ) -> Result<(PathBuf, Option<KeyLock>), StepFailure> {
        let store = &self.build.env.store;
        let key = Digest::of(self.cache_name(id, first).as_bytes()).hex();
        let mut dir = store.cache_mounts_dir().join(&key);
        let lock = match sharing {
            Sharing::Shared => None,
            Sharing::Locked => Some(store.lock(&format!("cache-mount-{key}"))?),
            Sharing::Private => {
                let lock = store.try_lock(&format!("cache-mount-{key}"))?;
                if lock.is_none() {
                    dir = self.scratch.join(&key);
                }
                lock
            }
        };
        let _making = store.lock(&format!("cache-mount-make-{key}"))?;
        if !dir.exists() {
            let partial = dir.with_extension("partial");
            if partial.exists() {
                fs::remove_dir_all(&partial).map_err(io("remove", &partial))?;
            }
            fs::create_dir_all(&partial).map_err(io("create", &partial))?;
            self.build.fill(self.index, first.input, first.source, &partial)?;
            fs::set_permissions(&partial, fs::Permissions::from_mode(first.mode))
                .and_then(|()| chown(&partial, Some(first.uid), Some(first.gid)))
                .and_then(|()| fs::write(dir.with_extension("id"), id))
                .and_then(|()| fs::rename(&partial, &dir))
                .map_err(io("create", &dir))?;
        }
        Ok((dir, lock))
    }
}

impl Mounts<'_> {
    /// What names a cache directory: its id, and how it begins where that is out of the ordinary.
    /// So two mounts of one id that disagree about the beginning are two caches.
    fn cache_name(&self, id: &str, first: &First<'_>) -> String {
        let mut name = id.to_owned();
        if (first.mode, first.uid, first.gid) != (0o755, 0, 0) {
            name = format!("{name}|{:o}:{}:{}", first.mode, first.uid, first.gid);
        }
        let seed = first.input.map(Input::From).and_then(|wanted| {
            self.build.steps[self.index].inputs.iter().find(|input| input.input == wanted)
        });
        if let Some(seed) = seed {
            name = format!("{name}|{}:{}", seed.definition, first.source);
        }
        name
    }
}

/// How a cache mount begins.
struct First<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    input: Option<usize>,
    source: &'a str,
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        // The snapshot is discarded or committed next, and neither takes this along; so what could
        // not be removed is swept with its directory.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Build {
    fn view(&self, index: usize, number: usize) -> Result<(View, Option<(u32, u32)>), StepFailure> {
        match self.tree(index, Input::From(number)) {
            Some(Tree::Context(context)) => Ok((select::context_view(context), Some((0, 0)))),
            Some(Tree::Snapshot(id)) => Ok((select::snapshot_view(&self.env, *id)?, None)),
            None => Ok((View::new(Vec::new()), None)),
        }
    }

    /// Where `path` of an input lies on disk just as it should be seen.
    fn shown_directly(
        &self,
        index: usize,
        number: usize,
        path: &str,
    ) -> Result<Option<PathBuf>, StepFailure> {
        let tree = self.tree(index, Input::From(number));
        let whole = match tree {
            Some(Tree::Context(context)) => context.is_unfiltered(),
            Some(Tree::Snapshot(id)) => self.env.store.ancestry(*id)?.len() == 1,
            None => false,
        };
        let (view, _) = self.view(index, number)?;
        let item = select::bind_source(&view, path, &self.place(index, number))?;
        let is_dir = item.node.meta.kind == bld_layer::Kind::Dir;
        Ok((whole || (!is_dir && matches!(tree, Some(Tree::Snapshot(_)))))
            .then_some(item.node.real))
    }

    fn is_file(&self, index: usize, input: Option<usize>, path: &str) -> bool {
        let Some(number) = input else { return false };
        let node = self.view(index, number).ok().and_then(|(view, _)| view.resolve(path).ok()?);
        node.is_some_and(|node| node.meta.kind != bld_layer::Kind::Dir)
    }

    fn place(&self, index: usize, number: usize) -> Place<'_> {
        match self.tree(index, Input::From(number)) {
            Some(Tree::Context(context)) => Place::Context(context),
            _ => Place::Tree("the stage"),
        }
    }

    /// Copies `path` of an input into `dir`.
    fn fill(
        &self,
        index: usize,
        input: Option<usize>,
        path: &str,
        dir: &Path,
    ) -> Result<(), StepFailure> {
        let Some(number) = input else { return Ok(()) };
        let (view, owner) = self.view(index, number)?;
        let item: Item = select::bind_source(&view, path, &self.place(index, number))?;
        copy(&CopyRequest {
            source: &view,
            items: &[item],
            dest_view: &View::new(Vec::new()),
            upper: dir,
            dest: Path::new("/"),
            owner,
            chmod: None,
            follow_dest_symlinks: true,
            mtime: None,
        })?;
        Ok(())
    }
}

fn not_given(
    required: bool,
    kind: &'static str,
    id: &str,
    flag: &'static str,
    example: String,
) -> Result<(), StepFailure> {
    if required {
        return Err(StepFailure::NotGiven { kind, id: id.to_owned(), flag, example });
    }
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StepFailure {
    let what = format!("{action} {}", path.display());
    move |source| StepFailure::Io { what, source }
}
