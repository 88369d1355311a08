//! `bld image attestations`

use serde_json::{Value, json};

use crate::error::Failure;
use crate::session::{Outcome, Session};

/// Show what is said at its registry about an image: provenance and lists of packages
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the statements of this type: "provenance", "sbom", or the URI of a predicate
    #[arg(long = "type", value_name = "string")]
    kind: Option<String>,
    /// Format of the list ("json")
    #[arg(long, value_name = "string")]
    format: Option<String>,
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let found = session.engine.attestations(&args.image)?;
    if let Some(kind) = &args.kind {
        let start = match kind.as_str() {
            "provenance" => "https://slsa.dev/provenance/",
            "sbom" => bld_engine::attest::SPDX,
            other => other,
        };
        let mut matching =
            found.iter().filter(|one| one.predicate_type.starts_with(start)).peekable();
        if matching.peek().is_none() {
            return Err(Failure::new(format!("no attestation of type {kind} for {}", args.image)));
        }
        for one in matching {
            session.say(&format!("{:#}", one.statement))?;
        }
        return Ok(0);
    }
    match args.format.as_deref() {
        None => {
            let width = found.iter().map(|one| one.predicate_type.len()).max().unwrap_or(0).max(4);
            session.say(&format!("{:<width$}   {:<71}   SUBJECT", "TYPE", "DIGEST"))?;
            for one in &found {
                let (kind, digest) = (&one.predicate_type, one.digest.to_string());
                session.say(&format!("{kind:<width$}   {digest}   {}", one.subject))?;
            }
        }
        Some("json") => {
            let entries = found.iter().map(|one| {
                json!({
                    "predicateType": one.predicate_type,
                    "digest": one.digest,
                    "subject": one.subject,
                    "statement": one.statement,
                })
            });
            session.say(&Value::Array(entries.collect()).to_string())?;
        }
        Some(other) => {
            return Err(Failure::new(format!("invalid format {other:?}: there is \"json\"")));
        }
    }
    Ok(0)
}
