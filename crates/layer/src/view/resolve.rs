//! Following paths through a view.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::{Node, View};
use crate::{Kind, LayerError, Result};

/// How many links one path may lead through: the number container engines agree on. The kernel
/// stops at 40, so no path a process could use is refused.
const MAX_SYMLINKS: usize = 255;

/// Resolves one path. By default every symbolic link is followed.
pub(crate) struct Resolver<'a> {
    view: &'a View,
    follow: bool,
    follow_last: bool,
}

/// Where a path leads.
pub(crate) struct Resolved {
    /// Absolute, without symbolic links and dots.
    pub(crate) path: PathBuf,
    /// What is there.
    pub(crate) node: Option<Node>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(view: &'a View) -> Self {
        Self { view, follow: true, follow_last: true }
    }

    /// Whether a symbolic link at the very end is followed.
    pub(crate) fn follow_last(self, follow_last: bool) -> Self {
        Self { follow_last, ..self }
    }

    /// Whether any symbolic link is followed. If not, one on the way counts as missing.
    pub(crate) fn follow(self, follow: bool) -> Self {
        Self { follow, ..self }
    }

    pub(crate) fn run(&self, path: &Path) -> Result<Resolved> {
        // What is left to walk, the next component last.
        let mut rest = components(path);
        let mut at = Resolved { path: PathBuf::from("/"), node: self.view.root()? };
        // The directories above `at`, so that `..` needs no lookup.
        let mut above: Vec<Resolved> = Vec::new();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == ".." {
                at = above.pop().unwrap_or(at);
                continue;
            }
            let node = match &at.node {
                Some(dir) if dir.meta.is_dir() => self.view.child(dir, &component)?,
                _ => None,
            };
            if let Some(link) = &node
                && link.meta.kind == Kind::Symlink
                && self.follow
                && (self.follow_last || !rest.is_empty())
            {
                links += 1;
                if links > MAX_SYMLINKS {
                    return Err(LayerError::SymlinkLoop { path: path.to_owned() });
                }
                let target = link.link_target()?;
                if target.is_absolute()
                    && let Some(root) = above.drain(..).next()
                {
                    at = root;
                }
                rest.extend(components(&target));
                continue;
            }
            let next = Resolved { path: at.path.join(&component), node };
            above.push(std::mem::replace(&mut at, next));
        }
        Ok(at)
    }
}

/// The components of a path, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
