//! What is in the layers of an image: what each adds, replaces and removes, and what is carried along
//! without being seen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bld_event::Events;
use bld_layer::{Kind, LayerError, Metadata, Node, View, Walk};
use bld_store::ImageRecord;

use super::diff::ImageLayer;
use crate::{Engine, EngineError, Result};

/// The layers of an image, taken apart.
#[derive(Debug, Clone)]
pub struct ImageAnatomy {
    /// The image.
    pub record: ImageRecord,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerAnatomy>,
    /// What a container sees: files of all kinds but directories.
    pub visible: Amount,
    /// Bytes that are in a layer and that no container sees, because a later layer replaced or removed
    /// the file.
    pub wasted: u64,
    /// The largest files that a container sees, the largest first.
    pub largest: Vec<LargeFile>,
    /// The paths that waste most, the worst first.
    pub worst: Vec<WastefulPath>,
}

/// A number of files and their bytes. A file with several names counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Names.
    pub files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

/// One layer, taken apart.
#[derive(Debug, Clone)]
pub struct LayerAnatomy {
    /// What the image says of it.
    pub layer: ImageLayer,
    /// Bytes of the compressed blob, when there is one in the store.
    pub compressed: Option<u64>,
    /// Files, but no directories, at paths where nothing was.
    pub added: Amount,
    /// Files at paths where something was.
    pub replaced: Amount,
    /// Files that are gone, with what they have in the layers below.
    pub removed: Amount,
    /// Bytes of this layer that later layers replace or remove.
    pub hidden: u64,
    /// Everything in it that makes a difference, sorted by path.
    pub entries: Vec<LayerEntry>,
}

/// What a layer makes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// The path.
    pub path: PathBuf,
    /// What becomes of it.
    pub change: LayerEffect,
    /// The type of the file that is there now, or that was there.
    pub kind: Kind,
    /// Bytes of a regular file in this layer.
    pub size: u64,
    /// Bytes of layers below that are wasted by this.
    pub hides: u64,
}

/// What a layer does at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEffect {
    /// Something is where nothing was.
    Adds,
    /// Something else is there, or a directory has another owner or mode.
    Replaces,
    /// It is gone, with everything below.
    Removes,
    /// Something that is not there is removed.
    RemovesNothing,
}

/// A file that takes much space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeFile {
    /// Its path, the first of several.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// The layer it is in, from 0.
    pub layer: usize,
}

/// A path whose file is carried along in layers without being seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WastefulPath {
    /// The path.
    pub path: PathBuf,
    /// Bytes that are not seen.
    pub wasted: u64,
    /// The layers that carry them, from 0.
    pub layers: Vec<usize>,
}

impl Engine {
    /// Takes the image `name` apart. It is unpacked if it is not yet. `top` is how many of the largest
    /// and the most wasteful files are named.
    pub fn image_anatomy(&self, name: &str, top: usize, events: &Events) -> Result<ImageAnatomy> {
        let contents = self.image_contents(name, events)?;
        let store = self.store()?;
        let mut pile = Pile::default();
        let mut layers = Vec::with_capacity(contents.layers.len());
        let snapshots = match contents.record.snapshot {
            Some(snapshot) => store.ancestry(snapshot)?,
            None => Vec::new(),
        };
        for (layer, snapshot) in contents.layers.into_iter().zip(snapshots) {
            let compressed = store.any_layer_blob(&layer.diff_id)?.map(|blob| blob.size);
            let mut anatomy = LayerAnatomy::new(layer, compressed);
            pile.add(layers.len(), &store.layer(snapshot), &mut anatomy)
                .map_err(|source| EngineError::Tree { path: PathBuf::from("/"), source })?;
            layers.push(anatomy);
        }
        for waste in &pile.wasted {
            if let Some(layer) = layers.get_mut(waste.layer) {
                layer.hidden += waste.size;
            }
        }
        Ok(ImageAnatomy {
            record: contents.record,
            layers,
            visible: pile.visible(),
            wasted: pile.wasted.iter().map(|waste| waste.size).sum(),
            largest: pile.largest(top),
            worst: pile.worst(top),
        })
    }
}

/// A file that is seen, of which layer, and which one in it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    layer: usize,
    inode: u64,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
}

/// A regular file of a layer, which may have several names.
#[derive(Debug, Clone, Copy)]
struct Body {
    size: u64,
    /// How many of its names are seen.
    names: u64,
}

/// The layers gone through so far, on top of each other.
#[derive(Default)]
struct Pile {
    /// What is seen of them. Paths are ordered by their components: what is below a directory follows it.
    seen: BTreeMap<PathBuf, Seen>,
    /// Regular files, by layer and inode.
    bodies: HashMap<(usize, u64), Body>,
    /// Files that are not seen any more.
    wasted: Vec<LargeFile>,
}

/// What a layer has hidden and not put back.
type Gone = BTreeMap<PathBuf, (Seen, u64)>;

