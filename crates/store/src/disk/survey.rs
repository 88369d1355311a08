//! Taking stock: every file of the store, and to whom it belongs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use bld_oci::Digest;
use rusqlite::Connection;

use super::measure::{self, Linked, Size};
use super::{DiskEntry, DiskKind};
use crate::error::Result;
use crate::gc::Seized;
use crate::store::Inner;
use crate::{CacheMount, SnapshotId, Store, db, layout, list, parallel};

/// What there is, as it was found.
pub(super) struct Survey {
    pub(super) items: Vec<Item>,
    /// The files that several items have, or may have.
    pub(super) linked: HashMap<(u64, u64), Shared>,
}

/// A file with several names: its bytes, and the items that have it.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) bytes: u64,
    pub(super) holders: Vec<usize>,
}

/// An entry, and what has to be known to remove it.
pub(super) struct Item {
    /// Its bytes are set last.
    pub(super) entry: DiskEntry,
    pub(super) place: Place,
    /// What it lies on.
    pub(super) parent: Option<usize>,
    /// How many lie on it.
    pub(super) children: usize,
    /// An image or a container keeps it: no policy for the cache counts it.
    pub(super) kept: bool,
    /// What it takes.
    pub(super) size: Size,
    /// Where that is, relative to the root.
    paths: Vec<Path>,
}

/// What is to be removed to get rid of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A committed snapshot, with its records.
    Snapshot(SnapshotId),
    /// A directory of the cache mounts.
    CacheMount(String),
    /// A file of the stat caches.
    StatCache(String),
    /// What every collection takes.
    Leftovers,
    /// Nothing that a policy could take.
    Other,
}

enum Path {
    /// With all that is in it.
    Tree(String),
    /// Without.
    Alone(String),
}

impl Path {
    fn name(&self) -> &str {
        match self {
            Self::Tree(name) | Self::Alone(name) => name,
        }
    }
}

impl Item {
    fn new(id: &str, kind: DiskKind, place: Place) -> Self {
        Self {
            entry: DiskEntry { id: id.to_owned(), kind, ..DiskEntry::default() },
            place,
            parent: None,
            children: 0,
            kept: false,
            size: Size::default(),
            paths: Vec::new(),
        }
    }

    /// Something that no policy takes.
    fn internal(id: &str, description: &str) -> Self {
        let mut item = Self::new(id, DiskKind::Internal, Place::Other);
        description.clone_into(&mut item.entry.description);
        (item.entry.in_use, item.entry.mutable, item.kept) = (true, true, true);
        item
    }
}

/// What is at the top of the store that is no file of its own making, and what it is.
const TOP: [(&str, &str); 4] = [
    (layout::CONTAINERS, "files of containers"),
    ("volumes", "volumes"),
    (layout::LOGS, "what steps wrote"),
    ("run", "sockets and network state"),
];

impl Survey {
    /// Looks at everything.
    pub(super) fn take(store: &Store) -> Result<Self> {
        let inner = store.inner();
        inner.write_touched()?;
        let mut items = inner.db.with(snapshots)?;
        mark_kept(inner, &mut items)?;
        mark_held(inner, &mut items)?;
        let mut flight = Item::internal(layout::SESSIONS, "work in flight");
        flight.paths.push(Path::Tree(layout::SESSIONS.to_owned()));
        let mut leftovers = Item::new("leftovers", DiskKind::Internal, Place::Leftovers);
        "what nothing refers to".clone_into(&mut leftovers.entry.description);
        let mut images = Item::internal("blobs", "configurations, manifests and layers of images");
        let blobs = Blobs::read(inner)?;
        blobs.assign(inner, &mut items, &mut images, &mut flight, &mut leftovers)?;
        nameless(inner, &items, &mut flight, &mut leftovers)?;
        items.extend(cache_mounts(store)?);
        items.extend(stat_caches(inner)?);
        items.extend([leftovers, flight, images]);
        items.extend(others(inner)?);
        let mut survey = Self { items, linked: HashMap::new() };
        survey.measure(inner)?;
        survey.attribute();
        Ok(survey)
    }

    /// The entries, without those that take nothing and are nothing.
    pub(super) fn into_entries(self) -> Vec<DiskEntry> {
        let entries = self.items.into_iter().map(|item| (item.place, item.entry));
        let shown = entries.filter(|(place, entry)| {
            entry.bytes > 0 || !matches!(place, Place::Leftovers | Place::Other)
        });
        shown.map(|(_, entry)| entry).collect()
    }

