//! One constructor for the warning of each rule: what is said, and what to do about it.
//!
//! The messages are those users know from BuildKit, so that notes and searches about them apply.

use super::rules::{self, Rule};
use crate::diagnostic::{Diagnostic, Severity};
use crate::ignore;
use crate::span::Span;
use crate::suggest::did_you_mean;

fn warning(rule: &Rule, message: String, span: Span) -> Diagnostic {
    Diagnostic::warning(rule.name, message, span)
}

fn advice(rule: &Rule, message: String, span: Span) -> Diagnostic {
    Diagnostic { severity: Severity::Advice, ..warning(rule, message, span) }
}

/// `apt-get update` in a step that installs nothing.
pub fn apt_get_update_alone(command: &str, span: Span) -> Diagnostic {
    let message = format!("`{command}` is alone in its step, so what it fetches gets stale");
    advice(&rules::APT_GET_UPDATE_ALONE, message, span)
        .with_label("once this is cached, later steps install from old lists")
        .with_help(format!("join the steps: `RUN {command} && apt-get install -y ...`"))
}

/// An instruction word in another case than most.
pub fn consistent_instruction_casing(word: &str, majority: &str, span: Span) -> Diagnostic {
    let message =
        format!("Command '{word}' should match the case of the command majority ({majority})");
    let fixed = if majority == "lowercase" { word.to_lowercase() } else { word.to_uppercase() };
    warning(&rules::CONSISTENT_INSTRUCTION_CASING, message, span)
        .with_help(format!("write {fixed}"))
}

/// The whole context copied before the dependencies are installed by `command`, which reads
/// `manifest`.
pub fn copy_before_install(keyword: &str, command: &str, manifest: &str, span: Span) -> Diagnostic {
    let message = format!("{keyword} of the whole context comes before `{command}`");
    advice(&rules::COPY_BEFORE_INSTALL, message, span)
        .with_label("any change to any file makes the installation run again")
        .with_help(format!(
            "copy what it reads first: `COPY {manifest} ./`, then `RUN {command}`, then the rest"
        ))
}

/// A source of `COPY` or `ADD` that the ignore file excludes.
pub fn copy_ignored_file(
    keyword: &str,
    path: &str,
    rule: Option<&ignore::Rule>,
    span: Span,
) -> Diagnostic {
    let mut verb = keyword.to_ascii_lowercase();
    verb.get_mut(..1).map(str::make_ascii_uppercase).unwrap_or_default();
    let message = format!("Attempting to {verb} file {path:?} that is excluded by .dockerignore");
    let warning = warning(&rules::COPY_IGNORED_FILE, message, span);
    match rule {
        Some(rule) => warning.with_help(format!(
            "`{rule}` on line {} of the ignore file excludes it; add `!{path}` below",
            rule.line
        )),
        None => warning.with_help(format!("add `!{path}` to the ignore file")),
    }
}

/// A stage name that an earlier stage has.
pub fn duplicate_stage_name(name: &str, span: Span) -> Diagnostic {
    let message = format!("Duplicate stage name {name:?}, stage names should be unique");
    warning(&rules::DUPLICATE_STAGE_NAME, message, span)
        .with_help("rename one of them: the later one hides the earlier")
}

/// An address or host port in `EXPOSE`.
pub fn expose_invalid_format(port: &str, span: Span) -> Diagnostic {
    let message = format!(
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
    );
    let container = port.rsplit(':').next().unwrap_or(port);
    warning(&rules::EXPOSE_INVALID_FORMAT, message, span).with_help(format!("write {container}"))
}

/// A comment like `# sintax=` that would be a directive by the name of `meant`.
pub fn directive_misspelt(name: &str, meant: &str, span: Span) -> Diagnostic {
    let message = format!("`# {name}=` is a comment and no directive (did you mean {meant}?)");
    advice(&rules::DIRECTIVE_TYPO, message, span).with_help(format!("write `# {meant}=...`"))
}

