//! `--attest`, `--provenance` and `--sbom`: what is said about an image, beside it.

use std::path::Path;
use std::time::SystemTime;

use bld_engine::attest::{
    AttestationForm, Claim, ProvenanceMode, ProvenanceOptions, ProvenanceVersion, SPDX,
};
use bld_engine::build::{BuildRequest, BuildResult, Output, WrittenManifest};
use bld_event::Events;
use bld_oci::{Platform, Reference};
use serde_json::Value;

use super::Args;
use crate::error::{Failure, describe};
use crate::session::Session;

/// The attestations that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attestations {
    /// How the image was made.
    pub(super) provenance: Option<ProvenanceOptions>,
    /// What it is made of.
    pub(super) sbom: bool,
    /// Where they are kept.
    form: AttestationForm,
}

impl Attestations {
    /// Those of a command line; of several that are of one type, the last counts.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        let mut asked = Self::default();
        for word in &args.attest {
            asked.add(word)?;
        }
        let short = [("provenance", &args.provenance), ("sbom", &args.sbom)];
        for (kind, value) in short {
            let word = match value.as_deref() {
                None => continue,
                Some("true" | "1" | "") => format!("type={kind}"),
                Some("false" | "0") => format!("type={kind},disabled=true"),
                Some(keys) => format!("type={kind},{keys}"),
            };
            asked.add(&word)?;
        }
        Ok(asked)
    }

    fn add(&mut self, word: &str) -> Result<(), Failure> {
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
                ("store", "referrer") => self.form = AttestationForm::Referrer,
                ("store", "index") => self.form = AttestationForm::Index,
                ("generator", _) => {
                    let why = "images that scan are not run; bld has a scanner of its own";
                    return Err(invalid(why.to_owned()));
                }
                ("mode" | "version" | "store", value) => {
                    return Err(invalid(format!("{key} cannot be {value:?}")));
                }
                _ => return Err(invalid(format!("unknown key {key:?}"))),
            }
        }
        match kind {
            Some("provenance") => self.provenance = Some(options).filter(|_| !disabled),
            Some("sbom") => self.sbom = !disabled,
            Some(other) => return Err(invalid(format!("unknown type {other:?}"))),
            None => return Err(invalid("there is no type".to_owned())),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.sbom
    }

    /// Says what is asked for in vain.
    pub(super) fn note(&self, request: &BuildRequest) -> Option<String> {
        let used = request.outputs.iter().any(|output| {
            matches!(output, Output::Image { push: true, .. } | Output::Local { .. })
        });
        let unused = !used && !self.is_empty();
        let why = "note: attestations are kept beside images at a registry, and in directories: \
                   add --push or -o DIRECTORY";
        unused.then(|| why.to_owned())
    }

    /// Keeps what there is to say about what was built between these times. `result` leads to the
    /// index afterwards, if there is a new one.
    pub(super) fn keep(
        &self,
        session: &Session,
        args: &Args,
        request: &BuildRequest,
        result: &mut BuildResult,
        times: (SystemTime, SystemTime),
    ) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let mut claims = Vec::new();
        claims.extend(self.provenance.as_ref().map(|asked| asked.claim(request, result, times)));
        let of_files = claims.len();
        // Of several platforms, each image has its own.
        let several = request.platforms.len() > 1;
        if let (true, false, Some(id)) = (self.sbom, several, result.image_id) {
            let predicate = session.engine.sbom(&id.to_string(), &Events::none())?;
            claims.push(Claim { predicate_type: SPDX.to_owned(), predicate });
        }
        let pushed = result.manifest.clone();
        for output in &request.outputs {
            match output {
                Output::Local { dest, .. } => {
                    for claim in &claims[..of_files] {
                        write(&dest.join("provenance.json"), &claim.predicate)?;
                    }
                    for claim in &claims[of_files..] {
                        write(&dest.join("sbom.spdx.json"), &claim.predicate)?;
                    }
                }
                Output::Image { names, push: true, .. } => {
                    let names = args.tag.iter().chain(names);
                    self.attach(session, names, &claims, (pushed.as_ref(), result))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn attach<'a>(
        &self,
        session: &Session,
        names: impl Iterator<Item = &'a String>,
        claims: &[Claim],
        (pushed, result): (Option<&WrittenManifest>, &mut BuildResult),
    ) -> Result<(), Failure> {
        let Some(manifest) = pushed else { return Ok(()) };
        let platform = manifest.platform.clone().unwrap_or_else(Platform::host);
        for name in names {
            let name = Reference::parse(name).map_err(|error| Failure::new(describe(&error)))?;
            let (name, digest) = (name.to_string(), manifest.digest);
            let digest = match manifest.platform {
                Some(_) => session.engine.attest(&name, digest, &platform, claims, self.form)?,
                None => session.engine.attest_each(&name, digest, claims, self.sbom, self.form)?,
            };
            if digest != manifest.digest {
                let media_type = bld_oci::media_type::OCI_INDEX.to_owned();
                let size = session.engine.manifest_size(&name)?;
                result.manifest =
                    Some(WrittenManifest { digest, media_type, size, platform: None });
            }
        }
        Ok(())
    }
}

fn write(path: &Path, document: &Value) -> Result<(), Failure> {
    std::fs::write(path, format!("{document:#}\n"))
        .map_err(|error| Failure::new(format!("write {}: {error}", path.display())))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let mut asked = Attestations::default();
        asked.add("type=provenance,mode=max,version=v0.2,builder-id=me").unwrap();
        let provenance = asked.provenance.clone().unwrap();
        assert_eq!(provenance.mode, ProvenanceMode::Max);
        assert_eq!(provenance.version, ProvenanceVersion::V02);
        assert_eq!(provenance.builder_id, "me");
        asked.add("type=sbom,store=index").unwrap();
        assert!(asked.sbom && asked.form == AttestationForm::Index);
        asked.add("type=provenance,disabled=true").unwrap();
        assert_eq!(asked.provenance, None);
        for bad in [
            "mode=max",
            "type=x",
            "type=sbom,generator=i",
            "type=provenance,mode=all",
            "type=sbom,x=1",
        ] {
            assert!(asked.add(bad).is_err(), "{bad}");
        }
    }
}
