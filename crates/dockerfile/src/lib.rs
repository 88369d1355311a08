//! Dockerfiles as text: parsing, expansion, ignore rules and checks. Pure: no I/O.

pub mod ast;
mod csv;
pub mod device;
mod diagnostic;
pub mod expand;
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
pub use heredoc::Script;
pub use keyword::Keyword;
pub use mount::{MountError, MountErrorKind, MountKind, MountSpec, Sharing};
pub use parse::{Parsed, description, parse, parse_bytes, parse_instruction};
pub use span::{LineIndex, Span, Spanned};
pub use suggest::suggest;
pub use syntax::detect_syntax;
