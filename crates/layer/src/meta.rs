//! What the kernel says about a file.

use rustix::fs::{FileType, Stat};

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket: layers and copies leave it out.
    Socket,
}

impl Kind {
    /// The type in one word, as documents have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::CharDevice => "char",
            Self::BlockDevice => "block",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// The metadata of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The type of the file.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`), without the type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, whole seconds since the epoch.
    pub mtime: i64,
    /// Modification time, nanoseconds within the second.
    pub mtime_ns: u32,
    /// Change time, whole seconds since the epoch.
    pub ctime: i64,
    /// Change time, nanoseconds within the second.
    pub ctime_ns: u32,
    /// Major and minor number of a device; zero for everything else.
    pub rdev: (u32, u32),
    /// The filesystem the file lies on.
    pub dev: u64,
    /// Inode number, unique within `dev`.
    pub ino: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// 512-byte blocks really allocated: fewer than `size` needs when the file has holes.
    pub blocks: u64,
}

impl Metadata {
    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Whether overlayfs takes this for a deleted file: a character device numbered 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.rdev == (0, 0)
    }

    /// Whether the file is known under more names than this one.
    pub fn is_hardlinked(&self) -> bool {
        self.kind != Kind::Dir && self.nlink > 1
    }

    /// Whether part of the file takes no space on disk.
    pub(crate) fn has_holes(&self) -> bool {
        self.blocks * 512 < self.size
    }
}

#[expect(
    clippy::useless_conversion,
    reason = "the widths of the fields differ between architectures"
)]
impl From<Stat> for Metadata {
    fn from(stat: Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::RegularFile | FileType::Unknown => Kind::File,
        };
        let rdev = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            _ => (0, 0),
        };
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            mtime: stat.st_mtime,
            mtime_ns: stat.st_mtime_nsec as u32,
            ctime: stat.st_ctime,
            ctime_ns: stat.st_ctime_nsec as u32,
            rdev,
            dev: stat.st_dev.into(),
            ino: stat.st_ino,
            nlink: stat.st_nlink.into(),
            blocks: stat.st_blocks as u64,
        }
    }
}
