//! Remembered digests of files that have not changed since.
//!
//! Hashing a build context of 20,000 files takes ten times as long as asking for their times, so
//! digests are remembered under what stat(2) says. ctime decides: unlike mtime nobody can set it,
//! and every change of content moves it, with one gap: two changes within one tick of the clock.
//! A digest is therefore only remembered for a file whose ctime was well past when the cache was
//! opened, which is before the file was looked at.
//!
//! The files of a committed snapshot never change, so of those the change time is not asked at all:
//! it moves whenever a file is linked into another snapshot.
//!
//! One file per scope, read at once and searched as it is: a header, then entries of 80 bytes
//! sorted by device and inode. Rewritten as a whole, and not synced: written in this boot it is
//! whole, from an earlier one it must agree with the digest in its header.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bld_oci::Digest;

use crate::error::Result;
use crate::temporary::Temporary;
use crate::{SnapshotId, Store, db, layout, list};

/// Names the format. Readers of another ignore the file.
const MAGIC: &[u8; 8] = b"bldstat2";

/// Boot id as the kernel gives it, 36 characters and a newline.
const BOOT: usize = 37;

/// Magic, boot id, digest of the entries; padded, so that entries are aligned in the file.
const HEADER: usize = 80;

/// Device, inode, size, mtime, ctime, flags, digest.
const ENTRY: usize = 6 * 8 + 32;

/// Flags of an entry: it is plain; it has a digest.
const PLAIN: u64 = 1;
const READ: u64 = 2;

/// How long ago a file must have changed: more than a tick of the kernel's coarse clock (10 ms at
/// worst), and than the 2 s of file systems that keep whole seconds only.
const FINE_TICK: i64 = 20_000_000;
const COARSE_TICK: i64 = 2_000_000_000;

/// What is compared to trust a remembered digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatKey {
    /// Device of the file system.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of content or inode, nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// What is remembered of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatEntry {
    /// Digest of its contents, if it was read.
    pub contents: Option<Digest>,
    /// Whether it has no extended attributes that matter to whoever put the entry.
    pub plain: bool,
}

impl From<&std::fs::Metadata> for StatKey {
    fn from(metadata: &std::fs::Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
        };
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl StatKey {
    fn place(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Whether any change after `time` will show in the ctime.
    fn settled(&self, time: i64) -> bool {
        let coarse = self.ctime_ns % 1_000_000_000 == 0;
        self.ctime_ns.saturating_add(if coarse { COARSE_TICK } else { FINE_TICK }) < time
    }

    fn decode(entry: &[u8; ENTRY]) -> (Self, StatEntry) {
        let word = |index| word(entry, index);
        let mut digest = [0; 32];
        digest.copy_from_slice(&entry[48..]);
        let key = Self {
            dev: word(0),
            ino: word(1),
            size: word(2),
            mtime_ns: word(3).cast_signed(),
            ctime_ns: word(4).cast_signed(),
        };
        let has = |flag| word(5) & flag != 0;
        let contents = has(READ).then(|| Digest::from_bytes(digest));
        (key, StatEntry { contents, plain: has(PLAIN) })
    }

    fn encode(&self, entry: &StatEntry, out: &mut Vec<u8>) {
        let times = [self.mtime_ns.cast_unsigned(), self.ctime_ns.cast_unsigned()];
        let words = [self.dev, self.ino, self.size].into_iter().chain(times);
        let flag = |flag, set| if set { flag } else { 0 };
        let flags = flag(PLAIN, entry.plain) | flag(READ, entry.contents.is_some());
        for word in words.chain([flags]) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&entry.contents.map_or([0; 32], |digest| *digest.as_bytes()));
    }
}

thread_local! {
    /// Where the last entry was that this thread has asked for, in whichever cache.
    static NEAR: Cell<usize> = const { Cell::new(0) };
}

/// Where the entry of a file is. The search begins at `near`: files that are looked at one after the
/// other are mostly of one directory, and have inodes near each other.
fn find(entries: &[[u8; ENTRY]], near: usize, place: (u64, u64)) -> Option<usize> {
    let place_of = |index: usize| (word(&entries[index], 0), word(&entries[index], 1));
    let near = near.min(entries.len().checked_sub(1)?);
    let (mut low, mut high, mut step) = (near, near + 1, 1);
    while low > 0 && place < place_of(low) {
        high = low;
        low = low.saturating_sub(step);
        step *= 2;
    }
    while high < entries.len() && place_of(high) <= place {
        low = high;
        high = (high + step).min(entries.len());
        step *= 2;
    }
    let found = entries[low..high].binary_search_by_key(&place, |e| (word(e, 0), word(e, 1)));
    found.ok().map(|index| low + index)
}

/// One of the numbers that an entry begins with.
fn word(entry: &[u8; ENTRY], index: usize) -> u64 {
    u64::from_le_bytes(entry.as_chunks().0[index])
}

impl Store {
    /// Opens the stat cache of `scope`, which is best the path of a context. What cannot be read is
    /// an empty cache.
    pub fn stat_cache(&self, scope: &str) -> StatCache {
        self.open_stat_cache(&Digest::of(scope.as_bytes()).hex(), false)
    }

