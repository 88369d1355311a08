//! Everything the container sees as a filesystem.
//!
//! Mounts are made here, in the caller, where memory can be allocated and errors told in full, but
//! they are attached nowhere: they are descriptors, and vanish with them. The child only moves them
//! to their places in its own mount namespace. So the host never sees a mount, and nothing is left
//! to unmount, whatever gets killed when. Filesystems that show the container's own namespaces
//! (`/proc`, `/sys`, message queues, control groups) can only be made by the child.

mod cgroupfs;
mod dev;
mod fs;
mod hidden;
mod overlay;
mod propagation;
mod stubs;
mod tree;

pub(crate) use dev::{DeviceControl, Terminal, open_terminal, rules as device_rules};
pub(crate) use fs::{HARMLESS, NewFs, open_path};
pub(crate) use stubs::Stubs;
pub(crate) use tree::Place;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fstat, mkdirat, openat, openat2,
};
use rustix::mount::MountAttrFlags;

use self::fs::{FsError, clone_of, clone_with, tmpfs};
use self::tree::{FileOwner, Missing, Tree};
use crate::error::SandboxError;
use crate::ids::{Ids, Shift};
use crate::spec::{Mount, MountKind, Namespace, Network, Root, Spec, Stdio};
use crate::sys;

/// One mount the child makes.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) source: Source,
    pub(crate) place: Place,
    /// What it is, for errors.
    pub(crate) what: &'static str,
    /// Where it is, for errors.
    pub(crate) target: String,
}

/// Where a mount comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is ready to be moved.
    Ready(Arc<OwnedFd>),
    /// A filesystem that shows the container's namespaces.
    New {
        kind: &'static CStr,
        options: Vec<(CString, Option<CString>)>,
        attributes: MountAttrFlags,
    },
    /// Once more a file of a filesystem that is attached by then.
    Copy { dir: Arc<OwnedFd>, name: CString, attributes: MountAttrFlags },
    /// A file or directory of a filesystem that is attached nowhere else.
    Part { filesystem: OwnedFd, path: CString },
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The root filesystem.
    pub(crate) root: Arc<OwnedFd>,
    /// Files that are mounted one by one, an empty directory called [`EMPTY`], and [`WHOLE`]; never
    /// seen as a whole.
    pub(crate) scratch: Arc<OwnedFd>,
    /// `/dev`.
    pub(crate) dev: Arc<OwnedFd>,
    /// In order.
    pub(crate) attachments: Vec<Attachment>,
    /// Paths from the root directory to cover with nothing, where they exist.
    pub(crate) masked: &'static [CString],
    /// Paths from the root directory to make read-only, where they exist.
    pub(crate) read_only: &'static [&'static CStr],
    /// The process's terminal.
    pub(crate) terminal: Option<Terminal>,
    /// What has to disappear from the writable layer.
    pub(crate) stubs: Option<Stubs>,
}

/// Name of the empty directory in [`Prepared::scratch`].
pub(crate) const EMPTY: &CStr = c"empty";

/// Name of the directory in [`Prepared::scratch`] for filesystems of which only a part is seen.
pub(crate) const WHOLE: &CStr = c"whole";

/// Where shared memory is.
const SHM: &str = "/dev/shm";

/// Makes all mounts of `spec`.
///
/// # Errors
/// The mount that failed. Mount points that were made by then are removed.
pub(crate) fn prepare(
    spec: &Spec,
    control: DeviceControl,
    users: Option<OwnedFd>,
) -> Result<Prepared, SandboxError> {
    let mut builder = Builder::new(spec, control, users)?;
    match builder.build(spec) {
        Ok(terminal) => builder.finish(spec, terminal),
        Err(e) => {
            builder.undo();
            Err(e)
        }
    }
}

struct Builder {
    control: DeviceControl,
    /// The container's users, where they are not the host's: as a namespace, and by number.
    users: Option<OwnedFd>,
    shift: Option<Shift>,
    root: Arc<OwnedFd>,
    scratch: Arc<OwnedFd>,
    dev: Arc<OwnedFd>,
    files: usize,
    tree: Tree,
    attachments: Vec<Attachment>,
}

