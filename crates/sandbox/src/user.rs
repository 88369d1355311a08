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

/// Looks `spec` up, which is `[user][:group]`, each a name or a number. An empty user is root.
///
/// As Docker does it: a number without an entry in passwd has group 0, and `root` needs no entry in
/// either file, since images without accounts are run by it; a user without a named group
/// gets all groups that list it; with a named group, that is the only one. The primary group is
/// among the supplementary ones, since a process that could shed it might gain rights from files
/// that deny its group something.
///
/// # Errors
/// A name that is not found, or a number beyond 2³¹ - 1.
pub fn lookup_user(
    spec: &str,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
) -> Result<Account, UserError> {
    let (wanted, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let passwd = String::from_utf8_lossy(passwd.unwrap_or_default());
    let group = String::from_utf8_lossy(group.unwrap_or_default());

    let number = parse_id(wanted)?;
    let mut account = match passwd.lines().filter_map(Entry::parse).find(|e| e.is(wanted, number)) {
        Some(entry) => Account {
            user: User {
                uid: entry.id,
                gid: entry.field(0).parse().unwrap_or(0),
                groups: Vec::new(),
            },
            home: Some(entry.field(2)).filter(|h| !h.is_empty()).unwrap_or("/").to_owned(),
            name: Some(entry.name.to_owned()),
        },
        None => Account {
            user: User {
                uid: number
                    .or_else(|| root(wanted))
                    .ok_or_else(|| UserError::UnknownUser(wanted.to_owned()))?,
                ..User::default()
            },
            home: "/".to_owned(),
            name: None,
        },
    };

    let mut groups = group.lines().filter_map(Entry::parse);
    let user = &mut account.user;
    if let Some(wanted) = wanted_group {
        let number = parse_id(wanted)?;
        user.gid = match groups.find(|e| e.is(wanted, number)) {
            Some(entry) => entry.id,
            None => number
                .or_else(|| root(wanted))
                .ok_or_else(|| UserError::UnknownGroup(wanted.to_owned()))?,
        };
        user.groups = vec![user.gid];
    } else {
        user.groups = vec![user.gid];
        if let Some(name) = &account.name {
            for entry in groups.filter(|e| e.field(0).split(',').any(|member| member == name)) {
                if !user.groups.contains(&entry.id) {
                    user.groups.push(entry.id);
                }
            }
        }
    }
    Ok(account)
}

/// The number of the one account that everybody knows.
fn root(name: &str) -> Option<u32> {
    (name == "root").then_some(0)
}

/// A line of passwd(5) or group(5): both begin with a name, a password and a number.
struct Entry<'a> {
    name: &'a str,
    id: u32,
    rest: &'a str,
}

impl<'a> Entry<'a> {
    /// None for what is not an entry; a broken line must not hide the others.
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let mut fields = line.splitn(4, ':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        let id = id.parse().ok()?;
        Some(Self { name, id, rest: fields.next().unwrap_or("") }).filter(|e| !e.name.is_empty())
    }

    /// The field with this number after the first three.
    fn field(&self, n: usize) -> &'a str {
        self.rest.split(':').nth(n).unwrap_or("")
    }

    fn is(&self, name: &str, number: Option<u32>) -> bool {
        self.name == name || number == Some(self.id)
    }
}

/// A number, or none for a name.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if i32::try_from(id).is_ok() => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\n# comment:x:9:9\nbroken\n\
        web:x:33:34:Web,,,:/var/www:/bin/false\n1000:x:5:6::/odd:\nnohome:x:7:7:::\n";
    const GROUP: &[u8] = b"root:x:0:\ntty:x:5:web,other\nwww:x:34:\nadm:x:40:web\n77:x:78:\n";

    fn look(spec: &str) -> Result<Account, UserError> {
        lookup_user(spec, Some(PASSWD), Some(GROUP))
    }

    fn ids(spec: &str) -> (u32, u32, Vec<u32>) {
        let user = look(spec).unwrap().user;
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn names() {
        assert_eq!(ids("web"), (33, 34, vec![34, 5, 40]));
        assert_eq!(look("web").unwrap().home, "/var/www");
        assert_eq!(look("nohome").unwrap().home, "/");
        assert_eq!(ids("33"), (33, 34, vec![34, 5, 40]), "a number has its entry's groups");
    }

    #[test]
    fn nobody_named_is_root() {
        assert_eq!(ids(""), (0, 0, vec![0]));
        assert_eq!(look("").unwrap().home, "/root");
        assert_eq!(ids(":tty"), (0, 5, vec![5]));
        assert_eq!(ids("web:"), ids("web"));
    }

    #[test]
    fn numbers_without_entry() {
        assert_eq!(ids("4242"), (4242, 0, vec![0]));
        assert_eq!(ids("4242:4343"), (4242, 4343, vec![4343]));
        let bare = lookup_user("12:13", None, None).unwrap();
        assert_eq!(bare.user, User { uid: 12, gid: 13, groups: vec![13] });
        assert_eq!((bare.home.as_str(), bare.name), ("/", None));
    }

    #[test]
    fn root_needs_no_entry() {
        let bare = lookup_user("root:root", None, None).unwrap();
        assert_eq!(bare.user, User { uid: 0, gid: 0, groups: vec![0] });
        assert!(lookup_user("daemon", None, None).is_err());
    }

    #[test]
    fn a_named_group_is_the_only_one() {
        assert_eq!(ids("web:adm"), (33, 40, vec![40]));
        assert_eq!(ids("web:40"), (33, 40, vec![40]));
    }

    #[test]
    fn a_number_can_be_a_name() {
        assert_eq!(ids("1000"), (5, 6, vec![6]));
        assert_eq!(ids("web:77"), (33, 78, vec![78]));
    }

    #[test]
    fn errors_name_the_user() {
        let text = |spec| look(spec).unwrap_err().to_string();
        assert_eq!(
            text("nobody"),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(text("web:no"), "unable to find group no: no matching entries in group file");
        assert!(text("4294967296").contains("out of range"));
        assert!(text("2147483648:1").contains("out of range"));
    }
}
