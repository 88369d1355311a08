//! What can be asked about a build without running it.

use bld_dockerfile::{Diagnostic, Dockerfile};
use bld_event::{Cancel, Events};
use bld_graph::{Entitlements, LowerOptions, Outline, Target};

use super::definition::Definition;
use super::resolver::Found;
use super::{BuildError, BuildRequest, SourceText};
use crate::Engine;

/// What there is to say about a Dockerfile that was looked at and not built.
#[derive(Debug, Clone)]
pub struct CheckedBuild {
    /// The Dockerfile.
    pub source: SourceText,
    /// It has no syntax errors. Of a file with some less can be said.
    pub well_formed: bool,
    /// What is wrong and what is worth a look, in source order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Engine {
    /// Looks at every stage, or at those a target needs, and says what is wrong and what is worth a
    /// look.
    pub fn check_build(
        &self,
        request: &BuildRequest,
        events: &Events,
    ) -> Result<CheckedBuild, BuildError> {
        let cancel = Cancel::new();
        let definition = Definition::read(self, request, events, &cancel)?;
        let parsed = bld_dockerfile::parse(&definition.source.text);
        let (text, options) = (&definition.source.text, options(&definition, request));
        let well_formed = parsed.is_ok();
        let mut diagnostics = parsed.diagnostics;
        if well_formed {
            let found = Found::default();
            let mut resolver = self.resolver(request, &definition, (events, &cancel), &found);
            let found = bld_graph::check(&parsed.dockerfile, text, &options, &mut resolver);
            diagnostics.extend(found);
        } else {
            // Nothing will look at single values, so what is wrong with them is said here.
            diagnostics.extend(parsed.deferred);
            diagnostics.extend(bld_graph::check_text(&parsed.dockerfile, text, &options));
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span);
        Ok(CheckedBuild { source: definition.source, well_formed, diagnostics })
    }

    /// What the target takes from outside: arguments, secrets, SSH agents.
    pub fn outline_build(
        &self,
        request: &BuildRequest,
        events: &Events,
    ) -> Result<(SourceText, Outline), BuildError> {
        let cancel = Cancel::new();
        let definition = Definition::read(self, request, events, &cancel)?;
        let file = tree(&definition)?;
        let found = Found::default();
        let mut resolver = self.resolver(request, &definition, (events, &cancel), &found);
        let (text, options) = (&definition.source.text, options(&definition, request));
        match bld_graph::outline(&file, text, &options, &mut resolver) {
            Ok(outline) => Ok((definition.source, outline)),
            Err(diagnostics) => {
                Err(BuildError::Dockerfile { source_text: definition.source, diagnostics })
            }
        }
    }

    /// The stages that can be built.
    pub fn build_targets(
        &self,
        request: &BuildRequest,
        events: &Events,
    ) -> Result<(SourceText, Vec<Target>), BuildError> {
        let definition = Definition::read(self, request, events, &Cancel::new())?;
        let targets = bld_graph::targets(&tree(&definition)?);
        Ok((definition.source, targets))
    }
}

/// What to look at. Nothing runs, so nothing needs to be allowed.
fn options(definition: &Definition, request: &BuildRequest) -> LowerOptions {
    let entitlements = Entitlements { network_host: true, security_insecure: true };
    LowerOptions { entitlements, ..definition.options(request, request.platforms.first()) }
}

/// The tree of the Dockerfile, which must have no syntax errors.
fn tree(definition: &Definition) -> Result<Dockerfile, BuildError> {
    let parsed = bld_dockerfile::parse(&definition.source.text);
    if parsed.is_ok() {
        return Ok(parsed.dockerfile);
    }
    let (source_text, diagnostics) = (definition.source.clone(), parsed.diagnostics);
    Err(BuildError::Dockerfile { source_text, diagnostics })
}
