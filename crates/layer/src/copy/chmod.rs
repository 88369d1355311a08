//! `--chmod`: octal, or symbolic as chmod(1) has it.

use std::fmt;
use std::str::FromStr;

/// A change of permission bits, as given to `--chmod`.
///
/// Symbolic modes are those of POSIX: `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`, several separated by
/// commas, with a umask of zero: who is not named means everybody. Where POSIX leaves a choice it
/// is that of BSD, as with BuildKit: `=` leaves the sticky bit alone unless `t` is among the
/// letters, copying (`u=g`) leaves all three special bits alone, and `X` asks for the mode before
/// any change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod {
    change: Change,
    /// As it was written.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Symbolic(Vec<Step>),
}

/// One operator with its operands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// Whom it concerns, as permission bits of all kinds.
    who: u32,
    op: Op,
    bits: Bits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    /// `rwxst`, for everybody; and whether there was an `X`.
    Given { bits: u32, conditional: bool },
    /// What the user (6), the group (3) or others (0) have, as the position of their bits.
    From(u32),
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const ALL: u32 = USER | GROUP | OTHER;
/// Nobody's bit: it counts when a `t` is written, and not for others alone.
const STICKY: u32 = 0o1000;
const PERMISSIONS: u32 = 0o0777;

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an octal mode from 0 to 7777 nor a symbolic one such as u=rwX,go=rX")]
pub struct ChmodError {
    /// The text.
    pub text: String,
}

impl Chmod {
    /// The mode that a file with `mode` gets.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match &self.change {
            Change::Octal(mode) => *mode,
            Change::Symbolic(steps) => {
                let executable = is_dir || mode & 0o111 != 0;
                steps.iter().fold(mode, |mode, step| step.apply(mode, executable))
            }
        }
    }

    /// The mode of directories that have to be made up: the octal one without its special bits, or
    /// 0755, as there is nothing a symbolic one could change.
    pub(crate) fn implied_dir(&self) -> u32 {
        match self.change {
            Change::Octal(mode) => mode & PERMISSIONS,
            Change::Symbolic(_) => 0o755,
        }
    }
}

impl Step {
    /// `executable`: what `X` asks for.
    fn apply(&self, mode: u32, executable: bool) -> u32 {
        let (bits, who) = match self.bits {
            Bits::Given { bits, conditional } => {
                (bits | if conditional && executable { 0o111 } else { 0 }, self.who)
            }
            Bits::From(shift) => {
                let bits = mode >> shift & 0o7;
                (bits << 6 | bits << 3 | bits, self.who & PERMISSIONS)
            }
        };
        match self.op {
            Op::Add => mode | bits & who,
            Op::Remove => mode & !(bits & who),
            Op::Set => mode & !who | bits & who,
        }
    }
}

impl FromStr for Chmod {
    type Err = ChmodError;

    fn from_str(text: &str) -> Result<Self, ChmodError> {
        let change =
            octal(text).map(Change::Octal).or_else(|| symbolic(text).map(Change::Symbolic));
        let text = text.to_owned();
        match change {
            Some(change) => Ok(Self { change, text }),
            None => Err(ChmodError { text }),
        }
    }
}

impl fmt::Display for Chmod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn octal(text: &str) -> Option<u32> {
    // `from_str_radix` would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    (mode <= 0o7777).then_some(mode)
}

fn symbolic(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for clause in text.split(',') {
        let end = clause.find(['+', '-', '='])?;
        let (who, mut actions) = clause.split_at(end);
        let who = who.chars().try_fold(0, |who, letter| {
            Some(
                who | match letter {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHER,
                    'a' => ALL,
                    _ => return None,
                },
            )
        })?;
        let who = if who == 0 { ALL } else { who };
        while let Some(operator) = actions.chars().next() {
            let op = match operator {
                '+' => Op::Add,
                '-' => Op::Remove,
                _ => Op::Set,
            };
            actions = &actions[1..];
            let end = actions.find(['+', '-', '=']).unwrap_or(actions.len());
            let (letters, rest) = actions.split_at(end);
            let sticky = if letters.contains('t') && who != OTHER { STICKY } else { 0 };
            steps.push(Step { who: who | sticky, op, bits: bits(letters)? });
            actions = rest;
        }
    }
    Some(steps)
}

fn bits(letters: &str) -> Option<Bits> {
    match letters {
        "u" => return Some(Bits::From(6)),
        "g" => return Some(Bits::From(3)),
        "o" => return Some(Bits::From(0)),
        _ => {}
    }
    let (mut bits, mut conditional) = (0, false);
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' => conditional = true,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            _ => return None,
        }
    }
    Some(Bits::Given { bits, conditional })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn as_chmod_does() {
        for (text, before, is_dir, after) in [
            ("0640", 0o777, false, 0o640),
            ("0", 0o777, false, 0),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u=rw,g=r,o=r", 0o666, false, 0o644),
            ("a+X", 0o666, false, 0o666),
            ("a+X", 0o124, true, 0o135),
            ("u+rw,g+r,o-x,o+w", 0o124, true, 0o766),
            ("g=u", 0o750, false, 0o770),
            ("o=g-w", 0o770, false, 0o775),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+t", 0o755, true, 0o1755),
            ("o+t", 0o755, true, 0o755),
            ("u+t", 0o755, true, 0o1755),
            ("=", 0o4755, false, 0),
            ("a=rx", 0o1777, true, 0o1555),
            ("a=rxt", 0o777, true, 0o1555),
            ("u=g", 0o4750, false, 0o4550),
            ("o=u", 0o6750, false, 0o6757),
            ("a-rwx,u+X", 0o755, false, 0o100),
            ("a=rwx,u-x+x", 0, false, 0o777),
        ] {
            let chmod: Chmod = text.parse().unwrap();
            assert_eq!(chmod.apply(before, is_dir), after, "{text} on {before:o}");
            assert_eq!(chmod.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_mode() {
        for text in
            ["", "64a", "8", "10000", "+7", "-0644", "u", "z+x", "u+q", "u+x,", "rwx", "u=rwxg"]
        {
            assert!(text.parse::<Chmod>().is_err(), "{text}");
        }
    }
}
