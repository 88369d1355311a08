//! Names of snapshots.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// Names one snapshot of one store; written as 16 lower-case hexadecimal digits.
///
/// Random, so that processes need not agree on the next one, and never used twice: whoever finds
/// that a name is gone knows that the snapshot is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SnapshotId(u64);

impl SnapshotId {
    /// A new name.
    pub(crate) fn random() -> rustix::io::Result<Self> {
        let mut bytes = [0; 8];
        // Eight bytes never come in pieces (getrandom(2): up to 256 bytes are not interrupted).
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(Self(u64::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not a snapshot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot id is 16 lower-case hexadecimal digits")]
pub struct SnapshotIdError;

impl FromStr for SnapshotId {
    type Err = SnapshotIdError;

    fn from_str(text: &str) -> Result<Self, SnapshotIdError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(SnapshotIdError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| SnapshotIdError)
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = SnapshotIdError;

    fn try_from(text: String) -> Result<Self, SnapshotIdError> {
        text.parse()
    }
}

impl ToSql for SnapshotId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.cast_signed().into())
    }
}

impl FromSql for SnapshotId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(|id| Self(id.cast_unsigned()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = SnapshotId::random().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&SnapshotId(255)).unwrap(), "\"00000000000000ff\"");
        for wrong in ["", "ff", "00000000000000FF", "+0000000000000ff", "00000000000000ff0"] {
            assert_eq!(wrong.parse::<SnapshotId>(), Err(SnapshotIdError), "{wrong:?}");
        }
    }
}