    fn measure(&mut self, inner: &Inner) -> Result<()> {
        let paths = self.items.iter().enumerate();
        let paths: Vec<(usize, &Path)> = paths
            .flat_map(|(index, item)| item.paths.iter().map(move |path| (index, path)))
            .collect();
        let sizes = parallel::map(&paths, |(index, path)| -> Result<(usize, Size)> {
            let name = path.name();
            let size = match path {
                Path::Tree(_) => measure::tree(&inner.root, name),
                Path::Alone(_) => measure::one(&inner.root, name),
            };
            Ok((*index, size.map_err(|errno| inner.root.error("measure", name, errno))?))
        });
        for result in sizes {
            let (index, size) = result?;
            self.items[index].size.add(size);
        }
        for item in &mut self.items {
            if item.entry.created == SystemTime::UNIX_EPOCH {
                let time = item.paths.first().and_then(|path| modified(inner, path.name()));
                item.entry.created = time.unwrap_or_else(SystemTime::now);
            }
        }
        Ok(())
    }

    /// Gives every byte to one item.
    fn attribute(&mut self) {
        for (index, item) in self.items.iter_mut().enumerate() {
            item.entry.bytes = item.size.own;
            for Linked { file, bytes } in &item.size.linked {
                let shared = self.linked.entry(*file).or_default();
                shared.bytes = *bytes;
                if shared.holders.last() != Some(&index) {
                    shared.holders.push(index);
                }
            }
        }
        for shared in self.linked.values() {
            let in_use = |holder: &&usize| self.items[**holder].entry.in_use;
            let owner = shared.holders.iter().find(in_use).or(shared.holders.first());
            if let Some(&owner) = owner {
                self.items[owner].entry.bytes += shared.bytes;
            }
            if shared.holders.len() > 1
                && shared.holders.iter().any(|&holder| self.items[holder].kept)
            {
                for &holder in &shared.holders {
                    self.items[holder].entry.shared = true;
                }
            }
        }
    }
}

/// The snapshots that the database knows, parents before what lies on them.
fn snapshots(db: &Connection) -> Result<Vec<Item>> {
    let mut select = db.prepare(
        "WITH of_records AS (
             SELECT snapshot, max(used) AS used, sum(uses) AS uses,
                 max(json_extract(fields, '$.op') = 'git') AS git
             FROM records WHERE snapshot IS NOT NULL GROUP BY snapshot
         ), of_steps AS (
             SELECT snapshot, name, max(failed) AS failed, max(created) AS ended FROM steps GROUP BY snapshot
         )
         SELECT id, parent, container, created,
             coalesce(of_records.used, iif(failed, ended, NULL)), coalesce(uses, 0),
             coalesce(git, 0), name, coalesce(failed, 0),
             (SELECT name FROM containers WHERE containers.id = container), absent
         FROM snapshots
         LEFT JOIN of_records ON of_records.snapshot = id
         LEFT JOIN of_steps ON of_steps.snapshot = id
         ORDER BY created, id",
    )?;
    let mut items = Vec::new();
    let mut places = HashMap::new();
    let mut parents = Vec::new();
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let (id, parent): (SnapshotId, Option<SnapshotId>) = (row.get(0)?, row.get(1)?);
        let container: Option<String> = row.get(2)?;
        let (is_git, failed): (bool, bool) = (row.get(6)?, row.get(8)?);
        let (kind, place) = match (&container, is_git, failed) {
            (Some(_), ..) => (DiskKind::Internal, Place::Other),
            (None, true, _) => (DiskKind::GitCheckout, Place::Snapshot(id)),
            (None, false, true) => (DiskKind::Internal, Place::Snapshot(id)),
            (None, false, false) => (DiskKind::Regular, Place::Snapshot(id)),
        };
        let mut item = Item::new(&id.to_string(), kind, place);
        item.entry.parents.extend(parent.map(|parent| parent.to_string()));
        item.entry.created = db::time(row.get(3)?);
        item.entry.used = row.get::<_, Option<i64>>(4)?.map(db::time);
        item.entry.uses = row.get::<_, i64>(5)?.cast_unsigned();
        item.entry.mutable = container.is_some();
        let name: Option<String> = row.get(7)?;
        item.entry.description = match (container, row.get::<_, Option<String>>(9)?) {
            (Some(id), name) => format!("layer of container {}", name.unwrap_or(id)),
            (None, _) if failed => format!("{} (failed)", name.unwrap_or_default()),
            (None, _) if row.get(10)? => {
                format!("{} (not downloaded)", name.unwrap_or_default()).trim().to_owned()
            }
            (None, _) => name.unwrap_or_default(),
        };
        item.paths.push(Path::Tree(layout::snapshot(id)));
        item.paths.push(Path::Tree(layout::stat_cache(&id.to_string())));
        item.paths.push(Path::Tree(layout::merged(id)));
        places.insert(id, items.len());
        parents.push(parent);
        items.push(item);
    }
    for (index, parent) in parents.into_iter().enumerate() {
        if let Some(&parent) = parent.and_then(|parent| places.get(&parent)) {
            items[index].parent = Some(parent);
            items[parent].children += 1;
        }
    }
    Ok(items)
}

