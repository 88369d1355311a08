//! Chain ids: the identity of a stack of layers.

use crate::{Digest, Hasher};

/// The chain id of a stack of layers given by their diff ids, lowest first; `None` for no layers.
///
/// [Defined][spec] as the diff id itself for one layer, and for more as the digest of the chain id
/// below and the diff id on top, separated by a space.
///
/// [spec]: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-chainid
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    diff_ids.iter().copied().reduce(join)
}

/// The chain id of every prefix of the stack: entry `n` covers the lowest `n + 1` layers.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below = None;
    diff_ids
        .iter()
        .map(|&diff_id| *below.insert(below.map_or(diff_id, |chain| join(chain, diff_id))))
        .collect()
}

fn join(chain: Digest, diff_id: Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(chain.to_string().as_bytes());
    hasher.update(b" ");
    hasher.update(diff_id.to_string().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_grows_by_one_layer() {
        let layers: Vec<_> = (0_u8..4).map(|n| Digest::of(&[n])).collect();
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&layers[..1]), Some(layers[0]));
        let expected = Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes());
        assert_eq!(chain_id(&layers[..2]), Some(expected));
        let all = chain_ids(&layers);
        for n in 0..layers.len() {
            assert_eq!(Some(all[n]), chain_id(&layers[..=n]));
        }
    }
}
