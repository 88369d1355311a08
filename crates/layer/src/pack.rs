//! Packing an upper directory into a layer.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bld_oci::{Digest, Hasher};
use tar::EntryType;

use crate::apply::{OPAQUE, WHITEOUT};
use crate::archive::encode::{self, Entry};
use crate::archive::padding;
use crate::beginnings::{Beginnings, Hashing};
use crate::error::Context;
use crate::order::oldest_first;
use crate::view::Walk;
use crate::xattr::{self, Xattrs};
use crate::{Kind, LayerError, Node, Result, View, WriteBehind, sys};

/// How [`write_layer`] packs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// No file is recorded as newer than this, in seconds since the epoch
    /// (`SOURCE_DATE_EPOCH` with `rewrite-timestamp`).
    pub clamp_mtime: Option<i64>,
    /// Every file is recorded with this time, in seconds since the epoch.
    pub mtime: Option<i64>,
}

/// What [`write_layer`] wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerStats {
    /// Entries, whiteouts included.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// Writes the changes in an overlayfs upper directory as the uncompressed tar of a layer
/// (image-spec, layer.md).
///
/// The form is canonical: the same tree gives the same bytes on every machine. What changed last comes
/// last, so that a layer begins like the one before a change; what changed in the same second is sorted
/// component by component by the bytes of its names; a directory comes before its contents; headers are ustar, with PAX records only for what does not fit; times are whole seconds; there
/// are no user and group names, no access and change times, no inode numbers. The first name of a
/// file in that order carries its contents, the other ones are hard links to it. Holes are
/// written out. Sockets are left out, and so is the root, which belongs to no layer.
///
/// Whiteouts and opaque directories of overlayfs become `.wh.NAME` and `.wh..wh..opq`.
///
/// # Errors
/// [`LayerError::Unrepresentable`] for what a layer has no form for, [`LayerError::Stream`] when
/// `out` fails, [`LayerError::Io`] when the tree cannot be read.
pub fn write_layer(upper: &Path, out: &mut dyn Write, options: &TarOptions) -> Result<LayerStats> {
    Packer::new(View::plain(upper), &mut Plain::new(out), options, true).run()
}

/// Writes all files of a view as one tar, sorted by their names and else in the same canonical form: a
/// root filesystem, in which nothing is deleted and names that begin with `.wh.` mean nothing.
///
/// # Errors
/// As [`write_layer`].
pub fn write_tree(view: &View, out: &mut dyn Write, options: &TarOptions) -> Result<LayerStats> {
    Packer::new(view.clone(), &mut Plain::new(out), options, false).run()
}

/// As [`write_tree`], of several trees: everything of each is in a directory, a relative path of plain
/// names that is an entry of the tar as well.
///
/// # Errors
/// As [`write_layer`].
pub fn write_trees(
    trees: &[(PathBuf, View)],
    out: &mut dyn Write,
    options: &TarOptions,
) -> Result<LayerStats> {
    let mut out = Plain::new(out);
    let mut packer = Packer::new(View::new(Vec::new()), &mut out, options, false);
    for (prefix, view) in trees {
        packer.view = view.clone();
        packer.prefix.clone_from(prefix);
        packer.names.clear();
        if let Some(root) = view.lookup("/")? {
            let xattrs = root.xattrs()?;
            packer.pack_entry(&root, prefix, EntryType::Directory, Path::new(""), &xattrs)?;
        }
        packer.walk()?;
    }
    packer.end()
}

/// Writes one file of a view, a directory with all that is in it, as a tar in which it is called
/// `name`: a relative path of plain names, or `.` for the contents of a directory.
///
/// # Errors
/// As [`write_layer`].
pub fn write_file(
    view: &View,
    node: &Node,
    name: &Path,
    out: &mut dyn Write,
) -> Result<LayerStats> {
    let options = TarOptions::default();
    let mut out = Plain::new(out);
    let mut packer = Packer::new(view.clone(), &mut out, &options, false);
    name.clone_into(&mut packer.prefix);
    packer.base.clone_from(&node.path);
    if node.meta.is_dir() {
        let xattrs = node.xattrs()?;
        packer.pack_entry(node, name, EntryType::Directory, Path::new(""), &xattrs)?;
        packer.view.clone().walk(&node.path, &mut |node| packer.pack(node).map(|()| Walk::Into))?;
    } else {
        packer.pack(node)?;
    }
    packer.end()
}

/// Writes all files of the directory `dir` as one tar that is to be unpacked again: with the times
/// as exact as they are, the directory itself in front, and `comment`, which
/// [`comment`](crate::comment()) finds.
///
/// # Errors
/// As [`write_layer`].
pub fn write_directory(dir: &Path, comment: &str, out: &mut dyn Write) -> Result<LayerStats> {
    let options = TarOptions::default();
    let mut out = Plain::new(out);
    let mut packer = Packer::new(View::plain(dir), &mut out, &options, false);
    packer.is_exact = true;
    let mut header = Vec::new();
    encode::encode_comment(comment, &mut header);
    packer.write(&header)?;
    if let Some(root) = packer.view.lookup("/")? {
        let xattrs = root.xattrs()?;
        packer.pack_entry(&root, Path::new("."), EntryType::Directory, Path::new(""), &xattrs)?;
    }
    packer.run()
}

