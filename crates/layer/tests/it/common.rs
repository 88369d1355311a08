//! What the tests share: making odd trees, and looking at them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bld_layer::{Kind, Node, View, Walk};
use rustix::fs::{FileType, Mode, XattrFlags};

/// Everything a layer keeps of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) rdev: (u32, u32),
    pub(crate) mtime: i64,
    pub(crate) content: Vec<u8>,
    pub(crate) link: PathBuf,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A whole tree by path, without its root.
pub(crate) type Tree = BTreeMap<PathBuf, Seen>;

/// The tree a view shows.
pub(crate) fn tree(view: &View) -> Tree {
    let mut tree = Tree::new();
    if view.lookup("/").unwrap().is_some() {
        view.walk("/", &mut |node| {
            tree.insert(node.path.clone(), seen(view, node));
            Ok(Walk::Into)
        })
        .unwrap();
    }
    tree
}

fn seen(view: &View, node: &Node) -> Seen {
    let meta = node.meta;
    let content = match meta.kind {
        Kind::File => view.read(&node.path, u64::MAX).unwrap().unwrap(),
        _ => Vec::new(),
    };
    let link = match meta.kind {
        Kind::Symlink => node.link_target().unwrap(),
        _ => PathBuf::new(),
    };
    Seen {
        kind: meta.kind,
        mode: meta.mode,
        owner: (meta.uid, meta.gid),
        rdev: meta.rdev,
        mtime: meta.mtime,
        content,
        link,
        xattrs: node.xattrs().unwrap(),
    }
}

/// The tree below a directory, read with nothing but the standard library.
pub(crate) fn tree_on_disk(root: &Path) -> Tree {
    let mut tree = Tree::new();
    collect(root, Path::new("/"), &mut tree);
    tree
}

fn collect(dir: &Path, at: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (real, path) = (entry.path(), at.join(entry.file_name()));
        // Overlayfs lists whiteouts of directories it does not merge, but does not find them.
        let Ok(meta) = fs::symlink_metadata(&real) else { continue };
        let kind = match meta.file_type() {
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_char_device() => Kind::CharDevice,
            kind if kind.is_block_device() => Kind::BlockDevice,
            kind if kind.is_fifo() => Kind::Fifo,
            kind if kind.is_socket() => Kind::Socket,
            _ => Kind::File,
        };
        let mut names = vec![0_u8; 65536];
        let length = rustix::fs::llistxattr(&real, &mut names[..]).unwrap();
        let mut xattrs: Vec<_> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| name.starts_with(b"user.") || *name == b"security.capability")
            .filter(|name| !name.starts_with(b"user.overlay."))
            .map(|name| {
                let name = OsString::from_vec(name.to_vec());
                let mut value = vec![0_u8; 65536];
                let length =
                    rustix::fs::lgetxattr(&real, name.as_os_str(), &mut value[..]).unwrap();
                value.truncate(length);
                (name, value)
            })
            .collect();
        xattrs.sort();
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let rdev = meta.rdev();
        if is_device && rdev == 0 {
            // Of a whiteout nothing counts but that it is there.
            tree.insert(path, whiteout_seen());
            continue;
        }
        tree.insert(
            path.clone(),
            Seen {
                kind,
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                rdev: if is_device {
                    (rustix::fs::major(rdev), rustix::fs::minor(rdev))
                } else {
                    (0, 0)
                },
                mtime: meta.mtime(),
                content: if kind == Kind::File { fs::read(&real).unwrap() } else { Vec::new() },
                link: fs::read_link(&real).unwrap_or_default(),
                xattrs,
            },
        );
        if kind == Kind::Dir {
            collect(&real, &path, tree);
        }
    }
}

fn whiteout_seen() -> Seen {
    Seen {
        kind: Kind::CharDevice,
        mode: 0,
        owner: (0, 0),
        rdev: (0, 0),
        mtime: 0,
        content: Vec::new(),
        link: PathBuf::new(),
        xattrs: Vec::new(),
    }
}

/// Runs a test in a mount namespace of its own, so that whatever it mounts is gone when it ends,
/// however it ends.
#[expect(unsafe_code, reason = "unshare affects everything a thread does")]
pub(crate) fn in_mount_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the thread was just started, shares no file descriptors it would lose, and
            // does nothing but the test.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", flags).unwrap();
            test()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts layers, lowest first, read-only on `target`.
pub(crate) fn mount_overlay(layers: &[PathBuf], empty: &Path, target: &Path) {
    let lower: Vec<_> = layers
        .iter()
        .rev()
        // A stack of one is refused.
        .chain([&empty.to_owned()])
        .map(|layer| layer.to_str().unwrap().to_owned())
        .collect();
    let options = format!("lowerdir={},redirect_dir=off,metacopy=off", lower.join(":"));
    let options = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount("overlay", target, "overlay", flags, options.as_c_str()).unwrap();
}

pub(crate) fn mkdirs(path: impl AsRef<Path>) {
    fs::create_dir_all(path).unwrap();
}

