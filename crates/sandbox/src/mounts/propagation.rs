//! Whether a mount can pass on what is mounted below it, see mount_namespaces(7).

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::spec::Propagation;

/// Refuses what the kernel would take without doing it: a bind mount hears of nothing where the mount
/// it is made of tells nobody.
pub(super) fn check(file: impl AsFd, path: &Path, wanted: Propagation) -> io::Result<()> {
    let kinds: &[&str] = match wanted {
        Propagation::Private => return Ok(()),
        Propagation::Slave => &["shared:", "master:"],
        Propagation::Shared => &["shared:"],
    };
    let mount = StatxFlags::from_bits_retain(libc::STATX_MNT_ID);
    let id = statx(file, c"", AtFlags::EMPTY_PATH, mount)?.stx_mnt_id;
    let table = std::fs::read("/proc/self/mountinfo")?;
    let Some(mount) = table.split(|byte| *byte == b'\n').find_map(|line| Mount::parse(line, id))
    else {
        return Err(ErrorKind::NotFound.into());
    };
    if mount.tags.iter().any(|tag| kinds.iter().any(|kind| tag.starts_with(kind.as_bytes()))) {
        return Ok(());
    }
    let kind = if wanted == Propagation::Shared { "a shared" } else { "a shared or slave" };
    let (path, place) = (path.display(), Path::new(OsStr::from_bytes(mount.place)).display());
    let what = format!("path {path} is mounted on {place} but it is not {kind} mount");
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

/// A line of proc_pid_mountinfo(5).
struct Mount<'a> {
    place: &'a [u8],
    tags: Vec<&'a [u8]>,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8], id: u64) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let is_it = fields.next()? == id.to_string().as_bytes();
        let place = fields.nth(3)?;
        let tags = fields.skip(1).take_while(|field| *field != b"-").collect();
        is_it.then_some(Self { place, tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_stand_before_the_dash() {
        let line = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw";
        let mount = Mount::parse(line, 36).unwrap();
        assert_eq!(mount.place, b"/mnt2");
        assert_eq!(mount.tags, [&b"master:1"[..], b"shared:7"]);
        assert!(Mount::parse(line, 35).is_none());
    }
}
