//! The messages of FUSE, see `include/uapi/linux/fuse.h` and fuse(4).
//!
//! Only what a filesystem needs that is read and never written. Numbers are in the machine's order.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What the kernel asks for.
pub(super) mod opcode {
    pub(in crate::trace) const LOOKUP: u32 = 1;
    pub(in crate::trace) const FORGET: u32 = 2;
    pub(in crate::trace) const GETATTR: u32 = 3;
    pub(in crate::trace) const READLINK: u32 = 5;
    pub(in crate::trace) const READ: u32 = 15;
    pub(in crate::trace) const STATFS: u32 = 17;
    pub(in crate::trace) const GETXATTR: u32 = 22;
    pub(in crate::trace) const LISTXATTR: u32 = 23;
    pub(in crate::trace) const INIT: u32 = 26;
    pub(in crate::trace) const READDIR: u32 = 28;
    pub(in crate::trace) const INTERRUPT: u32 = 36;
    pub(in crate::trace) const DESTROY: u32 = 38;
    pub(in crate::trace) const BATCH_FORGET: u32 = 42;
}

/// Protocol 7.31: what this speaks is older than the kernels that can use it.
const VERSION: [u32; 2] = [7, 31];

/// Several reads of one file may be on their way.
const ASYNC_READ: u32 = 1 << 0;
/// Directories may be looked into in parallel.
const PARALLEL_DIROPS: u32 = 1 << 18;
/// A file needs no opening: whoever answers `OPEN` with `ENOSYS` is not asked again.
const NO_OPEN_SUPPORT: u32 = 1 << 17;
/// The number of pages of a request is negotiated.
const MAX_PAGES: u32 = 1 << 22;
/// The kernel keeps the targets of links.
const CACHE_SYMLINKS: u32 = 1 << 23;
/// A directory needs no opening, and the kernel keeps its entries.
const NO_OPENDIR_SUPPORT: u32 = 1 << 24;

const PAGES_MAX: u16 = 256;

/// The most bytes of file data in one answer.
pub(super) const READ_MAX: usize = 1 << 20;

/// The most bytes of one request: a name or two, and no file data.
pub(super) const REQUEST_MAX: usize = READ_MAX + 4096;

/// Length of what every request begins with.
const HEADER: usize = 40;

/// A time, in seconds, that no step lasts for.
const FOREVER: u64 = 1 << 30;

