//! Keeps the values of secrets out of what a step writes.

/// What stands in place of a secret.
const STARS: &[u8] = b"***";

/// Shorter values are not looked for: they would hide half of every log, and be told by the holes.
const SHORTEST: usize = 4;

/// The values to hide, the longest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Mask(Vec<Vec<u8>>);

impl Mask {
    /// Hides `secrets`: each as a whole, and each of its lines, as a program prints them.
    ///
    /// What a program makes of a secret (base64, JSON, pieces) cannot be known.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = Vec::new();
        for secret in secrets {
            let lines = secret.split(|&byte| byte == b'\n');
            let pieces = lines.chain([secret]).map(<[u8]>::trim_ascii);
            values.extend(pieces.filter(|piece| piece.len() >= SHORTEST).map(<[u8]>::to_vec));
        }
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self(values)
    }
}

/// One stream of output on its way through a [`Mask`].
#[derive(Debug)]
pub(super) struct Masked {
    mask: Mask,
    /// The end of what came, which may be the beginning of a secret.
    held: Vec<u8>,
}

impl Masked {
    pub(super) fn new(mask: Mask) -> Self {
        Self { mask, held: Vec::new() }
    }

    /// Takes `data` and gives what can be shown by now.
    pub(super) fn pass(&mut self, data: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(data);
        self.show(false)
    }

    /// Gives the rest.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.show(true)
    }

    fn show(&mut self, is_end: bool) -> Vec<u8> {
        if self.mask.0.is_empty() {
            return std::mem::take(&mut self.held);
        }
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let candidates = self.mask.0.iter().filter(|value| value[0] == rest[0]);
            // The longest first: what may still become one waits for more.
            let found = candidates.into_iter().find_map(|value| {
                if rest.starts_with(value) {
                    Some(Some(value.len()))
                } else if !is_end && value.starts_with(rest) {
                    Some(None)
                } else {
                    None
                }
            });
            match found {
                Some(Some(length)) => {
                    shown.extend_from_slice(STARS);
                    at += length;
                }
                Some(None) => break,
                None => {
                    shown.push(rest[0]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], pieces: &[&str]) -> String {
        let mut stream = Masked::new(Mask::new(secrets.iter().map(|secret| secret.as_bytes())));
        let mut shown = Vec::new();
        for piece in pieces {
            shown.extend(stream.pass(piece.as_bytes()));
        }
        shown.extend(stream.end());
        String::from_utf8(shown).unwrap_or_default()
    }

    #[test]
    fn secrets_are_hidden_however_they_are_cut() {
        assert_eq!(masked(&["hunter2\n"], &["a hunter2\nb"]), "a ***\nb");
        assert_eq!(masked(&["hunter2"], &["a hun", "ter", "2", "hunt"]), "a ***hunt");
        assert_eq!(masked(&["aaab"], &["aaa", "aab!"]), "aa***!");
        assert_eq!(masked(&["word", "wordy words"], &["wordy wor", "ds word"]), "*** ***");
        assert_eq!(masked(&["word", "wordy words"], &["wordy wor", "k"]), "***y work");
    }

    #[test]
    fn lines_of_a_secret_are_secret_and_short_values_are_not() {
        assert_eq!(masked(&["first\r\nsecond\nno\n"], &["second, first, no"]), "***, ***, no");
        assert_eq!(masked(&[], &["nothing", " hidden"]), "nothing hidden");
    }

    #[test]
    fn what_cannot_be_a_secret_is_shown_at_once() {
        let mut stream = Masked::new(Mask::new([b"hunter2".as_slice()]));
        assert_eq!(stream.pass(b"hello\n"), b"hello\n");
        assert_eq!(stream.pass(b"hunt"), b"");
        assert_eq!(stream.pass(b"ing\n"), b"hunting\n");
    }
}
