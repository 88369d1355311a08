//! `--attest`, `--provenance` and `--sbom`: what is said about an image, beside it.

use bld_engine::attest::{
    AttestationForm, Attestations, ProvenanceMode, ProvenanceOptions, ProvenanceVersion,
};
use bld_engine::build::{BuildRequest, Output};

use super::Args;
use crate::error::Failure;

/// What a command line asks for; of several that are of one type, the last counts.
pub(super) fn asked(args: &Args) -> Result<Attestations, Failure> {
    let mut asked = Attestations::default();
    for word in &args.attest {
        add(&mut asked, word)?;
    }
    let short = [("provenance", &args.provenance), ("sbom", &args.sbom)];
    for (kind, value) in short {
        let word = match value.as_deref() {
            None => continue,
            Some("true" | "1" | "") => format!("type={kind}"),
            Some("false" | "0") => format!("type={kind},disabled=true"),
            Some(keys) => format!("type={kind},{keys}"),
        };
        add(&mut asked, &word)?;
    }
    Ok(asked)
}

fn add(asked: &mut Attestations, word: &str) -> Result<(), Failure> {
    let invalid = |why: String| Failure::new(format!("invalid attestation {word:?}: {why}"));
    let (mut kind, mut disabled) = (None, false);
    let mut options = ProvenanceOptions::default();
    for field in word.split(',') {
        let (key, value) = field.split_once('=').unwrap_or(("type", field));
        match (key.trim(), value.trim()) {
            ("type", value) => kind = Some(value),
            ("disabled", value) => disabled = value == "true" || value == "1",
            ("mode", "min") => options.mode = ProvenanceMode::Min,
            ("mode", "max") => options.mode = ProvenanceMode::Max,
            ("version", "v1") => options.version = ProvenanceVersion::V1,
            ("version", "v0.2") => options.version = ProvenanceVersion::V02,
            ("builder-id", value) => value.clone_into(&mut options.builder_id),
            ("reproducible", value @ ("true" | "1" | "false" | "0")) => {
                options.reproducible = matches!(value, "true" | "1");
            }
            ("inline-only", value @ ("true" | "1" | "false" | "0")) => {
                options.inline_only = matches!(value, "true" | "1");
            }
            ("store", "referrer") => asked.form = AttestationForm::Referrer,
            ("store", "index") => asked.form = AttestationForm::Index,
            ("generator", _) => {
                let why = "images that scan are not run; bld has a scanner of its own";
                return Err(invalid(why.to_owned()));
            }
            ("mode" | "version" | "store" | "reproducible" | "inline-only", value) => {
                return Err(invalid(format!("{key} cannot be {value:?}")));
            }
            _ => return Err(invalid(format!("unknown key {key:?}"))),
        }
    }
    match kind {
        Some("provenance") => asked.provenance = Some(options).filter(|_| !disabled),
        Some("sbom") => asked.sbom = !disabled,
        Some(other) => return Err(invalid(format!("unknown type {other:?}"))),
        None => return Err(invalid("there is no type".to_owned())),
    }
    Ok(())
}

/// Says what is asked for in vain.
pub(super) fn note(request: &BuildRequest) -> Option<String> {
    let has_place = |output: &Output| {
        !matches!(
            output,
            Output::Tar { .. } | Output::CacheOnly | Output::Docker { dest: Some(_), .. }
        )
    };
    let outputs = &request.outputs;
    let unused = !outputs.is_empty() && !outputs.iter().any(has_place);
    let why = "note: attestations are kept with images of the store and of registries, in OCI archives, \
               and in directories, and nowhere else";
    (unused && !request.attest.is_empty()).then(|| why.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let mut asked = Attestations::default();
        add(&mut asked, "type=provenance,mode=max,version=v0.2,builder-id=me").unwrap();
        let provenance = asked.provenance.clone().unwrap();
        assert_eq!(provenance.mode, ProvenanceMode::Max);
        assert_eq!(provenance.version, ProvenanceVersion::V02);
        assert_eq!(provenance.builder_id, "me");
        add(&mut asked, "type=provenance,reproducible=true,inline-only=1").unwrap();
        let provenance = asked.provenance.clone().unwrap();
        assert!(provenance.reproducible && provenance.inline_only);
        add(&mut asked, "type=sbom,store=index").unwrap();
        assert!(asked.sbom && asked.form == AttestationForm::Index);
        add(&mut asked, "type=provenance,disabled=true").unwrap();
        assert_eq!(asked.provenance, None);
        for bad in [
            "mode=max",
            "type=x",
            "type=sbom,generator=i",
            "type=provenance,mode=all",
            "type=sbom,x=1",
            "type=provenance,reproducible=x",
        ] {
            assert!(add(&mut asked, bad).is_err(), "{bad}");
        }
    }
}
