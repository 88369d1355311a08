//! Deflating a piece of a stream so that other pieces can stand before and after it.
//!
//! libdeflate is what makes the bytes: it is twice as fast as the best of the zlib family at the
//! same size, and chooses by whole numbers and the input alone, never by what the processor can do
//! (only by its byte order: on big-endian machines it may find other matches). It knows only
//! complete streams, so the mark of the last block is taken away afterwards.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::blocks::{BEYOND, last_block};
use super::noise::is_noise;

/// What is looked at in one go to tell whether it can be compressed.
const PIECE: usize = 64 * 1024;
/// The most bytes in a stored block.
const STORED: usize = 0xffff;
/// What follows the header of an empty stored block: its length, and that inverted.
const EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];

/// An empty block that is marked as the last: the end of a deflate stream.
pub(super) const END: [u8; 2] = [3, 0];

/// Deflates `data` at `level`, 0 to 9, into blocks of which none is the last. They begin and end
/// at whole bytes and refer to nothing before them.
pub(super) fn deflate(data: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(i32::try_from(level).unwrap_or(i32::MAX))
        .map_err(|_| super::encode::invalid_level())?;
    let mut compressor = Compressor::new(level);
    let mut out = Vec::with_capacity(data.len() / 2);
    let mut rest = data;
    while !rest.is_empty() {
        // As many pieces of one kind as there are: matches are found across pieces.
        let mut kinds = rest.chunks(PIECE).map(is_noise);
        let stored = kinds.next().unwrap_or(false);
        let length = PIECE * (1 + kinds.take_while(|kind| *kind == stored).count());
        let (run, after) = rest.split_at(length.min(rest.len()));
        if stored {
            store(run, &mut out);
        } else {
            compress(&mut compressor, run, &mut out)?;
        }
        rest = after;
    }
    Ok(out)
}

fn store(run: &[u8], out: &mut Vec<u8>) {
    for block in run.chunks(STORED) {
        let length = block.len() as u16;
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
}

fn compress(compressor: &mut Compressor, run: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + compressor.deflate_compress_bound(run.len()) + BEYOND, 0);
    let length = compressor.deflate_compress(run, &mut out[start..]).map_err(io::Error::other)?;
    out.truncate(start + length);
    out.resize(start + length + BEYOND, 0);
    let last = last_block(&out[start..]).filter(|last| last.end.div_ceil(8) == length);
    let last = last.ok_or_else(|| io::Error::other("the compressor made no deflate stream"))?;
    out.truncate(start + length);
    out[start + last.mark / 8] &= !(1 << (last.mark % 8));
    // An empty block leads to a whole byte. The three bits of its header may fit in the last one.
    if (1..=5).contains(&(last.end % 8)) {
        out.extend(EMPTY);
    } else {
        out.push(0);
        out.extend(EMPTY);
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn inflate(pieces: &[&[u8]]) -> Vec<u8> {
        let mut plain = Vec::new();
        let stream = [pieces.concat(), END.to_vec()].concat();
        let mut decoder = flate2::bufread::DeflateDecoder::new(&stream[..]);
        decoder.read_to_end(&mut plain).unwrap();
        assert_eq!(decoder.total_in(), stream.len() as u64, "it ends before its end");
        plain
    }

    /// Anything from one byte over and over to noise.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u64>(), 1..=8_u32, 1..40_000_usize, 1..2_000_usize);
        let fill = |(seed, bits, length, period): (u64, u32, usize, usize)| {
            let mut state = seed | 1;
            let mut bytes: Vec<u8> = Vec::with_capacity(length);
            for at in 0..length {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let old = at.checked_sub(period).map(|old| bytes[old]).filter(|_| bits % 2 == 0);
                bytes.push(old.unwrap_or((state >> 24) as u8 & (0xff >> (8 - bits))));
            }
            bytes
        };
        prop::collection::vec(run.prop_map(fill), 0..6).prop_map(|runs| runs.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn pieces_follow_one_another(first in data(), second in data(), level in 0..10_u32) {
            let pieces = [deflate(&first, level).unwrap(), deflate(&second, level).unwrap()];
            let plain = inflate(&[&pieces[0], &pieces[1], &pieces[0]]);
            prop_assert!(plain == [&first[..], &second, &first].concat());
        }
    }

    #[test]
    fn noise_is_stored() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let mut data: Vec<u8> = (0..4 * PIECE).map(|_| noise()).collect();
        data.extend(vec![b'a'; 2 * PIECE]);
        let deflated = deflate(&data, 6).unwrap();
        let (noise, rest) = (4 * PIECE, deflated.len() - 4 * PIECE);
        assert!((20..2000).contains(&rest), "{rest} bytes more than the noise");
        assert!(deflated[5..STORED] == data[..STORED - 5]);
        assert!(inflate(&[&deflated])[noise..] == data[noise..]);
    }

    #[test]
    fn damaged_streams_have_no_end() {
        let mut deflated = vec![0; 2000];
        let length = Compressor::new(CompressionLvl::new(6).unwrap())
            .deflate_compress(&b"to be or not to be".repeat(20), &mut deflated)
            .unwrap();
        assert_eq!(last_block(&deflated).unwrap().end.div_ceil(8), length);
        assert_eq!(last_block(&deflated[..length]), None, "nothing is read beyond the end");
        for at in 0..length {
            for bit in 0..8 {
                let mut damaged = deflated.clone();
                damaged[at] ^= 1 << bit;
                // Whatever it says, it returns.
                let _ = last_block(&damaged);
            }
        }
    }
}