/// A directive that comes too late.
pub fn directive_misplaced(name: &str, span: Span) -> Diagnostic {
    let message = format!("`# {name}=` has no effect here: it is a comment");
    advice(&rules::DIRECTIVE_TYPO, message, span)
        .with_help("directives stand at the very top, above other comments and empty lines")
}

/// A rule in `# check=` that there is not.
pub fn unknown_rule(name: &str, meant: &str, span: Span) -> Diagnostic {
    let message = format!("no rule is called {name} (did you mean {meant}?)");
    advice(&rules::DIRECTIVE_TYPO, message, span).with_help(format!("write {meant}"))
}

/// A protocol that is not in lower case.
pub fn expose_proto_casing(port: &str, span: Span) -> Diagnostic {
    let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
    warning(&rules::EXPOSE_PROTO_CASING, message, span)
        .with_help(format!("write {}", port.to_lowercase()))
}

/// `AS` in another case than `FROM`.
pub fn from_as_casing(from: &str, as_keyword: &str, span: Span) -> Diagnostic {
    let message = format!("'{as_keyword}' and '{from}' keywords' casing do not match");
    let lower = from.chars().all(|c| c.is_ascii_lowercase());
    let fixed = if lower { "as" } else { "AS" };
    warning(&rules::FROM_AS_CASING, message, span).with_help(format!("write {fixed}"))
}

/// A constant `--platform`.
pub fn from_platform_flag_const_disallowed(platform: &str, span: Span) -> Diagnostic {
    let message = format!("FROM --platform flag should not use constant value {platform:?}");
    warning(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, span).with_help(
        "remove the flag, use $BUILDPLATFORM, or name the stage after the platform it is for",
    )
}

/// A base image for another platform than the one asked for.
pub fn invalid_base_image_platform(
    image: &str,
    expected: &str,
    actual: &str,
    span: Span,
) -> Diagnostic {
    let message = format!(
        "Base image {image} was pulled with platform {actual:?}, expected {expected:?} for \
         current build"
    );
    warning(&rules::INVALID_BASE_IMAGE_PLATFORM, message, span)
        .with_help("choose a base image that is published for the target platform")
}

/// A base image name that is invalid unless a build argument is given.
pub fn invalid_default_arg_in_from(image: &str, span: Span) -> Diagnostic {
    let message =
        format!("Default value for ARG {image} results in empty or invalid base image name");
    warning(&rules::INVALID_DEFAULT_ARG_IN_FROM, message, span)
        .with_help("give the ARG a default, or the variable one: `${name:-default}`")
}

/// A comment above `ARG` or `FROM` that describes something else.
pub fn invalid_definition_description(keyword: &str, name: &str, span: Span) -> Diagnostic {
    let message =
        format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    warning(&rules::INVALID_DEFINITION_DESCRIPTION, message, span)
        .with_help("if it is no description, put an empty line below it")
}

/// Operands that look like the JSON form and are not; `repaired` is what was probably meant.
pub fn json_args_malformed(keyword: &str, repaired: Option<&str>, span: Span) -> Diagnostic {
    let taken = if keyword == "VOLUME" { "these words name paths" } else { "a shell gets it" };
    let message =
        format!("what follows {keyword} looks like JSON and is not, so {taken} as written");
    let warning = advice(&rules::JSON_ARGS_MALFORMED, message, span);
    match repaired {
        Some(json) => warning.with_help(format!("write `{keyword} {json}`")),
        None => warning.with_help("put every word in double quotes, with a comma between two"),
    }
}

/// `CMD` or `ENTRYPOINT` in shell form.
pub fn json_args_recommended(keyword: &str, span: Span) -> Diagnostic {
    let message = format!(
        "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS \
         signals"
    );
    warning(&rules::JSON_ARGS_RECOMMENDED, message, span).with_help(format!(
        "write `{keyword} [\"program\", \"argument\"]`, or choose a shell with SHELL if it must be one"
    ))
}

/// `KEY value` instead of `KEY=value`.
pub fn legacy_key_value_format(keyword: &str, span: Span) -> Diagnostic {
    let message = format!(
        "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
    );
    warning(&rules::LEGACY_KEY_VALUE_FORMAT, message, span)
        .with_help("put `=` between key and value, and quotes around a value with blanks")
}