/// Writes a file with a mode, making the directories above it.
pub(crate) fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32) {
    let path = path.as_ref();
    mkdirs(path.parent().unwrap());
    fs::write(path, content).unwrap();
    chmod(path, mode);
}

pub(crate) fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn chown(path: impl AsRef<Path>, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

pub(crate) fn link(target: impl AsRef<Path>, path: impl AsRef<Path>) {
    mkdirs(path.as_ref().parent().unwrap());
    symlink(target, path).unwrap();
}

pub(crate) fn mknod(path: impl AsRef<Path>, kind: FileType, major: u32, minor: u32) {
    mkdirs(path.as_ref().parent().unwrap());
    let device = rustix::fs::makedev(major, minor);
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path.as_ref(), kind, mode, device).unwrap();
}

pub(crate) fn whiteout(path: impl AsRef<Path>) {
    mknod(path, FileType::CharacterDevice, 0, 0);
}

pub(crate) fn setxattr(path: impl AsRef<Path>, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path.as_ref(), name, value, XattrFlags::empty()).unwrap();
}

pub(crate) fn getxattr(path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0_u8; 65536];
    let length = rustix::fs::lgetxattr(path.as_ref(), name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

pub(crate) fn opaque(path: impl AsRef<Path>) {
    setxattr(path, "trusted.overlay.opaque", b"y");
}

pub(crate) fn set_mtime(path: impl AsRef<Path>, seconds: i64) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// CAP_NET_BIND_SERVICE, effective and permitted, as setcap writes it.
pub(crate) const CAPABILITY: [u8; 20] =
    [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree with one of everything that is easily lost.
pub(crate) fn odd_tree(root: &Path) {
    write(root.join("etc/passwd"), "root:x:0:0\n", 0o644);
    write(root.join("bin/su"), "#!", 0o4755);
    write(root.join("bin/ping"), "elf", 0o755);
    setxattr(root.join("bin/ping"), "security.capability", &CAPABILITY);
    setxattr(root.join("bin/su"), "user.note", b"binary \0\n= value");
    setxattr(root.join("etc"), "user.dir", b"");
    write(root.join("home/user/file"), "mine", 0o600);
    chown(root.join("home/user"), 1000, 100);
    chown(root.join("home/user/file"), 1000, 100);
    // Beyond seven octal digits.
    write(root.join("huge-owner"), "", 0o600);
    chown(root.join("huge-owner"), 3_000_000, 4_000_000_000);
    link("../etc/passwd", root.join("home/link"));
    link("/absolute/nowhere", root.join("dangling"));
    chown(root.join("dangling"), 7, 8);
    fs::hard_link(root.join("etc/passwd"), root.join("etc/again")).unwrap();
    fs::hard_link(root.join("home/link"), root.join("home/link2")).unwrap();
    mknod(root.join("dev/null"), FileType::CharacterDevice, 1, 3);
    mknod(root.join("dev/sda"), FileType::BlockDevice, 8, 0);
    mknod(root.join("dev/nvme"), FileType::BlockDevice, 259, 1_000_000);
    mknod(root.join("run/pipe"), FileType::Fifo, 0, 0);
    mkdirs(root.join("tmp"));
    chmod(root.join("tmp"), 0o1777);
    mkdirs(root.join("empty/dir"));
    chmod(root.join("empty/dir"), 0o700);
    write(root.join(OsString::from_vec(b"name-\xff\xfe\n tab\t".to_vec())), "bytes", 0o644);
    write(root.join("ümläut/日本"), "utf8", 0o644);
    // One name too long for the field, but split at a slash; one too long for any split.
    let long = "n".repeat(99);
    write(root.join(&long).join(&long), "split", 0o644);
    write(root.join("d".repeat(200)).join("e".repeat(255)), "pax", 0o644);
    link("t".repeat(300), root.join("long-link"));
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 3 << 20).unwrap();
    write(root.join("exactly"), vec![7; 1024], 0o444);
    set_mtime(root.join("exactly"), -5);
    write(root.join("future"), "", 0o444);
    set_mtime(root.join("future"), 1 << 33);
}

/// Go's `filepath.Match` on one component, as far as the tests need it.
pub(crate) fn glob(pattern: &std::ffi::OsStr, name: &std::ffi::OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    glob_bytes(pattern.as_bytes(), name.as_bytes())
}

fn glob_bytes(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skip| glob_bytes(rest, &name[skip..])),
        [b'?', rest @ ..] => !name.is_empty() && glob_bytes(rest, &name[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().skip(1).position(|byte| *byte == b']') else {
                return false;
            };
            let (class, rest) = (&rest[..=end], &rest[end + 2..]);
            let Some((first, left)) = name.split_first() else { return false };
            let (negated, class) = match class.strip_prefix(b"^") {
                Some(class) => (true, class),
                None => (false, class),
            };
            let inside = match class {
                [low, b'-', high] => (low..=high).contains(&first),
                class => class.contains(first),
            };
            inside != negated && glob_bytes(rest, left)
        }
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
            name.first() == Some(byte) && glob_bytes(rest, &name[1..])
        }
    }
}
