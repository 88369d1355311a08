//! `bld diff`: what containers changed, and how images differ.

use std::fs;

use bld_testkit::TestEnv;
use serde_json::Value;

use crate::env;

const BEFORE: &str = "FROM busybox
ENV A=1 B=2
COPY a.txt b.bin /etc/app/
RUN mkdir -p /d/e && echo x > /d/e/f && ln -s a.txt /etc/app/link && echo 1 > /same
";

const AFTER: &str = "FROM busybox
ENV A=1 B=3
COPY a.txt b.bin /etc/app/
RUN mkdir -p /d && echo x > /d/e && ln -s b.bin /etc/app/link && echo 2 > /same && chmod 700 /etc/app
CMD [\"sh\", \"-c\", \"true\"]
";

/// `a:1` and `b:1`, which differ in everything there is.
fn two(env: &TestEnv) {
    let lines = |skip: usize| (0..50).filter(move |n| *n != skip).map(|n| n.to_string() + "\n");
    env.write("ctx/a.txt", lines(0).collect::<String>());
    env.write("ctx/b.bin", "a\0b");
    let _ = env.build("a:1", BEFORE, []).expect_code(0);
    env.write("ctx/a.txt", lines(30).collect::<String>());
    env.write("ctx/b.bin", "a\0c");
    let _ = env.build("b:1", AFTER, []).expect_code(0);
}

#[test]
fn images_are_compared() {
    let env = env();
    two(&env);
    let same = env.bld(["diff", "a:1", "a:1"]).ok();
    assert_eq!(same.stdout, "");
    env.bld(["tag", "a:1", "c:1"]).ok();
    env.bld(["diff", "-q", "a:1", "c:1"]).ok();

    let diff = env.bld(["diff", "--ignore", "time", "a:1", "b:1"]).run().expect_code(1).stdout;
    for part in [
        "  config.Env.B: \"2\" -> \"3\"\n",
        "  config.Cmd: [\"sh\"] -> [\"sh\",\"-c\",\"true\"]\n",
        "  history[",
        "\n  C /d/e (type dir -> file)\n  D /d/e/f (file, 0644, 0:0, 2B)\n",
        "\n  C /etc/app (mode 0755 -> 0700)\n",
        "\n  C /etc/app/b.bin (contents from byte 3 on)\n",
        "\n  C /etc/app/link (target a.txt -> b.bin)\n",
        "\n  C /same (contents)\n",
        "\n--- a/same\n+++ b/same\n@@ -1 +1 @@\n-1\n+2\n",
        "--- a/etc/app/a.txt\n+++ b/etc/app/a.txt\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -27,7 +28,6 @@\n",
        " fields, 2 layers, 7 files differ.\n",
    ] {
        assert!(diff.contains(part), "{part:?} not in:\n{diff}");
    }
    assert!(!diff.contains("--- a/etc/app/b.bin"), "{diff}");
    let layers: Vec<_> = diff.lines().filter(|line| line.contains("COPY a.txt")).collect();
    assert!(
        matches!(layers[..], [one, other] if one.starts_with("  - ") && other.starts_with("  + "))
    );

    let quiet = env.bld(["image", "diff", "--quiet", "a:1", "b:1"]).run().expect_code(1);
    assert_eq!(quiet.stdout, "");
    let ignore = "config,layers,time,mode,owner,links";
    let diff = env.bld(["diff", "--no-text", "--ignore", ignore, "a:1", "b:1"]).run();
    let diff = diff.expect_code(1).stdout;
    assert!(diff.starts_with("Files:\n") && !diff.contains("+++"), "{diff}");
    let failed = env.bld(["diff", "a:1", "nosuch:1"]).run().expect_code(2);
    let _ = failed.expect_text("No such image: nosuch:1");
}

#[test]
fn differences_are_told_as_json() {
    let env = env();
    two(&env);
    let diff = env.bld(["diff", "--format", "json", "a:1", "b:1"]).run().expect_code(1).stdout;
    let diff: Value = serde_json::from_str(&diff).unwrap();
    assert_eq!((&diff["Same"], &diff["Before"]["Name"]), (&false.into(), &"a:1".into()));
    let status: Vec<_> =
        diff["Layers"].as_array().unwrap().iter().map(|l| l["Status"].as_str().unwrap()).collect();
    assert_eq!(status, ["same", "replaced", "replaced"]);
    let file = |path: &str| {
        let mut files = diff["Files"].as_array().unwrap().iter();
        files.find(|file| file["Path"] == path).unwrap_or(&Value::Null)
    };
    assert_eq!(diff["Layers"][1]["After"]["Index"], 2);
    let link = file("/etc/app/link");
    assert_eq!(
        (&link["Before"]["Target"], &link["After"]["Target"]),
        (&"a.txt".into(), &"b.bin".into())
    );
    let text = &file("/etc/app/b.bin")["Text"];
    assert_eq!((&text["Kind"], &text["SameBytes"]), (&"binary".into(), &2.into()));
    let lines = file("/same")["Text"]["Diff"].as_str().unwrap();
    assert_eq!(lines, "@@ -1 +1 @@\n-1\n+2\n");
    assert_eq!(
        (&file("/d/e/f")["Status"], &file("/d/e/f")["After"]),
        (&"removed".into(), &Value::Null)
    );
    let template = ["diff", "--format", "{{len .Files}} {{.After.Name}}", "a:1", "b:1"];
    let output = env.bld(template).run().expect_code(1).stdout;
    assert!(output.ends_with(" b:1\n"), "{output}");
}

#[test]
fn large_files_are_not_compared_line_by_line() {
    let env = env();
    let lines =
        |count: usize| (0..count).map(|n| format!("{n:0>99}")).collect::<Vec<_>>().join("\n");
    for (name, many) in [("a:1", 0), ("b:1", 1500)] {
        env.write("ctx/many", lines(many) + "\n");
        env.write("ctx/large", lines(12_000) + name + "\n");
        let _ = env.build(name, "FROM scratch\nCOPY . /\n", []).expect_code(0);
    }
    let diff = env.bld(["diff", "a:1", "b:1"]).run().expect_code(1).stdout;
    assert!(diff.contains("\n/large: too large to be compared line by line"), "{diff}");
    assert!(diff.contains("(502 more lines: --full shows them)"), "{diff}");
    let diff = env.bld(["diff", "--full", "a:1", "b:1"]).run().expect_code(1).stdout;
    assert!(diff.contains("\n+++ b/large\n@@ -11997,4 +11997,4 @@\n"), "{diff}");
    assert!(diff.lines().count() > 1500, "{diff}");
}

#[test]
fn containers_are_compared_with_their_image() {
    let env = env();
    env.write("ctx/f", "");
    let _ = env.build("d:1", "FROM busybox\nRUN mkdir -p /a/b /c && touch /a/b/f /c/d\n", []);
    let changed = "rm -r /a/b; echo >> /etc/passwd; mkdir /n; echo > /n/f; chmod 700 /c/d; touch \"/n/$(printf '\\377')\"";
    env.bld(["run", "--name", "c1", "d:1", "sh", "-c", changed]).ok();
    let expected = "C /a\nD /a/b\nC /c\nC /c/d\nC /etc\nC /etc/passwd\nA /n\nA /n/f\nA /n/\\xff\n";
    assert_eq!(env.bld(["diff", "c1"]).ok().stdout, expected);
    assert_eq!(env.bld(["container", "diff", "c1"]).ok().stdout, expected);
    let json = env.bld(["diff", "--format", "json", "c1"]).ok().stdout;
    assert!(
        json.starts_with("[{\"Kind\":0,\"Path\":\"/a\"},{\"Kind\":2,\"Path\":\"/a/b\"}"),
        "{json}"
    );
    let refused = env.bld(["diff", "--ignore", "time", "c1"]).run().expect_code(1);
    let _ = refused.expect_text("are for two images");
    env.bld(["create", "--name", "c2", "d:1"]).ok();
    assert_eq!(env.bld(["diff", "c2"]).ok().stdout, "");
    let _ = env.bld(["diff", "d:1"]).run().expect_code(1).expect_text("bld diff IMAGE IMAGE");
    let _ =
        env.bld(["diff", "nosuch"]).run().expect_code(1).expect_text("No such container: nosuch");
    assert!(fs::exists(env.root()).unwrap());
}
