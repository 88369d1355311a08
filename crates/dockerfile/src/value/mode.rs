//! Permission bits: `--chmod=0644` and `--chmod=u=rwX,go=rX`.

use std::str::FromStr;

use nom::branch::alt;
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, map, value};
use nom::multi::{fold_many0, many1, separated_list1};
use nom::{IResult, Parser};

/// What `--chmod` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// These bits, up to `0o7777`.
    Octal(u32),
    /// Changes to the bits that the file has, as `chmod(1)` describes them.
    Symbolic(Vec<Clause>),
}

/// One change of a symbolic mode, such as `go=rX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// Which of user, group and others, as the bits `0o700`, `0o070` and `0o007`.
    who: u32,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Permissions {
    /// `r`, `w` and `x` as one octal digit.
    bits: u32,
    /// `u`, `g` and `o` as one octal digit: what the user, the group or others have.
    copied: u32,
    /// `X`: execute, but only for directories and what somebody may already execute.
    execute_if_any: bool,
    /// `s`
    set_id: bool,
    /// `t`
    sticky: bool,
}

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid chmod parameter: '{0}': it should be an octal number from 0 to 07777 or a list of changes such as `u=rwX,go=rX`"
)]
pub struct ModeError(
    /// The text.
    pub String,
);

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
            return octal.map(Self::Octal).ok_or_else(error);
        }
        let clauses = map(separated_list1(char(','), clauses), |lists| lists.concat());
        match all_consuming(clauses).parse(text) {
            Ok((_, clauses)) => Ok(Self::Symbolic(clauses)),
            Err(_) => Err(error()),
        }
    }
}

/// `who` followed by one or more changes: `u+r-w`.
fn clauses(input: &str) -> IResult<&str, Vec<Clause>> {
    let class = alt((
        value(0o700, char('u')),
        value(0o070, char('g')),
        value(0o007, char('o')),
        value(0o777, char('a')),
    ));
    let (rest, who) = fold_many0(class, || 0, |all, one: u32| all | one).parse(input)?;
    let who = if who == 0 { 0o777 } else { who };
    let clause = map((operator, permissions), move |(operator, permissions)| Clause {
        who,
        operator,
        permissions,
    });
    many1(clause).parse(rest)
}

fn operator(input: &str) -> IResult<&str, Operator> {
    alt((
        value(Operator::Add, char('+')),
        value(Operator::Remove, char('-')),
        value(Operator::Set, char('=')),
    ))
    .parse(input)
}

fn permissions(input: &str) -> IResult<&str, Permissions> {
    fold_many0(one_of("rwxXstugo"), Permissions::default, |mut p, letter| {
        match letter {
            'r' => p.bits |= 4,
            'w' => p.bits |= 2,
            'x' => p.bits |= 1,
            'X' => p.execute_if_any = true,
            's' => p.set_id = true,
            't' => p.sticky = true,
            'u' => p.copied |= 4,
            'g' => p.copied |= 2,
            _ => p.copied |= 1,
        }
        p
    })
    .parse(input)
}

impl Mode {
    /// The permission bits of a file that had `mode`, up to `0o7777`.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir))
            }
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        let Permissions { mut bits, copied, execute_if_any, set_id, sticky } = self.permissions;
        for (class, shift) in [(4, 6), (2, 3), (1, 0)] {
            if copied & class != 0 {
                bits |= (mode >> shift) & 7;
            }
        }
        if execute_if_any && (is_dir || mode & 0o111 != 0) {
            bits |= 1;
        }
        let set_user = if self.who & 0o700 != 0 { 0o4000 } else { 0 };
        let set_group = if self.who & 0o070 != 0 { 0o2000 } else { 0 };
        let mut change = (bits * 0o111) & self.who;
        if set_id {
            change |= set_user | set_group;
        }
        if sticky {
            change |= 0o1000;
        }
        match self.operator {
            Operator::Add => mode | change,
            Operator::Remove => mode & !change,
            // A directory keeps its set-id bits unless they are named, as with chmod(1).
            Operator::Set => {
                let special = if is_dir { 0 } else { set_user | set_group };
                (mode & !(self.who | special)) | change
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_modes_replace_everything() {
        assert_eq!("0640".parse(), Ok(Mode::Octal(0o640)));
        assert_eq!("4755".parse::<Mode>().map(|m| m.apply(0, false)), Ok(0o4755));
        assert_eq!("0".parse(), Ok(Mode::Octal(0)));
        for bad in ["64a", "10000", "8", "", "+q", "u=rw,", "0o644", "rwx", "-1", "z+x"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn symbolic_modes_change_what_is_there() {
        for (mode, before, is_dir, after) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("g+s,+t", 0o755, true, 0o3755),
            ("go=", 0o777, false, 0o700),
            ("u=rw", 0o4755, false, 0o655),
            ("u+r-w", 0o200, false, 0o400),
            ("go=u", 0o750, false, 0o777),
            ("o+g", 0o640, false, 0o644),
        ] {
            let parsed = mode.parse::<Mode>();
            assert_eq!(parsed.map(|m| m.apply(before, is_dir)), Ok(after), "{mode}");
        }
    }
}
