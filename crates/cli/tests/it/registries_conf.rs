//! `registries.conf`, as podman, buildah and skopeo read it.

use std::fs;

use bld_testkit::http::{Reply, Server};
use bld_testkit::{Authority, Cmd, Output, Registry, TestEnv};

use crate::env;

/// Writes the user's file.
fn configure(env: &TestEnv, text: &str) {
    let dir = env.home().join(".config/containers");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("registries.conf"), text).unwrap();
}

/// Puts an image that says `word` into a registry.
fn publish(env: &TestEnv, name: &str, word: &str) {
    let dockerfile = format!("FROM busybox\nCMD [\"echo\", \"{word}\"]\n");
    let _ = env.build(name, &dockerfile, ["--push"]).expect_code(0);
}

/// Pulls and runs an image in a store that has nothing yet.
fn run(env: &TestEnv, store: &str, name: &str) -> Output {
    env.bld(["run", "--rm", "--network=none", name]).env("BLD_ROOT", env.path(store)).run()
}

/// What skopeo finds by a name, with the same files.
fn by_skopeo(env: &TestEnv, name: &str) -> Output {
    let command = Cmd::new("skopeo").args(["inspect", "--no-tags", "--format", "{{.Digest}}"]);
    command.arg(format!("docker://{name}")).env("HOME", env.home()).run()
}

#[test]
fn names_are_moved_mirrored_and_blocked() {
    let env = env();
    let [near, far] = [Registry::start().unwrap(), Registry::start().unwrap()];
    publish(&env, &format!("{}/stuff/app:1", near.host()), "near");
    publish(&env, &format!("{}/copy/team/app:1", far.host()), "far");
    publish(&env, &format!("{}/team/only:1", near.host()), "only");
    let front = Server::before(&far.host(), |_| Reply::Pass);
    configure(
        &env,
        &format!(
            "[[registry]]\nprefix = 'r.example/team'\nlocation = '{0}/stuff'\ninsecure = true\n\
             [[registry]]\nprefix = 'r.example'\nlocation = '{0}'\ninsecure = true\n\
             [[registry.mirror]]\nlocation = '127.0.0.1:1/nobody'\n\
             [[registry.mirror]]\nlocation = '{1}/copy'\ninsecure = true\n\
             [[registry]]\nprefix = 'd.example'\nlocation = '{0}'\ninsecure = true\n\
             mirror-by-digest-only = true\nmirror = [{{ location = '{1}/copy', insecure = true }}]\n\
             [[registry]]\nlocation = '{0}/secret'\nblocked = true\n\
             [[registry]]\nprefix = '*.wild.example'\nblocked = true\n",
            near.host(),
            front.host()
        ),
    );
    assert_eq!(run(&env, "moved", "r.example/team/app:1").expect_code(0).stdout, "near\n");
    assert!(front.log().is_empty(), "the longest prefix counts");
    let images = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    let named = env.bld(images).env("BLD_ROOT", env.path("moved")).ok();
    assert_eq!(named.text(), "r.example/team/app:1");

    // What mirrors do not have the registry itself has.
    publish(&env, &format!("{}/other/app:1", near.host()), "other");
    publish(&env, &format!("{}/copy/other/app:1", far.host()), "copy");
    assert_eq!(run(&env, "mirror", "r.example/other/app:1").expect_code(0).stdout, "copy\n");
    assert!(!front.seen("GET", "/copy/other/app/blobs/").is_empty());
    publish(&env, &format!("{}/origin/app:1", near.host()), "origin");
    assert_eq!(run(&env, "origin", "r.example/origin/app:1").expect_code(0).stdout, "origin\n");

    // A mirror that may only be asked for digests is not asked for tags.
    assert_eq!(run(&env, "tag", "d.example/other/app:1").expect_code(0).stdout, "other\n");
    let digest = by_skopeo(&env, "d.example/other/app:1").expect_code(0);
    let copy = by_skopeo(&env, "r.example/other/app:1").expect_code(0);
    assert_ne!(copy.text(), digest.text(), "skopeo goes by the same file");
    let by_digest = format!("d.example/other/app@{}", copy.text());
    assert_eq!(run(&env, "digest", &by_digest).expect_code(0).stdout, "copy\n");

    for name in [format!("{}/secret/app:1", near.host()), "a.b.wild.example/x:1".to_owned()] {
        let refused = run(&env, "blocked", &name).expect_code(125).expect_text("is blocked by");
        assert!(!refused.stderr.contains("panicked"));
        let _ = by_skopeo(&env, &name).expect_code(1);
        let built = env.build("x:1", &format!("FROM {name}\n"), []).expect_code(1);
        let _ = built.expect_text("is blocked by the rule for");
        env.bld(["tag", "busybox", &name]).ok();
        let _ = env.bld(["push", &name]).run().expect_code(1).expect_text("is blocked by");
    }
    env.assert_nothing_left();
}