    /// What is known of the files in the layer of a snapshot, which need not be committed yet. The
    /// change times in keys do not matter. Forgotten with the snapshot.
    pub fn layer_files(&self, snapshot: SnapshotId) -> StatCache {
        self.open_stat_cache(&snapshot.to_string(), true)
    }

    fn open_stat_cache(&self, name: &str, frozen: bool) -> StatCache {
        let name = layout::stat_cache(name);
        let since = db::nanoseconds(SystemTime::now());
        let contents = self.read_stat_cache(&name).unwrap_or_default();
        let (store, fresh) = (self.clone(), Mutex::default());
        let mut cache = StatCache { store, name, since, frozen, contents, used: Vec::new(), fresh };
        cache.used.resize_with(cache.entries().len(), AtomicBool::default);
        cache
    }

    /// Removes what was known of the files of snapshots that are gone.
    pub(crate) fn remove_layer_files(&self) -> Result<()> {
        let inner = self.inner();
        for name in list::texts(&inner.root, layout::STAT_CACHES)? {
            let Ok(id) = name.parse::<SnapshotId>() else { continue };
            // One without a row may still be in the making; its directory comes first.
            if !inner.has_row(id)? && inner.root.open_dir(&layout::snapshot(id))?.is_none() {
                inner.root.unlink(&layout::stat_cache(&name))?;
            }
        }
        Ok(())
    }

    /// A file of the kind that can be trusted, as it is.
    fn read_stat_cache(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        let mut contents = Vec::new();
        File::from(inner.root.open_file(name).ok()??).read_to_end(&mut contents).ok()?;
        let (header, entries) = contents.split_at_checked(HEADER)?;
        let whole_entries = entries.len().is_multiple_of(ENTRY);
        let (magic, header) = header.split_at(MAGIC.len());
        let (boot, header) = header.split_at(BOOT);
        let intact = || Digest::of(entries).as_bytes().as_slice() == &header[..32];
        let valid = magic == MAGIC && whole_entries && (boot == inner.boot || intact());
        valid.then_some(contents)
    }
}

/// The digests of the files of one context. Shared by the threads that walk it.
#[derive(Debug)]
pub struct StatCache {
    store: Store,
    /// Relative to the root.
    name: String,
    /// When it was opened.
    since: i64,
    /// Whether its files never change.
    frozen: bool,
    /// The file: a header and entries, or nothing.
    contents: Vec<u8>,
    /// Which of the entries were asked for.
    used: Vec<AtomicBool>,
    fresh: Mutex<Vec<(StatKey, StatEntry)>>,
}

impl StatCache {
    fn entries(&self) -> &[[u8; ENTRY]] {
        self.contents.get(HEADER..).unwrap_or_default().as_chunks().0
    }

