//! `RUN --mount`.

use std::fs;
use std::iter::once;
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread;

use crate::lab::{Ask, Lab};

#[test]
fn a_bind_mount_shows_what_the_context_lets_through() {
    let lab = Lab::new();
    lab.write("kept", "");
    lab.write("out", "");
    lab.write("dir/out", "");
    let dockerfile = "FROM busybox\nRUN --mount=target=/c find /c | sort > /list\n";
    let ask = Ask { ignore: "**/out", ..Ask::default() };
    assert_eq!(lab.ask(dockerfile, ask).done().read("/list"), "/c\n/c/dir\n/c/kept\n");
    let all = lab.build(dockerfile).read("/list");
    assert_eq!(all, "/c\n/c/dir\n/c/dir/out\n/c/kept\n/c/out\n");
}

#[test]
fn files_of_the_context_belong_to_root() {
    let lab = Lab::new();
    lab.write("dir/file", "");
    chown(lab.path("dir"), Some(1000), Some(1000)).unwrap();
    chown(lab.path("dir/file"), Some(1000), Some(1000)).unwrap();
    let built = lab.build(
        "FROM busybox\nRUN --mount=target=/c,source=dir stat -c %u:%g /c /c/file > /owners\n",
    );
    assert_eq!(built.read("/owners"), "0:0\n0:0\n");
}

#[test]
fn a_bind_mount_shows_the_layers_of_a_stage_as_one() {
    let lab = Lab::new();
    let dockerfile = "FROM busybox AS s\nRUN mkdir -m 750 /d && echo 1 > /d/one && echo 1 > /d/two\n\
                      RUN echo 2 > /d/two && ln -s d/one /link\nRUN mkdir /only && echo 3 > /only/three\n\
                      FROM busybox\nRUN --mount=from=s,source=/d,target=/m \
                      --mount=from=s,source=/link,target=/f --mount=from=s,source=/only,target=/o \
                      cat /m/one /m/two /f /o/three > /all && stat -c %a /m >> /all && \
                      ! touch /m/new\n";
    assert_eq!(lab.build(dockerfile).read("/all"), "1\n2\n1\n3\n750\n");
}

#[test]
fn writes_to_a_bind_mount_are_thrown_away() {
    let lab = Lab::new();
    lab.write("file", "old");
    lab.write("link-target", "");
    std::os::unix::fs::symlink("file", lab.path("link")).unwrap();
    let built = lab.build(
        "FROM busybox\nRUN --mount=target=/c,rw --mount=source=link,target=/f,rw \
         echo new > /c/file && echo new > /f && cat /c/file > /seen\n\
         RUN --mount=target=/c cat /c/file >> /seen\n",
    );
    assert_eq!(built.read("/seen"), "new\nold");
    assert_eq!(fs::read_to_string(lab.path("file")).unwrap(), "old");
    assert!(!built.has("/c") && !built.has("/f"));
}

#[test]
fn a_cache_outlives_the_build_and_belongs_to_no_layer() {
    let lab = Lab::new();
    let add = |n: u32| {
        let mount = "--mount=type=cache,target=/cache,id=c";
        lab.build(&format!(
            "FROM busybox\nRUN {mount} echo {n} >> /cache/n; cat /cache/n > /seen\n"
        ))
    };
    add(1);
    let built = add(2);
    assert_eq!(built.read("/seen"), "1\n2\n");
    assert!(!built.has("/cache"));
}

#[test]
fn locked_caches_are_used_by_one_step_at_a_time_whatever_their_order() {
    let lab = Lab::new();
    let mount =
        |id: &str, at: &str| format!("--mount=type=cache,sharing=locked,id={id},target={at}");
    let body = "test ! -e /1/busy && touch /1/busy && sleep 0.05 && rm /1/busy || exit 1";
    let (xy, yx) = (
        format!("{} {} {}", mount("x", "/1"), mount("y", "/2"), mount("x", "/3")),
        format!("{} {}", mount("y", "/2"), mount("x", "/1")),
    );
    let stages = [&xy, &yx, &xy, &yx]
        .into_iter()
        .enumerate()
        .map(|(n, mounts)| format!("FROM busybox AS s{n}\nRUN {mounts} {body}; echo {n} > /n\n"));
    let copies = (0..4).map(|n| format!("COPY --from=s{n} /n /{n}\n"));
    let last = once("FROM busybox\n".to_owned());
    let dockerfile: String = stages.chain(last).chain(copies).collect();
    lab.build(&dockerfile);
}

#[test]
fn a_private_cache_in_use_gives_way_to_an_empty_one() {
    let lab = Lab::new();
    let mount = "--mount=type=cache,sharing=private,id=p,target=/p";
    let body = "ls /p > /seen; touch /p/file; sleep 0.2";
    let dockerfile = format!(
        "FROM busybox AS a\nRUN {mount} {body}; echo a\nFROM busybox AS b\nRUN {mount} {body}; echo b\n\
         FROM busybox\nCOPY --from=a /seen /a\nCOPY --from=b /seen /b\n"
    );
    let built = lab.build(&dockerfile);
    assert_eq!((built.read("/a").as_str(), built.read("/b").as_str()), ("", ""));
}