/// Marks `index` and all it lies on, up to where somebody has been.
fn mark(
    items: &mut [Item],
    index: usize,
    is_marked: impl Fn(&Item) -> bool,
    set: impl Fn(&mut Item),
) {
    let mut next = Some(index);
    while let Some(index) = next.filter(|&index| !is_marked(&items[index])) {
        set(&mut items[index]);
        next = items[index].parent;
    }
}

/// Says what images and containers keep.
fn mark_kept(inner: &Inner, items: &mut [Item]) -> Result<()> {
    let places: HashMap<String, usize> =
        items.iter().enumerate().map(|(index, item)| (item.entry.id.clone(), index)).collect();
    let keep = |items: &mut [Item], index| {
        mark(
            items,
            index,
            |item| item.kept,
            |item| {
                (item.kept, item.entry.in_use, item.entry.shared) = (true, true, true);
            },
        );
    };
    for index in 0..items.len() {
        if items[index].place == Place::Other {
            keep(items, index);
        }
    }
    for (image, name) in inner.db.with(images)? {
        let Some(&index) = places.get(&image.to_string()) else { continue };
        keep(items, index);
        let mut next = Some(index);
        while let Some(item) =
            next.map(|index| &mut items[index]).filter(|item| item.entry.description.is_empty())
        {
            item.entry.description = format!("layer of {name}");
            next = item.parent;
        }
    }
    Ok(())
}

