//! Why a result was known, or was not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VertexId;

/// How a result was known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hit {
    /// The same operation on inputs of the same definition.
    Definition,
    /// The same operation on inputs of the same content.
    Content {
        /// What of the inputs is the same although it was made anew, by name.
        same: Vec<String>,
    },
    /// The layer of a linked copy, on another root.
    Linked,
    /// The layer of a process that read nothing that changed, on another root.
    Reads,
    /// Another machine made it.
    Imported {
        /// Where that is said, e.g. the reference of a cache.
        from: String,
        /// What of the inputs is the same although it was made anew here, by name.
        same: Vec<String>,
    },
    /// Another process made it while this one waited.
    Elsewhere,
    /// Another step of the build is the same.
    Twin,
    /// Nothing that runs needs it.
    Unneeded,
}

impl Hit {
    /// The kind of hit in one word, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Content { .. } => "content",
            Self::Linked => "linked",
            Self::Reads => "reads",
            Self::Imported { .. } => "imported",
            Self::Elsewhere => "elsewhere",
            Self::Twin => "twin",
            Self::Unneeded => "unneeded",
        }
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definition => "unchanged",
            Self::Content { same } if same.is_empty() => "what it works on is the same as before",
            Self::Content { same } => {
                let (made, was) =
                    if same.len() == 1 { ("it was", "is") } else { ("they were", "are") };
                let same = same.join(" and ");
                return write!(
                    f,
                    "what it takes from {same} {was} the same, though {made} made anew"
                );
            }
            Self::Imported { from, same } if same.is_empty() => {
                return write!(f, "imported from {from}");
            }
            Self::Imported { from, same } => {
                let same = same.join(" and ");
                return write!(
                    f,
                    "imported from {from}: what it takes from {same} is the same there"
                );
            }
            Self::Linked => {
                "the files are the same, and --link makes them independent of what is below"
            }
            Self::Reads => "nothing that it read has changed",
            Self::Elsewhere => "another build made it just now",
            Self::Twin => "another step of this build is the same",
            Self::Unneeded => "not needed, as what uses it was cached",
        })
    }
}

/// Why a result was not known, told against the nearest earlier record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// What kind of reason it is.
    pub kind: MissKind,
    /// What is not as it was, the most telling first. Each reads by itself, as in `src/main.c changed
    /// (bytes)`.
    pub changes: Vec<String>,
    /// The steps where a change began that this step only follows.
    pub causes: Vec<VertexId>,
    /// What would keep the step from running for this reason again, where something is known to.
    pub advice: Option<String>,
}

/// What kind of reason a [`Miss`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissKind {
    /// There is no earlier record of such a step.
    New,
    /// The operation, or a file that it takes from outside, is another.
    Changed,
    /// The same operation has another place among the others.
    Moved,
    /// A step it depends on was made anew, and gave something else.
    Follows,
    /// It was asked for without cache.
    Forced,
    /// The earlier result is not there any more.
    Gone,
}

impl MissKind {
    /// The kind in one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Follows => "follows",
            Self::Forced => "forced",
            Self::Gone => "gone",
        }
    }
}

/// How many changes are told in one line.
const TOLD: usize = 2;

impl fmt::Display for Miss {
    /// One line; `changes` has the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = if self.changes.len() == TOLD + 1 { TOLD + 1 } else { TOLD };
        let (told, rest) = self.changes.split_at(told.min(self.changes.len()));
        f.write_str(&told.join(", "))?;
        match rest.len() {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_one_line() {
        let miss = |count: usize| Miss {
            kind: MissKind::Changed,
            changes: (0..count).map(|n| format!("f{n} changed (bytes)")).collect(),
            causes: Vec::new(),
            advice: None,
        };
        assert_eq!(miss(1).to_string(), "f0 changed (bytes)");
        assert_eq!(
            miss(3).to_string(),
            "f0 changed (bytes), f1 changed (bytes), f2 changed (bytes)"
        );
        assert_eq!(miss(9).to_string(), "f0 changed (bytes), f1 changed (bytes), and 7 more");
    }
}
