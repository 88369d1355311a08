//! Trees of every shape that a layer can have, each made in one or several steps.

use std::borrow::Cow;

use bld_testkit::{EntryType, TarEntry, Tarball};

/// How one layer is made, inside the directory `/s` of the image.
pub(crate) enum Step {
    /// By a script.
    Run(Cow<'static, str>),
    /// From an archive.
    Tar(Vec<u8>),
    /// By instructions of a Dockerfile, whose context has a file `f`, a link `l` to it, and a directory
    /// `d` with some of each.
    Lines(&'static str),
}

/// An image.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
}

/// Shapes that a shell makes: a name, and a script for each layer.
const SCRIPTS: [(&str, &[&str]); 37] = [
    ("plain", &["echo a >a; mkdir -m 711 d; echo b >d/b; echo -n >empty; ln -s a l"]),
    (
        "hardlinks",
        &["echo a >a; ln a b; mkdir d; ln a d/c; mkfifo p; ln p q; mknod n c 1 3; ln n m"],
    ),
    ("hardlinks-over-layers", &["echo a >a; ln a b; ln a c", "ln a d", "mkdir e; ln c e/f"]),
    ("hardlink-written-later", &["echo a >a; ln a b; ln a c", "echo b >>b"]),
    ("hardlink-removed-later", &["echo a >a; ln a b; ln a c", "rm a", "ln b a"]),
    ("hardlink-in-place-of-file", &["echo a >a; echo b >b", "ln -f a b"]),
    ("file-removed", &["echo a >a; echo b >b; mkdir d; echo c >d/c", "rm a d/c"]),
    ("dir-removed", &["mkdir -p d/e/f; echo a >d/a; echo b >d/e/b; echo c >c", "rm -r d"]),
    ("dir-opaque", &["mkdir -p d/e; echo a >d/a; echo b >d/e/b", "rm -r d; mkdir d; echo n >d/n"]),
    (
        "dir-opaque-in-opaque",
        &[
            "mkdir -p d/e/f; echo a >d/e/a; echo b >d/b",
            "rm -r d; mkdir -p d/e; echo n >d/e/n",
            "rm -r d/e; mkdir d/e; echo o >d/o",
        ],
    ),
    ("file-to-dir", &["echo a >a", "rm a; mkdir a; echo b >a/b"]),
    ("dir-to-file", &["mkdir -p a/b; echo c >a/b/c", "rm -r a; echo a >a"]),
    ("dir-to-link", &["mkdir -p a/b t; echo c >a/b/c; echo d >t/d", "rm -r a; ln -s t a"]),
    ("link-to-dir", &["mkdir t; echo t >t/t; ln -s t a", "rm a; mkdir a; echo b >a/b"]),
    ("removed-and-back", &["echo a >a; mkdir d; echo d >d/d", "rm -r a d", "echo b >a; mkdir d"]),
    ("removed-twice", &["echo a >a", "rm a", "echo b >a", "rm a"]),
    ("sparse", &["truncate -s 8M h; echo e >>h; truncate -s 1M z"]),
    (
        "long-names",
        &[
            "n=$(printf '%0200d' 7); d=$(printf '%090d' 1); echo a >$n; mkdir -p $d/$d/$d; \
           echo b >$d/$d/$d/$n; ln $d/$d/$d/$n $d/l; ln -s $d/$d/$d/$n l; mkdir $n-d; mkfifo $n-p",
            "n=$(printf '%0200d' 7); rm $n; ln $n-p p",
        ],
    ),
    ("deep", &["p=; for i in $(seq 60); do p=$p/directory$i; done; mkdir -p .$p; echo a >.$p/a"]),
    (
        "odd-names",
        &[
            "for n in \"$(printf 'latin\\344')\" \"$(printf 'a\\nb')\" ' x' 'x ' 'a\\b' '\"q\"' \"'q'\" \
           '#h' '-r' '*' '...' 'a.wh.b' '.w' 'tab\tbed' 'ä' \"$(printf 'a\\314\\210')\" '~' '=x' '%s' \
           \"$(printf '\\377\\376')\"; do echo \"$n\" >\"./$n\"; mkdir \"./d$n\"; ln -s -- \"$n\" \"./l$n\"; done",
            "rm \"./$(printf 'latin\\344')\" \"./$(printf '\\377\\376')\"; rm -r \"./d$(printf 'a\\nb')\"",
        ],
    ),
    (
        "owners",
        &[
            "for i in 0 1 1000 65534 2097151 2097152 4000000 4294967294; do echo $i >$i; mkdir d$i; \
           ln -s $i l$i; chown -h $i:$i $i d$i l$i; done; echo >mixed; chown 5:4000001 mixed",
        ],
    ),
    (
        "modes",
        &["for m in 0 111 222 444 755 777 1755 2755 4755 6755 7777; do echo $m >$m; chmod $m $m; \
           mkdir d$m; chmod $m d$m; done"],
    ),
    (
        "devices",
        &["mknod c c 1 5; mknod -m 600 b b 7 3; mknod big c 300 70000; chown 3:4 c", "rm b"],
    ),
    ("fifos", &["mkfifo -m 640 p; mkfifo q; chown 1:2 q", "rm p; mkdir p"]),
    (
        "symlinks",
        &[
            "ln -s /etc/passwd absolute; ln -s ../bin/sh relative; ln -s nowhere dangling; ln -s a b; \
           ln -s b a; ln -s . self; ln -s ../../../.. up; ln -s \"$(printf '%0300d' 1)\" long; \
           ln -s 'a b' blank; ln -s trailing/ slash; touch -h -d @1000 dangling",
        ],
    ),
    (
        "times",
        &["for t in 0 1 1000000000 2147483647 2147483648 4102444800 8589934591 8589934592 \
           10000000000; do echo $t >$t; touch -d @$t $t; mkdir d$t; touch -d @$t d$t; done; \
           for y in 1901 1960 1969; do echo >$y; touch -d \"$y-06-01 00:00:00\" $y; done"],
    ),
    ("dir-time", &["mkdir -p d/e; echo a >d/a; touch -d @1000 d/a d/e d", "touch -d @2000 d"]),
    ("dir-mode", &["mkdir -p d/e; echo a >d/a; touch -d @1000 d", "chmod 700 d; touch -d @1000 d"]),
    ("dir-owner", &["mkdir -p d/e; echo a >d/a", "chown 7:8 d", "chmod 1777 d"]),
    ("file-mode", &["echo a >a; touch -d @1000 a", "chmod 4711 a", "chown 9:9 a"]),
    ("nothing", &["true", "true", "echo a >a", "true"]),
    ("empty-dirs", &["mkdir -p a/b/c d/e", "rmdir a/b/c d/e; mkdir f"]),
    ("moved", &["mkdir -p d/e; echo a >d/e/a; echo b >b", "mv d m; mv b d", "mv m/e e"]),
    ("many", &["mkdir d; for i in $(seq 500); do echo $i >d/$i; done", "rm d/1*; mkdir d/1"]),
    (
        "large",
        &[
            "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done >n; yes 0123456789abcdef | head -c 9000000 >l; \
           head -c 512 l >b; head -c 513 l >c; head -c 1048576 l >m; head -c 900000 /bin/busybox >r",
            "echo >>l",
        ],
    ),
    (
        "copied-up",
        &["mkdir -p a/b/c; echo f >a/b/c/f; chmod 2750 a; chown 3:3 a/b", "echo g >a/b/c/g"],
    ),
    (
        "root",
        &["touch -d @5000 /etc /s; echo >/new; rm /etc/group; chmod 700 /home", "rm -r /home /new"],
    ),
];

/// A file capability as the kernel keeps it: `cap_net_raw` effective and permitted, revision 2 or 3.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// All shapes.
pub(crate) fn shapes() -> Vec<Shape> {
    let scripted = SCRIPTS.iter().map(|(name, scripts)| Shape {
        name,
        steps: scripts.iter().map(|script| Step::Run((*script).into())).collect(),
    });
    let mut shapes: Vec<Shape> = scripted.collect();
    shapes.push(xattrs());
    shapes.push(capabilities());
    shapes.push(exact_times());
    shapes.push(tall());
    shapes.extend(copies());
    shapes.extend([("made-up-1", 1), ("made-up-2", 2), ("made-up-3", 3)].map(made_up));
    shapes
}

fn tar(entries: Vec<TarEntry<'_>>) -> Step {
    let mut tarball = Tarball::new();
    for entry in entries {
        tarball.add(entry).unwrap();
    }
    Step::Tar(tarball.finish().unwrap())
}

fn xattrs() -> Shape {
    let long = [b'x'; 1000];
    let entries = vec![
        TarEntry::file(b"a", b"a")
            .with("SCHILY.xattr.user.one", b"1")
            .with("SCHILY.xattr.user.two", b""),
        TarEntry::file(b"b", b"b").with("SCHILY.xattr.user.binary", b"\x00\n=\xff"),
        TarEntry::file(b"c", b"c").with("SCHILY.xattr.user.long", &long),
        TarEntry::new(EntryType::Directory, b"d").with("SCHILY.xattr.user.dir", b"x"),
        TarEntry::file(b"d/e", b"e"),
    ];
    let steps = vec![
        tar(entries),
        Step::Run("chmod 600 a; chmod 700 d; echo >>b; ln c l".into()),
        Step::Run("rm c".into()),
    ];
    Shape { name: "xattrs", steps }
}

fn capabilities() -> Shape {
    let rooted = [&[1, 0, 0, 3], &CAPABILITY[4..], &[0xe8, 3, 0, 0]].concat();
    let entries = vec![
        TarEntry::file(b"two", b"2").with("SCHILY.xattr.security.capability", CAPABILITY),
        TarEntry::file(b"three", b"3").with("SCHILY.xattr.security.capability", &rooted),
        TarEntry::file(b"both", b"4")
            .with("SCHILY.xattr.security.capability", CAPABILITY)
            .with("SCHILY.xattr.user.x", b"y"),
    ];
    let steps = vec![tar(entries), Step::Run("ln two link; chmod 755 both".into())];
    Shape { name: "capabilities", steps }
}

/// Times finer than a second, and owners and times that only a record has room for.
fn exact_times() -> Shape {
    let entries = vec![
        TarEntry::file(b"nano", b"").with("mtime", b"1234567890.123456789"),
        TarEntry::file(b"old", b"").with("mtime", b"-1.5"),
        TarEntry::file(b"far", b"").with("mtime", b"10000000000.25"),
        TarEntry::new(EntryType::Directory, b"dir").with("mtime", b"1000000000.75"),
        TarEntry::file(b"owned", b"").with("uid", b"3000000").with("gid", b"4000000"),
        TarEntry::file(b"cut", b"").with("path", "späth".as_bytes()),
    ];
    Shape { name: "exact-times", steps: vec![tar(entries), Step::Run("chmod 600 owned".into())] }
}

/// 127 layers, of which the base has three: as many as others take.
fn tall() -> Shape {
    let mut steps = vec![Step::Run("mkdir d".into())];
    steps.extend((0..123).map(|n| match n % 3 {
        0 => Step::Run("echo a >>a; echo $(ls d | wc -l) >d/$(ls d | wc -l)".into()),
        1 => Step::Run("rm -f a b; mkdir -p e/$(wc -l <d/0)".into()),
        _ => Step::Run("mv e f || rm -r f; echo b >b".into()),
    }));
    Shape { name: "tall", steps }
}

/// What COPY, ADD and WORKDIR make, which is not the work of overlayfs.
fn copies() -> [Shape; 4] {
    let ground =
        "mkdir -m 700 -p a/b; chown 5:6 a a/b; ln -s a l; echo x >a/b/x; touch -d @1000 a/b a";
    [
        Shape {
            name: "copy",
            steps: vec![
                Step::Run(ground.into()),
                Step::Lines("COPY f d /s/a/b/\nCOPY --chown=7:8 --chmod=4750 f /s/l/g"),
                Step::Lines("COPY d /s/new/dir\nCOPY l d/sub /s/links/"),
            ],
        },
        Shape {
            name: "copy-link",
            steps: vec![
                Step::Run(ground.into()),
                Step::Lines(
                    "COPY --link f /s/a/b/f\nCOPY --link --chown=3:4 --chmod=600 f /s/n/e/f",
                ),
                Step::Lines("COPY --link d /s/n/e/\nADD --link --chown=9 d/sub /s/a"),
            ],
        },
        Shape {
            name: "copy-over",
            steps: vec![
                Step::Run(
                    "mkdir -p d/sub; echo old >d/g; echo old >f; ln f h; echo old >d/sub/gone"
                        .into(),
                ),
                Step::Run("rm -r d/sub; chmod 711 d".into()),
                Step::Lines("COPY d /s/d\nCOPY f /s/f"),
                Step::Run("rm -r d; rm f".into()),
                Step::Lines("COPY --from=base /etc /s/d\nCOPY d /s/d"),
            ],
        },
        Shape {
            name: "workdir",
            steps: vec![
                Step::Run(ground.into()),
                Step::Lines("WORKDIR /s/l/w/x\nUSER 7:8\nWORKDIR y\nUSER 0\nWORKDIR /"),
                Step::Run("rm -r a/w/x".into()),
                Step::Lines("WORKDIR /s/a/w/x/z"),
            ],
        },
    ]
}

/// Whatever a sequence of numbers that begins with `seed` makes of a handful of names: ten layers, a dozen
/// changes each, of which those that cannot be made are not.
fn made_up((name, seed): (&'static str, u64)) -> Shape {
    let mut state = seed;
    let mut next = |below: u64| {
        // Knuth's MMIX generator; its upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let path = |next: &mut dyn FnMut(u64) -> u64| {
        let depth = 1 + next(3);
        let parts: Vec<_> = (0..depth).map(|_| ["a", "b", "c"][next(3) as usize]).collect();
        parts.join("/")
    };
    let steps = (0..10).map(|_| {
        let mut script = String::new();
        for _ in 0..12 {
            let (one, other, number) = (path(&mut next), path(&mut next), next(1000));
            let line = match next(16) {
                0..3 => format!("echo {number} >{one}"),
                3..6 => format!("mkdir -p {one}"),
                6..8 => format!("rm -rf {one}"),
                8 => format!("mv {one} {other}"),
                9 => format!("ln {one} {other}"),
                10 => format!("ln -s {one} {other}"),
                11 => format!("chmod {:o} {one}", 0o700 + number % 512),
                12 => format!("chown {number}:{number} {one}"),
                13 => format!("touch -d @{} {one}", number * 1000),
                14 => format!("cp -a {one} {other}"),
                _ => format!("rm -rf {one} && mkdir {one} && echo {number} >{one}/a"),
            };
            script += &line;
            script += " || true\n";
        }
        Step::Run(script.into())
    });
    Shape { name, steps: steps.collect() }
}