/// The error for a mount of `what` at `target`.
fn failed<E: Into<FsError>>(what: &str, target: &str) -> impl FnOnce(E) -> SandboxError {
    let (what, target) = (what.to_owned(), target.to_owned());
    move |error| {
        let FsError { detail, source } = error.into();
        SandboxError::Mount { what, target, detail, source }
    }
}

impl Builder {
    fn new(
        spec: &Spec,
        control: DeviceControl,
        users: Option<OwnedFd>,
    ) -> Result<Self, SandboxError> {
        // What overlayfs makes for itself belongs to whoever mounts it.
        let owning = spec.ids.map(FileOwner::root_of).transpose();
        let owning = owning.map_err(failed("root filesystem", "/"))?;
        let root = overlay::mount(&spec.root, control.attribute(), users.as_ref())
            .map_err(failed("root filesystem", "/"))?;
        drop(owning);
        let root = Arc::new(root);
        let stubs = match &spec.root {
            Root::Overlay { upper, .. } => {
                Some(Stubs::new(open_path(upper).map_err(failed("root filesystem", "/"))?))
            }
            Root::ReadOnly { .. } | Root::Dir(_) => None,
        };
        let owner = spec.ids.map_or(0, |shift| shift.outside(0)).to_string();
        let options =
            [(c"mode", "0755"), (c"size", "65536k"), (c"uid", &*owner), (c"gid", &*owner)];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_STRICTATIME
            | control.attribute();
        let dev = tmpfs(&options, attributes).map_err(failed("tmpfs", "/dev"))?;
        let scratch = scratch(&owner).map_err(failed("tmpfs", "files"))?;
        Ok(Self {
            control,
            users,
            shift: spec.ids,
            tree: Tree::new(Arc::clone(&root), stubs, spec.ids),
            root,
            scratch: Arc::new(scratch),
            dev: Arc::new(dev),
            files: 0,
            attachments: Vec::new(),
        })
    }

    fn build(&mut self, spec: &Spec) -> Result<Option<Terminal>, SandboxError> {
        let sys =
            if spec.privileged { HARMLESS } else { HARMLESS | MountAttrFlags::MOUNT_ATTR_RDONLY };
        self.own(c"proc", "proc", "/proc", HARMLESS, !spec.pid.is_own())?;
        let terminal = self.dev(spec)?;
        match &spec.network {
            Network::Namespace(network) if self.shift.is_some() => {
                let mount = fs::in_network(network, || fs::plain(c"sysfs", sys));
                let source = Source::Ready(mount.map_err(failed("sysfs", "/sys"))?.into());
                let at = self.attach(source, "sysfs", "/sys", Missing::Directory)?;
                Self::plain(&at, "sysfs", "/sys")?;
            }
            network => {
                let is_hosts = matches!(network, Network::Host);
                self.own(c"sysfs", "sysfs", "/sys", sys, is_hosts)?;
            }
        }
        cgroupfs::attach(sys, &mut self.attachments).map_err(failed("cgroup", "/sys/fs/cgroup"))?;

        let files = [
            ("/etc/resolv.conf", &spec.resolv_conf),
            ("/etc/hosts", &spec.hosts),
            ("/etc/hostname", &spec.hostname_file),
        ];
        for (target, contents) in files {
            if let Some(contents) = contents {
                self.file(target, contents, 0o644, 0, 0, false)?;
            }
        }
        for mount in &spec.mounts {
            self.mount(mount)?;
        }
        for device in &spec.devices {
            let source = open_path(&device.source)
                .and_then(|fd| {
                    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
                    clone_of(fd, attributes, false).map_err(|e| e.source)
                })
                .map_err(failed("device", &device.target))?;
            self.attach(Source::Ready(source.into()), "device", &device.target, Missing::File)?;
        }
        // Not removed afterwards: with Docker too, the working directory is part of the container.
        self.tree
            .find(Path::new(&spec.cwd), Missing::Keep)
            .map_err(|source| SandboxError::Cwd { path: spec.cwd.clone(), source })?;
        Ok(terminal)
    }

