//! Names of files, which may hold any byte, as people read them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path on one line: what is no text, or moves a cursor, is told as `\xNN`.
pub fn shown(path: impl AsRef<Path>) -> String {
    let mut shown = String::new();
    for chunk in path.as_ref().as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                escape(&mut shown, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                shown.push(c);
            }
        }
        escape(&mut shown, chunk.invalid());
    }
    shown
}

/// Text from an image as a terminal may show it: nothing but letters, tabs and ends of lines.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            escape(&mut shown, c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _infallible = write!(out, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_byte_can_be_shown() {
        let path = OsStr::from_bytes(b"/\xc3\xa4 \xff\n\x1b[31m\xc2\x85");
        assert_eq!(shown(path), "/ä \\xff\\x0a\\x1b[31m\\xc2\\x85");
        assert_eq!(harmless("a\tb\r\n\u{1b}c"), "a\tb\\x0d\n\\x1bc");
    }
}
