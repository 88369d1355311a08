//! Private keys under a password, as cosign writes them: a document in JSON with what scrypt made the
//! key of, and a box of NaCl (XSalsa20 and Poly1305).

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use scrypt::Params;
use serde::Deserialize;

use super::key::KeyError;

/// What the blocks are called: now, and by older releases.
pub(super) const LABELS: [&str; 2] =
    ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// Most memory that deriving a key may take, bytes; `cosign` asks for 64 MiB.
const MEMORY_MAX: u64 = 1 << 30;
/// Length of the box's tag.
const TAG: usize = 16;

#[derive(Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Opens a sealed key; what comes out is PKCS #8.
pub(super) fn open(document: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let sealed: Sealed = serde_json::from_slice(document).map_err(|_| KeyError::Malformed)?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        let (kdf, cipher) = (sealed.kdf.name, sealed.cipher.name);
        return Err(KeyError::Unknown { what: format!("{kdf} and {cipher}") });
    }
    let bytes = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| KeyError::Malformed)
    };
    let salt = bytes(&sealed.kdf.salt)?;
    let nonce: [u8; 24] =
        bytes(&sealed.cipher.nonce)?.try_into().map_err(|_| KeyError::Malformed)?;
    let mut ciphertext = bytes(&sealed.ciphertext)?;

    let Cost { n, r, p } = sealed.kdf.params;
    let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
    if !n.is_power_of_two() || memory > MEMORY_MAX || p > 16 {
        return Err(KeyError::Malformed);
    }
    let params = Params::new(n.ilog2() as u8, r, p).map_err(|_| KeyError::Malformed)?;
    let mut key = [0; 32];
    scrypt::scrypt(password, &salt, &params, &mut key).map_err(|_| KeyError::Malformed)?;

    let mut stream = XSalsa20::new(&key.into(), &nonce.into());
    let mut one_time = [0; 32];
    stream.apply_keystream(&mut one_time);
    if ciphertext.len() < TAG {
        return Err(KeyError::Malformed);
    }
    let mut plain = ciphertext.split_off(TAG);
    let tag = Poly1305::new(&one_time.into()).compute_unpadded(&plain);
    // Not in constant time: who can measure it has the file, and no answers of ours to learn from.
    if tag.as_slice() != ciphertext {
        return Err(KeyError::WrongPassword);
    }
    stream.apply_keystream(&mut plain);
    Ok(plain)
}
