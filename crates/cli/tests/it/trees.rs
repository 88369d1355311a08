//! Images of many shapes, unpacked by bld and by others, which must give the same trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use bld_testkit::{Cmd, TestEnv, Tree, TreeEntry, read_tree, rootfs, tree_differences};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::shapes::{Shape, Step, shapes};

/// What all shapes are built upon, in buildah's store.
const BASE: &str = "localhost/base:1";

/// The trees of images by the names of their shapes.
type Trees = BTreeMap<&'static str, Tree>;

/// Does something in a mount namespace of its own, which ends with it and takes all mounts along. The
/// working directory is its own, too.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Builds what all shapes are built upon: a busybox under symbolic links, which nobody hashes.
fn build_base(env: &TestEnv) {
    fs::create_dir_all(env.path("ctx")).unwrap();
    fs::copy(rootfs::busybox_binary().unwrap(), env.path("ctx/busybox")).unwrap();
    let install = "[\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    let files =
        "RUN mkdir -p home etc && echo root:x:0:0::: >etc/passwd && echo root:x:0: >etc/group";
    let dockerfile = format!("FROM scratch\nCOPY busybox /bin/\nRUN {install}\n{files}\n");
    let _ = env.build("base", &dockerfile, []).expect_code(0);
}

/// Writes a context with what shapes copy.
fn write_context(env: &TestEnv, context: &str, dockerfile: &str) {
    env.write(&format!("{context}/Dockerfile"), dockerfile);
    env.write_script(&format!("{context}/f"), "f");
    for file in ["g", "h", "sub/i"] {
        env.write(&format!("{context}/d/{file}"), file);
    }
    let context = env.path(context);
    symlink("f", context.join("l")).unwrap();
    symlink("nowhere", context.join("d/l")).unwrap();
    fs::hard_link(context.join("d/g"), context.join("d/sub/linked")).unwrap();
}

/// Builds the image of a shape.
fn build(env: &TestEnv, shape: &Shape) {
    let context = format!("{}-context", shape.name);
    let mut dockerfile = "FROM base\nSHELL [\"/bin/sh\", \"-ec\"]\n".to_owned();
    for (n, step) in shape.steps.iter().enumerate() {
        match step {
            Step::Run(script) => {
                dockerfile += &["RUN <<'EOF'\nmkdir -p /s && cd /s\n", script, "\nEOF\n"].concat();
            }
            Step::Tar(archive) => {
                env.write(&format!("{context}/{n}.tar"), archive);
                dockerfile += &["ADD ", &n.to_string(), ".tar /s/\n"].concat();
            }
            Step::Lines(lines) => dockerfile += &[lines, "\n"].concat(),
        }
    }
    write_context(env, &context, &dockerfile);
    let tag = format!("shapes:{}", shape.name);
    env.bld(["build", "--progress", "plain", "-t", &tag, &context]).ok();
}

/// The tree that a container of the image would see, of layers mounted by the kernel.
fn mounted(env: &TestEnv, image: &str) -> Tree {
    let format = "{{json .GraphDriver.Data}}";
    let data = env.bld(["image", "inspect", "--format", format, image]).ok().stdout;
    let data: Value = serde_json::from_str(&data).unwrap();
    let dirs = format!(
        "{}:{}",
        data["UpperDir"].as_str().unwrap(),
        data["LowerDir"].as_str().unwrap_or_default()
    );
    // All of them fit into the page that a mount takes only by their short names.
    std::env::set_current_dir(env.root().join("snapshots")).unwrap();
    let names = dirs
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Path::new(dir).file_name().unwrap().to_str().unwrap().to_owned());
    let empty = env.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let names: Vec<_> = names.chain([empty.to_str().unwrap().to_owned()]).collect();
    let target = env.path("mounted");
    fs::create_dir_all(&target).unwrap();
    let options = format!("lowerdir={}", names.join(":"));
    mount(Some("overlay"), &target, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .unwrap();
    let tree = read_tree(&target).unwrap();
    // Somebody may look through all mounts at this moment.
    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).unwrap();
    tree
}

