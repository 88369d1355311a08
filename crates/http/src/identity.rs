//! Who we are to a server that asks for a certificate.

use std::fmt;

use crate::TransportError;

/// A certificate of a client, and the key to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pem: Vec<u8>,
}

impl Identity {
    /// The certificate, with those that lead to its authority if there are any, and its key, both in
    /// PEM format.
    ///
    /// # Errors
    /// When there is no certificate or no key, or the key is encrypted. Nothing of them is shown.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TransportError> {
        let pem = [certificate, b"\n", key].concat();
        let identity = Self { pem };
        identity.parse()?;
        Ok(identity)
    }

    /// As the HTTP library has it.
    pub(crate) fn parse(&self) -> Result<reqwest::Identity, TransportError> {
        // What the library says may quote what it read.
        reqwest::Identity::from_pem(&self.pem).map_err(|_| {
            TransportError::new("it is no certificate with an unencrypted key in PEM format")
        })
    }
}

impl fmt::Debug for Identity {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_key_is_shown() {
        let key = b"-----BEGIN PRIVATE KEY-----\nR2VoZWlt\n-----END PRIVATE KEY-----\n";
        let refused = Identity::new(b"no certificate", key);
        let error = refused.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(error.contains("PEM format") && !error.contains("R2Vo"), "{error}");
        let identity = Identity { pem: key.to_vec() };
        assert_eq!(format!("{identity:?}"), "Identity(...)");
    }
}
