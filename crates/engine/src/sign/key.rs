//! Keys to sign and to verify with: ECDSA on P-256 with SHA-256.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};

use super::der::{BIT_STRING, CONTEXT_1, INTEGER, OCTET_STRING, Reader};
use super::{pem, sealed};

/// The contents of `id-ecPublicKey` and `prime256v1`, one identifier after the other, as both kinds
/// of keys have them.
const P256: [u8; 19] = [
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // 1.2.840.10045.2.1
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // 1.2.840.10045.3.1.7
];

/// Why something cannot serve as a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is nothing in it that could be one.
    #[error("there is no {wanted} in PEM format in it")]
    NotFound {
        /// `private key` or `public key`.
        wanted: &'static str,
    },
    /// It is not well-formed.
    #[error("it is damaged")]
    Malformed,
    /// It is sealed with a password, which was not given.
    #[error("it is encrypted, and there is no password")]
    NeedsPassword,
    /// The password is not the one it was sealed with.
    #[error("the password is wrong")]
    WrongPassword,
    /// It is of another kind.
    #[error("keys with {what} are not supported: it must be an ECDSA key on P-256")]
    Unknown {
        /// Of which kind.
        what: String,
    },
    /// It does not say what its public half is.
    #[error("its public half is missing: write it again with `openssl ec -in KEY`")]
    NoPublicHalf,
    /// The operating system gave no random numbers.
    #[error("there are no random numbers")]
    NoRandomness,
}

/// A private key.
pub struct SigningKey {
    pair: EcdsaKeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    /// Reads a private key in PEM format: `PRIVATE KEY`, `EC PRIVATE KEY`, or one that cosign sealed
    /// with `password`.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        for block in pem::blocks(text) {
            let label = block.label.as_str();
            return match label {
                "PRIVATE KEY" => Self::from_pkcs8(&block.contents),
                "EC PRIVATE KEY" => Self::from_sec1(&block.contents),
                _ if sealed::LABELS.contains(&label) => {
                    let password = password.ok_or(KeyError::NeedsPassword)?;
                    Self::from_pkcs8(&sealed::open(&block.contents, password)?)
                }
                _ if label.ends_with("PRIVATE KEY") => {
                    Err(KeyError::Unknown { what: format!("the label {label:?}") })
                }
                _ => continue,
            };
        }
        Err(KeyError::NotFound { wanted: "private key" })
    }

    /// RFC 5208: what kind of key it is, and the key.
    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let mut key = Reader::new(der).sequence().ok_or(KeyError::Malformed)?;
        key.expect(INTEGER).ok_or(KeyError::Malformed)?;
        let algorithm = key.expect(super::der::SEQUENCE).ok_or(KeyError::Malformed)?;
        if algorithm != P256 {
            return Err(KeyError::Unknown { what: "another algorithm".to_owned() });
        }
        Self::from_sec1(key.expect(OCTET_STRING).ok_or(KeyError::Malformed)?)
    }

    /// RFC 5915: the number, maybe the curve, maybe the point.
    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        let mut key = Reader::new(der).sequence().ok_or(KeyError::Malformed)?;
        key.expect(INTEGER).ok_or(KeyError::Malformed)?;
        let number = key.expect(OCTET_STRING).ok_or(KeyError::Malformed)?;
        let point = std::iter::from_fn(|| key.next()).find(|(tag, _)| *tag == CONTEXT_1);
        let (_, point) = point.ok_or(KeyError::NoPublicHalf)?;
        let point = Reader::new(point).expect(BIT_STRING).and_then(|bits| bits.strip_prefix(&[0]));
        let point = point.ok_or(KeyError::Malformed)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_ASN1_SIGNING,
            number,
            point,
            &SystemRandom::new(),
        );
        let pair = pair.map_err(|_| KeyError::Unknown { what: "another curve".to_owned() })?;
        Ok(Self { pair })
    }

    /// The signature of `message`, in ASN.1.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`]
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| KeyError::NoRandomness)
    }

    /// The other half.
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey { point: self.pair.public_key().as_ref().to_vec() }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    point: Vec<u8>,
}

impl VerifyingKey {
    /// Reads a public key in PEM format: `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let blocks = pem::blocks(text);
        let block = blocks.iter().find(|block| block.label == "PUBLIC KEY");
        let block = block.ok_or(KeyError::NotFound { wanted: "public key" })?;
        let mut key = Reader::new(&block.contents).sequence().ok_or(KeyError::Malformed)?;
        let algorithm = key.expect(super::der::SEQUENCE).ok_or(KeyError::Malformed)?;
        if algorithm != P256 {
            return Err(KeyError::Unknown { what: "another algorithm".to_owned() });
        }
        let point = key.expect(BIT_STRING).and_then(|bits| bits.strip_prefix(&[0]));
        Ok(Self { point: point.ok_or(KeyError::Malformed)?.to_vec() })
    }

    /// Whether `signature` is one of `message` by the other half of this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        key.verify(message, signature).is_ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    /// Made with libsodium; the password is `correct`.
    const SEALED: &str = include_str!("testdata/sealed.key");
    const PUBLIC: &str = include_str!("testdata/sealed.pub");

    #[test]
    fn sealed_keys_open_with_their_password_only() {
        let key = SigningKey::parse(SEALED, Some(b"correct")).unwrap();
        let public = VerifyingKey::parse(PUBLIC).unwrap();
        assert_eq!(key.public(), public);
        let signature = key.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        let refused = |password| SigningKey::parse(SEALED, password).unwrap_err();
        assert_eq!(refused(Some(b"wrong".as_slice())), KeyError::WrongPassword);
        assert_eq!(refused(None), KeyError::NeedsPassword);
        let older = SEALED.replace("SIGSTORE", "COSIGN");
        assert_eq!(SigningKey::parse(&older, None).unwrap_err(), KeyError::NeedsPassword);
    }

    #[test]
    fn what_is_no_key_is_told() {
        assert_eq!(
            SigningKey::parse(PUBLIC, None).unwrap_err(),
            KeyError::NotFound { wanted: "private key" }
        );
        assert_eq!(
            VerifyingKey::parse(SEALED).unwrap_err(),
            KeyError::NotFound { wanted: "public key" }
        );
        let label = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let refused = |text: &str| SigningKey::parse(text, Some(b"x")).unwrap_err();
        assert!(matches!(refused(&label("RSA PRIVATE KEY")), KeyError::Unknown { .. }));
        for damaged in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
            assert_eq!(refused(&label(damaged)), KeyError::Malformed, "{damaged}");
        }
        // Every part of a document may be missing.
        let block = &pem::blocks(PUBLIC)[0].contents;
        for length in 0..block.len() {
            let part = base64::Engine::encode(
                &base64::engine::general_purpose::STANDARD,
                &block[..length],
            );
            let text = format!("-----BEGIN PUBLIC KEY-----\n{part}\n-----END PUBLIC KEY-----");
            assert!(VerifyingKey::parse(&text).is_err(), "{length}");
        }
    }
}
