//! `RUN --mount`: the options of one mount.

use std::fmt;

use crate::ast::Mount;
use crate::csv::{self, Field};
use crate::diagnostic::Diagnostic;
use crate::expand::ExpandError;
use crate::span::Span;
use crate::suggest::{did_you_mean, suggest};
use crate::value::{parse_bool, parse_size};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret, as a file or a variable.
    Secret,
    /// A socket to an SSH agent.
    Ssh,
}

impl MountKind {
    const ALL: [Self; 5] = [Self::Bind, Self::Cache, Self::Tmpfs, Self::Secret, Self::Ssh];

    /// The name used in `type=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for MountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens when several builds use one cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// They all write to it.
    #[default]
    Shared,
    /// Each gets one of its own.
    Private,
    /// They take turns.
    Locked,
}

impl Sharing {
    const ALL: [Self; 3] = [Self::Shared, Self::Private, Self::Locked];

    /// The name used in `sharing=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The options of a mount, checked against one another but without defaults that depend on the
/// build: those (targets, ids, paths relative to `WORKDIR`) are left to whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountSpec {
    /// `type`
    pub kind: MountKind,
    /// `source`, `src`
    pub source: Option<String>,
    /// `target`, `dst`, `destination`
    pub target: Option<String>,
    /// `from`: a stage, an image or a named context.
    pub from: Option<String>,
    /// `id`
    pub id: Option<String>,
    /// Whether the mount can't be written to: `ro` or `rw` if given, else true for all but cache
    /// and tmpfs mounts.
    pub read_only: bool,
    /// `sharing`, of cache mounts.
    pub sharing: Sharing,
    /// `required`: without the secret or agent the step fails instead of running without it.
    pub required: bool,
    /// `size` in bytes, of tmpfs mounts.
    pub size: Option<u64>,
    /// `mode`: permission bits of what is created.
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `env`: the variable that gets the secret.
    pub env: Option<String>,
}

/// Options that make no valid mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct MountError {
    /// What is wrong.
    pub kind: MountErrorKind,
    /// Where, in bytes of the option list as written.
    pub span: Span,
}

/// What is wrong with the options of a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountErrorKind {
    /// A double quote is not closed, or opens in the middle of a field.
    #[error("misplaced quote in the mount options")]
    Quote,
    /// An option that needs a value has none.
    #[error("invalid mount option `{0}`: it must be a key=value pair")]
    NoValue(String),
    /// No option has this name.
    #[error("unexpected mount option `{key}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey {
        /// The name.
        key: String,
        /// The nearest known one.
        suggestion: Option<String>,
    },
    /// There is no such type.
    #[error("unsupported mount type `{value}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownType {
        /// The type.
        value: String,
        /// The nearest known one.
        suggestion: Option<String>,
    },
    /// There is no such sharing mode.
    #[error("unsupported sharing value `{value}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownSharing {
        /// The mode.
        value: String,
        /// The nearest known one.
        suggestion: Option<String>,
    },
    /// The value is not of the kind that the option takes.
    #[error("invalid value `{value}` for mount option `{key}`: expected {expected}")]
    InvalidValue {
        /// The option.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be, in words.
        expected: &'static str,
    },
    /// The option means nothing for this type of mount.
    #[error("mount option `{key}` is not allowed for mounts of type `{kind}`")]
    NotAllowed {
        /// The option.
        key: &'static str,
        /// The type.
        kind: MountKind,
    },
    /// A secret mount names no secret.
    #[error("invalid secret mount: one of id, source or target is required")]
    UnnamedSecret,
    /// A secret is named twice.
    #[error("invalid secret mount: source and id can't both be set")]
    SecretNamedTwice,
    /// `from` holds a variable.
    #[error("mount option `from` doesn't support variable expansion")]
    VariableInFrom,
    /// A value could not be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

impl MountErrorKind {
    fn at(self, field: &Field) -> MountError {
        MountError { kind: self, span: field.span }
    }

    /// Whether it is the form that is wrong, whatever the values are.
    pub(crate) fn is_form(&self) -> bool {
        matches!(self, Self::Quote | Self::VariableInFrom)
    }

    fn help(&self) -> Option<String> {
        let names = |names: &mut dyn Iterator<Item = &'static str>| {
            format!("use one of {}", names.collect::<Vec<_>>().join(", "))
        };
        match self {
            Self::Quote => Some("put quotes around the whole option: `\"target=/a,b\"`".into()),
            Self::NoValue(field) => Some(format!("write `{field}=...`")),
            Self::UnknownKey { suggestion: Some(_), .. }
            | Self::UnknownType { suggestion: Some(_), .. }
            | Self::UnknownSharing { suggestion: Some(_), .. } => None,
            Self::UnknownKey { .. } => Some(names(&mut KEYS.iter().map(|(name, _)| *name))),
            Self::UnknownType { .. } => Some(names(&mut MountKind::ALL.iter().map(|k| k.name()))),
            Self::UnknownSharing { .. } => Some(names(&mut Sharing::ALL.iter().map(|s| s.name()))),
            Self::VariableInFrom => Some(
                "define an alias stage, `FROM image-with-$variable AS name`, and use its name"
                    .into(),
            ),
            Self::SecretNamedTwice => Some("remove one of them".into()),
            Self::UnnamedSecret => Some("add `id=name`".into()),
            _ => None,
        }
    }
}

