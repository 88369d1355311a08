//! Files with holes.

use super::numeric;

/// A run of stored bytes: `length` of them belong at `offset`; what no segment covers is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Appends offsets and lengths of a piece of an old GNU map. Returns false at the end of the map:
/// a field that is empty.
pub(super) fn gnu_map(
    fields: &[tar::GnuSparseHeader],
    map: &mut Vec<u64>,
) -> Result<bool, &'static str> {
    for field in fields {
        if field.offset[0] == 0 || field.numbytes[0] == 0 {
            return Ok(false);
        }
        map.push(numeric::parse_unsigned(&field.offset).ok_or("bad sparse map")?);
        map.push(numeric::parse_unsigned(&field.numbytes).ok_or("bad sparse map")?);
    }
    Ok(true)
}

/// Checks a map of offsets and lengths: in order, not overlapping, within the size of the file,
/// and using up exactly the `stored` bytes.
pub(super) fn segments(map: &[u64], stored: u64, size: u64) -> Result<Vec<Segment>, &'static str> {
    const BAD: &str = "bad sparse map";
    if !map.len().is_multiple_of(2) || i64::try_from(size).is_err() {
        return Err(BAD);
    }
    let (mut end, mut sum) = (0_u64, 0_u64);
    let mut segments = Vec::new();
    for pair in map.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        if offset < end {
            return Err(BAD);
        }
        end = offset.checked_add(length).filter(|end| *end <= size).ok_or(BAD)?;
        sum += length;
        // GNU tar marks the end of a file that ends in a hole with an empty segment.
        if length > 0 {
            segments.push(Segment { offset, length });
        }
    }
    if sum != stored {
        return Err(BAD);
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let good = vec![Segment { offset: 1, length: 2 }, Segment { offset: 9, length: 1 }];
        assert_eq!(segments(&[1, 2, 9, 1, 10, 0], 3, 10), Ok(good));
        for (map, stored, size) in [
            (&[1][..], 0, 10),
            (&[5, 1, 1, 1], 2, 10),
            (&[0, 2, 1, 1], 3, 10),
            (&[9, 2], 2, 10),
            (&[u64::MAX, 1], 1, 10),
            (&[0, 2], 3, 10),
            (&[0, 0], 0, u64::MAX),
        ] {
            assert!(segments(map, stored, size).is_err(), "{map:?}");
        }
    }
}