/// One request.
pub(super) struct Request<'a> {
    pub(super) opcode: u32,
    /// Number of the request; the answer has it too.
    pub(super) unique: u64,
    /// The file it is about.
    pub(super) node: u64,
    arguments: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes apart what was read from the device.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, arguments) = bytes.split_at_checked(HEADER)?;
        let unique = u64::from_ne_bytes(header[8..16].try_into().ok()?);
        let node = u64::from_ne_bytes(header[16..24].try_into().ok()?);
        Some(Self { opcode: number(header, 4)?, unique, node, arguments })
    }

    /// The name that a lookup is for.
    pub(super) fn name(&self) -> Option<&'a [u8]> {
        self.arguments.split(|byte| *byte == 0).next()
    }

    /// Where to read from and how many bytes, of a file or of a directory.
    pub(super) fn range(&self) -> Option<(u64, usize)> {
        let offset = u64::from_ne_bytes(self.arguments.get(8..16)?.try_into().ok()?);
        let size = number(self.arguments, 16)? as usize;
        Some((offset, size.min(READ_MAX)))
    }

    /// How much room there is for an extended attribute or for the list of them; 0 asks for the
    /// length. And the name of the attribute.
    pub(super) fn attribute(&self) -> Option<(usize, &'a [u8])> {
        let name = self.arguments.get(8..)?.split(|byte| *byte == 0).next()?;
        Some((number(self.arguments, 0)? as usize, name))
    }

    /// How far the kernel wants to read ahead, when it says hello.
    pub(super) fn readahead(&self) -> Option<u32> {
        number(self.arguments, 8)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// One answer in the making.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// An answer to `request` with nothing in it yet.
    pub(super) fn to(request: &Request<'_>) -> Self {
        let mut bytes = vec![0; 8];
        bytes.extend(request.unique.to_ne_bytes());
        Self(bytes)
    }

    /// That it failed.
    pub(super) fn error(mut self, errno: i32) -> Self {
        self.0.truncate(16);
        self.0[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        self
    }

    /// The message for the device.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    /// What is spoken: nothing is opened, and all that was read is kept.
    pub(super) fn hello(self, readahead: u32) -> Self {
        let flags = ASYNC_READ
            | PARALLEL_DIROPS
            | NO_OPEN_SUPPORT
            | MAX_PAGES
            | CACHE_SYMLINKS
            | NO_OPENDIR_SUPPORT;
        self.u32(VERSION[0])
            .u32(VERSION[1])
            .u32(readahead)
            .u32(flags)
            .u16(64) // requests in the background, and when that is many
            .u16(48)
            .u32(READ_MAX as u32)
            .u32(1) // times are in nanoseconds
            .u16(PAGES_MAX)
            .bytes(&[0; 34])
    }

    /// A file that was looked up. Its attributes are not to be relied on: whoever wants them has
    /// to ask. Some don't (`AT_STATX_DONT_SYNC` of statx(2)), so the times of a directory, which
    /// tell of its entries, are not among them.
    pub(super) fn entry(self, node: u64, meta: &Metadata) -> Self {
        self.u64(node).u64(0).u64(FOREVER).u64(0).u64(0).attributes(meta, !meta.is_dir())
    }

    /// That there is no such file, and that there will be none.
    pub(super) fn nothing(self) -> Self {
        self.u64(0).u64(0).u64(FOREVER).bytes(&[0; 104])
    }

    /// The attributes of a file, once and for all.
    pub(super) fn stat(self, meta: &Metadata) -> Self {
        self.u64(FOREVER).u64(0).attributes(meta, true)
    }

    fn attributes(self, meta: &Metadata, has_times: bool) -> Self {
        // How long a directory is and how many links it has tells something of its entries, which
        // would be read without our knowing.
        let (size, blocks, links) =
            if meta.is_dir() { (4096, 8, 1) } else { (meta.size(), meta.blocks(), meta.nlink()) };
        let times = [
            (meta.atime(), meta.atime_nsec()),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        ]
        .map(|time| if has_times { time } else { (0, 0) });
        let answer = self.u64(meta.ino()).u64(size).u64(blocks);
        let answer = times.iter().fold(answer, |to, (seconds, _)| to.u64(seconds.cast_unsigned()));
        let answer = times.iter().fold(answer, |to, (_, nanoseconds)| to.u32(*nanoseconds as u32));
        answer
            .u32(meta.mode())
            .u32(links as u32)
            .u32(meta.uid())
            .u32(meta.gid())
            .u32(device(meta.rdev()))
            .u32(4096)
            .u32(0)
    }

    /// The length of an extended attribute, or of the list of them.
    pub(super) fn length(self, length: usize) -> Self {
        self.u32(length as u32).u32(0)
    }

    /// A filesystem with room.
    pub(super) fn statfs(self) -> Self {
        const BLOCKS: u64 = 1 << 28;
        self.u64(BLOCKS)
            .u64(BLOCKS)
            .u64(BLOCKS)
            .u64(0)
            .u64(0)
            .u32(4096)
            .u32(255)
            .u32(4096)
            .bytes(&[0; 28])
    }
}

/// Appends one entry of a directory, whose `type` is as readdir(3) has it.
pub(super) fn put_entry(list: &mut Vec<u8>, inode: u64, kind: u8, name: &[u8]) {
    let next = (list.len() + 24 + name.len()).next_multiple_of(8);
    list.extend(inode.to_ne_bytes());
    list.extend((next as u64).to_ne_bytes());
    list.extend((name.len() as u32).to_ne_bytes());
    list.extend(u32::from(kind).to_ne_bytes());
    list.extend_from_slice(name);
    list.resize(next, 0);
}

/// As many whole entries of `list`, from `offset` on, as fit `size` bytes.
pub(super) fn entries(list: &[u8], offset: u64, size: usize) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(list.len());
    let mut end = start;
    while let Some(next) = list.get(end + 8..end + 16).and_then(|next| next.try_into().ok()) {
        let next = u64::from_ne_bytes(next) as usize;
        if next - start > size {
            break;
        }
        end = next;
    }
    &list[start..end]
}

/// A device number as the protocol has it (`new_encode_dev` of the kernel).
fn device(number: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
