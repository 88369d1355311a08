//! Numbers in headers.

/// The number in a header field: octal digits between blanks and NULs, nothing at all for zero, or
/// what GNU tar writes where digits do not suffice, base 256 with the first bit set. `None` for
/// anything else, and beyond 64 bits.
pub(crate) fn parse(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

/// The same for what cannot be negative.
pub(crate) fn parse_unsigned(field: &[u8]) -> Option<u64> {
    parse(field).and_then(|number| u64::try_from(number).ok())
}

fn octal(field: &[u8]) -> Option<i64> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    // Whatever comes after the first padding behind the digits is not looked at.
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

/// Two's complement, whose sign is the second bit.
fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = i128::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
    field[1..]
        .iter()
        .try_fold(first, |number, byte| {
            let number = number * 256 + i128::from(*byte);
            // Far beyond 64 bits, and still far from overflowing.
            (number.unsigned_abs() < 1 << 72).then_some(number)
        })
        .and_then(|number| i64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        for (field, number) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"644 9\0\0\0", Some(0o644)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfb", Some(-5)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
        ] {
            assert_eq!(parse(field), number, "{field:?}");
        }
        assert_eq!(parse_unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xfb"), None);
    }
}
