//! The checksum of file contents that tar-split writes: CRC-64 of ISO 3309, reflected.

const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;

/// For eight bytes at once: what a byte adds when so many bytes follow.
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let mut following = 1;
        while following < 8 {
            let crc = tables[following - 1][byte];
            tables[following][byte] = tables[0][(crc & 0xff) as usize] ^ (crc >> 8);
            following += 1;
        }
        byte += 1;
    }
    tables
}

/// A checksum in the making.
pub(super) struct Crc64(u64);

impl Default for Crc64 {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc64 {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let word = (u64::from_le_bytes(*eight) ^ self.0).to_le_bytes();
            let parts = word.iter().zip(TABLES.iter().rev());
            self.0 = parts.fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
        }
        for byte in rest {
            self.0 = TABLES[0][usize::from(self.0.to_le_bytes()[0] ^ byte)] ^ (self.0 >> 8);
        }
    }

    /// As Go writes it: the first byte is the highest.
    pub(super) fn finish(self) -> [u8; 8] {
        (!self.0).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        let sum = |parts: &[&[u8]]| {
            let mut crc = Crc64::default();
            for part in parts {
                crc.update(part);
            }
            u64::from_be_bytes(crc.finish())
        };
        // The check value of CRC-64/GO-ISO.
        assert_eq!(sum(&[b"123456789"]), 0xb909_56c7_75a4_1001);
        assert_eq!(sum(&[b"1234", b"5", b"6789"]), 0xb909_56c7_75a4_1001);
        assert_eq!(sum(&[]), 0);
        let long: Vec<u8> = (0..1000_u32).map(|number| number as u8).collect();
        assert_eq!(sum(&[&long]), sum(&[&long[..3], &long[3..500], &long[500..]]));
    }
}