impl Pile {
    /// Puts the layer in `dir` on top.
    fn add(
        &mut self,
        layer: usize,
        dir: &Path,
        found: &mut LayerAnatomy,
    ) -> Result<(), LayerError> {
        let mut gone = Gone::new();
        // Whiteouts are files like others here.
        View::plain(dir).walk("/", &mut |node| {
            if node.meta.is_whiteout() {
                self.whiteout(node, found, &mut gone);
            } else {
                self.put(layer, node, found, &mut gone)?;
            }
            Ok(Walk::Into)
        })?;
        found.remove(gone);
        found.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn whiteout(&mut self, node: &Node, found: &mut LayerAnatomy, gone: &mut Gone) {
        if self.seen.contains_key(&node.path) {
            self.hide(&node.path, true, gone);
        } else if !gone.contains_key(&node.path) {
            found.entries.push(LayerEntry {
                path: node.path.clone(),
                change: LayerEffect::RemovesNothing,
                kind: node.meta.kind,
                size: 0,
                hides: 0,
            });
        }
    }

    fn put(
        &mut self,
        layer: usize,
        node: &Node,
        found: &mut LayerAnatomy,
        gone: &mut Gone,
    ) -> Result<(), LayerError> {
        let Metadata { kind, mode, uid, gid, ino: inode, .. } = node.meta;
        let seen = Seen { layer, inode, kind, mode, owner: (uid, gid) };
        let below = self.seen.get(&node.path).copied();
        let merges = node.meta.is_dir() && below.is_some_and(|below| below.kind == Kind::Dir);
        if below.is_some() && !merges {
            self.hide(&node.path, true, gone);
        } else if merges && node.is_opaque()? {
            self.hide(&node.path, false, gone);
        }
        let before = gone.remove(&node.path);
        let hides = before.map_or(0, |(_, bytes)| bytes);
        self.seen.insert(node.path.clone(), seen);
        let is_new = below.is_none() && before.is_none();
        let size = self.embody(layer, node);
        let is_same_dir =
            merges && below.is_some_and(|dir| (dir.mode, dir.owner) == (seen.mode, seen.owner));
        if !is_same_dir {
            let change = if is_new { LayerEffect::Adds } else { LayerEffect::Replaces };
            let path = node.path.clone();
            found.entries.push(LayerEntry { path, change, kind, size, hides });
        }
        if !node.meta.is_dir() {
            let amount = if is_new { &mut found.added } else { &mut found.replaced };
            amount.count(size);
        }
        Ok(())
    }

    /// Notes a name of a regular file; its bytes if it is the first.
    fn embody(&mut self, layer: usize, node: &Node) -> u64 {
        if node.meta.kind != Kind::File {
            return 0;
        }
        let size = node.meta.size;
        let body = self.bodies.entry((layer, node.meta.ino)).or_insert(Body { size, names: 0 });
        body.names += 1;
        if body.names == 1 { size } else { 0 }
    }

    /// Takes what is below `path`, and itself if `whole`, out of sight.
    fn hide(&mut self, path: &Path, whole: bool, gone: &mut Gone) {
        let below = self.seen.range(path.to_owned()..).map(|(path, _)| path);
        let below = below.take_while(|other| other.starts_with(path));
        let hidden: Vec<PathBuf> = below.filter(|other| whole || *other != path).cloned().collect();
        for path in hidden {
            let Some(seen) = self.seen.remove(&path) else { continue };
            let mut bytes = 0;
            if let Some(body) = self.bodies.get_mut(&(seen.layer, seen.inode))
                && seen.kind == Kind::File
            {
                body.names -= 1;
                if body.names == 0 {
                    bytes = body.size;
                    let (path, layer) = (path.clone(), seen.layer);
                    self.wasted.push(LargeFile { path, size: bytes, layer });
                }
            }
            gone.insert(path, (seen, bytes));
        }
    }

    fn visible(&self) -> Amount {
        let files = self.seen.values().filter(|seen| seen.kind != Kind::Dir).count();
        let bodies = self.bodies.values().filter(|body| body.names > 0);
        Amount { files: files as u64, bytes: bodies.map(|body| body.size).sum() }
    }

    fn largest(&self, top: usize) -> Vec<LargeFile> {
        let mut first = HashMap::new();
        for (path, seen) in &self.seen {
            if seen.kind == Kind::File {
                first.entry((seen.layer, seen.inode)).or_insert(path);
            }
        }
        let file = |((layer, inode), path): ((usize, u64), &PathBuf)| LargeFile {
            path: path.clone(),
            size: self.bodies.get(&(layer, inode)).map_or(0, |body| body.size),
            layer,
        };
        let mut files: Vec<_> = first.into_iter().map(file).collect();
        files.sort_by(|a, b| (Reverse(a.size), &a.path).cmp(&(Reverse(b.size), &b.path)));
        files.truncate(top);
        files
    }

    fn worst(&self, top: usize) -> Vec<WastefulPath> {
        let mut paths: BTreeMap<&Path, WastefulPath> = BTreeMap::new();
        for waste in self.wasted.iter().filter(|waste| waste.size > 0) {
            let path = paths.entry(&waste.path).or_insert_with(|| WastefulPath {
                path: waste.path.clone(),
                wasted: 0,
                layers: Vec::new(),
            });
            path.wasted += waste.size;
            path.layers.push(waste.layer);
        }
        let mut paths: Vec<_> = paths.into_values().collect();
        paths.sort_by_key(|path| Reverse(path.wasted));
        paths.truncate(top);
        paths
    }
}

impl LayerAnatomy {
    fn new(layer: ImageLayer, compressed: Option<u64>) -> Self {
        Self {
            layer,
            compressed,
            added: Amount::default(),
            replaced: Amount::default(),
            removed: Amount::default(),
            hidden: 0,
            entries: Vec::new(),
        }
    }

    /// Enters what is gone for good: of a directory that is gone, only itself.
    fn remove(&mut self, gone: Gone) {
        let mut top: Option<usize> = None;
        for (path, (seen, bytes)) in gone {
            if seen.kind != Kind::Dir {
                self.removed.count(bytes);
            }
            let above = top.and_then(|top| self.entries.get_mut(top));
            match above.filter(|above| path.starts_with(&above.path)) {
                Some(above) => above.hides += bytes,
                None => {
                    top = Some(self.entries.len());
                    let change = LayerEffect::Removes;
                    self.entries.push(LayerEntry {
                        path,
                        change,
                        kind: seen.kind,
                        size: 0,
                        hides: bytes,
                    });
                }
            }
        }
    }
}

impl Amount {
    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}
