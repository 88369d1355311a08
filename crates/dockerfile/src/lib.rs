//! Dockerfiles as text: parsing, expansion, ignore rules and checks.
//!
//! Pure: text goes in, values come out. Nothing here opens a file, asks a registry or looks at the
//! environment, and nothing panics or hangs, whatever the text.
//!
//! ```
//! use bld_dockerfile::{InstructionKind, LineIndex, expand::Expander, lint, parse};
//!
//! let source = "FROM busybox AS Base\nARG who=world\nLABEL greeting=\"hello $who\"\n";
//! let parsed = parse(source);
//! assert!(parsed.is_ok());
//!
//! let InstructionKind::Label(labels) = &parsed.dockerfile.stages[0].instructions[1].kind else {
//!     unreachable!();
//! };
//! let expander = Expander::new(parsed.dockerfile.directives.escape);
//! let greeting = expander.word(&labels[0].value.value, &[("who", "you")])?;
//! assert_eq!(greeting.text, "hello you");
//!
//! let warnings = lint::check(&parsed.dockerfile, source);
//! assert_eq!(warnings[0].rule, Some("StageNameCasing"));
//! assert_eq!(LineIndex::new(source).line_col(warnings[0].span.start), (1, 17));
//! # Ok::<(), bld_dockerfile::expand::ExpandError>(())
//! ```
//!
//! # Three layers
//!
//! What a line of a Dockerfile means depends on lines above it: the escape directive changes how
//! lines are joined, comments vanish inside a continued line, a word like `<<EOF` swallows the
//! lines below. So lines are put together by hand first, with the place of every part remembered,
//! and only then is the text of one instruction given to nom parsers:
//!
//! 1. [`syntax`] takes the file apart into statements: keyword, flags, operands, here-documents.
//! 2. [`parse`] makes typed instructions of them ([`ast`]), and stages of these.
//! 3. [`expand`] resolves quotes and variables, one word at a time, when the environment of an
//!    instruction is known. Until then words stay as they were written.
//!
//! # What always holds
//!
//! - The parser returns a tree *and* what is wrong with it; it never stops at the first error.
//! - Every [`Diagnostic`] has a [`Span`] that lies within the source, on character boundaries.
//! - What BuildKit's frontend accepts is accepted and means the same. Where it fails, this crate
//!   may be wiser.
//! - Time is linear in the size of the text for everything but name suggestions; patterns and
//!   nested substitutions can't make it explode.
//! - A tree printed with [`Display`](std::fmt::Display) parses to the same tree.

pub mod ast;
mod csv;
pub mod device;
mod diagnostic;
pub mod expand;
mod frontend;
mod glob;
mod heredoc;
pub mod ignore;
mod instruction;
mod keyword;
pub mod lint;
pub mod mount;
mod parse;
mod print;
mod span;
mod suggest;
pub mod syntax;
pub mod value;

pub use ast::*;
pub use diagnostic::{Diagnostic, Severity};
pub use frontend::check_frontend;
pub use heredoc::Script;
pub use keyword::Keyword;
pub use mount::{MountError, MountErrorKind, MountKind, MountSpec, Sharing};
pub use parse::{Parsed, description, parse, parse_bytes, parse_instruction};
pub use span::{LineIndex, Span, Spanned};
pub use suggest::suggest;
pub use syntax::detect_syntax;
