//! Headers in their canonical form: the same entry always gives the same bytes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use tar::{EntryType, Header};

use super::{BLOCK, COMMENT, XATTR, padding, pax};
use crate::xattr::Xattrs;

/// The largest number 11 octal digits hold: sizes and times.
const MAX_LONG: u64 = 0o777_7777_7777;
/// The largest number 7 octal digits hold: owners and groups.
const MAX_SHORT: u64 = 0o777_7777;

/// What a header says.
pub(crate) struct Entry<'a> {
    /// Without leading slash; of a directory, with a trailing one.
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes of contents that follow.
    pub(crate) size: u64,
    /// Seconds since the epoch, and nanoseconds, which only a record has room for.
    pub(crate) mtime: (i64, u32),
    /// What a symbolic or hard link points to.
    pub(crate) link: &'a [u8],
    /// Major and minor number of a device.
    pub(crate) rdev: (u32, u32),
    pub(crate) xattrs: &'a Xattrs,
}

impl Entry<'_> {
    /// Appends the header, and the PAX header it may need, to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut header = Header::new_ustar();
        let mut records = pax::Records::new();
        if !set_name(&mut header, self.name) {
            records.push(b"path", self.name);
        }
        if !fill(&mut header.as_old_mut().linkname, self.link) {
            records.push(b"linkpath", self.link);
        }
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_size(records.number(b"size", self.size, MAX_LONG));
        header.set_uid(records.number(b"uid", self.uid.into(), MAX_SHORT));
        header.set_gid(records.number(b"gid", self.gid.into(), MAX_SHORT));
        match (u64::try_from(self.mtime.0), self.mtime.1) {
            (Ok(mtime), 0) => header.set_mtime(records.number(b"mtime", mtime, MAX_LONG)),
            (Ok(mtime), nanos) => {
                header.set_mtime(mtime.min(MAX_LONG));
                records.push(b"mtime", format!("{mtime}.{nanos:09}").as_bytes());
            }
            (Err(_), _) => {
                header.set_mtime(0);
                records.push(b"mtime", self.mtime.0.to_string().as_bytes());
            }
        }
        if let Some(ustar) = header.as_ustar_mut()
            && matches!(self.kind, EntryType::Char | EntryType::Block)
        {
            // The kernel's numbers have 12 and 20 bits and always fit.
            ustar.set_device_major(self.rdev.0);
            ustar.set_device_minor(self.rdev.1);
        }
        for (name, value) in self.xattrs {
            records.push(&[XATTR, name.as_bytes()].concat(), value);
        }
        header.set_cksum();
        if let Some(records) = records.finish() {
            encode_pax(EntryType::XHeader, &records, out);
        }
        out.extend_from_slice(header.as_bytes());
    }
}

/// Whether PAX can carry an attribute of this name: the first `=` ends a key.
pub(crate) fn is_representable(xattr: &OsString) -> bool {
    !xattr.as_bytes().contains(&b'=')
}

/// Appends a header that says `comment` of the archive it is at the front of.
pub(crate) fn encode_comment(comment: &str, out: &mut Vec<u8>) {
    let mut records = pax::Records::new();
    records.push(COMMENT, comment.as_bytes());
    if let Some(records) = records.finish() {
        encode_pax(EntryType::XGlobalHeader, &records, out);
    }
}

fn encode_pax(kind: EntryType, records: &[u8], out: &mut Vec<u8>) {
    let mut header = Header::new_ustar();
    fill(&mut header.as_old_mut().name, b"././@PaxHeader");
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64) as usize, 0);
}

/// Writes a name into a header, split at a slash when it is long. Returns false, with as much of
/// the name as fits, when no split does it.
fn set_name(header: &mut Header, name: &[u8]) -> bool {
    if fill(&mut header.as_old_mut().name, name) {
        return true;
    }
    let Some(ustar) = header.as_ustar_mut() else { return false };
    // The rightmost slash that leaves a prefix that fits, and does not leave the name empty.
    let end = name.len().min(ustar.prefix.len() + 1).min(name.len() - 1);
    let Some(slash) = name[..end].iter().rposition(|byte| *byte == b'/') else { return false };
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    if prefix.is_empty() || rest.len() > ustar.name.len() {
        return false;
    }
    ustar.name.fill(0);
    fill(&mut ustar.prefix, prefix) && fill(&mut ustar.name, rest)
}

/// Copies as much of `value` as fits, and says whether that was all.
fn fill(field: &mut [u8], value: &[u8]) -> bool {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    length == value.len()
}

/// The two zero blocks after the last entry.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
