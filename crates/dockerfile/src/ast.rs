//! The typed tree a Dockerfile is parsed into.
//!
//! Words are kept as written: quotes, escapes and variables are still in them, because what they
//! mean depends on the environment at that point of the build. [`crate::expand`] resolves them.

use std::time::Duration;

use crate::span::{Span, Spanned};

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dockerfile {
    /// The directives at the very top.
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`; see [`Dockerfile::global_args`] for the
    /// arguments in them.
    pub global_args: Vec<Instruction>,
    /// The build stages, in the order written.
    pub stages: Vec<Stage>,
    /// The blank lines inside continued instructions, the first one of each: accepted, and
    /// reported by the check `NoEmptyContinuation`.
    pub blank_lines: Vec<Span>,
}

/// Parser directives: the `# name=value` lines at the very top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the frontend image the author asked for.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`: the escape character, a backslash unless a backtick was chosen.
    pub escape: char,
    /// `# check=`: options of the checks, see [`crate::lint::CheckOptions`].
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// One build stage: a `FROM` and the instructions up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What the stage starts from.
    pub from: From,
    /// What it does, without the `FROM`.
    pub instructions: Vec<Instruction>,
    /// The `FROM` instruction's own extent.
    pub span: Span,
    /// The `FROM` line as one line, see [`Instruction::text`].
    pub text: String,
    /// The word `FROM` as written.
    pub keyword: Spanned<String>,
    /// The comment directly above the `FROM`.
    pub comment: Option<String>,
}

/// The operands of `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// Image reference or name of an earlier stage, unexpanded.
    pub image: Spanned<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<Spanned<String>>,
    /// Name of the stage as written; stage names compare without regard to case.
    pub name: Option<Spanned<String>>,
    /// The word `AS` as written.
    pub as_keyword: Option<Spanned<String>>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub kind: InstructionKind,
    /// Its extent in the source: all continued lines, and the bodies of its here-documents.
    pub span: Span,
    /// The instruction as one line: continuations joined, comments dropped, nothing expanded.
    pub text: String,
    /// The instruction word as written, e.g. `RUN` or `run`.
    pub keyword: Spanned<String>,
    /// The comment directly above it, lines joined by `\n`.
    pub comment: Option<String>,
}

/// What an [`Instruction`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ARG name[=default] ...`
    Arg(Vec<ArgPair>),
    /// `ENV key=value ...`
    Env(Vec<KeyValue>),
    /// `LABEL key=value ...`
    Label(Vec<KeyValue>),
    /// `RUN command`
    Run(Run),
    /// `COPY src ... dest`
    Copy(Copy),
    /// `ADD src ... dest`
    Add(Add),
    /// `WORKDIR path`
    Workdir(Spanned<String>),
    /// `USER user[:group]`
    User(Spanned<String>),
    /// `EXPOSE port ...`; a word may hold several ports once expanded.
    Expose(Vec<Spanned<String>>),
    /// `VOLUME path ...`
    Volume(Vec<Spanned<String>>),
    /// `CMD command`
    Cmd(Command),
    /// `ENTRYPOINT command`
    Entrypoint(Command),
    /// `SHELL ["executable", "parameter"]`
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`
    Stopsignal(Spanned<String>),
    /// `HEALTHCHECK [flags] CMD command` or `HEALTHCHECK NONE`
    Healthcheck(Healthcheck),
    /// `ONBUILD instruction`
    Onbuild(Onbuild),
    /// `MAINTAINER name`
    Maintainer(Spanned<String>),
}

/// One `name[=default]` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgPair {
    /// The name, unexpanded.
    pub name: Spanned<String>,
    /// The default, unexpanded. `ARG x=` has an empty one, `ARG x` has none.
    pub value: Option<Spanned<String>>,
}

/// One `key=value` of an `ENV` or a `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, unexpanded.
    pub key: Spanned<String>,
    /// The value, unexpanded.
    pub value: Spanned<String>,
    /// Written in the old form with a blank instead of `=`; the value is then the rest of the line.
    pub legacy: bool,
}

/// A command in one of its two forms. Neither is ever expanded by the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A text for the shell of the stage. Empty when nothing was written.
    Shell(String),
    /// The argument vector of a process.
    Exec(Vec<String>),
}

/// The operands of `RUN`; [`Run::script`] says what is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in the order written; later ones lie over earlier ones.
    pub mounts: Vec<Mount>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Option<Spanned<String>>,
    /// `--security`: `sandbox` or `insecure`.
    pub security: Option<Spanned<String>>,
    /// `--device`, in the order written, unexpanded; see [`crate::device::DeviceSpec::parse`].
    pub devices: Vec<Spanned<String>>,
    /// The command line, without the bodies of its here-documents.
    pub command: Command,
    /// Where the command is written.
    pub command_span: Span,
    /// The here-documents that the command line names, in order.
    pub heredocs: Vec<Heredoc>,
}

/// One `--mount`, as the comma-separated list it was written as.
///
/// The list may hold variables: expand it, then give the result to [`Mount::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The list, unexpanded.
    pub text: Spanned<String>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, without quotes.
    pub name: String,
    /// The lines between, as written; ends in a line break unless empty.
    pub content: String,
    /// Whether variables in it are expanded: true unless the delimiter was quoted.
    pub expand: bool,
    /// Written as `<<-`: leading tabs don't count, see [`Heredoc::body`].
    pub chomp: bool,
    /// The file descriptor written before `<<`.
    pub fd: Option<u32>,
    /// The word that introduces it, e.g. `<<-"EOF"`.
    pub span: Span,
    /// The lines of `content` in the source.
    pub content_span: Span,
}

/// What a `COPY` or `ADD` takes its files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern; for `ADD` also a URL. Unexpanded.
    Path(Spanned<String>),
    /// The body of a here-document, which becomes a file of its name.
    Heredoc(Heredoc),
}

/// The operands of `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What to copy.
    pub sources: Vec<Source>,
    /// Where to, unexpanded.
    pub dest: Spanned<String>,
    /// `--from`: a stage, an image or a named context; takes no variables.
    pub from: Option<Spanned<String>>,
    /// `--chown`, unexpanded.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Spanned<String>>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in the order written; patterns of [`crate::ignore`], never expanded.
    pub excludes: Vec<Spanned<String>>,
}

/// The operands of `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// What to add.
    pub sources: Vec<Source>,
    /// Where to, unexpanded.
    pub dest: Spanned<String>,
    /// `--chown`, unexpanded.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Spanned<String>>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in the order written; patterns of [`crate::ignore`], never expanded.
    pub excludes: Vec<Spanned<String>>,
    /// `--checksum`, unexpanded.
    pub checksum: Option<Spanned<String>>,
    /// `--keep-git-dir`; none when not given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`; none when not given: local archives are unpacked, downloads are not.
    pub unpack: Option<bool>,
}

/// The operands of `HEALTHCHECK`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// How to find out; none for `HEALTHCHECK NONE`.
    pub test: Option<Command>,
    /// `--interval`: time between two checks.
    pub interval: Option<Duration>,
    /// `--timeout`: how long one check may take.
    pub timeout: Option<Duration>,
    /// `--start-period`: how long failures don't count after the start.
    pub start_period: Option<Duration>,
    /// `--start-interval`: time between two checks during the start period.
    pub start_interval: Option<Duration>,
    /// `--retries`: how many failures in a row make the container unhealthy.
    pub retries: Option<u32>,
}

/// The operand of `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as it is stored in the image, here-documents included.
    pub text: String,
    /// The same, parsed.
    pub instruction: Box<Instruction>,
}
