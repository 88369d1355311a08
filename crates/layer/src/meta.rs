//! What the kernel says about a file.

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
