//! The store: blobs, snapshots, images, containers and cache records of one machine, shared by
//! any number of processes, with no daemon in between.
//!
//! This crate is the only owner of disk state. It knows nothing of tar, registries or how a
//! container is run; it keeps what it is given, finds it again, and says what may be removed.
//!
//! # On disk
//!
//! ```text
//! root/                        entered by its owner only
//! ├── db.sqlite (-wal, -shm)   everything that has a name, and what it is made of
//! ├── blobs/sha256/<hex>       immutable bytes, named by their digest as in an OCI layout
//! ├── snapshots/<id>/          an overlay upper directory: one layer of a file system
//! ├── merged/<id>/             a run of layers as one layer, linked; <id> is its highest snapshot
//! ├── tmp/<session>/           what one live process has in flight
//! │   ├── blob-<n>             a blob being written
//! │   ├── snapshot-<id>        a mark: snapshots/<id> is being made or removed
//! │   ├── trash-<n>/           a tree being removed
//! │   └── work-<n>/            a work directory for an overlay mount
//! ├── locks                    an empty file; a byte of it stands for a key
//! ├── statcache/<hex>          remembered digests of files outside the store
//! ├── statcache/<id>           the same of the files in the layer of a snapshot
//! ├── listings/<hex>           which files an input of records was
//! ├── cachemounts/<key>        a directory for `RUN --mount=type=cache`; <key>.json says which
//! ├── journals/<time>-<ref>.jsonl   what builds did, the engine's to write and read
//! ├── containers/ logs/        filled by the engine
//! ├── mountpoints/             the lowest layers of containers, with what they mount on
//! ├── reserve                  space that garbage collection has when there is no other
//! ├── collected                what the last survey of the cache for its limits found
//! └── epoch                    the boot of the machine for which all this was made ready
//! ```
//!
//! The database decides what exists. A file that no row names is being made, being removed, or
//! rubbish; a row never names a file that is not complete.
//!
//! # Locks
//!
//! All locks but SQLite's own are flock(2) on the object itself, or, where there is no object, an
//! open file description lock on a byte. They cost two system calls, write nothing, need no
//! clean-up, and the kernel takes them back when a process dies, however it dies.
//!
//! | locked | shared | exclusive |
//! |---|---|---|
//! | `snapshots/<id>` | somebody uses it, as a rootfs or a parent: [`Lease`], [`Active`] | it is being made, written to by a container ([`ContainerLayer`]), or removed |
//! | `blobs/sha256/<hex>` | it was made here and nothing names it yet, or a [`Lease`] | it is being removed |
//! | `cachemounts/<key>` | a step uses it: [`CacheHold`] | a step uses it alone, or it is replaced or removed |
//! | `tmp/<session>` | | its process lives |
//! | `journals/<name>` | somebody asks whether its build runs | its build runs, or it is being removed |
//! | a byte of `locks` | | work on that key is being done: [`KeyLock`] |
//! | the root | | the first process of this boot makes it ready |
//!
//! Nobody waits for a lock while holding a transaction open, except for the moments that garbage
//! collection keeps an object. After a lock is won it is checked that the file still has its name.
//!
//! # Garbage
//!
//! Roots are images (named or not, the caller's policy decides about those without a name),
//! containers, cache records, the newest failed steps, and whatever a live process holds. A snapshot keeps all it lies on; an
//! image or snapshot keeps the blobs of its layers. [`Store::gc`] marks and sweeps inside one write
//! transaction and takes the exclusive lock of everything it removes, so what was held or named
//! before is seen, and what would be afterwards fails cleanly. [`Store::prune`] decides by rules which
//! records go, and lets the collection do the rest; it also removes cache mounts and stat caches.
//! [`Store::collect_if_due`] does so at the end of builds, when limits may have been reached.
//!
//! A process that dies leaves its session, which anybody can lock from then on. [`Store::open`]
//! looks at `tmp`, which is all but empty, and removes what such sessions hold and mark. One of them is
//! used again. Nothing else has to be searched.
//!
//! # What survives
//!
//! *The death of a process*, at any instant: a transaction happened or did not. Snapshots and blobs
//! are complete before their row is committed, rows are gone before their files are. What is in
//! between is marked in a session.
//!
//! *A power cut*, without a flush per file: rows that name files have a bit, `synced`. It is set, in
//! a transaction that is itself flushed, only for what was there before a syncfs(2) that succeeded.
//! The first process of the next boot, which it knows by the kernel's boot id in `epoch`, drops
//! snapshots that do not have the bit, hashes blobs that do not, and only then lets anyone read.
//! Within a boot the page cache makes the bit irrelevant, so steps of a build are visible to all
//! at once, and one syncfs at its end ([`Store::put_image`], or [`Store::sync`]) makes them last.
//!
//! *A full disk*: every writer fails with [`StoreError::NoSpace`] and leaves nothing behind.
//!
//! *Damage*: [`Store::check`] hashes everything and names what is not as it should be;
//! [`Store::read_blob`] never returns bytes that do not fit their name.
//!
//! # Speed
//!
//! A build that changes nothing asks in a fresh process and writes nothing: opening the store takes
//! 0.04 ms, opening the database 0.4 ms, and each question 4 to 10 µs, whether there are ten images or
//! ten thousand. A step costs 0.4 ms on ext4; most of that was the making and removing of inodes,
//! which is why marks are links, keys are bytes and work directories are used again.

mod active;
mod beginnings;
mod blob;
mod cache_mount;
mod check;
mod container;
mod db;
mod disk;
mod elsewhere;
mod epoch;
mod error;
mod flock;
mod gc;
mod hold;
mod id;
mod image;
mod journal;
mod layer_blob;
mod layout;
mod line;
mod list;
mod listing;
mod lock;
mod merged;
mod mount_points;
mod note;
mod parallel;
mod reads;
mod record;
mod remove;
mod repair;
mod root;
mod said;
mod session;
mod snapshot;
mod stat_cache;
mod step;
mod store;
mod sweep;
mod temporary;
mod work;
mod write_out;

pub use active::{Active, ContainerLayer};
pub use blob::BlobWriter;
pub use cache_mount::{CacheAccess, CacheHold, CacheMount, CacheName};
pub use check::{DiffIdOf, Problem};
pub use container::Container;
pub use disk::{
    DiskEntry, DiskFilter, DiskKind, FilterError, PruneRule, Pruned, SpaceLimits, percent,
};
pub use elsewhere::{AbsentLayer, LayerElsewhere, LayerSource};
pub use error::{Result, StoreError};
pub use gc::{GcPolicy, GcReport};
pub use hold::Lease;
pub use id::{SnapshotId, SnapshotIdError};
pub use image::{ImageRecord, RepoDigest, Tag};
pub use journal::{Journal, OpenJournal};
pub use layer_blob::LayerBlob;
pub use lock::KeyLock;
pub use merged::Run;
pub use record::{Record, RecordInput};
pub use repair::Repair;
pub use snapshot::SnapshotInfo;
pub use stat_cache::{StatCache, StatEntry, StatKey};
pub use step::Step;
pub use store::Store;
pub use temporary::Scratch;
