//! `--call`: what is said about a build instead of running it. The forms are those that scripts know
//! from buildx.

use bld_testkit::{Output, TestEnv};
use serde_json::{Value, json};

use crate::BLD;

const DOCKERFILE: &str = "\
# the version of everything
# VERSION which one to take
ARG VERSION=1.2
FROM scratch AS Base
ENV app_key=1

# deploy sends it away
FROM base AS deploy
ARG VERSION
ARG mode
RUN --mount=type=secret,id=token,required --mount=type=ssh \\
    [\"/deploy\"]
FROM scratch AS unused
COPY .env $VRSION /
";

fn call(dockerfile: &str, flags: &[&str]) -> Output {
    let env = TestEnv::new(BLD);
    env.write("ctx/Dockerfile", dockerfile);
    env.bld(["build"]).args(flags).arg(env.path("ctx")).run()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[test]
fn a_check_is_what_buildx_prints_and_more() {
    let output = call(DOCKERFILE, &["--check"]);
    assert_eq!(output.code, 1, "{output}");
    assert_eq!(output.stderr, "");
    insta::assert_snapshot!(output.stdout, @r#"
    Check complete, 3 warnings have been found!

    WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
    Stage name 'Base' should be lowercase
    Dockerfile:4
    --------------------
       2 |     # VERSION which one to take
       3 |     ARG VERSION=1.2
       4 | >>> FROM scratch AS Base
         |                     ^^^^
       5 |     ENV app_key=1
       6 |
    --------------------
    help: write base

    WARNING: SecretsUsedInArgOrEnv - https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/
    Do not use ARG or ENV instructions for sensitive data (ENV "app_key")
    Dockerfile:5
    --------------------
       3 |     ARG VERSION=1.2
       4 |     FROM scratch AS Base
       5 | >>> ENV app_key=1
         |         ^^^^^^^
       6 |
       7 |     # deploy sends it away
    --------------------
    help: pass it to the step that needs it: `RUN --mount=type=secret,id=...,env=app_key`

    WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
    Usage of undefined variable '$VRSION'
    Dockerfile:14
    --------------------
      12 |         ["/deploy"]
      13 |     FROM scratch AS unused
      14 | >>> COPY .env $VRSION /
         |               ^^^^^^^
    --------------------
    help: define it above: `ARG VRSION` or `ENV VRSION=...`

    ADVICE: SecretFileCopied - docs/rules/SecretFileCopied.md
    COPY puts ".env" into the image, which is likely to hold a secret
    Dockerfile:14
    --------------------
      12 |         ["/deploy"]
      13 |     FROM scratch AS unused
      14 | >>> COPY .env $VRSION /
         |          ^^^^ whoever has the image can read it, even if a later step removes it
    --------------------
    help: mount it where it is needed: `RUN --mount=type=secret,id=...` and `--secret id=...,src=.env`
    "#);
    assert_eq!(call(DOCKERFILE, &["--call", "lint"]).stdout, output.stdout);
    assert_eq!(call(DOCKERFILE, &["--call=check,ignorestatus=true"]).code, 0);

    let clean = call("FROM scratch\nCOPY a /\n", &["--call=check"]);
    assert_eq!((clean.code, clean.stdout.as_str()), (0, "Check complete, no warnings found.\n"));
    let narrow = call(DOCKERFILE, &["--check", "--target=unused"]);
    assert!(narrow.stdout.starts_with("Check complete, 1 warning has been found!\n"), "{narrow}");
}

#[test]
fn advice_changes_no_exit_code() {
    let advised = call("# check=error=true\nFROM scratch\nCOPY id_rsa /\n", &["--check"]);
    assert_eq!(advised.code, 0, "{advised}");
    assert!(advised.stdout.starts_with("Check complete, no warnings found.\n\nADVICE: SecretFileCopied - docs/rules/SecretFileCopied.md\n"), "{advised}");
    let asked = "# check=experimental=SecretFileCopied\nFROM scratch\nCOPY id_rsa /\n";
    let output = call(asked, &["--check"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("\nWARNING: SecretFileCopied - "), "{output}");
    let skipped = "FROM scratch\n# check=skip=SecretFileCopied\nCOPY id_rsa /\n";
    assert_eq!(call(skipped, &["--check"]).stdout, "Check complete, no warnings found.\n");
}

#[test]
fn warnings_and_errors_of_a_broken_file_are_all_told() {
    let broken = "FROM scratch AS Bad\nMAINTAINER me\nBADCMD\nCOPY --chwon=1 a /\n";
    let output = call(broken, &["--check"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.starts_with("Check complete, 2 warnings have been found!\n"), "{output}");
    insta::assert_snapshot!(output.stderr, @r"
    error: unknown instruction: BADCMD
     --> Dockerfile:3:1
      |
    3 | BADCMD
      | ^^^^^^
      |
      = help: an instruction begins with one of FROM, RUN, COPY, ENV, ...

    error: unknown flag: --chwon for COPY
     --> Dockerfile:4:6
      |
    4 | COPY --chwon=1 a /
      |      ^^^^^^^
      |
      = help: did you mean --chown?
    ERROR: dockerfile parse error on line 3: unknown instruction: BADCMD
    ");

    let json = parsed(&call(broken, &["--call=check,format=json"]));
    let line = |line: u32| json!([{"start": {"line": line}, "end": {"line": line}}]);
    assert_eq!(
        json["buildError"]["message"],
        "dockerfile parse error on line 3: unknown instruction: BADCMD"
    );
    assert_eq!(json["buildError"]["location"]["ranges"], line(3));
    let found: Vec<_> = json["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            let start = &found["range"]["start"];
            format!("{} {}:{}", found["severity"].as_str().unwrap(), start["line"], start["column"])
        })
        .collect();
    assert_eq!(found, ["warning 1:17", "warning 2:1", "error 3:1", "error 4:6"]);
    assert_eq!(json["diagnostics"][3]["help"], "did you mean --chown?");

    let strict = "# check=error=true\nFROM scratch AS Bad\n";
    let output = call(strict, &["--check"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("ERROR: lint violation found for rules: StageNameCasing"),
        "{output}"
    );
}

#[test]
fn the_json_of_a_check_has_buildkits_keys() {
    let output = call(
        "FROM scratch\nENV a \\\n  1\nCOPY é /b_key\n  workdir  x\n",
        &["--call=check,format=json"],
    );
    assert_eq!(output.code, 1);
    let json = parsed(&output);
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let warning = &json["warnings"][0];
    assert_eq!(warning["ruleName"], "LegacyKeyValueFormat");
    assert_eq!(
        warning["url"],
        "https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/"
    );
    assert_eq!(warning["location"]["ranges"].as_array().unwrap().len(), 2, "one for each line");
    assert_eq!(json["sources"][0]["filename"], "Dockerfile");
    assert!(json["sources"][0]["data"].as_str().unwrap().starts_with("RlJPTSBz"));
    let last = json["diagnostics"].as_array().unwrap().last().unwrap();
    assert_eq!(last["rule"], "WorkdirRelativePath");
    assert_eq!(
        last["range"],
        json!({"start": {"line": 5, "column": 12}, "end": {"line": 5, "column": 13}})
    );
    assert_eq!(
        parsed(&call("FROM scratch\n", &["--call=check,format=json"]))["warnings"],
        Value::Null
    );
}

#[test]
fn an_outline_lists_what_a_target_takes() {
    let output = call(DOCKERFILE, &["--call=outline", "--target=deploy"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        output.stdout,
        "TARGET:      deploy\nDESCRIPTION: sends it away\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nVERSION     1.2     which one to take\nmode                \n\n\
         SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault   \n\n"
    );
    let json = parsed(&call(DOCKERFILE, &["--call=outline,format=json", "--target=deploy"]));
    let at = |line: u32| json!({"ranges": [{"start": {"line": line}, "end": {"line": line}}]});
    assert_eq!(
        json["args"],
        json!([
            {"name": "VERSION", "description": "which one to take", "value": "1.2", "location": at(3)},
            {"name": "mode", "location": at(10)},
        ])
    );
    assert_eq!(json["ssh"][0]["name"], "default");
    assert_eq!(json["secrets"][0]["location"]["ranges"].as_array().unwrap().len(), 2);
    let missing = call(DOCKERFILE, &["--call=outline", "--target=deplyo"]);
    assert!(missing.code == 1 && missing.stderr.contains("did you mean deploy?"), "{missing}");
}

#[test]
fn targets_are_the_stages_and_the_last_is_built_by_default() {
    let output = call(DOCKERFILE, &["--call", "targets"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        output.stdout,
        "TARGET           DESCRIPTION\nbase             \ndeploy           sends it away\nunused (default) \n"
    );
    let json = parsed(&call(DOCKERFILE, &["--call=targets,format=json"]));
    assert_eq!(json["targets"][1]["description"], "sends it away");
    assert_eq!(json["targets"][0].get("default"), None);
    assert_eq!(json["targets"][2]["default"], true);
    assert_eq!(json["targets"][2]["location"]["ranges"][0]["start"]["line"], 13);
    let unnamed = call("FROM scratch\n", &["--call", "targets"]);
    assert_eq!(unnamed.stdout, "TARGET    DESCRIPTION\n(default) \n");
}

#[test]
fn a_misspelt_platform_is_noticed() {
    let said = |platform: &str| call("FROM scratch\n", &["--check", "--platform", platform]).stderr;
    assert_eq!(
        said("linux/adm64"),
        "note: linux/adm64 is no platform (did you mean linux/amd64?)\n"
    );
    assert_eq!(
        said("linus/arm64/v8"),
        "note: linus/arm64/v8 is no platform (did you mean linux/arm64?)\n"
    );
    for known in ["linux/amd64", "linux/arm/v7", "linux/x86_64", "linux/mips", "linux/sparc64"] {
        assert_eq!(said(known), "", "{known}");
    }
}

#[test]
fn other_calls_are_refused_with_the_nearest() {
    let output = call("FROM scratch\n", &["--call", "outlin"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("unknown method \"outlin\" for --call (did you mean outline?)"),
        "{output}"
    );
}
