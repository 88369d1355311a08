//! What a step's result is filed under.
//!
//! Every operation has two keys. The *definition key* is made of what the operation says and of the
//! definition keys of its inputs; it is known before anything runs. The *content key* is the same
//! with each input replaced by the digest of what the input really delivered. A lookup tries the
//! definition first; when that misses, a record of the same operation whose inputs had the same
//! content is as good (early cutoff).
//!
//! Content is compared lazily: a record remembers its input snapshots, and a content digest is
//! taken only when a definition has missed and an earlier record of the very same operation exists.
//! So a first build never pays for it.
//!
//! Keys name diffIDs and content digests only: never compressed blobs, paths of this machine, times
//! or thread counts. Changing anything here changes every key: raise [`VERSION`] then, and also when
//! an operation that says the same does something else than before.

use bld_oci::{Digest, Hasher};

/// Version of the key definition; part of every key.
const VERSION: &[u8] = b"bld-key-3";

/// Digest of an operation alone, from its canonical form.
pub(crate) fn operation(canonical: &[u8]) -> Digest {
    let mut hasher = start("operation");
    hasher.update(canonical);
    hasher.finish()
}

/// The key of an operation: its own digest and, for each input in order, a role and a digest.
pub(crate) fn combine<R: AsRef<str>>(
    op: &Digest,
    inputs: impl IntoIterator<Item = (R, Digest)>,
) -> Digest {
    let mut hasher = start("key");
    hasher.update(op.as_bytes());
    for (role, digest) in inputs {
        let role = role.as_ref();
        // The length keeps a role from running into its digest.
        hasher.update(&(role.len() as u64).to_le_bytes());
        hasher.update(role.as_bytes());
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

fn start(domain: &str) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(VERSION);
    hasher.update(&(domain.len() as u64).to_le_bytes());
    hasher.update(domain.as_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_order_and_domain_are_part_of_a_key() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let keys = [
            combine(&a, [("root", b)]),
            combine(&a, [("from", b)]),
            combine(&a, [("root", a), ("from", b)]),
            combine(&a, [("from", b), ("root", a)]),
            combine(&b, [("root", b)]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "key {i} repeats");
        }
        assert_ne!(operation(b"a"), a);
    }
}
