//! Made-up files: the same bytes every time, half of them text that compresses as text does.

use std::{f64::consts::TAU, fmt::Write as _, fs, path::Path};

use anyhow::Result;

pub(super) const MIB: usize = 1 << 20;

/// A generator of numbers that look random: SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From a bell curve around 0 of width 1, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// Bytes that do not compress.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Lines of words, a few of them frequent; gzip makes a third of them.
    pub(super) fn text(&mut self, count: usize) -> Vec<u8> {
        const LETTERS: &[u8] = b"etaoinshrdlucmfwypvbgkjqxz";
        let words: Vec<String> = (0..6000)
            .map(|_| {
                let length = 2 + self.below(10);
                (0..length).map(|_| char::from(LETTERS[self.below(LETTERS.len())])).collect()
            })
            .collect();
        // As often as Zipf says: the nth word 1/n times as often as the first.
        let mut sum = 0.0;
        let sums: Vec<f64> = (0..words.len())
            .map(|n| {
                sum += 1.0 / (n + 3) as f64;
                sum
            })
            .collect();
        let mut text = String::with_capacity(count + 16);
        for n in 0.. {
            if text.len() >= count {
                break;
            }
            let at = self.unit() * sum;
            let word = &words[sums.partition_point(|&sum| sum <= at).min(words.len() - 1)];
            let _ = write!(text, "{word}{}", if n % 12 == 11 { '\n' } else { ' ' });
        }
        text.truncate(count);
        text.into_bytes()
    }
}

/// Sizes of `count` files, `total` bytes together: many small ones and a few that are large, as in
/// trees of sources and what was made of them.
fn sizes(random: &mut Random, count: usize, total: usize) -> Vec<usize> {
    const LEAST: usize = 64;
    let shares: Vec<_> = (0..count).map(|_| (1.6 * random.normal()).exp().min(120.0)).collect();
    let scale = (total - LEAST * count) as f64 / shares.iter().sum::<f64>();
    let mut sizes: Vec<_> = shares.iter().map(|share| LEAST + (share * scale) as usize).collect();
    let missing = total - sizes.iter().sum::<usize>();
    sizes[0] += missing;
    sizes
}

/// Writes a tree of `count` files, `total` bytes together, 20 in a directory, every other of text.
pub(super) fn write_tree(root: &Path, count: usize, total: usize) -> Result<()> {
    let mut random = Random::new(3);
    let text = random.text(8 * MIB);
    for (index, size) in sizes(&mut random, count, total).into_iter().enumerate() {
        let directory = root.join(format!("p{:02}/m{:04}", index / 20 % 40, index / 800));
        if index % 20 == 0 {
            fs::create_dir_all(&directory)?;
        }
        if index % 2 == 0 {
            let start = random.below(text.len());
            let mut bytes = text[start..text.len().min(start + size)].to_vec();
            while bytes.len() < size {
                bytes.extend_from_slice(&text[..text.len().min(size - bytes.len())]);
            }
            fs::write(directory.join(format!("f{index:06}.txt")), bytes)?;
        } else {
            fs::write(directory.join(format!("f{index:06}.bin")), random.bytes(size))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_every_time() {
        let make = || Random::new(1).text(1000);
        assert_eq!(make(), make());
        assert_eq!(make().len(), 1000);
        assert_ne!(Random::new(1).bytes(64), Random::new(2).bytes(64));
    }

    #[test]
    fn sizes_add_up_and_differ() {
        let sizes = sizes(&mut Random::new(3), 1000, 25 * MIB);
        assert_eq!(sizes.iter().sum::<usize>(), 25 * MIB);
        assert!(sizes.iter().all(|&size| size >= 64));
        assert!(sizes.iter().max() > sizes.iter().min().map(|least| least * 100).as_ref());
    }
}
