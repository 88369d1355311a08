//! Which edits make steps run again, and which do not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::lab::{Ask, Built, Lab};

/// An edit of a Dockerfile: what it is, the text before and after, and how many steps run again.
/// Bases are left out where it is `FROM busybox`.
const DOCKERFILES: &[(&str, &str, &str, usize)] = &[
    ("comments and blank lines", "RUN echo > /a", "# why\n\nRUN echo > /a\n\n# end", 0),
    ("a comment within a step", "RUN echo \\\n > /a", "RUN echo \\\n# why\n > /a", 0),
    ("blanks around words", "COPY file /to", "  COPY   file   /to  ", 0),
    ("case of keywords", "RUN echo > /a", "run echo > /a", 0),
    ("continued lines", "RUN echo 1 > /a", "RUN echo 1 \\\n> /a", 0),
    ("another escape character", "RUN echo 1 > /a", "RUN echo 1 > /a\n", 0),
    ("the command", "RUN echo 1 > /a", "RUN echo 2 > /a", 1),
    ("blanks in the command", "RUN echo 1 > /a", "RUN echo  1 > /a", 1),
    ("the form of the command", "RUN echo 1", r#"RUN ["echo", "1"]"#, 1),
    (
        "metadata before",
        "RUN echo > /a",
        "LABEL a=b\nCMD x\nENTRYPOINT [\"y\"]\nEXPOSE 80\nSTOPSIGNAL 9\nVOLUME /v\nHEALTHCHECK NONE\n\
         ONBUILD RUN z\nRUN echo > /a",
        0,
    ),
    ("a variable before", "RUN echo > /a", "ENV A=1\nRUN echo > /a", 1),
    ("a variable behind", "RUN echo > /a", "RUN echo > /a\nENV A=1", 0),
    ("the form of ENV", "ENV A=1\nRUN echo > /a", "ENV A 1\nRUN echo > /a", 0),
    (
        "a variable of a copy that it does not use",
        "ENV A=1\nCOPY file /to",
        "ENV A=2\nCOPY file /to",
        0,
    ),
    ("a variable of a copy", "ENV A=1\nCOPY file /$A", "ENV A=2\nCOPY file /$A", 1),
    ("another word for the same path", "ENV A=to\nCOPY file /$A", "COPY ./file /x/../to", 0),
    ("an argument before", "ARG A=1\nRUN echo > /a", "ARG A=2\nRUN echo > /a", 1),
    ("an argument behind", "RUN echo > /a\nARG A=1", "RUN echo > /a\nARG A=2", 0),
    (
        "an argument that ENV hides",
        "ARG A=1\nENV A=0\nRUN echo > /a",
        "ARG A=2\nENV A=0\nRUN echo > /a",
        0,
    ),
    ("the shell", "RUN echo > /a", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN echo > /a", 1),
    (
        "the shell of an exec form",
        "RUN [\"true\"]",
        "SHELL [\"/bin/sh\", \"-ec\"]\nRUN [\"true\"]",
        0,
    ),
    ("the user", "RUN echo > /tmp/a", "USER 0\nRUN echo > /tmp/a", 1),
    ("the working directory", "WORKDIR /w\nRUN echo > a", "WORKDIR /v\nRUN echo > a", 2),
    ("a working directory that COPY does not use", "WORKDIR /\nCOPY file /to", "COPY file /to", 0),
    ("the network", "RUN echo > /a", "RUN --network=host echo > /a", 1),
    ("the network that is the default", "RUN echo > /a", "RUN --network=none echo > /a", 0),
    ("order", "RUN echo > /a\nRUN echo > /b", "RUN echo > /b\nRUN echo > /a", 2),
    ("a step between", "RUN echo > /a\nRUN echo > /b", "RUN echo > /a\nRUN true\nRUN echo > /b", 2),
    ("a step at the end that is gone", "RUN echo > /a\nRUN echo > /b", "RUN echo > /a", 0),
    (
        "the id of a secret",
        "RUN --mount=type=secret,id=a echo > /a",
        "RUN --mount=type=secret,id=b echo > /a",
        1,
    ),
    (
        "the id of a cache",
        "RUN --mount=type=cache,target=/c,id=a echo > /a",
        "RUN --mount=type=cache,target=/c,id=b echo > /a",
        1,
    ),
    (
        "how a cache is shared",
        "RUN --mount=type=cache,target=/c,sharing=locked echo > /a",
        "RUN --mount=type=cache,target=/c,sharing=private echo > /a",
        0,
    ),
    (
        "a default of a cache",
        "RUN --mount=type=cache,target=/c echo > /a",
        "RUN --mount=target=/c,type=cache,id=/c,sharing=shared,mode=0755 echo > /a",
        0,
    ),
    (
        "the order of options of a mount",
        "RUN --mount=type=bind,source=file,target=/f cat /f > /a",
        "RUN --mount=target=/f,source=/file cat /f > /a",
        0,
    ),
    ("where to", "COPY file /to", "COPY file /other", 1),
    ("a slash at the end", "COPY file /to", "COPY file /to/", 1),
    ("the owner", "COPY file /to", "COPY --chown=1:1 file /to", 1),
    ("the mode", "COPY file /to", "COPY --chmod=600 file /to", 1),
    ("the spelling of the mode", "COPY --chmod=644 file /to", "COPY --chmod=0644 file /to", 0),
    ("ADD for COPY", "COPY file /to", "ADD file /to", 1),
    ("a here-document", "COPY <<E /to\n1\nE", "COPY <<E /to\n2\nE", 1),
    ("the base", "FROM busybox\nCOPY file /to", "FROM other\nCOPY file /to", 1),
    ("the tag of a base", "FROM busybox\nCOPY file /to", "FROM moved\nCOPY file /to", 0),
    (
        "the platform",
        "FROM busybox\nCOPY file /to",
        "FROM --platform=linux/s390x busybox\nCOPY file /to",
        1,
    ),
    (
        "names of stages",
        "FROM busybox AS a\nRUN echo > /a\nFROM busybox\nCOPY --from=a /a /",
        "FROM busybox AS b\nRUN echo > /a\nFROM busybox AS c\nCOPY --from=0 /a /",
        0,
    ),
    (
        "a stage that nobody needs",
        "RUN echo > /a",
        "FROM busybox\nRUN false\nFROM busybox\nRUN echo > /a",
        0,
    ),
    (
        "another way to the same bytes",
        "FROM busybox AS a\nRUN echo 1 > /a\nFROM busybox\nCOPY --from=a /a /\nRUN cat /a > /b",
        "FROM busybox AS a\nRUN printf '1\\n' > /a\nFROM busybox\nCOPY --from=a /a /\nRUN cat /a > /b",
        1,
    ),
    (
        "what is copied of a stage stays the same",
        "FROM busybox AS a\nRUN echo 1 > /a; echo 1 > /b\nFROM busybox\nCOPY --from=a /a /",
        "FROM busybox AS a\nRUN echo 1 > /a; echo 2 > /b\nFROM busybox\nCOPY --from=a /a /",
        1,
    ),
    (
        "what is mounted of a stage stays the same",
        "FROM busybox AS a\nRUN echo 1 > /a; echo 1 > /b\nFROM busybox\n\
         RUN --mount=from=a,source=/a,target=/m cat /m > /o",
        "FROM busybox AS a\nRUN echo 1 > /a; echo 2 > /b\nFROM busybox\n\
         RUN --mount=from=a,source=/a,target=/m cat /m > /o",
        1,
    ),
    (
        "the number that a name stands for",
        "RUN echo me:x:500:0::/: >> /etc/passwd\nCOPY --chown=me file /to",
        "RUN echo me:x:501:0::/: >> /etc/passwd\nCOPY --chown=me file /to",
        2,
    ),
];

#[test]
fn edits_of_dockerfiles() {
    for &(what, before, after, run) in DOCKERFILES {
        let mut lab = Lab::new();
        lab.tag("moved", "busybox");
        lab.write("file", "data");
        let whole = |text: &str| {
            if text.starts_with("FROM") {
                text.to_owned()
            } else {
                format!("FROM busybox\n{text}\n")
            }
        };
        lab.build(&whole(before));
        let built = lab.build(&whole(after));
        assert_eq!(built.counts().0, run, "{what}");
        assert_eq!(lab.build(&whole(after)).counts().0, 0, "{what}, twice");
    }
}

/// An edit of the context: what it is, the edit, and whether a copy of all of it and a step that
/// mounts it run again.
type Edit = (&'static str, fn(&Lab), bool, bool);

const CONTEXTS: &[Edit] = &[
    (
        "a new inode",
        |lab| {
            fs::remove_file(lab.path("d/f")).unwrap();
            lab.write("d/f", "data");
        },
        false,
        false,
    ),
    ("the owner", |lab| chown(lab.path("d/f"), Some(1), Some(1)).unwrap(), false, false),
    ("an ignored file", |lab| lab.write("ignored", "more"), false, false),
    ("bytes of the same length", |lab| lab.write("d/f", "DATA"), true, true),
    ("the mode of a file", |lab| mode(lab, "d/f", 0o600), true, true),
    ("the mode of a directory", |lab| mode(lab, "d", 0o700), true, true),
    // It is not copied: the destination is made or there.
    ("the mode of the context itself", |lab| mode(lab, "", 0o700), false, true),
    (
        "where a link leads",
        |lab| {
            fs::remove_file(lab.path("l")).unwrap();
            symlink("x", lab.path("l")).unwrap();
        },
        true,
        true,
    ),
    ("an empty directory", |lab| fs::create_dir(lab.path("e")).unwrap(), true, true),
    ("a name", |lab| fs::rename(lab.path("d/f"), lab.path("d/g")).unwrap(), true, true),
];

fn mode(lab: &Lab, name: &str, mode: u32) {
    fs::set_permissions(lab.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn edits_of_the_context() {
    const COPY: &str = "FROM busybox\nCOPY . /to/\n";
    const MOUNT: &str = "FROM busybox\nRUN --mount=target=/c ls -ln /c > /list\n";
    for &(what, edit, copies, mounts) in CONTEXTS {
        let lab = Lab::new();
        lab.write("d/f", "data");
        lab.write("ignored", "");
        mode(&lab, "", 0o755);
        mode(&lab, "d", 0o755);
        mode(&lab, "d/f", 0o644);
        symlink("d", lab.path("l")).unwrap();
        let build = |dockerfile| -> Built {
            lab.ask(dockerfile, Ask { ignore: "ignored", ..Ask::default() }).done()
        };
        build(COPY);
        build(MOUNT);
        edit(&lab);
        assert_eq!(build(COPY).counts().0 > 0, copies, "{what}: COPY");
        assert_eq!(build(MOUNT).counts().0 > 0, mounts, "{what}: RUN --mount");
    }
}

#[test]
fn what_is_in_a_cache_and_the_value_of_an_argument_nobody_declares_do_not_count() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c ls /c > /seen\n";
    lab.build(dockerfile);
    lab.build("FROM busybox\nRUN --mount=type=cache,target=/c touch /c/more\n");
    let ask =
        Ask { args: vec![("NOBODY", "2"), ("HTTP_PROXY", "http://p.invalid")], ..Ask::default() };
    let built = lab.ask(dockerfile, ask).done();
    assert_eq!((built.counts(), built.read("/seen").as_str()), ((0, 1), ""));
}

#[test]
fn a_name_is_looked_up_where_it_is_copied_to() {
    let lab = Lab::new();
    lab.write("file", "data");
    let copied = |uid: u32| {
        let built = lab.build(&format!(
            "FROM busybox\nRUN echo me:x:{uid}:0::/: >> /etc/passwd\nCOPY --chown=me file /to\nRUN stat -c %u /to > /uid\n"
        ));
        built.read("/uid")
    };
    assert_eq!(
        (copied(500), copied(501), copied(500)),
        ("500\n".into(), "501\n".into(), "500\n".into())
    );
}
