//! The client against a real registry, and against one that is made to fail.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod auth;
mod copy;
mod faults;
mod support;
mod tls;
mod transfer;
