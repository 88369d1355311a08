//! The ids that exist in this process's user namespace, see user_namespaces(7).

use std::fs;
use std::sync::OnceLock;

use crate::error::SandboxError;
use crate::user::User;

/// Users and groups that exist. Files can belong to no others, and processes run as no others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    users: Vec<Extent>,
    groups: Vec<Extent>,
    /// The list of a process's groups can't be changed.
    fixed_groups: bool,
}

/// Ids that follow one another: the first, and how many.
type Extent = (u32, u32);

impl Ids {
    /// Those of this process. They are read once: to be asked for after
    /// [`enter`](crate::user_namespace), not before.
    pub fn own() -> &'static Self {
        static OWN: OnceLock<Ids> = OnceLock::new();
        OWN.get_or_init(|| {
            let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
            Self {
                users: read("uid_map").map(|text| extents(&text)).unwrap_or_default(),
                groups: read("gid_map").map(|text| extents(&text)).unwrap_or_default(),
                fixed_groups: read("setgroups").is_ok_and(|text| text.trim() == "deny"),
            }
        })
    }

    /// Whether all ids exist, as they do for those who are really root.
    pub fn are_all(&self) -> bool {
        self.users == [(0, u32::MAX)]
    }

    /// Whether root is the only user.
    pub fn is_one(&self) -> bool {
        matches!(self.users.as_slice(), [(_, 1)])
    }

    /// How many users there are.
    pub fn count(&self) -> u64 {
        self.users.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether a user exists.
    pub fn has_user(&self, user: u32) -> bool {
        has(&self.users, user)
    }

    /// Whether a group exists.
    pub fn has_group(&self, group: u32) -> bool {
        has(&self.groups, group)
    }

    /// The owner that a file of `user` and `group` gets: root where nobody else exists.
    pub(crate) fn owner(&self, user: u32, group: u32) -> (u32, u32) {
        if self.is_one() { (0, 0) } else { (user, group) }
    }

    /// Refuses to run a process as someone who does not exist.
    pub(crate) fn check(&self, user: &User) -> Result<(), SandboxError> {
        let kind = match (self.has_user(user.uid), self.has_group(user.gid)) {
            (true, true) => return Ok(()),
            (false, _) => format!("user {}", user.uid),
            (true, false) => format!("group {}", user.gid),
        };
        Err(SandboxError::Invalid(format!(
            "there is no {kind} in this user namespace: whoever runs this needs more subordinate ids \
             (see /etc/subuid and `bld doctor`)"
        )))
    }

    /// Whether a process may be given other groups than its maker has.
    pub(crate) fn may_set_groups(&self) -> bool {
        !self.fixed_groups
    }
}

/// Ids of the host that are a container's, where root is the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// The user and group on the host that are root's in the container.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl Shift {
    /// The host's id of one of the container's.
    pub(crate) fn outside(self, id: u32) -> u32 {
        self.first.saturating_add(id)
    }

    /// The line of a map of ids.
    pub(crate) fn line(self) -> String {
        format!("0 {} {}\n", self.first, self.count)
    }

    /// Those of a process, if it is in a user namespace made so.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
        let mut fields = text.split_ascii_whitespace().map(str::parse);
        let (Some(Ok(0)), Some(Ok(first)), Some(Ok(count)), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        (first != 0 && Ids::own().are_all()).then_some(Self { first, count })
    }
}

fn has(extents: &[Extent], id: u32) -> bool {
    extents.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|n| n < *count))
}

/// Reads `/proc/PID/uid_map` or its like.
fn extents(text: &str) -> Vec<Extent> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_say_who_exists() {
        let users = extents("         0       1001          1\n         1     100000      65536\n");
        assert_eq!(users, [(0, 1), (1, 65536)]);
        assert!(has(&users, 0) && has(&users, 65536) && !has(&users, 65537));
        let all = Ids { users: extents("0 0 4294967295"), ..Ids::default() };
        assert!(all.are_all() && !all.is_one());
        let shift = Shift { first: 500_000, count: 65536 };
        assert_eq!((shift.outside(33), shift.line()), (500_033, "0 500000 65536\n".to_owned()));
        let one = Ids { users: extents("0 1000 1"), ..Ids::default() };
        assert!(one.is_one() && !one.are_all() && !one.has_user(33));
    }
}
