//! Telling what no compressor can make smaller: what is encrypted or compressed already.
//!
//! Only whole numbers are compared, so that the answer is the same everywhere.

/// The share, 1 in so many, by which the bytes may be less evenly spread than chance has it. Codes
/// fitted to such a spread save less than a three-hundredth.
const UNEVEN: u64 = 32;
/// The fewest bytes that say something about how they are spread.
const ENOUGH: usize = 4096;
/// The byte whose followers are compared. Any would do; this one begins no common format's marker.
const ANCHOR: u8 = 0x9d;
/// How many of its followers.
const FOLLOWERS: usize = 8;

/// Whether nothing is gained by compressing `piece`: all bytes are about as frequent as one
/// another, and no stretch comes twice. A repetition shorter than a few hundred bytes may be
/// missed, which costs its length and nothing else.
///
/// A piece too short to tell is no noise.
pub(super) fn is_noise(piece: &[u8]) -> bool {
    if piece.len() < ENOUGH {
        return false;
    }
    // Four counts, so that equal neighbours don't wait for each other.
    let mut counts = [[0_u32; 256]; 4];
    let (quads, _) = piece.as_chunks::<4>();
    for [first, second, third, fourth] in quads {
        counts[0][usize::from(*first)] += 1;
        counts[1][usize::from(*second)] += 1;
        counts[2][usize::from(*third)] += 1;
        counts[3][usize::from(*fourth)] += 1;
    }
    // For n evenly spread bytes, the squares of their counts sum up to n²/256 + n.
    let squares: u64 = (0..256)
        .map(|byte| counts.iter().map(|count| u64::from(count[byte])).sum::<u64>().pow(2))
        .sum();
    let length = 4 * quads.len() as u64;
    let even = length * length / 256;
    squares < even + length + even / UNEVEN && !repeats(piece)
}

/// Whether a stretch of bytes comes twice. Where the anchor stands decides which places are
/// compared, so stretches are found whatever their distance.
fn repeats(piece: &[u8]) -> bool {
    let mut followers: Vec<[u8; FOLLOWERS]> = piece
        .windows(1 + FOLLOWERS)
        .filter(|window| window[0] == ANCHOR)
        .filter_map(|window| window.last_chunk().copied())
        .collect();
    followers.sort_unstable();
    followers.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn only_noise_is_noise() {
        let noise = noise(64 * 1024);
        assert!(is_noise(&noise));
        assert!(!is_noise(b""));
        assert!(!is_noise(&noise[..1024]), "too short to be sure");
        assert!(!is_noise(&[7].repeat(65536)));
        // Base64 fits into six bits of eight.
        let six_bits: Vec<u8> = noise.iter().map(|byte| byte & 63).collect();
        assert!(!is_noise(&six_bits));
        // Evenly spread, but with a stretch of four kilobytes twice, thirty apart.
        let mut again = noise.clone();
        again.copy_within(5000..9000, 35001);
        assert!(!is_noise(&again));
        // A counter, evenly spread, repeats itself.
        let counter: Vec<u8> = (0..65536_u32).map(|number| number as u8).collect();
        assert!(!is_noise(&counter));
    }
}