/// The digest and size of what [`write_layer`] writes: the diffID of the layer. Nothing is stored.
///
/// # Errors
/// As [`write_layer`].
pub fn diff_id(upper: &Path, options: &TarOptions) -> Result<(Digest, u64)> {
    // Reading the files takes about as long as hashing them.
    let mut out = WriteBehind::new(Hasher::new());
    let stats = write_layer(upper, &mut out, options)?;
    let failed = |source| LayerError::Stream { action: "hash the layer", source };
    Ok((out.finish().map_err(failed)?.finish(), stats.bytes))
}

/// As [`diff_id`]. What the layer begins with is not read when `known` knows it.
///
/// # Errors
/// As [`write_layer`].
pub fn diff_id_after(
    upper: &Path,
    options: &TarOptions,
    known: &mut dyn Beginnings,
) -> Result<(Digest, u64)> {
    let mut out = Hashing::new(known);
    let stats = Packer::new(View::plain(upper), &mut out, options, true).run()?;
    Ok((out.finish()?, stats.bytes))
}

/// What takes an archive.
pub(crate) trait Out {
    /// Takes a header, with what extends it, or the end of the archive.
    fn header(&mut self, bytes: &[u8]) -> Result<()>;

    /// Takes the contents of a regular file, of the size that the header before said.
    fn contents(&mut self, view: &View, node: &Node) -> Result<()>;
}

/// Writes everything as it comes.
struct Plain<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> Plain<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, buffer: Vec::new() }
    }
}

impl Out for Plain<'_> {
    fn header(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(unwritten)
    }

    fn contents(&mut self, view: &View, node: &Node) -> Result<()> {
        write_contents(view, node, self.out, &mut self.buffer)
    }
}

/// Writes the contents of a regular file and what fills its last block, by way of `buffer`.
pub(crate) fn write_contents(
    view: &View,
    node: &Node,
    out: &mut dyn Write,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let mut file = view.open(node)?.take(node.meta.size);
    // Once: the buffer is used for all files.
    buffer.resize(256 * 1024, 0);
    let mut left = node.meta.size;
    while left > 0 {
        let read = match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.with_context("read", || node.real())?,
        };
        if read == 0 {
            // The size is in the header already.
            return Err(LayerError::io("read", node.real(), io::ErrorKind::UnexpectedEof));
        }
        out.write_all(&buffer[..read]).map_err(unwritten)?;
        left -= read as u64;
    }
    let padding = padding(node.meta.size) as usize;
    out.write_all(&[0; crate::archive::BLOCK][..padding]).map_err(unwritten)
}

pub(crate) fn unwritten(source: io::Error) -> LayerError {
    LayerError::Stream { action: "write the layer", source }
}

struct Packer<'a> {
    view: View,
    out: &'a mut dyn Out,
    options: &'a TarOptions,
    /// Whether this is a layer, in which things are deleted, or a whole tree.
    whiteouts: bool,
    /// Whether times are recorded as exactly as they are known.
    is_exact: bool,
    /// The directory that everything is in.
    prefix: PathBuf,
    /// What is left out of the paths of the view.
    base: PathBuf,
    /// The first name of every file with several.
    names: HashMap<(u64, u64), PathBuf>,
    /// For headers.
    buffer: Vec<u8>,
    stats: LayerStats,
}

impl<'a> Packer<'a> {
    fn new(view: View, out: &'a mut dyn Out, options: &'a TarOptions, whiteouts: bool) -> Self {
        let (names, stats) = (HashMap::new(), LayerStats::default());
        let (is_exact, prefix, base) = (false, PathBuf::new(), PathBuf::from("/"));
        let buffer = Vec::new();
        Self { view, out, options, whiteouts, is_exact, prefix, base, names, buffer, stats }
    }

    fn run(mut self) -> Result<LayerStats> {
        self.walk()?;
        self.end()
    }

    fn walk(&mut self) -> Result<()> {
        let view = self.view.clone();
        if !self.whiteouts {
            return view.walk("/", &mut |node| self.pack(node).map(|()| Walk::Into));
        }
        let nodes = view.lookup("/")?.map(|root| view.tree(&root)).transpose()?;
        // When something was deleted is no part of the tree.
        let mtime = |node: &Node| if node.meta.is_whiteout() { i64::MIN } else { self.mtime(node) };
        let nodes = oldest_first(nodes.unwrap_or_default(), mtime);
        nodes.iter().try_for_each(|node| self.pack(node))
    }

    fn end(mut self) -> Result<LayerStats> {
        self.write(&encode::END)?;
        Ok(self.stats)
    }

