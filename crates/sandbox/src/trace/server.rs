//! Answers what the kernel asks.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::wire::{self, Answer, Request, opcode};
use super::{Log, Seen};

/// The root: a directory with one entry for each layer, called by its number.
const ROOT: u64 = 1;

/// Files that are kept open for the next read.
const OPEN_MAX: usize = 64;

/// The most paths that are taken down; with more, a trace is of no use anyway.
const PATHS_MAX: usize = 500_000;

/// The one attribute of overlayfs that a layer of ours may have. It shows in what else is looked
/// up, so it need not be noted down.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What overlayfs's own attributes begin with.
const OVERLAY: &[u8] = b"trusted.overlay.";

pub(super) struct Server {
    device: File,
    layers: Vec<PathBuf>,
    log: Arc<Mutex<Log>>,
    /// By number, from [`ROOT`] + 1 on.
    nodes: Vec<Node>,
    /// The kernel compares the numbers when it looks a name up again, so a path has one for good.
    numbers: HashMap<(usize, PathBuf), u64>,
    open: HashMap<u64, File>,
    lists: HashMap<u64, Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Node {
    layer: usize,
    /// From the layer's directory on.
    path: PathBuf,
}

impl Server {
    pub(super) fn new(device: File, layers: Vec<PathBuf>, log: Arc<Mutex<Log>>) -> Self {
        Self {
            device,
            layers,
            log,
            nodes: Vec::new(),
            numbers: HashMap::new(),
            open: HashMap::new(),
            lists: HashMap::new(),
        }
    }

    /// Goes on until the filesystem is not mounted any more.
    pub(super) fn serve(&mut self) {
        let mut buffer = vec![0; wire::REQUEST_MAX];
        loop {
            let read = match self.device.read(&mut buffer) {
                Ok(read) => read,
                Err(e) => match Errno::from_io_error(&e) {
                    // Whoever asked has gone away meanwhile.
                    Some(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                    Some(Errno::NODEV) => return,
                    _ => return self.fail(e),
                },
            };
            let Some(request) = Request::parse(&buffer[..read]) else {
                return self.fail(io::ErrorKind::InvalidData.into());
            };
            if request.opcode == opcode::DESTROY {
                return;
            }
            if let Some(answer) = self.answer(&request)
                && let Err(e) = self.device.write_all(&answer.finish())
                && Errno::from_io_error(&e) != Some(Errno::NOENT)
            {
                return self.fail(e);
            }
        }
    }

    fn fail(&self, error: io::Error) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).fail(error);
    }