impl MountError {
    /// The error as a diagnostic about the mount as written.
    pub fn diagnostic(&self, mount: &Mount) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.kind.to_string(), mount.text.within(self.span));
        match self.kind.help() {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    }
}

/// The options, aliases folded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Type,
    Source,
    Target,
    From,
    Id,
    ReadOnly,
    ReadWrite,
    Sharing,
    Required,
    Size,
    Mode,
    Uid,
    Gid,
    Env,
    /// Podman's request to relabel for SELinux, which means nothing here.
    Relabel,
}

const KEYS: [(&str, Key); 20] = [
    ("type", Key::Type),
    ("source", Key::Source),
    ("src", Key::Source),
    ("target", Key::Target),
    ("dst", Key::Target),
    ("destination", Key::Target),
    ("from", Key::From),
    ("id", Key::Id),
    ("readonly", Key::ReadOnly),
    ("ro", Key::ReadOnly),
    ("readwrite", Key::ReadWrite),
    ("rw", Key::ReadWrite),
    ("sharing", Key::Sharing),
    ("required", Key::Required),
    ("size", Key::Size),
    ("mode", Key::Mode),
    ("uid", Key::Uid),
    ("gid", Key::Gid),
    ("env", Key::Env),
    ("z", Key::Relabel),
];

impl Key {
    /// The key of `field`, under its canonical name.
    fn of(field: &Field) -> Result<(Self, &'static str), MountError> {
        let written = field.pair().0;
        let lower = written.to_ascii_lowercase();
        KEYS.iter().find(|(name, _)| *name == lower).map(|(name, key)| (*key, *name)).ok_or_else(
            || {
                let suggestion = suggest(&lower, KEYS.iter().map(|(name, _)| *name));
                let suggestion = suggestion.map(str::to_owned);
                MountErrorKind::UnknownKey { key: written.to_owned(), suggestion }.at(field)
            },
        )
    }

    /// The types of mount that it means something for; all when empty.
    const fn kinds(self) -> &'static [MountKind] {
        match self {
            Self::Sharing => &[MountKind::Cache],
            Self::Size => &[MountKind::Tmpfs],
            Self::Required => &[MountKind::Secret, MountKind::Ssh],
            Self::Mode | Self::Uid | Self::Gid => {
                &[MountKind::Secret, MountKind::Ssh, MountKind::Cache]
            }
            Self::From => &[MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Ssh],
            _ => &[],
        }
    }
}

impl Mount {
    /// Parses an option list that holds no variables (any more).
    pub fn parse(text: &str) -> Result<MountSpec, MountError> {
        spec(text, |value| Ok(value.to_owned()))
    }

