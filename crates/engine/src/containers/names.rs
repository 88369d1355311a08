//! Ids and names that nobody chose.

use std::fmt::Write as _;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "ample", "apt", "brave", "brief", "bright", "brisk", "calm", "candid",
    "clear", "clever", "cosy", "crisp", "curious", "daring", "deft", "eager", "early", "earnest",
    "fair", "fluent", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy",
    "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "mild", "modest",
    "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "prompt", "proud", "quick",
    "quiet", "ready", "robust", "sage", "serene", "sharp", "silver", "steady", "sunny", "swift",
    "tidy", "vivid", "warm", "witty",
];

const SURNAMES: [&str; 64] = [
    "abel",
    "ampere",
    "archimedes",
    "babbage",
    "bell",
    "boole",
    "bose",
    "brahe",
    "cantor",
    "cauchy",
    "church",
    "copernicus",
    "curie",
    "darwin",
    "diesel",
    "dijkstra",
    "dirac",
    "einstein",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "fibonacci",
    "fourier",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "hamilton",
    "hilbert",
    "hooke",
    "hopper",
    "hypatia",
    "kepler",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "laplace",
    "leibniz",
    "lovelace",
    "maxwell",
    "meitner",
    "mendel",
    "napier",
    "newton",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "planck",
    "poincare",
    "ramanujan",
    "riemann",
    "ritchie",
    "seki",
    "shannon",
    "takagi",
    "tesla",
    "turing",
    "volta",
    "watt",
    "yukawa",
];

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // Fewer than 256 bytes come whole, see getrandom(2).
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

/// A new id: 64 hexadecimal digits.
///
/// As in docker, the first 12 are not all decimal: a container's short id is its host name, which
/// must not look like a number.
pub(crate) fn id() -> io::Result<String> {
    loop {
        let id = random::<32>()?.iter().fold(String::with_capacity(64), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        });
        if id.bytes().take(12).any(|digit| !digit.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// A name nobody chose, e.g. `brave_turing`; from the third `attempt` on with a number.
pub(crate) fn name(attempt: usize) -> io::Result<String> {
    let [adjective, surname, number] = random::<3>()?;
    let adjective = ADJECTIVES[usize::from(adjective) % ADJECTIVES.len()];
    let surname = SURNAMES[usize::from(surname) % SURNAMES.len()];
    Ok(match attempt {
        0..=2 => format!("{adjective}_{surname}"),
        _ => format!("{adjective}_{surname}{number}"),
    })
}

/// Whether a container or volume may be called so: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() > 1
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_ids_are_long() -> io::Result<()> {
        assert!(is_valid(&name(0)?) && is_valid(&name(3)?));
        assert_eq!(id()?.len(), 64);
        assert_ne!(id()?, id()?);
        Ok(())
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["", "a", "-a", "tr v", "a/b", "ä1"] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(is_valid("a1") && is_valid("Web_1.x-y"));
    }
}