#[test]
fn certificates_are_not_verified_where_that_is_said() {
    let env = env();
    let authority = Authority::new();
    let settings = authority.registry();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let registry = Registry::start_with(&settings).unwrap();
    let name = format!("{}/app:1", registry.host());
    env.bld(["tag", "busybox", &name]).ok();
    let _ = env.bld(["push", &name]).run().expect_code(1).expect_text("certificate");
    configure(&env, &format!("[[registry]]\nlocation = '{}'\ninsecure = true\n", registry.host()));
    env.bld(["push", &name]).ok();
    env.bld(["pull", &name]).env("BLD_ROOT", env.path("other")).ok();
    let _ = by_skopeo(&env, &name).expect_code(0);
}

#[test]
fn hosts_toml_counts_first() {
    let env = env();
    let [one, other] = [Registry::start().unwrap(), Registry::start().unwrap()];
    publish(&env, &format!("{}/app:1", one.host()), "one");
    publish(&env, &format!("{}/app:1", other.host()), "other");
    let rule = |blocked: bool| {
        format!(
            "[[registry]]\nprefix = 'r.example'\nlocation = '{}'\ninsecure = true\nblocked = {blocked}\n",
            one.host()
        )
    };
    configure(&env, &rule(false));
    assert_eq!(run(&env, "conf", "r.example/app:1").expect_code(0).stdout, "one\n");
    let dir = env.home().join(".config/containerd/certs.d/r.example");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("hosts.toml"), format!("server = 'http://{}'\n", other.host())).unwrap();
    assert_eq!(run(&env, "hosts", "r.example/app:1").expect_code(0).stdout, "other\n");
    configure(&env, &rule(true));
    let _ = run(&env, "blocked", "r.example/app:1").expect_code(125).expect_text("is blocked by");
    // A file of our own counts in place of all of containers'.
    fs::write(env.home().join(".config/bld/registries.conf"), "").unwrap_or_else(|_| {
        fs::create_dir_all(env.home().join(".config/bld")).unwrap();
        fs::write(env.home().join(".config/bld/registries.conf"), "").unwrap();
    });
    assert_eq!(run(&env, "own", "r.example/app:1").expect_code(0).stdout, "other\n");
}

#[test]
fn short_names_mean_what_is_said() {
    let env = env();
    let [one, other] = [Registry::start().unwrap(), Registry::start().unwrap()];
    publish(&env, &format!("{}/tools/app:1", other.host()), "other");
    publish(&env, &format!("{}/far/away:1", one.host()), "alias");
    let search =
        format!("unqualified-search-registries = ['{}', '{}']\n", one.host(), other.host());
    configure(&env, &format!("{search}[aliases]\n\"near\" = \"{}/far/away\"\n", one.host()));
    let pulled = run(&env, "store", "tools/app:1").expect_code(0);
    assert_eq!(pulled.stdout, "other\n");
    assert_eq!(run(&env, "store", "near:1").expect_code(0).stdout, "alias\n");
    let bld = |arguments: &[&str]| env.bld(arguments).env("BLD_ROOT", env.path("store"));
    // It is here now, under its whole name, and is found by the short one.
    let names = bld(&["images", "--format", "{{.Repository}}"]).ok();
    let mut names: Vec<_> = names.stdout.lines().collect();
    names.sort_unstable();
    let mut expected = [format!("{}/tools/app", other.host()), format!("{}/far/away", one.host())];
    expected.sort_unstable();
    assert_eq!(names, expected);
    let format = ["image", "inspect", "--format", "{{.Config.Cmd}}", "tools/app:1"];
    assert_eq!(bld(&format).ok().text(), "[echo other]");
    let file = env.write("short/Dockerfile", "FROM tools/app:1\nFROM near:1\n");
    let built = bld(&["build", "--progress=plain", "--pull", "--target=0", "-f"]).arg(&file);
    let built = built.arg(env.path("short")).ok();
    let loaded = format!("load metadata for {}/tools/app:1", other.host());
    assert!(built.stderr.contains(&loaded), "{built}");
    bld(&["rmi", "near:1"]).ok();
    let _ = bld(&["image", "inspect", "near:1"]).run().expect_code(1);

    // What has the very name counts first, as what is built has it.
    bld(&["tag", "tools/app:1", "near:1"]).ok();
    assert_eq!(run(&env, "store", "near:1").expect_code(0).stdout, "other\n");
    // What is nowhere is told of everywhere; Docker Hub is not asked.
    let nowhere = run(&env, "store", "tools/none:1").expect_code(125);
    let nowhere = nowhere.expect_text(&format!("{}/tools/none:1: ", one.host()));
    let _ = nowhere.expect_text(&format!("{}/tools/none:1: ", other.host()));
    configure(&env, &format!("short-name-mode = 'enforcing'\n{search}"));
    let _ = run(&env, "store", "tools/none:1").expect_code(125).expect_text("may be meant for");
    let built = env.build("x:1", "FROM tools/none:1\n", []).expect_code(1);
    let _ = built.expect_text("may be meant for");
    configure(&env, "[[registry]]\n");
    let wrong = run(&env, "store", "tools/none:1").expect_code(125);
    let _ = wrong.expect_text("registries.conf: a registry has neither a prefix nor a location");
}
