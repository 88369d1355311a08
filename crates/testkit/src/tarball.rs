//! Archives of whatever cannot be made with a shell.

use std::io;

use tar::{Builder, EntryType, Header};

/// An archive in the making.
pub struct Tarball(Builder<Vec<u8>>);

/// One entry of an archive.
pub struct TarEntry<'a> {
    /// The header: type, mode, owner, time, link, device.
    pub header: Header,
    /// The name, of which a header takes less than 100 bytes.
    pub name: &'a [u8],
    /// Records of an extended header.
    pub records: Vec<(&'a str, &'a [u8])>,
    /// The contents.
    pub data: &'a [u8],
}

impl<'a> TarEntry<'a> {
    /// An entry of root's from 2020, mode 644 or 755.
    pub fn new(kind: EntryType, name: &'a [u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_577_836_800);
        Self { header, name, records: Vec::new(), data: &[] }
    }

    /// A regular file.
    pub fn file(name: &'a [u8], data: &'a [u8]) -> Self {
        Self { data, ..Self::new(EntryType::Regular, name) }
    }

    /// The same with one more record.
    #[must_use]
    pub fn with(mut self, key: &'a str, value: &'a [u8]) -> Self {
        self.records.push((key, value));
        self
    }
}

impl Tarball {
    /// An empty archive.
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When a record is malformed.
    pub fn add(&mut self, mut entry: TarEntry<'_>) -> io::Result<&mut Self> {
        self.0.append_pax_extensions(entry.records.iter().copied())?;
        let name = &mut entry.header.as_old_mut().name;
        let length = entry.name.len().min(name.len());
        name[..length].copy_from_slice(&entry.name[..length]);
        entry.header.set_size(entry.data.len() as u64);
        entry.header.set_cksum();
        self.0.append(&entry.header, entry.data)?;
        Ok(self)
    }

    /// The archive.
    ///
    /// # Errors
    /// None: it is in memory.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

impl Default for Tarball {
    fn default() -> Self {
        Self::new()
    }
}