/// `MAINTAINER`
pub fn maintainer_deprecated(name: &str, span: Span) -> Diagnostic {
    let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
    warning(&rules::MAINTAINER_DEPRECATED, message, span)
        .with_help(format!("write `LABEL org.opencontainers.image.authors={name:?}`"))
}

/// An instruction that a later one makes void.
pub fn multiple_instructions_disallowed(keyword: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the \
         last one will be used"
    );
    warning(&rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, message, span)
        .with_label("this one has no effect")
        .with_help("remove it")
}

/// A blank line inside a continued instruction.
pub fn no_empty_continuation(span: Span) -> Diagnostic {
    warning(&rules::NO_EMPTY_CONTINUATION, "Empty continuation line".to_owned(), span)
        .with_help("remove the empty line, or make it a comment")
}

/// `--platform=$TARGETPLATFORM`
pub fn redundant_target_platform(platform: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Setting platform to predefined {platform} in FROM is redundant as this is the default \
         behavior"
    );
    warning(&rules::REDUNDANT_TARGET_PLATFORM, message, span).with_help("remove the flag")
}

/// A stage named `scratch` or `context`.
pub fn reserved_stage_name(name: &str, span: Span) -> Diagnostic {
    let message = format!("Stage name should not use the same name as reserved stage {name:?}");
    warning(&rules::RESERVED_STAGE_NAME, message, span).with_help("choose another name")
}

/// A source of `COPY` or `ADD` that is likely to hold a secret.
pub fn secret_file_copied(keyword: &str, path: &str, span: Span) -> Diagnostic {
    let message =
        format!("{keyword} puts {path:?} into the image, which is likely to hold a secret");
    advice(&rules::SECRET_FILE_COPIED, message, span)
        .with_label("whoever has the image can read it, even if a later step removes it")
        .with_help(format!(
            "mount it where it is needed: `RUN --mount=type=secret,id=...` and \
             `--secret id=...,src={path}`"
        ))
}

/// A name that speaks of secrets in `ARG` or `ENV`.
pub fn secrets_used_in_arg_or_env(keyword: &str, name: &str, span: Span) -> Diagnostic {
    let message =
        format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
    warning(&rules::SECRETS_USED_IN_ARG_OR_ENV, message, span).with_help(format!(
        "pass it to the step that needs it: `RUN --mount=type=secret,id=...,env={name}`"
    ))
}

/// A stage name with capitals.
pub fn stage_name_casing(name: &str, span: Span) -> Diagnostic {
    let message = format!("Stage name '{name}' should be lowercase");
    warning(&rules::STAGE_NAME_CASING, message, span)
        .with_help(format!("write {}", name.to_lowercase()))
}

/// A variable in `FROM` without a global `ARG`.
pub fn undefined_arg_in_from(name: &str, suggestion: Option<&str>, span: Span) -> Diagnostic {
    let hint = did_you_mean(suggestion);
    let message = format!("FROM argument '{name}' is not declared{hint}");
    warning(&rules::UNDEFINED_ARG_IN_FROM, message, span)
        .with_help(format!("declare it before the first FROM: `ARG {name}=...`"))
}

/// A variable that nothing sets.
pub fn undefined_var(name: &str, suggestion: Option<&str>, span: Span) -> Diagnostic {
    let hint = did_you_mean(suggestion.map(|other| format!("${other}")).as_deref());
    let message = format!("Usage of undefined variable '${name}'{hint}");
    warning(&rules::UNDEFINED_VAR, message, span)
        .with_help(format!("define it above: `ARG {name}` or `ENV {name}=...`"))
}

/// A relative `WORKDIR` with no absolute one before.
pub fn workdir_relative_path(path: &str, span: Span) -> Diagnostic {
    let message =
        format!("Relative workdir {path:?} can have unexpected results if the base image changes");
    warning(&rules::WORKDIR_RELATIVE_PATH, message, span)
        .with_help(format!("write an absolute path, such as /{path}"))
}