    fn pack(&mut self, node: &Node) -> Result<()> {
        let path = match node.path.strip_prefix(&self.base) {
            // Joined, it would end with a slash.
            Ok(rest) if rest.as_os_str().is_empty() => self.prefix.clone(),
            Ok(rest) => self.prefix.join(rest),
            Err(_) => self.prefix.join(sys::relative(&node.path)),
        };
        if node.meta.is_whiteout() {
            return self.pack_whiteout(&sibling(&path, node.name().as_bytes()));
        }
        if self.whiteouts && node.name().as_bytes().starts_with(WHITEOUT) {
            let problem = "a layer deletes with names that begin with \".wh.\"";
            return Err(LayerError::Unrepresentable { path, problem });
        }
        let real = node.real();
        let names = xattr::list(&real).context("list the attributes of", &real)?;
        if names.iter().any(|name| xattr::moves_contents(name)) {
            let problem = "overlayfs keeps its contents elsewhere (redirect_dir or metacopy)";
            return Err(LayerError::Unrepresentable { path, problem });
        }
        let xattrs = if names.is_empty() { Vec::new() } else { node.xattrs()? };
        if xattrs.iter().any(|(name, _)| !encode::is_representable(name)) {
            let problem = "the name of an extended attribute holds an equals sign";
            return Err(LayerError::Unrepresentable { path, problem });
        }
        let inode = (node.meta.dev, node.meta.ino);
        let first = self.names.get(&inode).filter(|_| node.meta.is_hardlinked()).cloned();
        match (first, node.meta.kind) {
            (Some(first), _) => self.pack_entry(node, &path, EntryType::Link, &first, &xattrs)?,
            (None, Kind::Socket) => return Ok(()),
            (None, kind) => {
                if node.meta.is_hardlinked() {
                    self.names.insert(inode, path.clone());
                }
                let target = match kind {
                    Kind::Symlink => node.link_target()?,
                    _ => PathBuf::new(),
                };
                self.pack_entry(node, &path, entry_type(kind), &target, &xattrs)?;
                if kind == Kind::File {
                    self.pack_contents(node)?;
                }
            }
        }
        let is_opaque = self.whiteouts
            && node.meta.is_dir()
            && !names.is_empty()
            && xattr::is_opaque(&real).context("list the attributes of", &real)?;
        if is_opaque {
            let name = [path.as_os_str().as_bytes(), b"/", OPAQUE].concat();
            self.pack_whiteout(&name)?;
        }
        Ok(())
    }

    fn pack_entry(
        &mut self,
        node: &Node,
        path: &Path,
        kind: EntryType,
        link: &Path,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        self.write_entry(&Entry {
            name: &name,
            kind,
            mode: node.meta.mode,
            uid: node.meta.uid,
            gid: node.meta.gid,
            size: if kind == EntryType::Regular { node.meta.size } else { 0 },
            mtime: (self.mtime(node), if self.is_exact { node.meta.mtime_ns } else { 0 }),
            link: link.as_os_str().as_bytes(),
            rdev: node.meta.rdev,
            xattrs,
        })
    }

    /// The time that is recorded, in seconds since the epoch.
    fn mtime(&self, node: &Node) -> i64 {
        let clamp = self.options.clamp_mtime.unwrap_or(i64::MAX);
        self.options.mtime.unwrap_or(node.meta.mtime).min(clamp)
    }

    /// An entry that deletes. When something was deleted is no part of the tree.
    fn pack_whiteout(&mut self, name: &[u8]) -> Result<()> {
        self.write_entry(&Entry {
            name,
            kind: EntryType::Regular,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            link: b"",
            rdev: (0, 0),
            xattrs: &Vec::new(),
        })
    }

    fn write_entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.stats.entries += 1;
        let mut header = std::mem::take(&mut self.buffer);
        header.clear();
        entry.encode(&mut header);
        let result = self.write(&header);
        self.buffer = header;
        result
    }

    fn pack_contents(&mut self, node: &Node) -> Result<()> {
        self.stats.bytes += node.meta.size + padding(node.meta.size);
        self.out.contents(&self.view, node)
    }

    fn write(&mut self, header: &[u8]) -> Result<()> {
        self.stats.bytes += header.len() as u64;
        self.out.header(header)
    }
}

fn entry_type(kind: Kind) -> EntryType {
    match kind {
        Kind::File => EntryType::Regular,
        Kind::Dir => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::CharDevice => EntryType::Char,
        Kind::BlockDevice => EntryType::Block,
        // Sockets never get here.
        Kind::Fifo | Kind::Socket => EntryType::Fifo,
    }
}

/// The name that deletes `name`, in the directory `path` is in.
fn sibling(path: &Path, name: &[u8]) -> Vec<u8> {
    let mut base = WHITEOUT.to_vec();
    base.extend_from_slice(name);
    path.with_file_name(std::ffi::OsStr::from_bytes(&base)).into_os_string().into_encoded_bytes()
}
