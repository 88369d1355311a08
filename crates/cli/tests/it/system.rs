//! `bld system df`, `bld system prune` and the other prunes.

use bld_testkit::TestEnv;

use crate::env;

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// A store with a container that runs, one that has ended, volumes, an image without a name.
fn filled() -> TestEnv {
    let env = env();
    env.bld(["volume", "create", "named"]).ok();
    let write = "dd if=/dev/zero of=/v/f bs=1000 count=5; dd if=/dev/zero of=/f bs=1000 count=3";
    let ended = ["run", "--name", "ended", "-v", "/v", "busybox", "sh", "-c", write];
    env.bld(ended).ok();
    env.bld(["run", "-d", "--name", "lasting", "-v", "named:/n", "busybox", "sleep", "1000"]).ok();
    let _ = env.build("app:1", "FROM busybox\nRUN echo one > /one\n", []).expect_code(0);
    let _ = env.build("app:1", "FROM busybox\nRUN echo two > /two\n", []).expect_code(0);
    env
}

#[test]
fn df_counts_what_there_is_and_what_could_go() {
    let env = filled();
    let table = env.bld(["system", "df"]).ok().stdout;
    let rows: Vec<_> = table.lines().map(words).collect();
    assert_eq!(rows[0], ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(rows[1][..3], ["Images", "3", "1"]);
    assert_eq!(rows[2], ["Containers", "2", "1", "3kB", "3kB (100%)"]);
    assert_eq!(rows[3], ["Local Volumes", "2", "2", "5kB", "0B (0%)"]);
    assert_eq!(rows[4][0], "Build Cache");
    let json = env.bld(["system", "df", "--format", "json"]).ok().stdout;
    let line = json.lines().nth(2).unwrap();
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&row["Type"], &row["TotalCount"]), (&"Local Volumes".into(), &"2".into()));

    let verbose = env.bld(["system", "df", "-v"]).ok().stdout;
    for heading in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage: ",
    ] {
        assert!(verbose.lines().any(|line| line.starts_with(heading)), "{verbose}");
    }
    let row = |first: &str| verbose.lines().map(words).find(|row| row.first() == Some(&first));
    assert_eq!(row("named"), Some(vec!["named", "1", "0B"]));
    assert!(verbose.contains("SHARED SIZE") && verbose.contains("CACHE TYPE"), "{verbose}");
    // All but what the step wrote, as a tar, is of busybox.
    let app = row("app").unwrap();
    assert_eq!(app[6], "2.048kB", "{verbose}");
    let template = "{{len .Images}} {{range .Volumes}}{{.Links}}{{end}}";
    assert_eq!(env.bld(["system", "df", "-v", "--format", template]).ok().text(), "3 11");
    env.bld(["rm", "-f", "-v", "ended", "lasting"]).ok();
}

#[test]
fn system_prune_takes_what_nobody_uses() {
    let env = filled();
    env.bld(["network", "create", "lonely"]).ok();
    let ended = env.bld(["inspect", "-f", "{{.Id}}", "ended"]).ok().text().to_owned();
    let asked = env.bld(["system", "prune", "--filter", "label!=kept"]).stdin("n\n").ok();
    assert_eq!(
        asked.stdout,
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one \
         container\n  - all dangling images\n  - unused build cache\n\n  Items to be pruned will be filtered \
         with:\n  - label!=kept\n\nAre you sure you want to continue? [y/N] "
    );
    let refused = env.bld(["system", "prune", "-f", "--volumes", "--filter", "until=1h"]).run();
    let _ = refused.expect_code(1).expect_text("is not supported with \"--volumes\"");
    let none = env.bld(["system", "prune", "-f", "--filter", "label=nosuch"]).ok();
    assert_eq!(none.stdout, "Total reclaimed space: 0B\n");

    let pruned = env.bld(["system", "prune", "-f"]).ok().stdout;
    assert!(pruned.starts_with(&format!("Deleted Containers:\n{ended}\n\n")), "{pruned}");
    assert!(pruned.contains("Deleted Networks:\nlonely\n\n"), "{pruned}");
    assert!(pruned.contains("Deleted Images:\ndeleted: sha256:"), "{pruned}");
    assert!(pruned.lines().last().unwrap().starts_with("Total reclaimed space: "), "{pruned}");
    assert_eq!(env.bld(["ps", "-a", "--format", "{{.Names}}"]).ok().text(), "lasting");
    assert_eq!(env.bld(["volume", "ls", "-q"]).ok().stdout.lines().count(), 2);
    let tags = |env: &TestEnv| {
        let list = env.bld(["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().stdout;
        let mut lines: Vec<_> = list.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(tags(&env), ["app:1", "busybox:latest"]);

    let all = env.bld(["system", "prune", "-af", "--volumes"]).ok().stdout;
    assert!(all.contains("Deleted Volumes:\n") && all.contains("untagged: app:1"), "{all}");
    assert_eq!(env.bld(["volume", "ls", "-q"]).ok().text(), "named");
    assert_eq!(tags(&env), ["busybox:latest"]);
    env.bld(["rm", "-f", "lasting"]).ok();
    env.assert_nothing_left();
}

#[test]
fn volume_prune_goes_by_labels_and_names() {
    let env = env();
    for (name, label) in [("va", "keep=1"), ("vb", "keep=0")] {
        env.bld(["volume", "create", "--label", label, name]).ok();
    }
    assert_eq!(env.bld(["volume", "prune", "-f"]).ok().text(), "Total reclaimed space: 0B");
    let pruned =
        env.bld(["volume", "prune", "-f", "--filter", "all=1", "--filter", "label!=keep=1"]).ok();
    assert_eq!(pruned.stdout, "Deleted Volumes:\nvb\n\nTotal reclaimed space: 0B\n");
    assert_eq!(env.bld(["volume", "ls", "-q"]).ok().text(), "va");
}