    /// The host's id of one of the container's.
    fn outside(&self, id: u32) -> u32 {
        self.shift.map_or(id, |shift| shift.outside(id))
    }

    /// Attaches a filesystem that shows the container's namespaces at a directory of its own. That of a
    /// namespace that `is_hosts` can be mounted by the host's root only: others get the host's mount.
    fn own(
        &mut self,
        kind: &'static CStr,
        what: &'static str,
        target: &str,
        attributes: MountAttrFlags,
        is_hosts: bool,
    ) -> Result<(), SandboxError> {
        let source = if is_hosts && !Ids::own().are_all() {
            let mount = open_path(Path::new(target))
                .map_err(FsError::from)
                .and_then(|mount| clone_of(mount, attributes, true));
            Source::Ready(mount.map_err(failed(what, target))?.into())
        } else {
            let options = vec![(c"source".to_owned(), Some(kind.to_owned()))];
            Source::New { kind, options, attributes }
        };
        let at = self.attach(source, what, target, Missing::Directory)?;
        Self::plain(&at, what, target)
    }

    /// `/proc`, `/sys` and `/dev` must be directories, not links to somewhere else: programs and
    /// this crate rely on finding the kernel there.
    fn plain(at: &Path, what: &str, target: &str) -> Result<(), SandboxError> {
        if at == Path::new(target) {
            return Ok(());
        }
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link");
        Err(failed(what, target)(source))
    }

    /// Finds the place for a mount and takes note of it. Gives its path without links.
    fn attach(
        &mut self,
        source: Source,
        what: &'static str,
        target: &str,
        missing: Missing,
    ) -> Result<PathBuf, SandboxError> {
        if !target.starts_with('/') {
            return Err(SandboxError::Invalid(format!("mount target {target:?} is not absolute")));
        }
        let (place, at) =
            self.tree.find(Path::new(target), missing).map_err(failed(what, target))?;
        if at == Path::new("/") {
            return Err(SandboxError::Invalid(format!("mount target {target:?} is the root")));
        }
        let root = match &source {
            Source::Ready(fd) => Some(Arc::clone(fd)),
            Source::New { .. } | Source::Copy { .. } | Source::Part { .. } => None,
        };
        self.tree.add(at.clone(), root);
        self.attachments.push(Attachment { source, place, what, target: target.to_owned() });
        Ok(at)
    }

