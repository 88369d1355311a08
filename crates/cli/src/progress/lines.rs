//! Bytes of a log into lines.

/// Collects the bytes of one stream until a line is complete.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Adds `data` and gives back the lines it completed, without their ends. A carriage return
    /// within a line starts it anew, as on a terminal: of a progress bar the last state is kept.
    pub(super) fn push(&mut self, data: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        let mut rest = data;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            complete.push(self.take());
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        complete
    }

    /// What is left of a last line without an end.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        text.rsplit('\r').next().unwrap_or(text).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_are_put_together_over_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\r\n10%\r20%"), ["two"]);
        assert_eq!(lines.rest().as_deref(), Some("20%"));
        assert_eq!(lines.rest(), None);
    }
}
