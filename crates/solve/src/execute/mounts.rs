//! RUN --mount.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bld_graph::{ExecOp, Input, MountKind, MountOp};
use bld_layer::copy::{CopyRequest, Item, Sharing as Shared, copy_sharing};
use bld_layer::{View, owner};
use bld_sandbox::{Mount, Propagation};
use bld_store::Active;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use super::agent::Door;
use super::caches::Caches;
use crate::context::LocalContext;
use crate::error::StepFailure;
use crate::select::{self, Place};
use crate::solver::Build;
use crate::step::Tree;

/// The mounts of one step, and what has to be kept while it runs and removed afterwards.
pub(super) struct Mounts<'a> {
    build: &'a Build,
    index: usize,
    prepared: Vec<Mount>,
    caches: Caches<'a>,
    /// What is shown by its descriptor.
    parts: Vec<OwnedFd>,
    /// Holds copies of inputs that cannot be shown as they lie on disk.
    scratch: PathBuf,
    copies: usize,
    /// Ways to SSH agents.
    doors: Vec<Door>,
}

impl<'a> Mounts<'a> {
    pub(super) fn new(build: &'a Build, index: usize, active: &Active) -> Self {
        let scratch = super::scratch(active);
        Self {
            build,
            index,
            prepared: Vec::new(),
            caches: Caches::new(build, index),
            parts: Vec::new(),
            scratch,
            copies: 0,
            doors: Vec::new(),
        }
    }

    /// Prepares all mounts of `op`; gives the variables that secrets are handed over in.
    pub(super) fn add(&mut self, op: &ExecOp) -> Result<Vec<(String, String)>, StepFailure> {
        let mut env = Vec::new();
        for script in &op.scripts {
            self.file(&script.path, script.content.clone().into_bytes(), script.mode, 0, 0);
        }
        self.caches.take(&op.mounts)?;
        let mut mounts: Vec<_> = op.mounts.iter().collect();
        mounts.sort_by_key(|mount| mount.target.as_str());
        for mount in mounts {
            self.mount(mount, &mut env)?;
        }
        Ok(env)
    }