fn all_mounted(env: &TestEnv, shapes: &[Shape]) -> Trees {
    shapes
        .iter()
        .map(|shape| (shape.name, mounted(env, &format!("shapes:{}", shape.name))))
        .collect()
}

/// That `bld diff` of two images finds what the trees of both say.
fn compared(env: &TestEnv, trees: &Trees, one: &str, other: &str) {
    let names = [one, other].map(|name| format!("shapes:{name}"));
    let diff = env.bld(["diff", "--format", "json", "--no-text"]).args(&names).run();
    let diff: Value = serde_json::from_str(&diff.expect_code(1).stdout).unwrap();
    let found: Vec<String> = diff["Files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["Changed"] != serde_json::json!(["links"]))
        .map(|file| file["Path"].as_str().unwrap().to_owned())
        .collect();
    // Which names are one file is told apart from all else.
    let plain = |name: &str| -> Tree {
        let entries = trees[name].iter();
        entries
            .map(|(path, entry)| (path.clone(), TreeEntry { same_as: None, ..entry.clone() }))
            .collect()
    };
    let expected = tree_differences(&plain(one), &plain(other));
    let paths: Vec<_> = expected.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(found, paths, "{one} and {other}");
}

/// A command of the containers tools, with a store of its own.
fn tool(program: &str, place: &Path) -> Cmd {
    let mut command = Cmd::new(program);
    command = command.arg("--root").arg(place.join("root"));
    command = command.arg("--runroot").arg(place.join("run"));
    command.args(["--storage-driver", "overlay"])
}

/// The root file systems that a build hands out, as a directory and as an archive.
fn exported(env: &TestEnv, shapes: &[Shape]) -> [Trees; 2] {
    let (mut dirs, mut archives) = (Trees::new(), Trees::new());
    for shape in shapes {
        let (dir, unpacked) = (env.path("exported"), env.path("unpacked"));
        let outputs = [
            format!("type=local,dest={}", dir.display()),
            format!("type=tar,dest={}", env.path("exported.tar").display()),
        ];
        let context = format!("{}-context", shape.name);
        env.bld(["build", "-q", "-o", &outputs[0], "-o", &outputs[1], &context]).ok();
        fs::create_dir(&unpacked).unwrap();
        let tar = Cmd::new("tar").args(["--xattrs", "--xattrs-include=*", "-xf", "exported.tar"]);
        tar.arg("-C").arg(&unpacked).cwd(env.path("")).ok();
        dirs.insert(shape.name, read_tree(&dir).unwrap());
        archives.insert(shape.name, read_tree(&unpacked).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_dir_all(&unpacked).unwrap();
    }
    [dirs, archives]
}

/// What umoci makes of images of a layout.
fn by_umoci(layout: &Path, place: &Path, shapes: &[Shape]) -> Trees {
    let unpack = |shape: &Shape| {
        let bundle = place.join(shape.name);
        let image = format!("{}:{}", layout.display(), shape.name);
        Cmd::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).ok();
        let tree = read_tree(&bundle.join("rootfs")).unwrap();
        fs::remove_dir_all(&bundle).unwrap();
        (shape.name, tree)
    };
    shapes.iter().map(unpack).collect()
}

/// What skopeo copies into a store of images, as buildah mounts it.
fn by_buildah(layout: &Path, place: &Path, shapes: &[Shape]) -> Trees {
    for shape in shapes {
        let image = format!("localhost/shapes:{}", shape.name);
        let store = format!("[overlay@{0}/root+{0}/run]", place.display());
        let from = format!("oci:{}:{}", layout.display(), shape.name);
        let to = format!("containers-storage:{store}{image}");
        Cmd::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &from, &to]).ok();
        tool("buildah", place).args(["from", "--pull-never", "--name", shape.name, &image]).ok();
    }
    let names = shapes.iter().map(|shape| shape.name);
    let output = tool("buildah", place).arg("mount").args(names).ok().stdout;
    let mounts = output.lines().filter_map(|line| line.split_once(' '));
    let trees = mounts.map(|(name, target)| {
        let shape = shapes.iter().find(|shape| shape.name == name).unwrap();
        (shape.name, read_tree(Path::new(target.trim())).unwrap())
    });
    trees.collect()
}

