//! Conditions on what takes space, in the words of BuildKit's filters.

use regex::Regex;

use super::{DiskEntry, DiskKind};

/// A condition: selectors joined by commas, all of which must hold.
///
/// A selector is `FIELD==VALUE`, `FIELD!=VALUE`, `FIELD~=REGEX`, or a field alone, which says that
/// there is such a thing. `FIELD=VALUE` is the first, but for `id`, where it is the third, as on the
/// command line of buildx. The fields are `id`, `parents` (joined by semicolons), `description` and
/// `type`, and without a value `inuse`, `mutable`, `immutable`, `shared` and `private`, which may
/// also be written `FIELD=true` or `FIELD=false`.
#[derive(Debug, Clone)]
pub struct DiskFilter(Vec<Selector>);

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing is called so.
    #[error(
        "there is no filter {name:?}: there are {}, and until=DURATION",
        Field::ALL.map(|field| field.1).join(", ")
    )]
    Unknown {
        /// As given.
        name: String,
    },
    /// The field is there or not, and has no value.
    #[error("filter {name:?} is either true or false")]
    NoValue {
        /// The field.
        name: String,
    },
    /// The regular expression is none.
    #[error("filter {name:?}: {reason}")]
    Pattern {
        /// The field.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Clone)]
struct Selector {
    field: Field,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present(bool),
    Equals(String),
    Differs(String),
    Matches(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Parents,
    Description,
    Type,
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
}

impl Field {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Id, "id"),
        (Self::Parents, "parents"),
        (Self::Description, "description"),
        (Self::Type, "type"),
        (Self::InUse, "inuse"),
        (Self::Mutable, "mutable"),
        (Self::Immutable, "immutable"),
        (Self::Shared, "shared"),
        (Self::Private, "private"),
    ];

    /// The text of the field, if it has one.
    fn text(self, entry: &DiskEntry) -> Option<String> {
        Some(match self {
            Self::Id => entry.id.clone(),
            Self::Parents => entry.parents.join(";"),
            Self::Description => entry.description.clone(),
            Self::Type => entry.kind.to_string(),
            _ => return None,
        })
    }

    /// Whether it is there.
    fn is_present(self, entry: &DiskEntry) -> bool {
        match self {
            Self::InUse => entry.in_use,
            Self::Mutable => entry.mutable,
            Self::Immutable => !entry.mutable,
            Self::Shared => entry.shared,
            Self::Private => !entry.shared,
            _ => self.text(entry).is_some_and(|text| !text.is_empty()),
        }
    }

    fn has_value(self) -> bool {
        matches!(self, Self::Id | Self::Parents | Self::Description | Self::Type)
    }
}

impl DiskFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let selectors = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        selectors.map(Selector::parse).collect::<Result<_, _>>().map(Self)
    }

    /// What is of this kind.
    pub(super) fn of_kind(kind: DiskKind) -> Self {
        Self(vec![Selector { field: Field::Type, test: Test::Equals(kind.to_string()) }])
    }

    /// Whether it holds for everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it holds for `entry`.
    pub fn matches(&self, entry: &DiskEntry) -> bool {
        self.0.iter().all(|selector| selector.matches(entry))
    }
}

impl Selector {
    fn parse(text: &str) -> Result<Self, FilterError> {
        let end = text.find(['=', '!', '~']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = name.trim();
        let field = Field::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        let (field, _) = *field.ok_or_else(|| FilterError::Unknown { name: name.to_owned() })?;
        let unquoted = |value: &str| value.trim().trim_matches('"').to_owned();
        let pattern = |value: &str| match Regex::new(&unquoted(value)) {
            Ok(regex) => Ok(Test::Matches(regex)),
            Err(e) => Err(FilterError::Pattern { name: name.to_owned(), reason: e.to_string() }),
        };
        let test = if rest.is_empty() {
            Test::Present(true)
        } else if !field.has_value() {
            match rest.trim_start_matches('=') {
                "true" | "1" => Test::Present(true),
                "false" | "0" => Test::Present(false),
                _ => return Err(FilterError::NoValue { name: name.to_owned() }),
            }
        } else if let Some(value) = rest.strip_prefix("==") {
            Test::Equals(unquoted(value))
        } else if let Some(value) = rest.strip_prefix("!=") {
            Test::Differs(unquoted(value))
        } else if let Some(value) = rest.strip_prefix("~=") {
            pattern(value)?
        } else if let Some(value) = rest.strip_prefix('=') {
            if field == Field::Id { pattern(value)? } else { Test::Equals(unquoted(value)) }
        } else {
            return Err(FilterError::Unknown { name: text.to_owned() });
        };
        Ok(Self { field, test })
    }

    fn matches(&self, entry: &DiskEntry) -> bool {
        let text = || self.field.text(entry).unwrap_or_default();
        match &self.test {
            Test::Present(present) => self.field.is_present(entry) == *present,
            Test::Equals(value) => text() == *value,
            Test::Differs(value) => text() != *value,
            Test::Matches(regex) => regex.is_match(&text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(filter: &str) -> Result<bool, FilterError> {
        let entry = DiskEntry {
            id: "0123456789abcdef".to_owned(),
            parents: vec!["a1".to_owned(), "b2".to_owned()],
            description: "[2/3] RUN make".to_owned(),
            kind: DiskKind::Regular,
            in_use: true,
            ..DiskEntry::default()
        };
        Ok(DiskFilter::parse(filter)?.matches(&entry))
    }

    #[test]
    fn selectors() {
        for filter in [
            "",
            "id=^01.*ef$",
            "id==0123456789abcdef",
            "parents==a1;b2",
            "parents=a1;b2",
            "description~=RUN",
            "description==\"[2/3] RUN make\"",
            "type=regular",
            "type!=exec.cachemount",
            "inuse",
            "inuse=true",
            "shared=false",
            "private,immutable,inuse",
            "TYPE==regular",
        ] {
            assert_eq!(holds(filter), Ok(true), "{filter}");
        }
        for filter in
            ["id=^1", "id==0123", "type=internal", "mutable", "inuse=false", "shared,inuse"]
        {
            assert_eq!(holds(filter), Ok(false), "{filter}");
        }
    }

    #[test]
    fn mistakes() {
        assert!(matches!(holds("size=3"), Err(FilterError::Unknown { .. })));
        assert!(matches!(holds("type!regular"), Err(FilterError::Unknown { .. })));
        assert!(matches!(holds("shared=maybe"), Err(FilterError::NoValue { .. })));
        assert!(matches!(holds("description~=("), Err(FilterError::Pattern { .. })));
        let unknown = FilterError::Unknown { name: "size".to_owned() };
        assert!(unknown.to_string().contains("id, parents, description"));
    }
}
