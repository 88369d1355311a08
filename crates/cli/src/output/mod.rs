//! Text for people: lists, tables, sizes and times.

pub(crate) mod file;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod ports;
pub(crate) mod table;
pub(crate) mod units;