/// Builds images with buildah, each upon the one before: the layers of all shapes, each shape in a
/// directory of its own. Their names, and their trees as buildah mounts them.
fn built_by_buildah(place: &Path, shapes: &[Shape]) -> Vec<(String, Tree)> {
    let buildah = |arguments: &[&str]| tool("buildah", place).args(arguments).ok();
    let mut image = BASE.to_owned();
    let mut built = Vec::new();
    // Not all of the hundred layers of one of them: a commit takes its time.
    let steps =
        shapes.iter().map(|shape| shape.steps.len()).filter(|steps| *steps <= 10).max().unwrap();
    for n in 0..steps {
        let container = format!("c{n}");
        buildah(&["from", "--name", &container, &image]);
        let root = PathBuf::from(buildah(&["mount", &container]).text());
        if n > 0 {
            built.push((image, read_tree(&root).unwrap()));
        }
        for shape in shapes {
            let dir = format!("all/{}", shape.name);
            fs::create_dir_all(root.join(&dir)).unwrap();
            match shape.steps.get(n) {
                Some(Step::Run(script)) => {
                    let script = format!("cd /{dir}; {script}").replace("/s;", ".;");
                    Cmd::new("chroot").arg(&root).args(["/bin/sh", "-ec", &script]).ok();
                }
                Some(Step::Tar(archive)) => {
                    let file = place.join("step.tar");
                    fs::write(&file, archive).unwrap();
                    let tar = Cmd::new("tar").args(["--xattrs", "--xattrs-include=*", "-xf"]);
                    tar.arg(&file).arg("-C").arg(root.join(&dir)).ok();
                }
                Some(Step::Lines(_)) | None => {}
            }
        }
        image = format!("localhost/step:{n}");
        buildah(&["commit", "--quiet", "--rm", &container, &image]);
    }
    let tree = mounted_by_buildah(place, &image);
    built.push((image, tree));
    built
}

/// The tree that buildah shows of an image.
fn mounted_by_buildah(place: &Path, image: &str) -> Tree {
    let container = tool("buildah", place).args(["from", "--pull-never", image]).ok();
    let root = tool("buildah", place).args(["mount", container.text()]).ok();
    let tree = read_tree(Path::new(root.text())).unwrap();
    tool("buildah", place).args(["rm", container.text()]).ok();
    tree
}

/// Builds what shapes copy, with buildah and a Dockerfile: a layer for each of its lines.
fn built_by_dockerfile(env: &TestEnv, place: &Path, shape: &Shape) -> Option<(String, Tree)> {
    let mut dockerfile = format!("FROM {BASE}\n");
    for step in &shape.steps {
        match step {
            Step::Run(script) => {
                let words = ["/bin/sh", "-ec", &format!("mkdir -p /s; cd /s; {script}")];
                dockerfile += &["RUN ", &serde_json::json!(words).to_string(), "\n"].concat();
            }
            // The one it does not know, and the other it does not take through a link.
            Step::Lines(lines) if lines.contains("--link") || lines.contains("WORKDIR") => {
                return None;
            }
            Step::Lines(lines) => {
                let base = format!("--from={BASE}");
                dockerfile += &[&lines.replace("--from=base", &base), "\n"].concat();
            }
            Step::Tar(_) => return None,
        }
    }
    let (context, image) =
        (format!("{}-by-buildah", shape.name), format!("localhost/{}", shape.name));
    write_context(env, &context, &dockerfile);
    let build = ["build", "--quiet", "--layers", "--isolation=chroot", "-t", &image];
    tool("buildah", place).args(build).arg(env.path(&context)).ok();
    let tree = mounted_by_buildah(place, &image);
    Some((image, tree))
}