    /// What to say, if anything.
    fn answer(&mut self, request: &Request<'_>) -> Option<Answer> {
        let answer = Answer::to(request);
        let result = match request.opcode {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
            opcode::INIT => Ok(answer.hello(request.readahead().unwrap_or_default())),
            opcode::LOOKUP => self.lookup(request, answer),
            opcode::GETATTR => self.attributes(request, answer),
            opcode::READLINK => self.link(request, answer),
            opcode::READ => self.read(request, answer),
            opcode::READDIR => self.list(request, answer),
            opcode::GETXATTR | opcode::LISTXATTR => self.xattr(request, answer),
            opcode::STATFS => Ok(answer.statfs()),
            // Among them OPEN and OPENDIR, which are not needed then.
            _ => Err(Errno::NOSYS.into()),
        };
        Some(result.unwrap_or_else(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            // What a layer has not and what nobody can do are facts. All else is a mishap, and
            // would not be there the next time.
            if !matches!(errno, Errno::NOSYS | Errno::NODATA | Errno::RANGE | Errno::NOTSUP) {
                self.fail(error);
            }
            Answer::to(request).error(errno.raw_os_error())
        }))
    }

    /// Takes down what is seen of a file.
    fn saw(&self, path: &Path, mark: impl FnOnce(&mut Seen)) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = log.reads.get_mut(path) {
            mark(seen);
        } else if log.reads.len() >= PATHS_MAX {
            log.fail(Errno::OVERFLOW.into());
        } else {
            mark(log.reads.entry(path.to_owned()).or_default());
        }
    }

    fn node(&self, request: &Request<'_>) -> io::Result<Node> {
        let index = request.node.checked_sub(ROOT + 1).and_then(|n| usize::try_from(n).ok());
        index.and_then(|index| self.nodes.get(index)).cloned().ok_or_else(|| Errno::STALE.into())
    }

    fn real(&self, node: &Node) -> PathBuf {
        self.layers[node.layer].join(&node.path)
    }

    fn lookup(&mut self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        let name = OsStr::from_bytes(request.name().unwrap_or_default());
        let node = if request.node == ROOT {
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(layer) if layer < self.layers.len() => Node { layer, path: PathBuf::new() },
                _ => return Ok(answer.nothing()),
            }
        } else {
            let parent = self.node(request)?;
            Node { layer: parent.layer, path: parent.path.join(name) }
        };
        let meta = match fs::symlink_metadata(self.real(&node)) {
            Ok(meta) => Some(meta),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            // A name that can't exist: an answer that nobody keeps, and the same every time.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::NAMETOOLONG) && name.len() > 255 => {
                return Ok(answer.error(Errno::NAMETOOLONG.raw_os_error()));
            }
            Err(e) => return Err(e),
        };
        self.saw(&node.path, |_| ());
        let Some(meta) = meta else { return Ok(answer.nothing()) };
        let key = (node.layer, node.path.clone());
        let nodes = &mut self.nodes;
        let number = *self.numbers.entry(key).or_insert_with(|| {
            nodes.push(node);
            ROOT + nodes.len() as u64
        });
        Ok(answer.entry(number, &meta))
    }

    fn attributes(&self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        if request.node == ROOT {
            return Ok(answer.stat(&fs::symlink_metadata("/")?));
        }
        let node = self.node(request)?;
        let meta = fs::symlink_metadata(self.real(&node))?;
        self.saw(&node.path, |seen| seen.attributes = true);
        Ok(answer.stat(&meta))
    }

    fn link(&self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        let node = self.node(request)?;
        let target = fs::read_link(self.real(&node))?;
        self.saw(&node.path, |seen| seen.contents = true);
        Ok(answer.bytes(target.as_os_str().as_bytes()))
    }

    fn read(&mut self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        let (offset, size) = request.range().ok_or(Errno::INVAL)?;
        let node = self.node(request)?;
        self.saw(&node.path, |seen| seen.contents = true);
        if !self.open.contains_key(&request.node) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(request.node, File::open(self.real(&node))?);
        }
        let file = &self.open[&request.node];
        let mut data = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match file.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(answer.bytes(&data[..filled]))
    }

    fn list(&mut self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        if request.node == ROOT {
            return Ok(answer);
        }
        let (offset, size) = request.range().ok_or(Errno::INVAL)?;
        let node = self.node(request)?;
        // Taken down before anything is told.
        self.saw(&node.path, |seen| seen.contents = true);
        if !self.lists.contains_key(&request.node) {
            let list = list(&self.real(&node))?;
            self.lists.insert(request.node, list);
        }
        Ok(answer.bytes(wire::entries(&self.lists[&request.node], offset, size)))
    }

    fn xattr(&self, request: &Request<'_>, answer: Answer) -> io::Result<Answer> {
        let (room, name) = request.attribute().ok_or(Errno::INVAL)?;
        let is_list = request.opcode == opcode::LISTXATTR;
        if request.node == ROOT || (!is_list && name.starts_with(OVERLAY) && name != OPAQUE) {
            return Err(Errno::NODATA.into());
        }
        let node = self.node(request)?;
        let real = self.real(&node);
        if is_list || name != OPAQUE {
            self.saw(&node.path, |seen| seen.xattrs = true);
        }
        let mut value = vec![0; room];
        let length = if is_list {
            rustix::fs::llistxattr(&real, &mut value)?
        } else {
            rustix::fs::lgetxattr(&real, OsStr::from_bytes(name), &mut value)?
        };
        Ok(if room == 0 { answer.length(length) } else { answer.bytes(&value[..length]) })
    }
}

/// The entries of a directory, as the protocol has them.
fn list(dir: &Path) -> io::Result<Vec<u8>> {
    let mut list = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = match kind {
            _ if kind.is_file() => libc::DT_REG,
            _ if kind.is_dir() => libc::DT_DIR,
            _ if kind.is_symlink() => libc::DT_LNK,
            _ if kind.is_char_device() => libc::DT_CHR,
            _ if kind.is_block_device() => libc::DT_BLK,
            _ if kind.is_fifo() => libc::DT_FIFO,
            _ if kind.is_socket() => libc::DT_SOCK,
            _ => libc::DT_UNKNOWN,
        };
        wire::put_entry(&mut list, entry.ino(), kind, entry.file_name().as_bytes());
    }
    Ok(list)
}
