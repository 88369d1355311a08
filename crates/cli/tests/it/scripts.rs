//! What scripts and CI rely on: streams, exit codes, files with results, words on the command line.

use std::{fmt::Write as _, fs};

use bld_testkit::{Cmd, Output, TestEnv};

use crate::env;

const SCRATCH: &str = "FROM scratch\nCOPY <<EOF /made\nx\nEOF\n";

/// An environment whose `ctx` holds a Dockerfile that builds, and `wrong` one that does not.
fn contexts() -> TestEnv {
    let env = env();
    env.write("ctx/Dockerfile", SCRATCH);
    env.write("wrong/Dockerfile", "FROM busybox\nRUN echo told before; exit 3\n");
    env
}

fn failed(env: &TestEnv, words: &[&str], said: &str) -> Output {
    env.bld(["build"]).args(words).run().expect_code(1).expect_text(said)
}

#[test]
fn the_id_is_all_there_is_on_standard_output() {
    let env = contexts();
    let quiet = env.bld(["build", "-q", "ctx"]).ok();
    assert!(quiet.stdout.starts_with("sha256:") && quiet.stdout.len() == 72, "{quiet}");
    assert_eq!(quiet.stderr, "");
    for command in [
        env.bld(["build", "--progress=quiet", "ctx"]),
        env.bld(["build", "ctx"]).env("BUILDKIT_PROGRESS", "quiet"),
    ] {
        let output = command.ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (quiet.stdout.as_str(), ""));
    }
    let none = env.bld(["build", "--progress=none", "ctx"]).ok();
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
}

#[test]
fn failures_are_told_whatever_the_progress() {
    let env = contexts();
    for mode in ["auto", "plain", "quiet", "none", "rawjson"] {
        let failed = failed(&env, &["--progress", mode, "wrong"], "exit code: 3");
        assert!(failed.stderr.contains(">>> RUN") && failed.stdout.is_empty(), "{failed}");
    }
    let _ = failed(&env, &["--progress=tty", "ctx"], "provided file is not a console");
}

#[test]
fn an_id_file_is_of_this_build_or_not_there() {
    let env = contexts();
    let id = env.write("id", "sha256:old");
    let _ = failed(&env, &["--iidfile", "id", "wrong"], "exit code: 3");
    assert!(!id.exists());
    let built = env.bld(["build", "-q", "--iidfile", "id", "ctx"]).ok();
    assert_eq!(fs::read_to_string(&id).unwrap(), built.text());
    let why = "local and tar exporters are incompatible with image ID file";
    let _ = failed(&env, &["--iidfile", "id", "-o", "out", "ctx"], why);
    let late = failed(&env, &["--metadata-file", "no/dir/file", "ctx"], "invalid output path");
    assert!(!late.stderr.contains("[1/1]"), "it was built before: {late}");
}

#[test]
fn metadata_describe_what_was_written() {
    let env = contexts();
    let read = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(env.path("meta.json")).unwrap()).unwrap()
    };
    let build = |output: &str| {
        env.bld(["build", "-q", "-t", "m:1", "--metadata-file=meta.json", "-o", output, "ctx"]).ok()
    };
    let id = build("type=oci,dest=out.tar").text().to_owned();
    let metadata = read();
    assert_eq!(metadata["containerimage.config.digest"], id.as_str());
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(descriptor["digest"], metadata["containerimage.digest"]);
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(descriptor["platform"]["os"], "linux");
    assert_eq!(metadata["image.name"], "docker.io/library/m:1");
    let index = Cmd::new("tar").arg("-xOf").arg(env.path("out.tar")).arg("index.json").ok();
    let index: serde_json::Value = serde_json::from_str(&index.stdout).unwrap();
    assert_eq!(index["manifests"][0]["digest"], descriptor["digest"]);
    assert_eq!(index["manifests"][0]["size"], descriptor["size"]);
    let _ = build("type=image");
    assert_eq!(read()["containerimage.digest"], id.as_str());
}

#[test]
fn more_steps_than_open_files() {
    let env = env();
    let mut dockerfile = "FROM busybox\n".to_owned();
    for number in 0..140 {
        writeln!(dockerfile, "WORKDIR /d/{number}").unwrap();
    }
    dockerfile += "RUN ulimit -Sn; ulimit -Hn\n";
    let script = "ulimit -Sn 100; exec \"$0\" build --progress plain \"$@\" -";
    let build = |arguments: &[&str]| {
        let shell = Cmd::new("sh").args(["-c", script, crate::BLD]).args(arguments);
        shell.env("BLD_ROOT", env.root()).cwd(env.path("")).stdin(dockerfile.clone()).ok()
    };
    // Steps have the limit that was set for bld, and not the one that it takes.
    let built = build(&[]);
    assert!(built.stderr.contains(" 100\n"), "{built}");
    let built = build(&["--no-cache", "--ulimit", "nofile=90:95"]);
    assert!(built.stderr.contains(" 90\n") && built.stderr.contains(" 95\n"), "{built}");
}