    /// `/dev` and what is mounted in it.
    fn dev(&mut self, spec: &Spec) -> Result<Option<Terminal>, SandboxError> {
        let source = Source::Ready(Arc::clone(&self.dev));
        let at = self.attach(source, "tmpfs", "/dev", Missing::Directory)?;
        Self::plain(&at, "tmpfs", "/dev")?;
        let owning = self.shift.map(FileOwner::root_of).transpose();
        let owning = owning.map_err(failed("devices", "/dev"))?;
        dev::fill(&self.dev, self.control, &mut self.attachments)
            .map_err(failed("devices", "/dev"))?;
        drop(owning);
        if spec.privileged {
            dev::fill_with_host_devices(&self.dev);
        }

        let pts = Arc::new(dev::devpts(self.shift).map_err(failed("devpts", "/dev/pts"))?);
        let source = Source::Ready(Arc::clone(&pts));
        self.attach(source, "devpts", "/dev/pts", Missing::Directory)?;
        let shm = match &spec.ipc {
            Namespace::Host => open_path(Path::new(SHM))
                .map_err(FsError::from)
                .and_then(|shm| clone_of(shm, HARMLESS, false)),
            Namespace::Of(donor) => shm_of(donor),
            Namespace::Own => {
                let size = spec.shm_size.to_string();
                let owner = self.outside(0).to_string();
                let options = [
                    (c"source", "shm"),
                    (c"mode", "1777"),
                    (c"size", &*size),
                    (c"uid", &*owner),
                    (c"gid", &*owner),
                ];
                tmpfs(&options, HARMLESS)
            }
        };
        let shm = shm.map_err(failed("shm", SHM))?;
        self.attach(Source::Ready(shm.into()), "shm", SHM, Missing::Directory)?;
        self.own(c"mqueue", "mqueue", "/dev/mqueue", HARMLESS, !spec.ipc.is_own())?;

        let Stdio::Terminal { rows, columns } = spec.stdio else { return Ok(None) };
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = openat(&pts, c"ptmx", flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|ptmx| open_terminal(ptmx, rows, columns, self.outside(spec.user.uid)))
            .map_err(failed("terminal", "/dev/pts"))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let source = Source::Copy { dir: pts, name: terminal.name.clone(), attributes };
        self.attach(source, "terminal", "/dev/console", Missing::File)?;
        Ok(Some(terminal))
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), SandboxError> {
        let target = &mount.target;
        match &mount.kind {
            MountKind::Bind { source, path, read_only, recursive, propagation, own } => {
                let mut attributes = self.control.attribute();
                if *read_only {
                    attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
                }
                let bind = || -> Result<_, FsError> {
                    let mut fd = open_path(source)?;
                    if let Some(path) = path {
                        let path = CString::new(path.trim_start_matches('/'))
                            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                        fd = open_within(&fd, &path)?;
                    }
                    propagation::check(&fd, source, *propagation)?;
                    let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
                    let mount = clone_with(fd, attributes, *recursive, *propagation)?;
                    if let Some(users) = self.users.as_ref().filter(|_| *own) {
                        sys::map_mount(&mount, users)?;
                    }
                    Ok((mount, kind))
                };
                let what = match path {
                    Some(path) => format!("{path} of {}", source.display()),
                    None => source.display().to_string(),
                };
                let (fd, kind) = bind().map_err(failed(&what, target))?;
                let missing =
                    if kind == FileType::Directory { Missing::Directory } else { Missing::File };
                self.attach(Source::Ready(fd.into()), "bind", target, missing)?;
            }
            MountKind::Layers { lowers, path } => {
                self.layers(lowers, path.as_deref(), target)?;
            }
            MountKind::Tmpfs { size, mode, uid, gid, no_exec, read_only } => {
                let size = size.map(|size| size.to_string());
                let (uid, gid) = Ids::own().owner(self.outside(*uid), self.outside(*gid));
                let (mode, uid, gid) = (format!("{mode:o}"), uid.to_string(), gid.to_string());
                let mut options = vec![(c"mode", &*mode), (c"uid", &*uid), (c"gid", &*gid)];
                options.extend(size.as_deref().map(|size| (c"size", size)));
                let mut attributes = HARMLESS;
                attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, *no_exec);
                attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, *read_only);
                let fd = tmpfs(&options, attributes).map_err(failed("tmpfs", target))?;
                self.attach(Source::Ready(fd.into()), "tmpfs", target, Missing::Directory)?;
            }
            MountKind::File { contents, mode, uid, gid, read_only } => {
                self.file(target, contents, *mode, *uid, *gid, *read_only)?;
            }
        }
        Ok(())
    }

    /// Mounts layers, or a part of them, read-only.
    fn layers(
        &mut self,
        lowers: &[PathBuf],
        path: Option<&str>,
        target: &str,
    ) -> Result<(), SandboxError> {
        let root = Root::ReadOnly { lowers: lowers.to_vec() };
        let filesystem = overlay::mount(&root, self.control.attribute(), self.users.as_ref())
            .map_err(failed("image", target))?;
        let Some(path) = path else {
            let source = Source::Ready(filesystem.into());
            self.attach(source, "image", target, Missing::Directory)?;
            return Ok(());
        };
        let path = CString::new(path.trim_start_matches('/'))
            .map_err(|_| SandboxError::Invalid(format!("{path:?} is no path")))?;
        let kind = open_within(&filesystem, &path)
            .and_then(|part| Ok(FileType::from_raw_mode(fstat(&part)?.st_mode)))
            .map_err(failed(&format!("{} of an image", path.to_string_lossy()), target))?;
        let missing = if kind == FileType::Directory { Missing::Directory } else { Missing::File };
        self.attach(Source::Part { filesystem, path }, "image", target, missing)?;
        Ok(())
    }

    /// Mounts a file that is only in memory.
    fn file(
        &mut self,
        target: &str,
        contents: &[u8],
        mode: u32,
        uid: u32,
        gid: u32,
        read_only: bool,
    ) -> Result<(), SandboxError> {
        let (uid, gid) = (self.outside(uid), self.outside(gid));
        let name = CString::new(format!("file{}", self.files)).unwrap_or_default();
        self.files += 1;
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = openat(&self.scratch, &name, flags, Mode::empty())?;
            let mut file = std::fs::File::from(fd);
            io::Write::write_all(&mut file, contents)?;
            let (uid, gid) = Ids::own().owner(uid, gid);
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
        };
        write().map_err(failed("file", target))?;
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, read_only);
        attributes.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, mode & 0o111 == 0);
        let source = Source::Copy { dir: Arc::clone(&self.scratch), name, attributes };
        self.attach(source, "file", target, Missing::File)?;
        Ok(())
    }

    fn finish(self, spec: &Spec, terminal: Option<Terminal>) -> Result<Prepared, SandboxError> {
        let mut stubs = self.tree.into_stubs().filter(|stubs| !stubs.is_empty());
        if let Some(stubs) = &mut stubs {
            stubs.seal();
        }
        if spec.read_only_root
            && let Err(e) = sys::seal_mount(&self.root, MountAttrFlags::MOUNT_ATTR_RDONLY, false)
        {
            drop(self.root);
            if let Some(stubs) = stubs {
                stubs.remove();
            }
            return Err(failed("root filesystem", "/")(e));
        }
        let confined = !spec.privileged;
        Ok(Prepared {
            root: self.root,
            scratch: self.scratch,
            dev: self.dev,
            attachments: self.attachments,
            masked: if confined { hidden::masked() } else { &[] },
            read_only: if confined { &hidden::READ_ONLY } else { &[] },
            terminal,
            stubs,
        })
    }

    /// Takes back what was made in the writable layer.
    fn undo(self) {
        drop((self.root, self.attachments));
        if let Some(mut stubs) = self.tree.into_stubs() {
            stubs.seal();
            stubs.remove();
        }
    }
}

