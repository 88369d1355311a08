//! `USER name[:group]` against the passwd and group files of a root filesystem.

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Primary group number.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What [`lookup_user`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The numbers.
    pub user: User,
    /// Home directory; `/` when the account is not in passwd or names none.
    pub home: String,
    /// Name in passwd, when there is one.
    pub name: Option<String>,
}

/// Why [`lookup_user`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The name is not in passwd.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// The name is not in group.
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
    /// The number does not fit.
    #[error("uid or gid {0} is out of range: it must be between 0 and 2147483647")]
    OutOfRange(String),
}

/// Looks `spec` up, which is `[user][:group]`, each a name or a number.
///
/// # Errors
/// A name that is not found, or a number beyond 2³¹ - 1.
pub fn lookup_user(
    spec: &str,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<Account, UserError> {
    let _ = (passwd, group);
    Err(UserError::UnknownUser(spec.to_owned()))
}
