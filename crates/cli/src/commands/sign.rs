//! `bld sign` and `bld verify`

use std::collections::BTreeMap;

use bld_engine::EngineError;
use bld_engine::sign::{KeyError, SignatureError, SigningKey, VerifyingKey};
use bld_event::Events;
use serde_json::Value;

use crate::error::Failure;
use crate::session::{Outcome, Session};

/// The variable with the password of a private key.
const PASSWORD: &str = "COSIGN_PASSWORD";
/// Exit codes of cosign for images that are not signed, or not with this key.
const NOT_SIGNED: u8 = 10;
const NO_MATCH: u8 = 12;

/// Sign images at their registry
///
/// The signature lies beside the image, under a tag made of its digest, as cosign puts it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Private key to sign with: a PEM file, or "env://NAME" (password: $COSIGN_PASSWORD)
    #[arg(long, value_name = "string", required = true)]
    key: String,
    /// What else to sign (format: "key=value")
    #[arg(short, long, value_name = "strings")]
    annotations: Vec<String>,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Check that images at a registry were signed with a key
///
/// Prints the signed statements as JSON. The exit code is 10 for an image without signatures, and 12
/// when none of them is right.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct VerifyArgs {
    /// Public key to verify with: a PEM file, or "env://NAME"
    #[arg(long, value_name = "string", required = true)]
    key: String,
    /// What else must have been signed (format: "key=value")
    #[arg(short, long, value_name = "strings")]
    annotations: Vec<String>,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let key = private_key(&args.key)?;
    let annotations = annotations(&args.annotations)?;
    for image in &args.images {
        sign(session, image, &key, &annotations)?;
    }
    Ok(0)
}

pub(crate) fn verify(args: &VerifyArgs, session: &Session) -> Outcome {
    let text = text(&args.key)?;
    let key = VerifyingKey::parse(&text).map_err(|error| unusable(&args.key, &error))?;
    let annotations = annotations(&args.annotations)?;
    let mut statements = Vec::new();
    for image in &args.images {
        let verified = session.engine.verify_image(image, &key, &annotations);
        let verified = verified.map_err(|error| {
            let code = match &error {
                EngineError::Signature(SignatureError::None { .. }) => NOT_SIGNED,
                EngineError::Signature(SignatureError::NoMatch { .. }) => NO_MATCH,
                _ => 1,
            };
            Failure::from(error).with_code(code)
        })?;
        session.tell(&format!("verified {}", verified.image.familiar()));
        statements.extend(verified.statements);
    }
    session.say(&Value::Array(statements).to_string())?;
    Ok(0)
}

/// Signs `image`, and says where the signature is.
pub(crate) fn sign(
    session: &Session,
    image: &str,
    key: &SigningKey,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let signed = session.engine.sign_image(image, key, annotations, &Events::none())?;
    let (image, place) = (signed.image.familiar(), signed.signatures.familiar());
    session.tell(&if signed.was_known {
        format!("{image} is signed with this key already: {place}")
    } else {
        format!("signed {image}: {place}")
    });
    Ok(())
}

/// The private key that `source` names.
pub(crate) fn private_key(source: &str) -> Result<SigningKey, Failure> {
    let password = std::env::var(PASSWORD).ok();
    let key = SigningKey::parse(&text(source)?, password.as_deref().map(str::as_bytes));
    key.map_err(|error| match error {
        KeyError::NeedsPassword | KeyError::WrongPassword => {
            unusable(source, &error).with_hint(format!("the password is taken from ${PASSWORD}"))
        }
        error => unusable(source, &error),
    })
}

/// What a file or, as `env://NAME`, a variable holds.
fn text(source: &str) -> Result<String, Failure> {
    match source.strip_prefix("env://") {
        Some(name) => std::env::var(name)
            .map_err(|error| Failure::new(format!("failed to read the key ${name}: {error}"))),
        None => std::fs::read_to_string(source)
            .map_err(|error| Failure::new(format!("failed to read the key {source}: {error}"))),
    }
}

fn unusable(source: &str, error: &KeyError) -> Failure {
    Failure::new(format!("the key {source} cannot be used: {error}"))
}

fn annotations(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |word: &String| {
        let (key, value) = word.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    let invalid =
        |word| Failure::new(format!("invalid annotation {word:?}: the form is key=value"));
    words.iter().map(|word| pair(word).ok_or_else(|| invalid(word))).collect()
}