    /// The mounts for the sandbox.
    pub(super) fn all(&self) -> &[Mount] {
        &self.prepared
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
            MountKind::Cache { input, source, read_only, .. } => {
                let mut dir = self.caches.dir(mount)?;
                if input.is_none() && source != "/" {
                    dir = self.part(&dir, source)?;
                }
                self.bind(target, dir, *read_only);
            }
            MountKind::Tmpfs { size } => self.prepared.push(Mount {
                kind: bld_sandbox::MountKind::Tmpfs {
                    size: *size,
                    mode: 0o1777,
                    uid: 0,
                    gid: 0,
                    no_exec: false,
                    read_only: false,
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
            MountKind::Ssh { id, mode, uid, gid, required } => {
                let Some(agent) = self.build.env.ssh.get(id) else {
                    return not_given(*required, "ssh agent", id, "--ssh", id.clone());
                };
                let socket = self.scratch.join(format!("agent-{}", self.doors.len()));
                fs::create_dir_all(&self.scratch).map_err(io("create", &self.scratch))?;
                let door = Door::open(agent.clone(), &socket)
                    .and_then(|door| {
                        fs::set_permissions(&socket, fs::Permissions::from_mode(*mode))?;
                        let (uid, gid) = owner(*uid, *gid);
                        chown(&socket, Some(uid), Some(gid)).map(|()| door)
                    })
                    .map_err(io("open", &socket))?;
                self.doors.push(door);
                self.bind(target, socket, false);
            }
        }
        Ok(())
    }

    fn bind(&mut self, target: &str, source: PathBuf, read_only: bool) {
        let kind = bld_sandbox::MountKind::Bind {
            source,
            path: None,
            read_only,
            recursive: false,
            propagation: Propagation::Private,
            own: false,
        };
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
        let mut dir = self.scratch.join(self.copies.to_string());
        self.copies += 1;
        let Some(number) = input else {
            fs::create_dir_all(&dir).map_err(io("create", &dir))?;
            return Ok(dir);
        };
        let tree = self.build.input_tree(self.index, number)?;
        let item = tree.item(path)?;
        if !writable && tree.is_shown_by(&item) {
            return Ok(item.node.real());
        }
        fs::create_dir_all(&dir).map_err(io("create", &dir))?;
        // What is only read may be linked, which asks for the same path as in the source.
        let at = &item.node.path;
        tree.copy(&item, &dir, at, !writable)?;
        dir.push(at.strip_prefix("/").unwrap_or(at));
        if item.node.meta.is_dir() {
            let (uid, gid) = tree.owner().unwrap_or((item.node.meta.uid, item.node.meta.gid));
            let (uid, gid) = owner(uid, gid);
            chown(&dir, Some(uid), Some(gid))
                .and_then(|()| {
                    fs::set_permissions(&dir, fs::Permissions::from_mode(item.node.meta.mode))
                })
                .map_err(io("set the owner and mode of", &dir))?;
        }
        Ok(dir)
    }

    /// A path that leads to `source` within a cache directory. Other processes may write to that
    /// at any time, so the path is that of a descriptor, and no link in it leads out.
    fn part(&mut self, dir: &Path, source: &str) -> Result<PathBuf, StepFailure> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let relative = source.trim_start_matches('/');
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let part = open(dir, flags | OFlags::DIRECTORY, Mode::empty())
            .and_then(|root| openat2(root, relative, flags, Mode::empty(), resolve))
            .map_err(|error| {
                StepFailure::io(format!("find {source} in the cache"))(error.into())
            })?;
        let path = format!("/proc/self/fd/{}", part.as_raw_fd()).into();
        self.parts.push(part);
        Ok(path)
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        // The snapshot is discarded or committed next, and neither takes this along; so what could
        // not be removed is swept with its directory.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// What a mount shows a part of.
pub(super) struct InputTree<'a> {
    view: View,
    layers: Vec<PathBuf>,
    /// The context it is, if it is one; a snapshot otherwise.
    context: Option<&'a LocalContext>,
}

impl Build {
    /// What step `index` takes as input `number`.
    pub(super) fn input_tree(
        &self,
        index: usize,
        number: usize,
    ) -> Result<InputTree<'_>, StepFailure> {
        match self.tree(index, Input::From(number)) {
            Some(Tree::Context(context)) => Ok(InputTree {
                view: select::context_view(context),
                layers: Vec::new(),
                context: Some(context),
            }),
            Some(Tree::Snapshot(id)) => {
                let layers = self.env.store.layers(*id)?;
                Ok(InputTree { view: View::new(layers.clone()), layers, context: None })
            }
            None => Err(StepFailure::Unsupported("a mount without a source".to_owned())),
        }
    }
}

impl InputTree<'_> {
    /// The file or directory at `path`.
    pub(super) fn item(&self, path: &str) -> Result<Item, StepFailure> {
        let place = self.context.map_or(Place::Tree("the stage"), Place::Context);
        select::bind_source(&self.view, path, &place)
    }

    /// Who owns all of it, whoever does on disk: files of a context belong to root.
    fn owner(&self) -> Option<(u32, u32)> {
        self.context.map(|_| (0, 0))
    }

    /// Whether `item` lies on disk just as it should be seen.
    fn is_shown_by(&self, item: &Item) -> bool {
        let meta = &item.node.meta;
        match self.context {
            Some(context) => context.is_unfiltered() && self.owner() == Some((meta.uid, meta.gid)),
            None if !meta.is_dir() => true,
            // A directory that only one layer knows is not merged with anything.
            None => {
                let relative = item.node.path.strip_prefix("/").unwrap_or(&item.node.path);
                let known = |layer: &&PathBuf| layer.join(relative).symlink_metadata().is_ok();
                self.layers.iter().filter(known).count() == 1
            }
        }
    }

    /// Copies `item` to `dest` within `dir`: a directory's contents, or the file itself. With
    /// `link`, files of layers are linked where that is possible.
    pub(super) fn copy(
        &self,
        item: &Item,
        dir: &Path,
        dest: &Path,
        link: bool,
    ) -> Result<(), StepFailure> {
        let source = link && self.context.is_none();
        copy_sharing(
            &CopyRequest {
                source: &self.view,
                items: std::slice::from_ref(item),
                dest_view: &View::new(Vec::new()),
                upper: dir,
                dest,
                owner: self.owner(),
                chmod: None,
                follow_dest_symlinks: true,
                mtime: None,
            },
            &Shared { source, ..Shared::default() },
        )?;
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

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StepFailure {
    StepFailure::io(format!("{action} {}", path.display()))
}