#[test]
fn words_on_the_command_line_are_taken_as_by_buildx() {
    let env = contexts();
    // A value may begin with a dash.
    let _ = env.bld(["build", "-q", "--memory-swap", "-1", "--build-arg", "-x=-y", "ctx"]).ok();
    let _ = env.bld(["build", "-q", "--provenance", "false", "--sbom", "false", "ctx"]).ok();
    let _ = env.bld(["build", "-q", "--platform", "local", "ctx"]).ok();
    // A lower-case Dockerfile is found also by its usual name.
    env.write("low/dockerfile", SCRATCH);
    let _ = env.bld(["build", "-q", "-f", "low/Dockerfile", "low"]).ok();
    // Whatever is not `type=` is a path.
    let _ = env.bld(["build", "-q", "-o", "a=b", "ctx"]).ok();
    assert!(env.path("a=b/made").exists());
    let _ = env.bld(["buildx", "build", "-q", "ctx"]).ok();
    for (words, said) in [
        (["--build-arg", "=x"], "invalid key-value pair \"=x\": empty key"),
        (["--label", ""], "invalid key-value pair \"\": empty key"),
        (["--annotation", "kind:x=y"], "unknown annotation type \"kind\""),
        (["-t", "UPPER"], "invalid tag \"UPPER\""),
        (["-o", "dest=x"], "type is required"),
    ] {
        let _ = failed(&env, &[words[0], words[1], "ctx"], said);
    }
    let early = failed(&env, &["-t", "a:", "ctx"], "invalid tag");
    assert!(!early.stderr.contains("#1"), "something was done before: {early}");
    let unknown = env.bld(["build", "--ulimit", "foo=1", "ctx"]).run().expect_code(125);
    let _ = unknown.expect_text("invalid ulimit type: foo");
}

#[test]
fn a_missing_dockerfile_is_told_where_it_was_looked_for() {
    let env = contexts();
    fs::create_dir_all(env.path("dir/Dockerfile")).unwrap();
    let _ = failed(&env, &["dir"], "failed to read dockerfile: dir/Dockerfile is a directory");
    let tar = Cmd::new("tar").args(["-cf", "-", "-C"]).arg(env.path("ctx")).arg(".").ok().stdout;
    let build = env.bld(["build", "-f", "sub/D", "-"]).stdin(tar).run().expect_code(1);
    let _ = build.expect_text("failed to read dockerfile: sub/D not found in the archive");
    let _ = failed(&env, &["--build-context", "lib=no/dir", "ctx"], "the context lib (no/dir)");
}

#[test]
fn mistakes_outside_of_the_dockerfile_show_no_line_of_it() {
    let env = contexts();
    for (words, said) in [
        (["--target", "nope"], "failed to solve: target stage \"nope\" could not be found"),
        (["--build-context", "x=target:nope"], "stage \"nope\" could not be found"),
    ] {
        let failed = failed(&env, &[words[0], words[1], "ctx"], said);
        assert!(!failed.stderr.contains("1 |"), "{failed}");
    }
    let unused = env.bld(["build", "--build-arg", "NOPE=1", "ctx"]).ok();
    assert!(unused.stderr.contains("\"NOPE\" was not consumed\n"), "{unused}");
}

#[test]
fn warnings_are_listed_once_also_after_a_failure_and_are_there_for_programs() {
    let env = env();
    let wrong = "FROM busybox\nRUN test -n \"$NOPE\"\nCMD echo $NOPE\n";
    let listed = " 1 warning found (use --debug to expand):\n - JSONArgsRecommended: ";
    let failed = env.build("w:1", wrong, []).expect_code(1).expect_text(listed);
    assert_eq!(failed.stderr.matches("JSONArgsRecommended").count(), 1, "{failed}");
    assert!(failed.stderr.trim_end().ends_with("did not complete successfully: exit code: 1"));
    let json = env.bld(["build", "--progress=rawjson", "-"]).stdin(wrong).run().expect_code(1);
    let lines = json.stderr.lines().filter_map(|line| serde_json::from_str(line).ok());
    let warnings: Vec<serde_json::Value> =
        lines.filter(|line: &serde_json::Value| line["warnings"].is_array()).collect();
    // As Go writes bytes: in base64.
    assert!(
        warnings[0]["warnings"][0]["short"].as_str().unwrap().starts_with("SlNPTkFyZ3NSZWNvbW1l"),
        "{warnings:?}"
    );
    assert!(warnings[0]["warnings"][0]["url"].is_string() && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn a_program_for_another_machine_is_said_to_be_one() {
    let env = env();
    let dockerfile = "FROM scratch\nCOPY --chmod=755 <<EOF /bin/sh\nno program\nEOF\nRUN true\n";
    let failed = env.build("f:1", dockerfile, ["--platform=linux/s390x"]).expect_code(1);
    let _ = failed.expect_text("exec format error").expect_text("binfmt_misc");
}
