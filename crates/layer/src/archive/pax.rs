//! PAX extended header records: `LENGTH KEY=VALUE\n`, where LENGTH counts itself.

/// Records being put together, sorted by key in the end.
pub(crate) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }

    /// The number for the header field: the value itself, or 0 beside a record when it is beyond
    /// what the field holds.
    pub(crate) fn number(&mut self, key: &[u8], value: u64, max: u64) -> u64 {
        if value <= max {
            return value;
        }
        self.push(key, value.to_string().as_bytes());
        0
    }

    /// The contents of the extended header, or `None` when it is not needed.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_unstable();
        let mut bytes = Vec::new();
        for (key, value) in &self.0 {
            // Blank, equals sign and newline.
            let rest = key.len() + value.len() + 3;
            bytes.extend_from_slice(record_length(rest).to_string().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(key);
            bytes.push(b'=');
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        Some(bytes)
    }
}

/// The length of a record whose length without the length is `rest`.
fn record_length(rest: usize) -> usize {
    let digits = |number: usize| number.to_string().len();
    let length = rest + digits(rest);
    // The digits of the sum may be one more than those of the summand.
    rest + digits(length)
}

/// The records of an extended header, in order. `None` stands for what is no record.
pub(crate) fn parse(mut bytes: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    std::iter::from_fn(move || {
        // Some writers pad with NULs.
        if bytes.first().is_none_or(|byte| *byte == 0) {
            return None;
        }
        let Some((key, value, rest)) = split(bytes) else {
            bytes = &[];
            return Some(None);
        };
        bytes = rest;
        Some(Some((key, value)))
    })
}

/// Key and value of the first record, and what comes after it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = number(&bytes[..blank])?.try_into().ok()?;
    let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() {
        return None;
    }
    Some((key, value, &bytes[length..]))
}

/// An unsigned decimal number and nothing else.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds and nanoseconds of a time such as `1700000000.25` or `-1.5`. Digits beyond nanoseconds
/// are dropped.
pub(crate) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(number(seconds)?).ok()?;
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // The fraction counts upwards from the next lower second.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let value = vec![b'v'; length];
            let mut records = Records::new();
            records.push(b"k", &value);
            let bytes = records.finish().unwrap();
            let blank = bytes.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(number(&bytes[..blank]), Some(bytes.len() as u64));
            let parsed: Vec<_> = parse(&bytes).collect();
            assert_eq!(parsed, [Some((&b"k"[..], &value[..]))]);
        }
    }

    #[test]
    fn values_may_hold_anything() {
        let mut records = Records::new();
        records.push(b"b", b"line\nline=\0 12 x=y\n");
        records.push(b"a", b"");
        let bytes = records.finish().unwrap();
        let parsed: Option<Vec<_>> = parse(&bytes).collect();
        let expected = vec![(&b"a"[..], &b""[..]), (b"b", b"line\nline=\0 12 x=y\n")];
        assert_eq!(parsed.unwrap(), expected);
    }

    #[test]
    fn nonsense_is_reported_once() {
        for text in [&b"x"[..], b"5 a=b", b"99 a=b\n", b"6 ab=\nx", b"5 =b\n", b"-1 a=b\n", b"2 \n"]
        {
            assert_eq!(parse(text).filter(Option::is_none).count(), 1, "{text:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"0.0000000019"), Some((0, 1)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        for text in [&b""[..], b".5", b"x", b"1.x", b"--1", b"99999999999999999999"] {
            assert_eq!(time(text), None, "{text:?}");
        }
    }
}
