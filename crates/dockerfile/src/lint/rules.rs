//! The rules.

/// A check, as documented for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The name, as used in `# check=skip=`.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// Who has it, and what that makes of it.
    pub origin: Origin,
}

/// Who has a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// BuildKit, on unless skipped.
    BuildKit,
    /// BuildKit, off unless asked for with `experimental=`.
    Experimental,
    /// Only we do. It gives advice unless skipped, and warnings when asked for with
    /// `experimental=`: a file in which BuildKit finds nothing must not fail here.
    Own,
}

impl Rule {
    const fn new(name: &'static str, description: &'static str, origin: Origin) -> Self {
        Self { name, description, origin }
    }

    /// The rule of that name, whatever its case.
    pub fn find(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.name.eq_ignore_ascii_case(name))
    }

    /// The page that explains the rule: docker's, or for a rule of ours the path in our sources.
    pub fn url(&self) -> String {
        if self.origin == Origin::Own {
            return format!("docs/rules/{}.md", self.name);
        }
        let mut slug = String::new();
        let mut previous_lower = false;
        let mut chars = self.name.chars().peekable();
        while let Some(c) = chars.next() {
            let next_lower = chars.peek().is_some_and(char::is_ascii_lowercase);
            if c.is_ascii_uppercase() && !slug.is_empty() && (previous_lower || next_lower) {
                slug.push('-');
            }
            previous_lower = c.is_ascii_lowercase();
            slug.push(c.to_ascii_lowercase());
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{slug}/")
    }
}

macro_rules! rules {
    ($($origin:ident { $($constant:ident $name:literal $description:literal)* })*) => {
        $($(
            #[doc = concat!($description, ".")]
            pub const $constant: Rule = Rule::new($name, $description, Origin::$origin);
        )*)*

        /// All rules.
        pub const RULES: &[Rule] = &[$($($constant,)*)*];
    };
}

rules! {
    BuildKit {
        CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing"
            "All instructions of a Dockerfile should be in the same case, upper or lower"
        COPY_IGNORED_FILE "CopyIgnoredFile"
            "Files that .dockerignore excludes can't be copied"
        DUPLICATE_STAGE_NAME "DuplicateStageName"
            "Stage names should be unique"
        EXPOSE_INVALID_FORMAT "ExposeInvalidFormat"
            "EXPOSE should not name an IP address or a port of the host"
        EXPOSE_PROTO_CASING "ExposeProtoCasing"
            "The protocol of EXPOSE should be in lower case"
        FROM_AS_CASING "FromAsCasing"
            "The keyword AS should be in the same case as FROM"
        FROM_PLATFORM_FLAG_CONST_DISALLOWED "FromPlatformFlagConstDisallowed"
            "FROM --platform should not be a constant"
        INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform"
            "The platform of a base image should be the one that is built for"
        INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom"
            "The defaults of global ARGs should give a valid base image name"
        JSON_ARGS_RECOMMENDED "JSONArgsRecommended"
            "CMD and ENTRYPOINT should be in the JSON form, so that signals reach the process"
        LEGACY_KEY_VALUE_FORMAT "LegacyKeyValueFormat"
            "Keys and values should be separated by `=` and not by a blank"
        MAINTAINER_DEPRECATED "MaintainerDeprecated"
            "MAINTAINER is deprecated, use a label instead"
        MULTIPLE_INSTRUCTIONS_DISALLOWED "MultipleInstructionsDisallowed"
            "Instructions of which only the last one counts should be given once in a stage"
        NO_EMPTY_CONTINUATION "NoEmptyContinuation"
            "A continued line should not be followed by an empty one"
        REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform"
            "FROM --platform=$TARGETPLATFORM is what happens without the flag"
        RESERVED_STAGE_NAME "ReservedStageName"
            "Reserved words should not name a stage"
        SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv"
            "Sensitive data should not be passed in ARG or ENV"
        STAGE_NAME_CASING "StageNameCasing"
            "Stage names should be in lower case"
        UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom"
            "FROM should only use ARGs that are declared"
        UNDEFINED_VAR "UndefinedVar"
            "Variables should be defined before they are used"
        WORKDIR_RELATIVE_PATH "WorkdirRelativePath"
            "The first WORKDIR of a stage should be absolute, since base images change"
    }
    Experimental {
        INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription"
            "The comment above ARG or FROM should be of the form `# <name> <description>`"
    }
    Own {
        APT_GET_UPDATE_ALONE "AptGetUpdateAlone"
            "apt-get update should be in the step that installs, or its result is stale there"
        COPY_BEFORE_INSTALL "CopyBeforeInstall"
            "Dependencies should be installed before the whole context is copied"
        DIRECTIVE_TYPO "DirectiveTypo"
            "Comments that look like directives should be some, and name rules that exist"
        JSON_ARGS_MALFORMED "JSONArgsMalformed"
            "What looks like the JSON form should be JSON, or a shell gets it as it is"
        SECRET_FILE_COPIED "SecretFileCopied"
            "Files that hold secrets should be mounted and not copied"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_after_the_rules() {
        assert!(JSON_ARGS_RECOMMENDED.url().ends_with("/json-args-recommended/"));
        assert!(FROM_AS_CASING.url().ends_with("/from-as-casing/"));
        assert!(SECRETS_USED_IN_ARG_OR_ENV.url().ends_with("/secrets-used-in-arg-or-env/"));
    }

    #[test]
    fn rules_are_found_by_name() {
        assert_eq!(Rule::find("stagenamecasing"), Some(&STAGE_NAME_CASING));
        assert_eq!(Rule::find("x"), None);
        assert_eq!(RULES.len(), 27);
    }
}
