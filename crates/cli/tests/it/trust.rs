//! What a build is trusted with: secrets, SSH keys, devices. None of it may stay anywhere.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_testkit::{Cmd, Output, SshAgent, TestEnv};
use serde_json::Value;

use crate::env;

/// Makes a key without a passphrase; its path.
fn key(env: &TestEnv, name: &str, options: &[&str]) -> PathBuf {
    let path = env.path(name);
    Cmd::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", name, "-f"])
        .arg(&path)
        .args(options)
        .ok();
    path
}

/// Puts the machine's `ssh-add`, and a key to try to add, into the context.
fn ssh_tools(env: &TestEnv) {
    let tools = env.path("ctx/tools");
    fs::create_dir_all(&tools).unwrap();
    let libraries = Cmd::new("ldd").arg("/usr/bin/ssh-add").ok();
    let files = libraries.stdout.split_whitespace().filter(|word| word.starts_with('/'));
    Cmd::new("cp").args(["-L", "--parents", "/usr/bin/ssh-add"]).args(files).arg(&tools).ok();
    key(env, "ctx/tools/other", &["-N", ""]);
}

const SSH: &str = "FROM busybox\nCOPY tools /\nUSER daemon\n\
    RUN --mount=type=ssh,uid=1,mode=0600 ls -ln $SSH_AUTH_SOCK; ssh-add -l\n\
    RUN --mount=type=ssh,uid=1 ssh-add /other 2>/dev/null; ssh-add -D 2>/dev/null; ssh-add -l\n";

#[test]
fn an_agent_is_reached_and_cannot_be_changed() {
    let env = env();
    ssh_tools(&env);
    let agent = SshAgent::start(&key(&env, "mine", &["-N", ""])).unwrap();
    let socket = &agent.socket;
    let built = env
        .bld(["build", "--progress", "plain", "--ssh", "default", "-f", "-", "ctx"])
        .env("SSH_AUTH_SOCK", socket)
        .stdin(SSH)
        .ok();
    let lines: Vec<_> =
        built.stderr.lines().filter(|line| line.contains(" mine (ED25519)")).collect();
    assert_eq!(lines.len(), 2, "{built}");
    assert!(!built.stderr.contains("ctx/tools/other"), "{built}");
    assert!(built.stderr.contains("srw-------    1 1        0"), "{built}");
    let still = Cmd::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", socket).ok();
    assert!(still.stdout.contains(" mine "), "{still}");
    let none = env.bld(["build", "--ssh", "default", "ctx"]).env_remove("SSH_AUTH_SOCK").run();
    let _ = none.expect_code(1).expect_text("make sure SSH_AUTH_SOCK is set");
    env.assert_nothing_left();
}

