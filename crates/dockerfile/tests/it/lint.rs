//! The checks against the examples of their documentation.

use crate::common::{corpus, json, render};
use bld_dockerfile::{Severity, lint, parse};

/// Rules that can't be decided without the environment of the base image.
const NEED_THE_BUILD: [&str; 1] = ["UndefinedVar"];

#[test]
fn bad_examples_warn_and_good_ones_do_not() {
    let Some(examples) = corpus("lint_cases.json") else { return };
    let cases = json(&examples);
    let cases = cases.as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(cases.len() > 5, "only {} rules", cases.len());
    for case in cases {
        let rule = case["rule"].as_str().unwrap_or_default();
        assert!(lint::Rule::find(rule).is_some(), "{rule} is not known");
        if NEED_THE_BUILD.contains(&rule) {
            continue;
        }
        for (kind, expected) in [("bad", true), ("good", false)] {
            let examples = case[kind].as_array().map(Vec::as_slice).unwrap_or_default();
            assert!(!examples.is_empty(), "{rule} has no {kind} examples");
            for example in examples.iter().filter_map(|example| example.as_str()) {
                // Some are excerpts that leave the stage out.
                let from = example.lines().any(|line| line.to_lowercase().starts_with("from "));
                let source =
                    if from { example.to_owned() } else { format!("FROM alpine\n{example}") };
                let warnings = lint::check(&parse(&source).dockerfile, &source);
                let warns = warnings.iter().any(|warning| warning.rule == Some(rule));
                assert_eq!(warns, expected, "{rule}, {kind}: {source}\n{warnings:#?}");
                // Rules of our own have nothing to say where BuildKit's pages show how to do it.
                let advised = warnings.iter().any(|found| found.severity == Severity::Advice);
                assert!(expected || !advised, "{rule}: {source}\n{warnings:#?}");
            }
        }
    }
}

/// What the rules of our own say, without the remedies.
fn advice(source: &str) -> String {
    let parsed = parse(source);
    let mut found = lint::check(&parsed.dockerfile, source);
    found.retain(|found| found.severity == Severity::Advice);
    for found in &mut found {
        found.help = None;
        found.label = None;
    }
    render(source, &found).lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_update_alone_is_noticed() {
    for alone in [
        "RUN apt-get update",
        "RUN set -e; apt-get -qq update && rm -rf /tmp/x",
        "RUN [\"apt-get\", \"update\"]",
        "RUN <<EOF\nset -e\napt update\nEOF",
        "RUN apt-get clean \\\n && apt-get update -y",
    ] {
        assert!(advice(&format!("FROM a\n{alone}\n")).contains("AptGetUpdateAlone"), "{alone}");
    }
    for fine in [
        "RUN apt-get update && apt-get install -y x",
        "RUN apt-get update; ./install.sh",
        "RUN apt-get update || (sleep 1; apt-get update) && apt-get -y upgrade",
        "RUN --mount=type=cache,target=/var/lib/apt apt-get update",
        "RUN echo apt-get update",
        "RUN \"$APT\" update",
        "# check=skip=AptGetUpdateAlone\nRUN apt-get update",
    ] {
        assert_eq!(advice(&format!("FROM a\n{fine}\n")), "", "{fine}");
    }
}

#[test]
fn a_copy_of_everything_before_an_installation_is_noticed() {
    for install in [
        "npm ci",
        "npm install --omit=dev",
        "cd app && yarn",
        "yarn install --frozen-lockfile",
        "pnpm i",
        "pip install --no-cache-dir -r requirements.txt",
        "python -m pip install -r x.txt",
        "poetry install --no-root",
        "uv sync --frozen",
        "go mod download",
        "bundle install -j 4",
        "composer install --no-dev",
        "cargo fetch",
        "dotnet restore",
        "mvn -B dependency:go-offline",
    ] {
        let source = format!("FROM a\nCOPY . /app\nRUN {install}\n");
        assert!(advice(&source).contains("CopyBeforeInstall"), "{install}");
    }
    for fine in [
        "COPY package.json .\nRUN npm ci\nCOPY . .",
        "COPY package.json .\nRUN npm ci\nCOPY . .\nRUN npm ci --omit=dev",
        "COPY . .\nRUN --mount=type=cache,target=/root/.npm npm ci",
        "COPY . .\nRUN npm install -g typescript",
        "COPY . .\nRUN npm install left-pad",
        "COPY . .\nRUN pip install .",
        "COPY . .\nRUN npm run build",
        "COPY --from=x . .\nRUN npm ci",
        "COPY . .\nFROM b\nRUN npm ci",
        "COPY src /app\nRUN npm ci",
        "# check=skip=all\nCOPY . .\nRUN npm ci",
    ] {
        assert_eq!(advice(&format!("FROM a\n{fine}\n")), "", "{fine}");
    }
}

#[test]
fn files_with_secrets_are_noticed() {
    assert_eq!(
        advice(
            "FROM a\nCOPY a .env /\nADD ssh/id_rsa https://e.invalid/b.pem /\nCOPY --from=x c.pem /\n"
        ),
        "warning[SecretFileCopied]: COPY puts \".env\" into the image, which is likely to hold a \
         secret\nat 2:8 \".env\"\nwarning[SecretFileCopied]: ADD puts \"ssh/id_rsa\" into the image, \
         which is likely to hold a secret\nat 3:5 \"ssh/id_rsa\""
    );
}

#[test]
fn slips_in_directives_are_noticed() {
    let said = |source: &str| advice(source).lines().next().unwrap_or_default().to_owned();
    for (source, words) in [
        ("# sintax=x\nFROM a\n", "did you mean syntax?"),
        ("#escpe=`\nFROM a\n", "did you mean escape?"),
        ("# check=skip=StageNamCasing\nFROM a\n", "did you mean StageNameCasing?"),
        ("# check=skip=stagenamecasing\nFROM a\n", "did you mean StageNameCasing?"),
        ("# note\n# escape=`\nFROM a\n", "`# escape=` has no effect here"),
        ("\n# SYNTAX=x\nFROM a\n", "`# syntax=` has no effect here"),
    ] {
        assert!(said(source).contains(words), "{source}: {}", said(source));
    }
    for fine in [
        "# syntax=x\n# escape=`\n# check=skip=Other\nFROM a\n",
        "# colour=blue\nFROM a\n",
        "# note\n# check=skip=all\nFROM a\n",
        "FROM a\n# escape=`\nRUN x\n",
        "#!/usr/bin/env x\n# syntax=x\nFROM a\n",
    ] {
        assert_eq!(said(fine), "", "{fine}");
    }
}

#[test]
fn advice_becomes_a_warning_when_asked_for() {
    let severity = |source: &str| lint::check(&parse(source).dockerfile, source)[0].severity;
    assert_eq!(severity("FROM a\nCOPY .env /\n"), Severity::Advice);
    for asked in [
        "# check=experimental=SecretFileCopied\nFROM a\nCOPY .env /\n",
        "# check=experimental=all\nFROM a\nCOPY .env /\n",
        "FROM a\n# check=experimental=SecretFileCopied\nCOPY .env /\n",
    ] {
        assert_eq!(severity(asked), Severity::Warning);
    }
}
