//! Images: found by name, fetched, unpacked, listed, described, removed, and moved in and out.
//!
//! An image is a record in the store (its configuration's digest is its id) plus the blobs of its
//! configuration, its manifest when it has one, and its layers, which exist as snapshots, as
//! compressed blobs, or as both. Nothing is fetched, unpacked or compressed before something needs
//! it.

mod unpack;

pub use unpack::ensure_unpacked;
