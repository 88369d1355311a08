//! Opening many files of the same directories.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Layer, Node, READ};
use crate::error::Context;
use crate::{Result, sys};

/// Opens one file after the other for reading. While they lie in the same directory, the kernel
/// is not asked to find that again.
#[derive(Default)]
pub(crate) struct Opener<'a>(Option<(&'a Arc<Layer>, &'a Path, OwnedFd)>);

impl<'a> Opener<'a> {
    /// As [`View::open`](super::View::open).
    pub(crate) fn open(&mut self, node: &'a Node) -> Result<File> {
        let parent = node.path.parent().unwrap_or(&node.path);
        let dir = match self.0.take() {
            Some((layer, path, dir))
                if Arc::ptr_eq(layer, &node.layer) && path.as_os_str() == parent.as_os_str() =>
            {
                dir
            }
            _ => {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                sys::open_beneath(node.layer.root()?, sys::unrooted(parent), flags)
                    .with_context("open directory", || node.layer.real(parent))?
            }
        };
        let (_, _, dir) = self.0.insert((&node.layer, parent, dir));
        sys::open_beneath(&*dir, Path::new(node.name()), READ)
            .map(File::from)
            .with_context("open", || node.real())
    }
}
