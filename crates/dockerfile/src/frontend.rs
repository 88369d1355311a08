//! Which language a build file asks for.

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
use crate::syntax::detect_syntax;

/// Repositories whose frontends are the one that is built in, wherever they are mirrored.
const UNDERSTOOD: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// What BuildKit calls the frontend that is built in, which makes the file's own wish void.
const BUILT_IN: &str = "dockerfile.v0";

/// An error if a build file asks for a frontend that is not understood, by `# syntax=` or by
/// `given`, the build argument `BUILDKIT_SYNTAX`, which counts more.
pub fn check_frontend(source: &str, given: Option<&str>) -> Result<(), Diagnostic> {
    let wanted = match given {
        Some(given) => Some(Spanned::new(given.to_owned(), Span::default())),
        None => detect_syntax(source),
    };
    let Some(wanted) = wanted.filter(|wanted| !is_understood(&wanted.value)) else { return Ok(()) };
    let message = format!("the frontend {:?} is not supported", wanted.value);
    let remedy = if given.is_some() { "leave BUILDKIT_SYNTAX out" } else { "remove this line" };
    Err(Diagnostic::error(message, wanted.span).with_help(format!(
        "bld understands docker/dockerfile:1, all versions and -labs, without downloading it; \
         {remedy} if the file is a Dockerfile"
    )))
}

fn is_understood(reference: &str) -> bool {
    if reference.is_empty() || reference == BUILT_IN {
        return true;
    }
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let slash = name.rfind('/').unwrap_or(0);
    let (repository, tag) = match name[slash..].split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], tag),
        None => (name, "latest"),
    };
    let is_mirror_of = |known: &str| {
        repository.strip_suffix(known).is_some_and(|host| host.is_empty() || host.ends_with('/'))
    };
    let version = tag.split(['.', '-']).next().and_then(|major| major.parse::<u32>().ok());
    UNDERSTOOD.iter().any(|known| is_mirror_of(known)) && version.is_none_or(|major| major <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_of_docker_are_built_in() {
        for known in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker/dockerfile:labs",
            "docker.io/docker/dockerfile:1@sha256:0123",
            "localhost:5000/mirror/docker/dockerfile:1",
            "docker/dockerfile-upstream:master",
            "dockerfile.v0",
            "",
        ] {
            assert!(is_understood(known), "{known}");
        }
        for foreign in ["docker/dockerfile:2", "my/frontend", "xdocker/dockerfile", "dockerfile:1"]
        {
            assert!(!is_understood(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_argument_counts_more_than_the_file() {
        let foreign = "# syntax = my/frontend:1\nFROM a\n";
        let error = check_frontend(foreign, None).err();
        let words = error.as_ref().and_then(|error| foreign.get(error.span.range()));
        assert_eq!(words, Some("my/frontend:1"));
        assert!(check_frontend(foreign, Some(BUILT_IN)).is_ok());
        assert!(check_frontend("FROM a\n", Some("my/frontend")).is_err());
        assert!(check_frontend("// syntax=my/frontend\n", None).is_err());
    }
}
