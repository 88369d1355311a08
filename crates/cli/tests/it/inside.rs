//! `image inspect --layers --files`: what the layers of an image hold.

use bld_testkit::TestEnv;
use serde_json::{Value, json};

use crate::env;

const DOCKERFILE: &str = "FROM scratch
COPY base /
COPY change /
RUN [\"/bin/busybox\", \"rm\", \"-r\", \"/tree\", \"/big\"]
RUN [\"/bin/busybox\", \"chmod\", \"700\", \"/dir\"]
RUN [\"/bin/busybox\", \"sh\", \"-c\", \"rm -r /dir; mkdir /dir; echo again > /dir/b\"]
";

/// `i:1`, whose later layers replace and remove what the first one has.
fn built(env: &TestEnv) {
    let busybox = bld_testkit::Cmd::new("sh").args(["-c", "command -v busybox"]).ok().stdout;
    let busybox = std::fs::read(busybox.trim()).unwrap();
    let script = env.write_script("ctx/base/bin/busybox", "");
    std::fs::write(script, busybox).unwrap();
    env.write("ctx/base/big", vec![b'b'; 300_000]);
    env.write("ctx/base/tree/one", vec![b'1'; 1000]);
    env.write("ctx/base/tree/sub/two", vec![b'2'; 2000]);
    env.write("ctx/base/dir/a", "a");
    env.write("ctx/base/dir/b", "b");
    env.write("ctx/base/linked", vec![b'l'; 500]);
    std::fs::hard_link(env.path("ctx/base/linked"), env.path("ctx/base/other")).unwrap();
    env.write("ctx/change/big", vec![b'B'; 400_000]);
    env.write("ctx/change/linked", "new");
    env.write("ctx/change/new", "new");
    let _ = env.build("i:1", DOCKERFILE, []).expect_code(0);
}

#[test]
fn layers_are_taken_apart() {
    let env = env();
    built(&env);
    let json = ["image", "inspect", "--layers", "--files", "--format", "json", "i:1"];
    let document: Value = serde_json::from_str(&env.bld(json).ok().stdout).unwrap();
    let image = &document[0];
    let layers = image["Layers"].as_array().unwrap();
    let amounts: Vec<_> = layers
        .iter()
        .map(|layer| {
            let count = |what: &str| layer[what]["Files"].as_u64().unwrap();
            (
                count("Added"),
                count("Replaced"),
                count("Removed"),
                layer["Removed"]["Bytes"].as_u64().unwrap(),
                layer["HiddenBytes"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        amounts,
        [
            (8, 0, 0, 0, 300_000 + 3000 + 2),
            (1, 2, 0, 0, 400_000),
            (0, 0, 3, 403_000, 0),
            (0, 0, 0, 0, 0),
            (0, 1, 1, 1, 0),
        ]
    );
    assert_eq!(image["WastedBytes"], 300_000 + 400_000 + 3000 + 2);
    assert_eq!(image["Wasted"][0], json!({"Path": "/big", "Bytes": 700_000, "Layers": [1, 2]}));
    assert_eq!(image["Largest"][0]["Path"], "/bin/busybox");
    assert!(layers[1]["CreatedBy"].as_str().unwrap().starts_with("COPY change /"));
    let entries = |layer: usize| {
        let files = layers[layer]["Files"].as_array().unwrap().iter();
        let told = files.map(|file| {
            let text = |key: &str| file[key].as_str().unwrap().to_owned();
            (text("Change"), text("Path"), file["HidesBytes"].as_u64().unwrap())
        });
        told.collect::<Vec<_>>()
    };
    let entry = |change: &str, path: &str, hides| (change.to_owned(), path.to_owned(), hides);
    assert_eq!(
        entries(1),
        [
            entry("replaced", "/big", 300_000),
            entry("replaced", "/linked", 0),
            entry("added", "/new", 0),
        ]
    );
    assert_eq!(entries(2), [entry("removed", "/big", 400_000), entry("removed", "/tree", 3000)]);
    assert_eq!(entries(3), [entry("replaced", "/dir", 0)]);
    assert_eq!(
        entries(4),
        [
            entry("replaced", "/dir", 0),
            entry("removed", "/dir/a", 1),
            entry("replaced", "/dir/b", 1),
        ]
    );

    let text = env.bld(["image", "inspect", "--layers", "i:1"]).ok().stdout;
    assert!(text.starts_with("LAYER     SIZE "), "{text}");
    assert!(text.contains(" are hidden by later layers.\n"), "{text}");
    assert!(text.contains("\n700kB     1,2       /big\n"), "{text}");
    let text = env.bld(["inspect", "--files", "i:1"]).ok().stdout;
    assert!(text.contains("\nLayer 3: RUN /bin/busybox rm -r /tree /big # buildkit\n"), "{text}");
    assert!(text.contains("\n  D /tree (dir, hides 3kB)\n"), "{text}");
    let template = ["image", "inspect", "--layers", "--format", "{{len .Layers}}", "i:1"];
    assert_eq!(env.bld(template).ok().stdout, "5\n");
    let failed = env.bld(["image", "inspect", "--layers", "nosuch"]).run().expect_code(1);
    let _ = failed.expect_text("No such image: nosuch");
}

#[test]
fn unused_images_are_pruned() {
    let env = env();
    for (label, text) in [("a", "1"), ("b", "2"), ("c", "3")] {
        env.write("ctx/f", text.repeat(10_000));
        let dockerfile = format!("FROM scratch\nLABEL which={label}\nCOPY f /\n");
        let _ = env.build("p:1", &dockerfile, []).expect_code(0);
    }
    let _ = env.build("kept:1", "FROM busybox\nRUN echo kept > /kept\n", []).expect_code(0);
    env.bld(["create", "--name", "user", "kept:1"]).ok();
    let count = |extra: &[&str]| {
        env.bld(["images", "-q"]).args(extra.iter().copied()).ok().stdout.lines().count()
    };
    assert_eq!((count(&[]), count(&["--filter", "dangling=true"])), (5, 2));
    let asked = env.bld(["image", "prune"]).stdin("n\n").run().expect_code(0);
    let _ = asked.expect_text("WARNING! This will remove all dangling images.\n");
    assert_eq!(count(&[]), 5);
    env.bld(["image", "prune", "-f", "--filter", "until=24h"]).ok();
    assert_eq!(count(&[]), 5);
    let pruned = env.bld(["image", "prune", "-f", "--filter", "label=which=a"]).ok();
    let _ =
        pruned.expect_text("Deleted Images:\ndeleted: sha256:").expect_text("reclaimed space: ");
    assert_eq!(count(&[]), 4);
    env.bld(["image", "prune", "-f", "--filter", "label!=which"]).ok();
    assert_eq!(count(&[]), 4);
    env.bld(["image", "prune"]).stdin("y\n").ok();
    assert_eq!((count(&[]), count(&["--filter", "dangling=true"])), (3, 0));
    let pruned = env.bld(["image", "prune", "--all", "--force"]).ok();
    let _ = pruned.expect_text("untagged: p:1\n").expect_text("Total reclaimed space: ");
    let left = env.bld(["images", "--format", "{{.Repository}}"]).ok().stdout;
    assert_eq!(left, "kept\n");
    let again = env.bld(["image", "prune", "-a", "-f"]).ok();
    assert_eq!(again.stdout, "Total reclaimed space: 0B\n");
}