    /// Parses the option list, expanding each value with `expand`. Unlike expanding the list as a
    /// whole, this keeps a comma in a variable from making another option.
    pub fn resolve(
        &self,
        expand: impl FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<MountSpec, MountError> {
        spec(&self.text.value, expand)
    }

    /// What `from=` names. It takes no variables, so it is known before anything is expanded.
    pub fn from(&self) -> Option<String> {
        let fields = csv::fields(&self.text.value).ok()?;
        let from = |field: &Field| match field.pair() {
            (key, Some(value)) if key.eq_ignore_ascii_case("from") => Some(value.to_owned()),
            _ => None,
        };
        fields.iter().rev().find_map(from)
    }

    /// Finds what is wrong whatever the variables turn out to be.
    pub(crate) fn check(&self) -> Result<(), MountError> {
        let text = &self.text.value;
        if !text.contains('$') {
            return Self::parse(text).map(drop);
        }
        for field in split(text)? {
            let (key, _) = Key::of(&field)?;
            let variable = |value: &str| value.trim_end_matches('$').contains('$');
            if key == Key::From && field.pair().1.is_some_and(variable) {
                return Err(MountErrorKind::VariableInFrom.at(&field));
            }
        }
        Ok(())
    }
}

fn split(text: &str) -> Result<Vec<Field>, MountError> {
    csv::fields(text).map_err(|span| MountError { kind: MountErrorKind::Quote, span })
}

fn spec(
    text: &str,
    mut expand: impl FnMut(&str) -> Result<String, ExpandError>,
) -> Result<MountSpec, MountError> {
    let fields = split(text)?;
    let mut spec = MountSpec::default();
    let mut read_only = None;
    let mut keys = Vec::with_capacity(fields.len());
    for field in &fields {
        let (key, name) = Key::of(field)?;
        keys.push((key, name, field));
        let value = match field.pair().1 {
            Some(_) if key == Key::From => field.pair().1.map(str::to_owned),
            Some(value) => Some(expand(value).map_err(|e| MountErrorKind::Expand(e).at(field))?),
            None => None,
        };
        set(&mut spec, &mut read_only, key, name, value, field)?;
    }
    check(&spec, &keys, text)?;
    let writable = matches!(spec.kind, MountKind::Cache | MountKind::Tmpfs);
    spec.read_only = read_only.unwrap_or(!writable);
    Ok(spec)
}

/// Stores one option.
fn set(
    spec: &mut MountSpec,
    read_only: &mut Option<bool>,
    key: Key,
    name: &'static str,
    value: Option<String>,
    field: &Field,
) -> Result<(), MountError> {
    let invalid = |value: String, expected| {
        MountErrorKind::InvalidValue { key: name, value, expected }.at(field)
    };
    let flag = |value: Option<String>| match value {
        None => Ok(true),
        Some(value) => parse_bool(&value).ok_or_else(|| invalid(value, "true or false")),
    };
    // The switches are the only options that may stand alone.
    match key {
        Key::ReadOnly => *read_only = Some(flag(value)?),
        Key::ReadWrite => *read_only = Some(!flag(value)?),
        Key::Required => spec.required = flag(value)?,
        Key::Relabel => {}
        _ => {
            let value =
                value.ok_or_else(|| MountErrorKind::NoValue(field.text.clone()).at(field))?;
            let number = |value: String, radix, expected| {
                // `from_str_radix` takes a sign, which has no meaning here.
                let plain = value.chars().all(|c| c.is_digit(radix));
                let parsed = u32::from_str_radix(&value, radix).ok().filter(|_| plain);
                parsed.map(Some).ok_or_else(|| invalid(value, expected))
            };
            match key {
                Key::Type => spec.kind = kind(&value, field)?,
                Key::Sharing => spec.sharing = sharing(&value, field)?,
                Key::Source => spec.source = Some(value),
                Key::Target => spec.target = Some(value),
                Key::From => spec.from = Some(value),
                Key::Id => spec.id = Some(value),
                Key::Env => spec.env = Some(value),
                Key::Mode => spec.mode = number(value, 8, "an octal number")?,
                Key::Uid => spec.uid = number(value, 10, "a number")?,
                Key::Gid => spec.gid = number(value, 10, "a number")?,
                Key::Size => {
                    let size = parse_size(&value);
                    spec.size = Some(size.ok_or_else(|| invalid(value, "a size such as `64m`"))?);
                }
                Key::ReadOnly | Key::ReadWrite | Key::Required | Key::Relabel => {}
            }
        }
    }
    Ok(())
}

fn kind(value: &str, field: &Field) -> Result<MountKind, MountError> {
    let lower = value.to_ascii_lowercase();
    MountKind::ALL.into_iter().find(|kind| kind.name() == lower).ok_or_else(|| {
        let nearest = suggest(&lower, MountKind::ALL.iter().map(|kind| kind.name()));
        let suggestion = nearest.map(str::to_owned);
        MountErrorKind::UnknownType { value: value.to_owned(), suggestion }.at(field)
    })
}

fn sharing(value: &str, field: &Field) -> Result<Sharing, MountError> {
    let lower = value.to_ascii_lowercase();
    Sharing::ALL.into_iter().find(|sharing| sharing.name() == lower).ok_or_else(|| {
        let nearest = suggest(&lower, Sharing::ALL.iter().map(|sharing| sharing.name()));
        let suggestion = nearest.map(str::to_owned);
        MountErrorKind::UnknownSharing { value: value.to_owned(), suggestion }.at(field)
    })
}

/// Holds the options against one another, whatever order they came in.
fn check(
    spec: &MountSpec,
    keys: &[(Key, &'static str, &Field)],
    text: &str,
) -> Result<(), MountError> {
    for (key, name, field) in keys {
        if !key.kinds().is_empty() && !key.kinds().contains(&spec.kind) {
            return Err(MountErrorKind::NotAllowed { key: name, kind: spec.kind }.at(field));
        }
    }
    if spec.kind != MountKind::Secret {
        return Ok(());
    }
    let whole = Span::new(0, text.len());
    let named = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    match (named(&spec.id), named(&spec.source), named(&spec.target)) {
        (true, true, _) => Err(MountError { kind: MountErrorKind::SecretNamedTwice, span: whole }),
        (false, false, false) => {
            Err(MountError { kind: MountErrorKind::UnnamedSecret, span: whole })
        }
        _ => Ok(()),
    }
}
