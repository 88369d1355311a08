//! The keys by which somebody leaves a container that runs on.

use crate::{EngineError, Result};

/// A sequence of keys that is watched for in what somebody types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    /// How many of them were typed last.
    typed: usize,
}

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self { sequence: vec![0x10, 0x11], typed: 0 }
    }
}

impl DetachKeys {
    /// A sequence as docker's `--detach-keys` has it: single characters and `ctrl-` with a letter
    /// or one of `@[\]^_`, separated by commas. An empty one is the usual one.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |word: &str| match word.strip_prefix("ctrl-").unwrap_or(word).as_bytes() {
            [key @ (b'a'..=b'z' | b'@' | b'['..=b'_')] if word.len() > 1 => Some(key & 0x1f),
            [key] if word.len() == 1 => Some(*key),
            _ => None,
        };
        let sequence = text.split(',').map(key).collect::<Option<_>>().ok_or_else(|| {
            let what = format!(
                "invalid detach keys {text:?}: give single characters, or 'ctrl-' and one of \
                 'a' to 'z' and '@[\\]^_', separated by commas"
            );
            EngineError::Invalid { what }
        })?;
        Ok(Self { sequence, typed: 0 })
    }

    /// Takes what was typed; what of it is to be passed on, and whether the sequence is complete.
    /// Keys that may be the start of it are kept back until that is known.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &key in typed {
            if self.sequence.get(self.typed) != Some(&key) {
                passed.extend(&self.sequence[..std::mem::take(&mut self.typed)]);
            }
            if self.sequence.get(self.typed) == Some(&key) {
                self.typed += 1;
                if self.typed == self.sequence.len() {
                    return (passed, true);
                }
            } else {
                passed.push(key);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.sequence);
        assert_eq!(keys("").unwrap(), [16, 17]);
        assert_eq!(keys("ctrl-a,d").unwrap(), [1, b'd']);
        assert_eq!(keys("ctrl-@,ctrl-[,ctrl-_").unwrap(), [0, 27, 31]);
        for wrong in ["ctrl-", "ctrl-A", "ab", "a,", "ctrl-1", "\u{e9}"] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_all_else_is_passed_on() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ls\r"), (b"ls\r".to_vec(), false));
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.filter(b"\x10x"), (b"\x10\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.filter(b"\x11never"), (vec![], true));
    }
}