/// What is the fault of the other tool: the tool, the shape, how the line for a path begins, and why.
const THEIR_FAULTS: [(&str, &str, &str, &str); 12] = [
    ("umoci", "exact-times", "/s/far: mtime 10000000000 became -", NANOSECONDS),
    ("umoci", "times", "/s/10000000000: mtime 10000000000 became -", NANOSECONDS),
    ("umoci", "times", "/s/d10000000000: mtime 10000000000 became -", NANOSECONDS),
    ("umoci", "xattrs", "/s/a: xattrs ", EMPTY),
    ("buildah", "exact-times", "/s/far: mtime 10000000000 became 0", NANOSECONDS),
    ("buildah", "exact-times", "/s/old: mtime -2 became 0", BEFORE),
    ("buildah", "times", "/s/10000000000: mtime 10000000000 became 0", NANOSECONDS),
    ("buildah", "times", "/s/d10000000000: mtime 10000000000 became 0", NANOSECONDS),
    ("buildah", "times", "/s/1901: mtime -2147483648 became 0", BEFORE),
    ("buildah", "times", "/s/1960: mtime -302486400 became 0", BEFORE),
    ("buildah", "times", "/s/1969: mtime -18489600 became 0", BEFORE),
    ("buildah", "xattrs", "/s/a: xattrs ", EMPTY),
];

const NANOSECONDS: &str =
    "it counts in nanoseconds, of which 64 bits hold as many as there are until 2262";
const BEFORE: &str = "containers/storage moves what is older than 1970 to 1970";
const EMPTY: &str = "Go's archive/tar drops an extended attribute whose value is empty";

/// Times that containers/storage loses, and a value.
const LOST: [&str; 6] = [
    ": mtime 0 became 10000000000",
    ": mtime 0 became -2",
    ": mtime 0 became -2147483648",
    ": mtime 0 became -302486400",
    ": mtime 0 became -18489600",
    // `user.one` is "1", and `user.two` is there, and empty.
    ": xattrs {[117, 115, 101, 114, 46, 111, 110, 101]: [49]} became \
     {[117, 115, 101, 114, 46, 111, 110, 101]: [49], [117, 115, 101, 114, 46, 116, 119, 111]: []}",
];

/// What differs, but for what is somebody else's fault.
fn faults(tool: &str, expected: &Trees, found: &Trees) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, tree) in expected {
        let known: Vec<_> =
            THEIR_FAULTS.iter().filter(|(by, shape, ..)| by == &tool && shape == name).collect();
        let lines = tree_differences(tree, &found[name]);
        for line in &lines {
            if !known.iter().any(|(_, _, begins, _)| line.starts_with(begins)) {
                faults.push(format!("{tool}, {name}: {line}"));
            }
        }
        for (_, _, begins, why) in known {
            if !lines.iter().any(|line| line.starts_with(begins)) {
                faults.push(format!("{tool}, {name}: it is no longer so that {why}: {begins}"));
            }
        }
    }
    faults
}