#[test]
fn keys_from_files_are_served_by_an_agent_that_goes_with_the_build() {
    let env = env();
    ssh_tools(&env);
    let (one, two) = (key(&env, "one", &["-N", ""]), key(&env, "two", &["-N", ""]));
    // Docker takes keys that others may read.
    Cmd::new("chmod").arg("644").arg(&one).ok();
    let both = format!("default={},{}", one.display(), two.display());
    let built = env.build("s:1", SSH, ["--ssh", &both]).expect_code(0);
    assert!(built.stderr.contains(" one (ED25519)") && built.stderr.contains(" two (ED25519)"));
    env.assert_nothing_left();

    let locked = key(&env, "locked", &["-N", "a passphrase"]);
    let refused = env.build("s:1", SSH, ["--ssh", &format!("default={}", locked.display())]);
    let _ = refused.expect_code(1).expect_text("locked: it is encrypted");
    let text = env.write("text", "no key");
    let refused = env.build("s:1", SSH, ["--ssh", &format!("default={}", text.display())]);
    let _ = refused.expect_code(1).expect_text("it is not a private key");
    let bare = env.bld(["build", "--ssh", &both, "ctx"]).env("PATH", "/nonexistent").run();
    let _ = bare.expect_code(1);

    // Killed, it takes its agent along.
    let slow = "FROM busybox\nRUN --mount=type=ssh echo up; sleep 60\n";
    env.write("ctx/Dockerfile", slow);
    let logs = env.path("logs");
    fs::create_dir(&logs).unwrap();
    let mut build = env.bld(["build", "--progress", "plain", "--ssh", &both, "ctx"]).spawn(&logs);
    for _ in 0..400 {
        if fs::read_to_string(logs.join("stderr")).unwrap().contains(" up\n") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    assert!(env.leftovers().iter().any(|line| line.contains("ssh-agent")), "{:?}", env.leftovers());
    build.kill().unwrap();
    build.wait().unwrap();
    env.assert_nothing_left();
}

/// What must not be found: a value as it is, and in base64 wherever it may begin.
fn traces(value: &[u8]) -> Vec<Vec<u8>> {
    let mut traces = vec![value.to_vec()];
    for shift in 0..3 {
        let text = STANDARD.encode([&vec![b'x'; shift][..], value].concat());
        // The ends depend on what stands beside the value.
        traces.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    traces
}

fn assert_absent(place: &str, bytes: &[u8], traces: &[Vec<u8>]) {
    for trace in traces {
        let found = bytes.windows(trace.len()).any(|window| window == trace);
        assert!(!found, "{} is in {place}", String::from_utf8_lossy(trace));
    }
}

/// Looks through every file of the store, for the longest line of each trace.
fn assert_absent_in_store(env: &TestEnv, traces: &[Vec<u8>]) {
    let lines = traces.iter().map(|trace| {
        trace.split(|byte| *byte == b'\n').max_by_key(|line| line.len()).unwrap_or_default()
    });
    let patterns = env.write("traces", lines.collect::<Vec<_>>().join(&b'\n'));
    let grep = || Cmd::new("grep").args(["-rlaF", "-f"]).arg(&patterns);
    let found = grep().arg(env.root()).run();
    assert_eq!(found.code, 1, "{found}");
    // It would have been found.
    grep().arg(&patterns).ok();
}

/// All that a build has said, logs in JSON decoded.
fn said(output: &Output) -> Vec<u8> {
    let mut said = format!("{}{}", output.stdout, output.stderr).into_bytes();
    for line in output.stderr.lines() {
        let status: Value = serde_json::from_str(line).unwrap_or_default();
        for log in status["logs"].as_array().into_iter().flatten() {
            said.extend(STANDARD.decode(log["data"].as_str().unwrap()).unwrap());
        }
    }
    said
}

#[test]
fn secrets_and_keys_stay_nowhere() {
    const SECRET: &str = "correct-horse-battery-staple";
    const VARIABLE: &str = "wrong-donkey-charger-clip";
    let env = env();
    ssh_tools(&env);
    let key = key(&env, "private", &["-N", ""]);
    let text = fs::read_to_string(&key).unwrap();
    // A line in the middle of the key, which is private.
    let line = text.lines().nth(3).unwrap().as_bytes();
    let mut all = [traces(SECRET.as_bytes()), traces(VARIABLE.as_bytes())].concat();
    all.push(line.to_vec());
    all.push(STANDARD.decode(&line[..60]).unwrap());

    env.write("file", format!("{SECRET}\n"));
    let ssh = format!("default={}", key.display());
    let archive = env.path("image.tar");
    let output = format!("type=oci,compression=uncompressed,dest={}", archive.display());
    let steps = "FROM busybox\nCOPY tools /\n\
        RUN --mount=type=secret,id=s --mount=type=secret,id=v,env=V --mount=type=ssh \
        test $(wc -c < /run/secrets/s) = 29 && cat /run/secrets/s && echo \"$V\" >&2 && env && ssh-add -L\n\
        RUN --mount=type=secret,id=v,env=V,required echo \"a${V}b\" && test ${#V} = 25\n";
    let failing = format!("{steps}RUN --mount=type=secret,id=s cat /run/secrets/s; exit 9\n");
    for (progress, dockerfile, code) in [
        ("plain", steps, 0),
        ("rawjson", steps, 0),
        ("rawjson", &failing, 1),
        ("plain", &failing, 1),
    ] {
        let built = env
            .bld([
                "build",
                "--progress",
                progress,
                "--no-cache",
                "--explain",
                "-t",
                "s:1",
                "-f",
                "-",
            ])
            .args(["--secret", "id=s,src=file", "--secret", "id=v,env=VAR", "--ssh", &ssh, "-o"])
            .args([&output, "ctx"])
            .env("VAR", VARIABLE)
            .stdin(dockerfile)
            .run()
            .expect_code(code);
        let said = said(&built);
        let stars = said.windows(3).filter(|window| *window == b"***").count();
        assert!(stars >= 2, "the steps print their secrets: {built}");
        assert_absent("the output", &said, &all);
    }
    let known =
        env.bld(["build", "--progress", "plain", "-t", "s:1", "-f", "-", "ctx"]).stdin(steps);
    // Neither values nor their absence are what a result is known by.
    assert!(known.ok().stderr.contains("CACHED"));
    for words in [vec!["history", "--no-trunc", "s:1"], vec!["inspect", "s:1"]] {
        assert_absent(&words.join(" "), env.bld(words.clone()).ok().stdout.as_bytes(), &all);
    }
    assert_absent("the archive", &fs::read(&archive).unwrap(), &all);
    assert_absent_in_store(&env, &all);
}

#[test]
fn a_required_secret_that_is_missing_is_named() {
    let env = env();
    let dockerfile =
        "FROM busybox\nRUN --mount=type=secret,id=token,required cat /run/secrets/token\n";
    let missing = env.build("s:1", dockerfile, []).expect_code(1);
    let _ =
        missing.expect_text("secret \"token\" not found").expect_text("--secret id=token,src=FILE");
    env.write("token", "from a file");
    // An id alone is a variable or else a file of that name.
    let dockerfile = dockerfile.replace("cat", "wc -c <");
    let built = env.build("s:1", &dockerfile, ["--secret", "id=token"]).expect_code(0);
    assert!(built.stderr.contains(" 11\n"), "{built}");
    let unset = env.build("s:1", &dockerfile, ["--secret", "id=token,env=BLD_NOT_SET"]);
    let _ = unset.expect_code(0).expect_text("the variable BLD_NOT_SET is not set");
    let absent = env.build("s:1", &dockerfile, ["--secret", "id=token,src=nosuch"]).expect_code(1);
    let _ = absent.expect_text("read nosuch");
}

#[test]
fn devices_are_described_allowed_and_used() {
    let env = env();
    let dir = env.path("cdi");
    fs::create_dir(&dir).unwrap();
    let node = dir.join("node");
    Cmd::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "1", "3"]).ok();
    env.write("mounted", "by the device");
    let description = format!(
        "cdiVersion: \"0.6.0\"\nkind: example.org/gadget\ncontainerEdits:\n  env: [COMMON=1]\n\
         devices:\n- name: one\n  containerEdits:\n    env: [GADGET=one]\n    deviceNodes:\n\
         \x20   - {{path: /dev/gadget, hostPath: {}}}\n    mounts:\n\
         \x20   - {{hostPath: {}, containerPath: /opt/gadget, options: [ro]}}\n",
        node.display(),
        env.path("mounted").display()
    );
    env.write("cdi/gadget.yaml", description);
    let dockerfile = "# syntax=docker/dockerfile:1-labs\nFROM busybox\n\
        RUN --device=example.org/gadget=one,required --device=example.org/absent=x \
        ls -l /dev/gadget && echo x > /dev/gadget && echo $GADGET $COMMON && cat /opt/gadget\n";
    let build = |arguments: &[&str], dockerfile: &str| {
        let words = ["build", "--progress", "plain", "-t", "d:1", "-f", "-"];
        env.write("ctx/empty", "");
        let command = env.bld(words).args(arguments).arg("ctx").stdin(dockerfile);
        command.env("BLD_CDI_SPEC_DIRS", format!("/nonexistent:{}", dir.display())).run()
    };
    let refused = build(&[], dockerfile).expect_code(1);
    let _ = refused.expect_text("--allow device=example.org/gadget=one");
    let built = build(&["--allow", "device=example.org/gadget=one"], dockerfile).expect_code(0);
    for text in
        ["1,   3", "one 1\n", "by the device", "WARN: there is no device \"example.org/absent=x\""]
    {
        assert!(built.stderr.contains(text), "{text}: {built}");
    }
    let typo = dockerfile.replace("gadget=one", "gadget=noe");
    let unknown = build(&["--allow", "device"], &typo).expect_code(1);
    let _ = unknown.expect_text("did you mean example.org/gadget=one?");
    let files = env.bld(["run", "--rm", "d:1", "ls", "/dev", "/opt"]).run();
    assert!(!files.stdout.contains("gadget"), "{files}");
}