/// The snapshots of images, with a name for each.
fn images(db: &Connection) -> Result<Vec<(SnapshotId, String)>> {
    let mut select = db.prepare(
        "SELECT snapshot, (SELECT min(name) FROM tags WHERE image = images.id), id FROM images
         WHERE snapshot IS NOT NULL",
    )?;
    let rows = select.query_map((), |row| {
        let name: Option<String> = row.get(1)?;
        Ok((row.get(0)?, name.unwrap_or(db::digest(row, 2)?.short())))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Says what live processes hold.
fn mark_held(inner: &Inner, items: &mut [Item]) -> Result<()> {
    for index in 0..items.len() {
        let Place::Snapshot(id) = items[index].place else { continue };
        if !items[index].entry.in_use && matches!(inner.seize_snapshot(id)?, Seized::Busy) {
            mark(items, index, |item| item.entry.in_use, |item| item.entry.in_use = true);
        }
    }
    Ok(())
}

/// The blobs, by who needs them.
struct Blobs {
    /// By layer.
    of_layers: HashMap<Digest, Vec<Digest>>,
    /// Configurations, manifests and layers of images.
    of_images: HashSet<Digest>,
    /// The layer of each snapshot.
    layers: HashMap<SnapshotId, Digest>,
}

impl Blobs {
    fn read(inner: &Inner) -> Result<Self> {
        inner.db.with(|db| {
            let mut blobs = Self {
                of_layers: HashMap::new(),
                of_images: HashSet::new(),
                layers: HashMap::new(),
            };
            let mut select = db.prepare("SELECT diff_id, digest FROM layer_blobs")?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                blobs.of_layers.entry(db::digest(row, 0)?).or_default().push(db::digest(row, 1)?);
            }
            let mut select = db.prepare("SELECT id, manifest, layers, said FROM images")?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                blobs.of_images.insert(db::digest(row, 0)?);
                blobs.of_images.extend(db::optional_digest(row, 1)?);
                blobs.of_images.extend(db::optional_digest(row, 3)?);
                let layers = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
                for layer in layers.as_chunks().0.iter().copied().map(Digest::from_bytes) {
                    blobs.of_images.extend(blobs.of_layers.get(&layer).into_iter().flatten());
                }
            }
            let mut select =
                db.prepare("SELECT id, diff_id FROM snapshots WHERE diff_id IS NOT NULL")?;
            let mut rows = select.query(())?;
            while let Some(row) = rows.next()? {
                blobs.layers.insert(row.get(0)?, db::digest(row, 1)?);
            }
            Ok(blobs)
        })
    }

    /// Gives every blob to whom it belongs: to all snapshots that have its layer, and to the images.
    fn assign(
        &self,
        inner: &Inner,
        snapshots: &mut [Item],
        images: &mut Item,
        flight: &mut Item,
        leftovers: &mut Item,
    ) -> Result<()> {
        let mut loose: HashSet<Digest> = list::blobs(&inner.root)?.into_iter().collect();
        let mut sizes = HashMap::new();
        let size = |digest: &Digest| {
            let name = layout::blob(digest);
            let stat =
                rustix::fs::statat(&inner.root, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
            stat.ok().map(|stat| measure::linked(&stat))
        };
        for item in snapshots {
            let Place::Snapshot(id) = item.place else { continue };
            let layer = self.layers.get(&id).and_then(|layer| self.of_layers.get(layer));
            for digest in layer.into_iter().flatten() {
                loose.remove(digest);
                item.size.linked.extend(*sizes.entry(*digest).or_insert_with(|| size(digest)));
            }
        }
        for digest in &self.of_images {
            loose.remove(digest);
            images.size.linked.extend(*sizes.entry(*digest).or_insert_with(|| size(digest)));
        }
        for digest in loose {
            let item = match inner.seize_blob(&digest)? {
                Seized::Busy => &mut *flight,
                Seized::Free(_) => &mut *leftovers,
            };
            item.size.linked.extend(size(&digest));
        }
        Ok(())
    }
}

/// Snapshots that have no row: somebody is making or removing them, or died.
fn nameless(inner: &Inner, known: &[Item], flight: &mut Item, leftovers: &mut Item) -> Result<()> {
    let known: HashSet<&str> = known.iter().map(|item| item.entry.id.as_str()).collect();
    for id in list::snapshots(&inner.root)? {
        if known.contains(id.to_string().as_str()) {
            continue;
        }
        let item = match inner.seize_snapshot(id)? {
            Seized::Busy => &mut *flight,
            Seized::Free(_) => &mut *leftovers,
        };
        item.paths.push(Path::Tree(layout::snapshot(id)));
    }
    Ok(())
}

/// The cache mounts.
fn cache_mounts(store: &Store) -> Result<Vec<Item>> {
    let inner = store.inner();
    let known: HashMap<String, CacheMount> =
        store.cache_mounts()?.into_iter().map(|mount| (mount.name.key(), mount)).collect();
    let keys: BTreeSet<String> = list::texts(&inner.root, layout::CACHE_MOUNTS)?
        .into_iter()
        .map(|name| name.split('.').next().unwrap_or_default().to_owned())
        .collect();
    let item = |key: String| {
        let mut item = Item::new(&key, DiskKind::CacheMount, Place::CacheMount(key.clone()));
        item.entry.mutable = true;
        item.entry.in_use = matches!(inner.seize_cache_mount(&key)?, Seized::Busy);
        item.entry.description = match known.get(&key) {
            Some(mount) => format!("cache mount {}", mount.name.id),
            None => "cache mount".to_owned(),
        };
        if let Some(mount) = known.get(&key) {
            (item.entry.created, item.entry.used) = (mount.created, Some(mount.used));
        }
        item.paths
            .extend([layout::cache_mount(&key), layout::cache_mount_about(&key)].map(Path::Tree));
        Ok(item)
    };
    keys.into_iter().map(item).collect()
}

fn stat_caches(inner: &Inner) -> Result<Vec<Item>> {
    let names = list::texts(&inner.root, layout::STAT_CACHES)?;
    Ok(names
        .into_iter()
        .filter(|name| name.parse::<SnapshotId>().is_err()) // counted with the snapshot
        .map(|name| {
            let path = layout::stat_cache(&name);
            let used = modified(inner, &path);
            let mut item = Item::new(&name, DiskKind::LocalSource, Place::StatCache(name.clone()));
            "digests of files of a local context".clone_into(&mut item.entry.description);
            item.entry.used = used;
            item.entry.mutable = true;
            item.paths.push(Path::Tree(path));
            item
        })
        .collect())
}

/// Everything else at the top, and the directories whose contents others count.
fn others(inner: &Inner) -> Result<Vec<Item>> {
    let mut own = Item::internal("store", "the store itself");
    let mut database = Item::internal("database", "images, records and their like");
    own.paths.extend(
        [
            ".",
            layout::BLOBS_PARENT,
            layout::BLOBS,
            layout::SNAPSHOTS,
            layout::CACHE_MOUNTS,
            layout::STAT_CACHES,
            layout::MERGED,
        ]
        .map(|name| Path::Alone(name.to_owned())),
    );
    let mut items = Vec::new();
    for name in list::texts(&inner.root, ".")? {
        let path = Path::Tree(name.clone());
        match name.as_str() {
            layout::BLOBS_PARENT
            | layout::SNAPSHOTS
            | layout::CACHE_MOUNTS
            | layout::STAT_CACHES
            | layout::MERGED
            | layout::SESSIONS => {}
            name if name.starts_with(layout::DATABASE) => database.paths.push(path),
            name => match TOP.iter().find(|(known, _)| *known == name) {
                Some((name, description)) => {
                    let mut item = Item::internal(name, description);
                    item.paths.push(path);
                    items.push(item);
                }
                None => own.paths.push(path),
            },
        }
    }
    items.extend([database, own]);
    Ok(items)
}

fn modified(inner: &Inner, name: &str) -> Option<SystemTime> {
    std::fs::symlink_metadata(inner.root.join(name)).and_then(|meta| meta.modified()).ok()
}