/// A root filesystem, attached nowhere.
pub(crate) fn mount_root(root: &Root) -> Result<OwnedFd, SandboxError> {
    overlay::mount(root, MountAttrFlags::empty(), None).map_err(failed("root filesystem", "/"))
}

/// The paths that a container sees nothing of, and those that it can't write, absolute.
pub fn hidden_paths() -> (Vec<String>, Vec<String>) {
    let absolute = |path: &CStr| format!("/{}", path.to_string_lossy());
    let masked = hidden::masked().iter().map(|path| absolute(path)).collect();
    (masked, hidden::READ_ONLY.iter().map(|path| absolute(path)).collect())
}

/// `/dev/shm` of a container that runs, once more.
fn shm_of(container: &OwnedFd) -> Result<OwnedFd, FsError> {
    let clone = || {
        sys::unshare(libc::CLONE_FS)?;
        sys::enter_namespaces(container, libc::CLONE_NEWNS)?;
        // What is there in place of it is none of our business.
        let plain = ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shm = openat2(rustix::fs::CWD, SHM, flags, Mode::empty(), plain)?;
        clone_of(shm, HARMLESS, false)
    };
    // Only who is in the namespace of a mount can have it once more.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, clone)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Refers to a path in a filesystem, where no link leads out of it.
pub(crate) fn open_within(root: impl AsFd, path: &CStr) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside)
}

/// Nobody but the `owner` looks into it.
fn scratch(owner: &str) -> Result<OwnedFd, FsError> {
    let options = [(c"mode", "0700"), (c"uid", owner), (c"gid", owner)];
    let fd = tmpfs(&options, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    mkdirat(&fd, EMPTY, Mode::from_raw_mode(0o555))?;
    mkdirat(&fd, WHOLE, Mode::from_raw_mode(0o555))?;
    Ok(fd)
}
