//! Files put into a container, each at a path of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use tar::{EntryType, Header};

use crate::error::IoContext as _;
use crate::{Engine, Result};

/// A file that is to be in a container.
#[derive(Debug, Clone)]
pub struct PlacedFile {
    /// Where: an absolute path. Directories that are missing are made, and belong to root.
    pub target: PathBuf,
    /// What.
    pub content: PlacedContent,
}

/// What a file has.
#[derive(Debug, Clone)]
pub enum PlacedContent {
    /// These bytes.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// The user it belongs to.
        uid: u32,
        /// The group it belongs to.
        gid: u32,
        /// Permissions.
        mode: u32,
    },
    /// What a file, a link or a directory of the host has, with its permissions, as root's. Nothing is
    /// done when it has gone meanwhile.
    Host(PathBuf),
}

impl Engine {
    /// Puts files into a container, whether it runs or not, at one stroke.
    pub fn place_files(&self, container: &str, files: Vec<PlacedFile>) -> Result<()> {
        let (mut reader, writer) = io::pipe().at("make a pipe for", container)?;
        thread::scope(|scope| {
            let packing = scope.spawn(move || pack(&files, writer));
            let unpacked = self.copy_in(container, Path::new("/"), &mut reader);
            // A packer that nobody reads from has to end.
            drop(reader);
            let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            unpacked?;
            packed.at("pack files for", container)
        })
    }
}

fn pack(files: &[PlacedFile], out: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for file in files {
        let path = file.target.strip_prefix("/").unwrap_or(&file.target);
        match &file.content {
            PlacedContent::Bytes { bytes, uid, gid, mode } => {
                let mut header = Header::new_gnu();
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes.len() as u64);
                header.set_uid((*uid).into());
                header.set_gid((*gid).into());
                header.set_mode(*mode);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            }
            PlacedContent::Host(source) => match pack_host(&mut tar, path, source) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                packed => packed?,
            },
        }
    }
    tar.into_inner()?.flush()
}

fn pack_host(tar: &mut tar::Builder<impl Write>, path: &Path, source: &Path) -> io::Result<()> {
    let metadata = source.symlink_metadata()?;
    let mut header = Header::new_gnu();
    header.set_metadata(&metadata);
    header.set_uid(0);
    header.set_gid(0);
    if metadata.is_symlink() {
        header.set_size(0);
        return tar.append_link(&mut header, path, source.read_link()?);
    }
    if metadata.is_dir() {
        header.set_size(0);
        return tar.append_data(&mut header, path, io::empty());
    }
    if !metadata.is_file() {
        return Ok(());
    }
    // It may grow meanwhile; what is told is what is read.
    let bytes = std::fs::read(source)?;
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes.as_slice())
}