#[test]
fn caches_keep_their_promises_between_builds_at_the_same_time() {
    let lab = Lab::new();
    let run = |n: u32, sharing: &str, script: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,sharing={sharing},id={sharing},target=/c {script}; echo {n}\n"
        )
    };
    let both = |sharing: &str, script: &str| {
        let build = |n| lab.build(&run(n, sharing, script)).read("/seen");
        thread::scope(|scope| {
            let one = scope.spawn(|| build(1));
            let two = scope.spawn(|| build(2));
            [one.join().unwrap(), two.join().unwrap()]
        })
    };
    // Locked: one after the other.
    let alone = "mkdir /c/busy && sleep 0.2 && rmdir /c/busy && echo alone > /seen";
    assert_eq!(both("locked", alone), ["alone\n", "alone\n"]);
    // Shared: each waits for what the other one writes.
    let meet = "echo > /c/$$-$(cat /proc/sys/kernel/random/uuid); n=0; \
                until [ $(ls /c | wc -l) = 2 ] || [ $n = 200 ]; do sleep 0.05; n=$((n+1)); done; \
                ls /c | wc -l > /seen";
    assert_eq!(both("shared", meet), ["2\n", "2\n"]);
    // Private: neither sees the other.
    let apart = "ls /c | wc -l > /seen; touch /c/file; sleep 0.3; ls /c | wc -l >> /seen";
    assert_eq!(both("private", apart), ["0\n1\n", "0\n1\n"]);
}

#[test]
fn the_second_copy_of_a_private_cache_is_there_for_the_next_time() {
    let lab = Lab::new();
    let build = |round: u32| {
        let stage = |name: char| {
            format!(
                "FROM busybox AS {name}\nRUN --mount=type=cache,sharing=private,id=p,target=/p \
                 --mount=type=cache,id=meet,target=/m touch /m/{name}{round}; n=0; \
                 until [ $(ls /m | grep -c {round}) = 2 ] || [ $n = 400 ]; do sleep 0.05; n=$((n+1)); done; \
                 echo {round} >> /p/rounds; cat /p/rounds > /seen\n"
            )
        };
        let (a, b) = (stage('a'), stage('b'));
        let last = "FROM busybox\nCOPY --from=a /seen /a\nCOPY --from=b /seen /b\n";
        let built = lab.build(&format!("{a}{b}{last}"));
        [built.read("/a"), built.read("/b")]
    };
    assert_eq!(build(1), ["1\n", "1\n"]);
    assert_eq!(build(2), ["1\n2\n", "1\n2\n"]);
}

#[test]
fn who_locks_a_cache_and_who_shares_it_wait_for_each_other_and_say_so() {
    let lab = Lab::new();
    let stage = |name: &str, sharing: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,sharing={sharing},id=x,target=/x \
             mkdir /x/busy && sleep 0.3 && rmdir /x/busy; echo $? > /code; : {name}\n"
        )
    };
    let (a, b) = (stage("a", "shared"), stage("b", "locked"));
    let last = "FROM busybox\nCOPY --from=a /code /a\nCOPY --from=b /code /b\n";
    let built = lab.build(&format!("{a}{b}{last}"));
    assert_eq!((built.read("/a"), built.read("/b")), ("0\n".into(), "0\n".into()));
    let said = "waiting for others to be done with the cache x";
    assert!(built.notes().iter().all(|note| *note == said), "{:?}", built.notes());
}

#[test]
fn memory_is_limited_and_owners_are_as_asked_for() {
    let lab = Lab::new();
    let ask = Ask { secrets: vec![("s", "x")], ..Ask::default() };
    let built = lab.ask(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m \
         ! dd if=/dev/zero of=/t/f bs=1M count=2 2>/dev/null && stat -c %s /t/f > /size\n\
         RUN --mount=type=secret,id=s,target=/x/y,uid=1,gid=2,mode=0440 stat -c '%a %u %g' /x/y > /secret\n\
         RUN --mount=type=cache,target=/c,uid=3,gid=4,mode=0750 stat -c '%a %u %g' /c > /cache\n\
         RUN --mount=type=secret,id=nosuch ls /run/secrets 2>&1 | wc -l > /optional\n",
        ask,
    );
    let built = built.done();
    assert_eq!(built.read("/size"), "1048576\n");
    assert_eq!(built.read("/secret"), "440 1 2\n");
    assert_eq!(built.read("/cache"), "750 3 4\n");
    assert!(!built.has("/x") && !built.has("/t") && !built.has("/run/secrets"));
}

#[test]
fn a_secret_reaches_the_step_and_nothing_else() {
    const VALUE: &str = "correct horse battery staple";
    let lab = Lab::new();
    let ask = || Ask { secrets: vec![("s", VALUE)], ..Ask::default() };
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S \
                      test -s /run/secrets/s && echo \"file: $(cat /run/secrets/s)\" && echo env: $S >&2 \
                      && echo ${#S} > /length\n";
    let built = lab.ask(dockerfile, ask()).done();
    assert_eq!(built.read("/length"), format!("{}\n", VALUE.len()));
    let log = built.log();
    assert!(log.contains("file: ***\n") && log.contains("env: ***\n"), "{log}");
    // Its value is no part of the key.
    let other = Ask { secrets: vec![("s", "another one")], ..Ask::default() };
    assert_eq!(lab.ask(dockerfile, other).done().counts(), (0, 1));

    let failing =
        format!("{dockerfile}RUN --mount=type=secret,id=s,env=S sh -c \"exit ${{#S}}\"\n");
    let failed = lab.ask(&failing, ask());
    assert!(!format!("{:?}", failed.result).contains(VALUE));
    assert!(failed.result.is_err());
    assert_absent(&lab.root(), VALUE);
}

/// Reads every file below `dir` and fails when one holds `value`.
fn assert_absent(dir: &Path, value: &str) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            assert_absent(&path, value);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let found = String::from_utf8_lossy(&bytes).contains(value);
            assert!(!found, "{} holds the secret", path.display());
        }
    }
}
