//! Finding the way through a deflate stream (RFC 1951) without inflating it.
//!
//! A stream ends in a block that is marked as the last. To let another stream follow, the mark has
//! to go, and it is a single bit somewhere in the middle: the beginning of a block is known only
//! to who has read all of the one before. Reading is all that is done here: nothing is written,
//! and a code and the extra bits after it are passed over at once.

/// The longest code, in bits.
const MAX_CODE: usize = 15;
/// The order in which the lengths of the codes for code lengths are stored.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Bytes looked at beyond a place in the stream.
pub(super) const BEYOND: usize = 8;

/// Where the last block of a stream is, as numbers of bits from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBlock {
    /// Where the bit is that marks it as the last.
    pub(super) mark: usize,
    /// Where the stream ends.
    pub(super) end: usize,
}

/// Finds the last block of the stream at the beginning of `bytes`, which must go on for [`BEYOND`]
/// bytes after it. `None` if that is no deflate stream.
pub(super) fn last_block(bytes: &[u8]) -> Option<LastBlock> {
    let mut bits = Bits { bytes, at: 0 };
    loop {
        let mark = bits.at;
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let length = bits.take(16)? as usize;
                bits.at += 16 + 8 * length;
            }
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                bits.pass_symbols(&Table::of_symbols(&lengths)?, &Table::of_distances(&[5; 30])?)?;
            }
            2 => {
                let (symbols, distances) = bits.take_tables()?;
                bits.pass_symbols(&symbols, &distances)?;
            }
            _ => return None,
        }
        if is_last {
            return Some(LastBlock { mark, end: bits.at });
        }
    }
}

/// A place in a stream.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next 57 bits or more, the first one lowest.
    fn peek(&self) -> Option<u64> {
        let next = self.bytes.get(self.at / 8..)?.first_chunk::<BEYOND>()?;
        Some(u64::from_le_bytes(*next) >> (self.at % 8))
    }

    fn take(&mut self, count: usize) -> Option<u64> {
        let bits = self.peek()? & ((1 << count) - 1);
        self.at += count;
        Some(bits)
    }

    /// Passes everything up to the end of the block.
    fn pass_symbols(&mut self, symbols: &Table, distances: &Table) -> Option<()> {
        loop {
            // A length with its distance has at most 48 bits.
            let next = self.peek()?;
            let symbol = symbols.get(next)?;
            self.at += symbol.bits();
            match symbol.meaning() {
                Meaning::Byte => {}
                Meaning::End => return Some(()),
                Meaning::Length => self.at += distances.get(next >> symbol.bits())?.bits(),
                Meaning::None => return None,
            }
        }
    }

    /// Reads the codes of a block that brings its own.
    fn take_tables(&mut self) -> Option<(Table, Table)> {
        let symbols = 257 + self.take(5)? as usize;
        let distances = 1 + self.take(5)? as usize;
        let count = 4 + self.take(4)? as usize;
        let mut lengths = [0; ORDER.len()];
        for place in &ORDER[..count] {
            lengths[*place] = self.take(3)? as u8;
        }
        let table = Table::new(&lengths, |length| Entry::new(Meaning::Byte, 0, length as u8))?;
        let mut lengths = Vec::with_capacity(symbols + distances);
        while lengths.len() < symbols + distances {
            let entry = table.get(self.peek()?)?;
            self.at += entry.bits();
            let (length, times) = match entry.symbol() {
                16 => (*lengths.last()?, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length, 1),
            };
            lengths.extend((0..times).map(|_| length));
        }
        let (symbols, distances) = lengths.split_at_checked(symbols)?;
        Some((Table::of_symbols(symbols)?, Table::of_distances(distances)?))
    }
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing: no such code.
    None,
    /// A byte, or whatever is complete with the code itself.
    Byte,
    /// The end of the block.
    End,
    /// The length of a match; its distance follows.
    Length,
}

/// A code. In two bytes, so that tables fit into the nearest cache: how many bits the code has with
/// the extra ones that belong to it, its meaning, and which symbol it is, where that matters.
#[derive(Debug, Clone, Copy, Default)]
struct Entry(u16);

impl Entry {
    fn new(meaning: Meaning, bits: usize, symbol: u8) -> Self {
        Self(bits as u16 | (meaning as u16) << 5 | u16::from(symbol) << 8)
    }

    fn bits(self) -> usize {
        usize::from(self.0 & 31)
    }

    fn meaning(self) -> Meaning {
        match (self.0 >> 5) & 3 {
            1 => Meaning::Byte,
            2 => Meaning::End,
            3 => Meaning::Length,
            _ => Meaning::None,
        }
    }

    fn symbol(self) -> u8 {
        self.0.to_le_bytes()[1]
    }
}

/// What each code stands for, by the bits that come next.
struct Table(Vec<Entry>);

impl Table {
    /// The table for codes of these lengths, each standing for what `entry` says of its place.
    /// `None` if there cannot be such codes.
    fn new(lengths: &[u8], entry: impl Fn(usize) -> Entry) -> Option<Self> {
        let longest = usize::from(lengths.iter().copied().max()?);
        let mut counts = [0_usize; MAX_CODE + 1];
        for length in lengths.iter().filter(|length| **length > 0) {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        let mut next = [0_usize; MAX_CODE + 2];
        for length in 1..=MAX_CODE {
            next[length + 1] = (next[length] + counts[length]) << 1;
        }
        let mut table = vec![Entry::default(); 1 << longest];
        for (place, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let code = next[usize::from(*length)];
            next[usize::from(*length)] += 1;
            // Codes come with their first bit first.
            let code = code.reverse_bits() >> (usize::BITS - u32::from(*length));
            let entry = Entry(entry(place).0 + u16::from(*length));
            for slot in table.get_mut(code..)?.iter_mut().step_by(1 << *length) {
                *slot = entry;
            }
        }
        Some(Self(table))
    }

    /// Of bytes, the end of the block and lengths.
    fn of_symbols(lengths: &[u8]) -> Option<Self> {
        Self::new(lengths, |symbol| match symbol {
            0..256 => Entry::new(Meaning::Byte, 0, 0),
            256 => Entry::new(Meaning::End, 0, 0),
            _ => {
                // Four lengths for each number of extra bits, but for the shortest and the longest.
                let bits = if matches!(symbol, 257..265 | 285) { 0 } else { (symbol - 261) / 4 };
                Entry::new(Meaning::Length, bits, 0)
            }
        })
    }

    /// Of distances.
    fn of_distances(lengths: &[u8]) -> Option<Self> {
        Self::new(lengths, |symbol| Entry::new(Meaning::Byte, (symbol / 2).saturating_sub(1), 0))
    }

    /// What the code at the beginning of `next` stands for.
    fn get(&self, next: u64) -> Option<Entry> {
        let entry = *self.0.get(next as usize & (self.0.len() - 1))?;
        (entry.0 != 0).then_some(entry)
    }
}