    /// What is known of a file that is as it was.
    pub fn get(&self, key: &StatKey) -> Option<StatEntry> {
        let entries = self.entries();
        let index = find(entries, NEAR.get(), key.place())?;
        NEAR.set(index);
        let (known, entry) = StatKey::decode(&entries[index]);
        let key = if self.frozen { StatKey { ctime_ns: known.ctime_ns, ..*key } } else { *key };
        if known != key {
            return None;
        }
        self.used[index].store(true, Ordering::Relaxed);
        Some(entry)
    }

    /// Remembers what is in a file. `key` must have been asked for after this cache was opened
    /// and before the file was read. Does nothing for a file that has only just changed.
    pub fn insert(&self, key: StatKey, entry: StatEntry) {
        if self.frozen || key.settled(self.since) {
            self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push((key, entry));
        }
    }

    /// Writes it, if there is anything new; files that were not asked for are then forgotten.
    pub fn save(self) -> Result<()> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = self.used.iter().filter(|used| !used.load(Ordering::Relaxed)).count();
        if fresh.is_empty() && unused <= self.used.len() / 2 {
            return Ok(());
        }
        let mut entries = std::mem::take(&mut *fresh);
        let used =
            self.entries().iter().zip(&self.used).filter(|(_, used)| used.load(Ordering::Relaxed));
        entries.extend(used.map(|(entry, _)| StatKey::decode(entry)));
        // Stable: of two for one file, the fresh one comes first and stays.
        entries.sort_by_key(|(key, _)| key.place());
        entries.dedup_by_key(|(key, _)| key.place());

        let mut payload = Vec::with_capacity(entries.len() * ENTRY);
        for (key, entry) in &entries {
            key.encode(entry, &mut payload);
        }
        let inner = self.store.inner();
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&inner.boot);
        header.extend_from_slice(Digest::of(&payload).as_bytes());
        header.resize(HEADER, 0);

        let (temporary, mut file) = Temporary::create(&self.store, "statcache")?;
        let written = file.write_all(&header).and_then(|()| file.write_all(&payload));
        written.map_err(|e| temporary.error("write", e))?;
        temporary.rename(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn key(ctime_ns: i64) -> StatKey {
        StatKey { dev: 1, ino: 2, size: 3, mtime_ns: -4, ctime_ns }
    }

    #[test]
    fn entries_survive_the_trip() {
        let contents = Some(Digest::of(b"x"));
        for (contents, plain) in [(contents, true), (contents, false), (None, true)] {
            let (key, entry) = (key(5), StatEntry { contents, plain });
            let mut bytes = Vec::new();
            key.encode(&entry, &mut bytes);
            assert_eq!(
                bytes.as_chunks::<ENTRY>().0.iter().map(StatKey::decode).next(),
                Some((key, entry))
            );
        }
    }

    #[test]
    fn entries_are_found_from_everywhere() {
        let mut bytes = Vec::new();
        for ino in [2, 3, 5, 8, 13, 21, 34] {
            let key = StatKey { ino, ..key(5) };
            key.encode(&StatEntry { contents: None, plain: true }, &mut bytes);
        }
        let entries = bytes.as_chunks::<ENTRY>().0;
        for near in 0..10 {
            let found = |ino| find(entries, near, (1, ino));
            let all = [2, 3, 5, 8, 13, 21, 34].map(found);
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6].map(Some), "from {near}");
            assert_eq!([0, 4, 20, 35].map(found), [None; 4], "from {near}");
            assert_eq!(find(entries, near, (2, 3)), None);
            assert_eq!(find(&[], near, (1, 2)), None);
        }
    }

    #[test]
    fn what_changed_just_now_is_not_settled() {
        assert!(key(SECOND + 1).settled(SECOND + 1 + FINE_TICK + 1));
        assert!(!key(SECOND + 1).settled(SECOND + 1 + FINE_TICK));
        assert!(!key(SECOND + 1).settled(SECOND));
        // Whole seconds only: the file system may not know better.
        assert!(!key(SECOND).settled(2 * SECOND));
        assert!(key(SECOND).settled(3 * SECOND + 1));
    }
}
