//! HTTP as a program needs it that hands files on: redirects without leaks, and no wait without an
//! end.
//!
//! Invariants:
//! - the `Authorization` header goes to the host it is meant for and to no other, and so do headers
//!   marked as sensitive and the certificate of a client;
//! - HTTPS never turns into HTTP unless the caller allows it;
//! - every wait has an end.
//!
//! It knows nothing of what is transferred; only proxies are taken from the environment, by the HTTP
//! library.

mod error;
mod identity;
mod transport;

pub use error::TransportError;
pub use identity::Identity;
/// Types of the HTTP library that callers name.
pub use reqwest::{Url, header};
pub use transport::{Options, Transport, is_loopback, redacted};
