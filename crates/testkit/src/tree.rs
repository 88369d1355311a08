//! Trees of files, read with nothing but system calls, and what differs between two of them.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use bld_oci::{Digest, HashingReader};

/// Everything below a directory by its path, which begins with a slash. The directory itself is left out.
pub type Tree = BTreeMap<PathBuf, TreeEntry>;

/// All that a layer keeps of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// `file`, `dir`, `symlink`, `char`, `block`, `fifo` or `socket`.
    pub kind: &'static str,
    /// Permission bits; 0 of symbolic links, which have none.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Size of a file.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Digest of a file's bytes.
    pub contents: Option<Digest>,
    /// What a symbolic link says.
    pub target: Option<PathBuf>,
    /// Number of a device.
    pub device: u64,
    /// `user.*` and `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of all paths that are this file, if there is another one.
    pub same_as: Option<PathBuf>,
}

/// Reads the tree below `root`.
pub fn read_tree(root: &Path) -> Result<Tree> {
    let (mut tree, mut links) = (Tree::new(), HashMap::new());
    walk(root, Path::new("/"), &mut tree, &mut links)
        .with_context(|| format!("read the tree {}", root.display()))?;
    Ok(tree)
}

/// The first path of each file that has several, by device and inode.
type Links = HashMap<(u64, u64), PathBuf>;

fn walk(root: &Path, at: &Path, tree: &mut Tree, links: &mut Links) -> Result<()> {
    let dir = root.join(at.strip_prefix("/").unwrap_or(at));
    let mut names: Vec<_> =
        fs::read_dir(&dir)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    for name in names {
        let path = at.join(&name);
        let entry = entry(&dir.join(&name), &path, tree, links)
            .with_context(|| path.display().to_string())?;
        let is_dir = entry.kind == "dir";
        tree.insert(path.clone(), entry);
        if is_dir {
            walk(root, &path, tree, links)?;
        }
    }
    Ok(())
}

fn entry(real: &Path, path: &Path, tree: &mut Tree, links: &mut Links) -> Result<TreeEntry> {
    let meta = fs::symlink_metadata(real)?;
    let kind = match meta.file_type() {
        kind if kind.is_dir() => "dir",
        kind if kind.is_symlink() => "symlink",
        kind if kind.is_char_device() => "char",
        kind if kind.is_block_device() => "block",
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_socket() => "socket",
        _ => "file",
    };
    let mut same_as = None;
    if kind != "dir" && meta.nlink() > 1 {
        let first = links.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_owned());
        if first != path {
            same_as = Some(first.clone());
            if let Some(entry) = tree.get_mut(first) {
                entry.same_as = Some(first.clone());
            }
        }
    }
    let known = same_as.as_ref().and_then(|first| tree.get(first)).and_then(|e| e.contents);
    let contents = match kind {
        "file" if known.is_some() => known,
        "file" => {
            let mut reader = HashingReader::new(fs::File::open(real)?);
            std::io::copy(&mut reader, &mut std::io::sink())?;
            Some(reader.finish().1)
        }
        _ => None,
    };
    Ok(TreeEntry {
        kind,
        mode: if kind == "symlink" { 0 } else { meta.mode() & 0o7777 },
        owner: (meta.uid(), meta.gid()),
        size: if kind == "file" { meta.len() } else { 0 },
        mtime: meta.mtime(),
        contents,
        target: if kind == "symlink" { Some(fs::read_link(real)?) } else { None },
        device: if matches!(kind, "char" | "block") { meta.rdev() } else { 0 },
        xattrs: xattrs(real)?,
        same_as,
    })
}

fn xattrs(real: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0_u8; 64 * 1024];
    let length = rustix::fs::llistxattr(real, &mut names[..])?;
    let mut xattrs = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0) {
        let is_kept = name == b"security.capability"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if is_kept {
            let mut value = vec![0_u8; 64 * 1024];
            let length = rustix::fs::lgetxattr(real, OsStr::from_bytes(name), &mut value[..])?;
            value.truncate(length);
            xattrs.insert(name.to_vec(), value);
        }
    }
    Ok(xattrs)
}

/// What differs, a line for each path: what `one` has, and what `other` has.
pub fn tree_differences(one: &Tree, other: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let line = match (one.get(path), other.get(path)) {
            (Some(one), Some(other)) if one == other => continue,
            (Some(one), Some(other)) => told(one, other),
            (Some(one), None) => format!("{} is missing", one.kind),
            (None, other) => format!("{} is too much", other.map_or("", |entry| entry.kind)),
        };
        let bytes = path.clone().into_os_string().into_vec();
        lines.push(format!("{}: {line}", bytes.escape_ascii()));
    }
    lines
}

fn told(one: &TreeEntry, other: &TreeEntry) -> String {
    let mut text = String::new();
    let mut tell = |what: &str, one: String, other: String| {
        if one != other {
            let gap = if text.is_empty() { "" } else { ", " };
            let _infallible = write!(text, "{gap}{what} {one} became {other}");
        }
    };
    let digest = |entry: &TreeEntry| entry.contents.map(|digest| digest.short());
    tell("kind", one.kind.to_owned(), other.kind.to_owned());
    tell("mode", format!("{:o}", one.mode), format!("{:o}", other.mode));
    tell("owner", format!("{:?}", one.owner), format!("{:?}", other.owner));
    tell("size", one.size.to_string(), other.size.to_string());
    tell("mtime", one.mtime.to_string(), other.mtime.to_string());
    tell("contents", format!("{:?}", digest(one)), format!("{:?}", digest(other)));
    tell("target", format!("{:?}", one.target), format!("{:?}", other.target));
    tell("device", one.device.to_string(), other.device.to_string());
    tell("xattrs", format!("{:?}", one.xattrs), format!("{:?}", other.xattrs));
    tell("same file as", format!("{:?}", one.same_as), format!("{:?}", other.same_as));
    text
}
