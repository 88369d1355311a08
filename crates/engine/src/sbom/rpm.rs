//! Packages of rpm, from its database in the format of SQLite. Older ones, in that of Berkeley DB or
//! rpm's own, are not read.
//!
//! Each row is a header: the numbers of entries and of bytes of data, the entries (tag, type, offset
//! and count), and the data, all numbers in big-endian.

use std::os::fd::AsRawFd as _;

use bld_layer::{LayerError, Node, View};
use rusqlite::{Connection, OpenFlags};

use super::Package;
use super::system::Distribution;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;

/// Size of an entry, bytes.
const ENTRY: usize = 16;

/// The packages that the database `node` lists; none if it cannot be read.
pub(super) fn packages(
    view: &View,
    node: &Node,
    distribution: &Distribution,
) -> Result<Vec<Package>, LayerError> {
    let file = view.open(node)?;
    // By its descriptor, so that no name on the way leads elsewhere. It does not change, so it needs
    // neither locks nor a log beside it.
    let url = format!("file:/proc/self/fd/{}?immutable=1", file.as_raw_fd());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let read = || -> rusqlite::Result<Vec<Package>> {
        let database = Connection::open_with_flags(&url, flags)?;
        let mut select = database.prepare("SELECT blob FROM Packages")?;
        let headers = select.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        headers.filter_map(|header| header.map(|h| package(&h, distribution)).transpose()).collect()
    };
    Ok(read().unwrap_or_default())
}

fn package(header: &[u8], distribution: &Distribution) -> Option<Package> {
    let header = Header::new(header)?;
    let name = header.text(NAME)?;
    // A key, which is no software.
    if name == "gpg-pubkey" {
        return None;
    }
    let version = format!("{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    let architecture = header.text(ARCHITECTURE).unwrap_or_default();
    let mut package = distribution.package("rpm", "rpm", (name, version, architecture));
    if let Some(epoch) = header.number(EPOCH) {
        package.qualifiers.push(("epoch", epoch.to_string()));
        package.qualifiers.sort();
    }
    package.license = header.text(LICENSE).unwrap_or_default();
    Some(package)
}

struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let entries = usize::try_from(number(bytes, 0)?).ok()?.checked_mul(ENTRY)?;
        let length = usize::try_from(number(bytes, 4)?).ok()?;
        let (entries, rest) = bytes.get(8..)?.split_at_checked(entries)?;
        Some(Self { entries, data: rest.get(..length)? })
    }

    /// What the entry `tag` leads to.
    fn data(&self, tag: u32) -> Option<&'a [u8]> {
        let entry = self.entries.chunks_exact(ENTRY).find(|entry| number(entry, 0) == Some(tag))?;
        self.data.get(usize::try_from(number(entry, 8)?).ok()?..)
    }

    fn text(&self, tag: u32) -> Option<String> {
        let text = self.data(tag)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        number(self.data(tag)?, 0)
    }
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a package.
    fn header(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (tag, value) in fields {
            let offset = data.len() as u32;
            entries.extend([*tag, 6, offset, 1].into_iter().flat_map(u32::to_be_bytes));
            data.extend_from_slice(value);
        }
        let mut header = (fields.len() as u32).to_be_bytes().to_vec();
        header.extend((data.len() as u32).to_be_bytes());
        header.extend(entries);
        header.extend(data);
        header
    }

    #[test]
    fn a_header_names_its_package() {
        let fields: [(u32, &[u8]); 6] = [
            (NAME, b"bash\0"),
            (VERSION, b"5.2\0"),
            (RELEASE, b"1.el9\0"),
            (EPOCH, &[0, 0, 0, 2]),
            (LICENSE, b"GPLv3+\0"),
            (ARCHITECTURE, b"x86_64\0"),
        ];
        let header = header(&fields);
        let distribution = Distribution { id: "rhel".into(), version: "9".into() };
        let Some(found) = package(&header, &distribution) else { panic!("it is not read") };
        assert_eq!((found.name.as_str(), found.version.as_str()), ("bash", "5.2-1.el9"));
        let keys: Vec<_> = found.qualifiers.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["arch", "distro", "epoch"]);
        for length in 0..header.len() {
            let _any = package(&header[..length], &distribution);
        }
    }
}
