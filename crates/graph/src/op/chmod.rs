//! Permissions as `--chmod` takes them.

use serde::{Serialize, Serializer};

/// Permissions to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// These bits, 0 to 0o7777.
    Bits(u32),
    /// A change in the manner of [chmod(1)], such as `u=rwX,go=rX`; well-formed.
    ///
    /// [chmod(1)]: https://man7.org/linux/man-pages/man1/chmod.1.html
    Symbolic(String),
}

/// A `--chmod` that is neither octal nor symbolic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "mode {0:?} is neither octal between 0 and 07777 nor symbolic such as u=rwX,go=rX"
)]
pub struct ChmodError(pub String);

impl Chmod {
    /// Reads a mode.
    ///
    /// # Errors
    /// When it is neither octal nor symbolic.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        let error = || ChmodError(text.to_owned());
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| error())?;
            return if bits <= 0o7777 { Ok(Self::Bits(bits)) } else { Err(error()) };
        }
        let well_formed = text.split(',').all(|clause| apply_clause(clause, 0, false).is_some());
        if well_formed { Ok(Self::Symbolic(text.to_owned())) } else { Err(error()) }
    }

    /// The permission bits a file of these bits gets.
    ///
    /// There is no umask: a change for nobody in particular is one for everybody.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Symbolic(text) => text.split(',').fold(mode & 0o7777, |mode, clause| {
                apply_clause(clause, mode, is_dir).unwrap_or(mode)
            }),
        }
    }
}

impl Serialize for Chmod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bits(bits) => serializer.collect_str(&format_args!("{bits:04o}")),
            Self::Symbolic(text) => serializer.serialize_str(text),
        }
    }
}

/// Applies one clause, `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`; none when it is not well-formed.
fn apply_clause(clause: &str, mut mode: u32, is_dir: bool) -> Option<u32> {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let who = &clause[..clause.len() - actions.len()];
    let mut rest = actions;
    loop {
        let operator = rest.chars().next().filter(|char| "-+=".contains(*char))?;
        let permissions = &rest[1..];
        let end = permissions.find(['-', '+', '=']).unwrap_or(permissions.len());
        mode = apply_action(who, operator, &permissions[..end], mode, is_dir)?;
        rest = &permissions[end..];
        if rest.is_empty() {
            return Some(mode);
        }
    }
}

fn apply_action(
    who: &str,
    operator: char,
    permissions: &str,
    mode: u32,
    is_dir: bool,
) -> Option<u32> {
    let everybody = who.is_empty() || who.contains('a');
    let concerns = |class: char| everybody || who.contains(class);
    let (user, group, other) = (concerns('u'), concerns('g'), concerns('o'));

    // What is asked for, in the lowest three bits; set-id and sticky bits where they belong.
    let (mut bits, mut special) = (0, 0);
    match permissions {
        "u" => bits = mode >> 6 & 7,
        "g" => bits = mode >> 3 & 7,
        "o" => bits = mode & 7,
        letters => {
            for letter in letters.chars() {
                match letter {
                    'r' => bits |= 4,
                    'w' => bits |= 2,
                    'x' => bits |= 1,
                    'X' if is_dir || mode & 0o111 != 0 => bits |= 1,
                    'X' => {}
                    's' => {
                        special |= if user { 0o4000 } else { 0 } | if group { 0o2000 } else { 0 };
                    }
                    't' => special |= if everybody || other { 0o1000 } else { 0 },
                    _ => return None,
                }
            }
        }
    }
    let spread = |bits: u32| {
        [(user, 6), (group, 3), (other, 0)]
            .into_iter()
            .filter(|(concerned, _)| *concerned)
            .fold(0, |all, (_, shift)| all | bits << shift)
    };
    let asked = spread(bits) | special;
    Some(match operator {
        '+' => mode | asked,
        '-' => mode & !asked,
        // As GNU chmod does, `=` leaves the set-id bits of a directory alone unless they are named.
        _ => {
            let set_ids = if user { 0o4000 } else { 0 } | if group { 0o2000 } else { 0 };
            let sticky = if everybody { 0o1000 } else { 0 };
            let cleared = spread(7) | if is_dir { 0 } else { set_ids } | sticky;
            mode & !cleared | asked
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn octal_modes_replace_all_bits() {
        assert_eq!(Chmod::parse("0755"), Ok(Chmod::Bits(0o755)));
        assert_eq!(Chmod::parse("4711"), Ok(Chmod::Bits(0o4711)));
        assert_eq!(Chmod::parse("7").unwrap().apply(0o644, false), 0o7);
        assert_eq!(serde_json::to_string(&Chmod::Bits(0o7)).unwrap(), "\"0007\"");
    }

    #[test]
    fn symbolic_modes_change_bits() {
        for (text, mode, is_dir, result) in [
            ("+x", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("+t", 0o777, true, 0o1777),
            ("u-x+w", 0o500, false, 0o600),
            ("g=rx", 0o2770, true, 0o2750),
            ("g=rx", 0o2770, false, 0o750),
        ] {
            let changed = Chmod::parse(text).unwrap().apply(mode, is_dir);
            assert_eq!(changed, result, "{text} on {mode:o} gives {changed:o}");
        }
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["", "8", "10000", "999", "u", "x", "u=q", "u+x,", "+x;rm", "u=rw,foo", "0o7"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