#[test]
fn what_bld_builds_unpacks_to_the_same_trees_everywhere() {
    let (env, other, shapes) = (TestEnv::new(crate::BLD), TestEnv::new(crate::BLD), shapes());
    assert!(shapes.len() > 40);
    let faults = apart(|| {
        build_base(&env);
        for shape in &shapes {
            build(&env, shape);
        }
        let names: Vec<_> = shapes.iter().map(|shape| format!("shapes:{}", shape.name)).collect();
        let archive = env.path("all.tar");
        env.bld(["save", "-o"]).arg(&archive).args(&names).ok();
        let layout = env.path("layout");
        fs::create_dir(&layout).unwrap();
        Cmd::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout).ok();
        let built = all_mounted(&env, &shapes);
        for (one, other) in
            [("made-up-1", "made-up-2"), ("made-up-2", "made-up-3"), ("owners", "modes")]
        {
            compared(&env, &built, one, other);
        }
        let place = |name: &str| -> PathBuf { env.path(name) };
        thread::scope(|scope| {
            let umoci = scope.spawn(|| by_umoci(&layout, &place("umoci"), &shapes));
            let buildah = scope.spawn(|| by_buildah(&layout, &place("buildah"), &shapes));
            other.bld(["load", "-i"]).arg(&archive).ok();
            let ours = all_mounted(&other, &shapes);
            let [dirs, archives] = exported(&env, &shapes);
            [
                faults("bld", &built, &ours),
                faults("type=local", &built, &dirs),
                faults("type=tar", &built, &archives),
                faults("umoci", &built, &umoci.join().unwrap()),
                faults("buildah", &built, &buildah.join().unwrap()),
            ]
            .concat()
        })
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    env.assert_nothing_left();
}

/// What differs between images that buildah has built and what bld makes of them.
fn taken_from_buildah(
    env: &TestEnv,
    place: &Path,
    built: &[(String, Tree)],
    lost: impl Fn(usize) -> usize,
) -> Vec<String> {
    let push = |image: &str, to: &str| {
        tool("buildah", place).args(["push", "--quiet", image, to]).ok();
    };
    let layout = env.path(format!("layout-{}", built.len()));
    for (n, (image, _)) in built.iter().enumerate() {
        push(image, &format!("oci:{}:localhost/taken:{n}", layout.display()));
    }
    let archive = env.path(format!("archive-{}", built.len()));
    let (last, expected) = built.last().unwrap();
    push(last, &format!("docker-archive:{}:taken:docker", archive.display()));
    let other = TestEnv::new(crate::BLD);
    for from in [&layout, &archive] {
        other.bld(["load", "-i"]).arg(from).ok();
    }
    let trees = built.iter().map(|(_, tree)| tree).enumerate();
    let trees = trees.map(|(n, tree)| (n, format!("localhost/taken:{n}"), tree));
    let trees = trees.chain([(built.len() - 1, "taken:docker".to_owned(), expected)]);
    let mut faults = Vec::new();
    for (n, name, expected) in trees {
        let (theirs, ours): (Vec<_>, Vec<_>) = tree_differences(expected, &mounted(&other, &name))
            .into_iter()
            .partition(|line| LOST.iter().any(|lost| line.ends_with(lost)));
        // What buildah mounts it has read of its own layers, which hold these times and values.
        assert_eq!(theirs.len(), lost(n), "{BEFORE}, {NANOSECONDS}, {EMPTY}: {theirs:#?}");
        faults.extend(ours.into_iter().map(|line| format!("{name}: {line}")));
    }
    faults
}

#[test]
fn what_buildah_builds_is_unpacked_to_the_tree_that_it_mounts() {
    let (env, shapes) = (TestEnv::new(crate::BLD), shapes());
    let (copied, made): (Vec<_>, Vec<_>) = shapes
        .into_iter()
        .partition(|shape| shape.steps.iter().any(|step| matches!(step, Step::Lines(_))));
    let faults = apart(|| {
        build_base(&env);
        let (base, place) = (env.path("base.tar"), env.path("buildah"));
        env.bld(["save", "--format", "oci-archive", "base", "-o"]).arg(&base).ok();
        fs::create_dir(&place).unwrap();
        let from = format!("oci-archive:{}", base.display());
        let to = format!("containers-storage:[overlay@{0}/root+{0}/run]{BASE}", place.display());
        Cmd::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &from, &to]).ok();
        let steps = built_by_buildah(&place, &made);
        assert!(steps.len() >= 10 && steps.last().unwrap().1.len() > 1000);
        let files: Vec<_> =
            copied.iter().filter_map(|shape| built_by_dockerfile(&env, &place, shape)).collect();
        assert_eq!(files.len(), 2);
        // The file with an empty value is written anew, without it, by the second step.
        let lost = |n| 7 + usize::from(n == 0);
        [
            taken_from_buildah(&env, &place, &steps, lost),
            taken_from_buildah(&env, &place, &files, |_| 0),
        ]
        .concat()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
