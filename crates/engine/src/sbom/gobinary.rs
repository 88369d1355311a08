//! Programs in Go, which say what they are made of.
//!
//! Since Go 1.18 a block begins with a mark, at an address that is a multiple of 16; behind 32 bytes
//! are two strings, each behind its length: the version of Go, and lines like those of `go.mod`
//! between two marks of 16 bytes.

use std::io::Read as _;

use bld_layer::{LayerError, Node, View};

use super::languages::module;
use super::{FILE_MAX, Package};

const ELF: &[u8] = b"\x7fELF";
const MARK: &[u8] = b"\xff Go buildinf:";
/// The flag that says that the strings follow.
const INLINE: u8 = 2;
/// Bytes between the mark and the strings, and on both sides of the lines.
const HEAD: usize = 32;
const FENCE: usize = 16;

/// The modules of the program `node`; none: it is not one of Go.
pub(super) fn packages(view: &View, node: &Node) -> Result<Option<Vec<Package>>, LayerError> {
    let failed = |source| LayerError::Stream { action: "read", source };
    let mut file = view.open(node)?;
    let mut bytes = vec![0; ELF.len()];
    match file.read_exact(&mut bytes) {
        Ok(()) if bytes == ELF => {}
        _ => return Ok(None),
    }
    // The mark lies at a multiple of 16 of the file, too, so what was read counts.
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(modules(&bytes))
}

fn modules(program: &[u8]) -> Option<Vec<Package>> {
    let block = program.chunks(FENCE).position(|chunk| chunk.starts_with(MARK))?;
    let info = program.get(block * FENCE..)?;
    if info.get(MARK.len() + 1)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = string(info.get(HEAD..)?)?;
    let (lines, _) = string(rest)?;
    let version = String::from_utf8_lossy(version);
    let release = version.strip_prefix("go").unwrap_or(&version);
    let mut found = vec![Package::new("golang", "stdlib", release)];
    let lines = lines.get(FENCE..lines.len().checked_sub(FENCE)?)?;
    for line in String::from_utf8_lossy(lines).lines() {
        let mut fields = line.split('\t');
        match fields.next() {
            Some("dep") => {}
            // What is used in place of the line before.
            Some("=>") if found.len() > 1 => _ = found.pop(),
            _ => continue,
        }
        if let (Some(name), Some(version)) = (fields.next(), fields.next()) {
            found.push(module(name, version));
        }
    }
    Some(found)
}

/// The string at the beginning of `bytes`, behind its length, and what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_u64, 0);
    for (index, byte) in bytes.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
        shift += 7;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_modules() {
        let lines = "path\tcmd\nmod\tme\t(devel)\ndep\ta.example/b\tv1.0.0\th1:x\n\
            dep\tc\tv1\n=>\td.example/c\tv2\th1:y\n";
        let fence = "0123456789abcdef";
        let info = format!("{fence}{lines}{fence}");
        let mut program = b"\x7fELF".to_vec();
        program.resize(48, 0);
        program.extend(MARK);
        program.extend([8, INLINE]);
        program.resize(48 + HEAD, 0);
        program.push(8);
        program.extend(b"go1.22.1");
        assert!(info.len() < 256);
        program.extend([(info.len() & 0x7f) as u8 | 0x80, (info.len() >> 7) as u8]);
        program.extend(info.as_bytes());
        let found = modules(&program).unwrap_or_default();
        let shown: Vec<_> =
            found.iter().map(|found| (found.name.as_str(), found.version.as_str())).collect();
        assert_eq!(shown, [("stdlib", "1.22.1"), ("b", "v1.0.0"), ("c", "v2")]);
        for length in 0..program.len() {
            let _any = modules(&program[..length]);
        }
    }
}
