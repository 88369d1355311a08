//! As much of DER as keys need: elements of a definite length, one inside the other.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

/// Reads one element after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element, whatever it is: its tag and its contents.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// The contents of the next element, which must be a `tag`.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, contents) = self.next()?;
        (found == tag).then_some(contents)
    }

    /// What is inside the next element, which must be a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.expect(SEQUENCE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_they_say() {
        let mut reader = Reader::new(&[0x30, 4, 2, 1, 7, 4, 4, 0x81, 1, 9]);
        let mut inner = reader.sequence().unwrap_or(Reader::new(&[]));
        assert_eq!(inner.expect(INTEGER), Some(&[7][..]));
        assert_eq!(inner.next(), None, "its length is not there");
        assert_eq!(reader.expect(OCTET_STRING), Some(&[9][..]));
        assert_eq!(reader.next(), None);
        assert_eq!(Reader::new(&[4, 0x80]).next(), None);
        assert_eq!(Reader::new(&[4, 0x84, 255, 255, 255, 255, 1]).next(), None);
    }
}
