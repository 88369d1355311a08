//! Files from elsewhere: ADD of URLs and repositories, and contexts that are not directories.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bld_testkit::{Cmd, GitDaemon, Output, Repository, SshAgent, SshServer, TestEnv, WebServer};

use crate::BLD;

/// When the commits of [`Repository`] are made.
const COMMITTED: i64 = 981_173_106;

struct Lab {
    env: TestEnv,
    /// What servers serve.
    root: PathBuf,
}

impl Lab {
    fn new() -> Self {
        let env = TestEnv::new(BLD);
        let root = env.path("srv");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(env.path("ctx")).unwrap();
        Self { env, root }
    }

    fn serve(&self) -> WebServer {
        WebServer::start(&self.root).unwrap()
    }

    /// A repository with two commits and a tag, published as `r.git`; its commits.
    fn repository(&self) -> (Repository, String, String) {
        let repository = Repository::init(self.env.path("repo"));
        self.env.write_script("repo/run.sh", "#!/bin/sh\n");
        std::os::unix::fs::symlink("file", self.env.path("repo/link")).unwrap();
        repository.commit("Dockerfile", "FROM scratch\nCOPY . /\n");
        repository.commit("sub/deep", "deep");
        let first = repository.commit("file", "one");
        repository.git(["tag", "-a", "v1", "-m", "v1"]);
        let second = repository.commit("file", "two");
        repository.publish(&self.root.join("r.git"));
        (repository, first, second)
    }

    /// Builds `context` into the directory `out`.
    fn run(&self, context: &str, more: &[&str], stdin: &[u8]) -> Output {
        let _ = fs::remove_dir_all(self.env.path("out"));
        let bld = self.env.bld(["build", "--progress", "plain", "-o", "out"]);
        bld.args(more).arg(context).stdin(stdin).run()
    }

    /// Builds a context, which must work.
    fn context(&self, context: &str, more: &[&str], stdin: &[u8]) -> Output {
        self.run(context, more, stdin).expect_code(0)
    }

    /// Builds a context, which must fail for a reason that holds `part`.
    fn bad_context(&self, context: &str, more: &[&str], stdin: &[u8], part: &str) -> Output {
        self.run(context, more, stdin).expect_code(1).expect_text(part)
    }

    /// Builds `dockerfile`, which must work.
    fn build(&self, dockerfile: &str, more: &[&str]) -> Output {
        self.context("ctx", &[&["-f", "-"], more].concat(), dockerfile.as_bytes())
    }

    /// Builds `dockerfile`, all of which must be known.
    fn rebuild(&self, dockerfile: &str, more: &[&str]) {
        let built = self.build(dockerfile, more);
        let steps = built.stderr.lines().filter(|line| line.contains("] ADD")).count();
        let cached = built.stderr.lines().filter(|line| line.contains("CACHED")).count();
        assert!(cached >= steps && steps > 0, "{built}");
    }

    /// Builds `dockerfile`, which must fail for a reason that holds `part`.
    fn bad(&self, dockerfile: &str, more: &[&str], part: &str) -> Output {
        self.bad_context("ctx", &[&["-f", "-"], more].concat(), dockerfile.as_bytes(), part)
    }

    fn out(&self, path: &str) -> PathBuf {
        self.env.path("out").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.out(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Every path below `dir`, sorted.
fn paths(dir: &Path) -> Vec<String> {
    let found = Cmd::new("find").args([".", "-mindepth", "1", "-printf", "%P\n"]).cwd(dir).ok();
    let mut paths: Vec<_> = found.stdout.lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Sets the time of a served file to one long past, so that servers are sure of it.
fn age(path: &Path) {
    Cmd::new("touch").args(["-d", "2002-03-04T05:06:07Z"]).arg(path).ok();
}

#[test]
fn downloads_are_asked_for_again_and_fetched_once() {
    let lab = Lab::new();
    let file = lab.env.write("srv/a b/file.txt", "content");
    age(&file);
    let server = lab.serve();
    let dockerfile = format!("FROM scratch\nADD {}/a%20b/file.txt /d/\n", server.url());
    let built = lab.build(&dockerfile, &[]);
    assert!(!built.stderr.contains("CACHED"), "{built}");
    assert_eq!(lab.read("d/file.txt"), "content");
    assert_eq!(mode(&lab.out("d/file.txt")), 0o600);
    // The server's date, not today's.
    assert_eq!(lab.out("d/file.txt").metadata().unwrap().mtime(), 1_015_218_367);

    lab.rebuild(&dockerfile, &[]);
    assert_eq!(
        server.requests(),
        ["GET /a%20b/file.txt 200", "GET /a%20b/file.txt 304"],
        "asked again, fetched once"
    );

    fs::write(&file, "changed").unwrap();
    lab.build(&dockerfile, &[]);
    assert_eq!(lab.read("d/file.txt"), "changed");

    // Other bytes of the same size, with the time set back: the tag still tells.
    fs::write(&file, "CHANGED").unwrap();
    lab.build(&dockerfile, &[]);
    assert_eq!(lab.read("d/file.txt"), "CHANGED");
    lab.env.assert_nothing_left();
}

#[test]
fn downloads_have_modes_owners_and_names() {
    let lab = Lab::new();
    lab.env.write("srv/x", "x");
    let server = lab.serve();
    let url = server.url();
    let dockerfile = format!(
        "FROM scratch\nADD --chmod=755 --chown=12:34 {url}/x /run\nADD {url}/x?query=1#part {url}/x /many/\n\
         ADD {url}/ /unnamed/\n"
    );
    lab.env.write("srv/index.html", "index");
    lab.build(&dockerfile, &[]);
    assert_eq!(mode(&lab.out("run")), 0o755);
    let owner = lab.out("run").metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid()), (12, 34));
    assert_eq!(paths(&lab.out("many")), ["x"]);
    lab.env.assert_nothing_left();
}

#[test]
fn archives_are_unpacked_only_on_request() {
    let lab = Lab::new();
    lab.env.write("tree/in/side", "inside");
    for (name, flag) in [("a.tar", ""), ("a.tar.gz", "z"), ("a.tar.bz2", "j"), ("a.tar.xz", "J")] {
        let archive = lab.root.join(name);
        Cmd::new("tar")
            .arg(format!("-c{flag}f"))
            .arg(archive)
            .arg("in")
            .cwd(lab.env.path("tree"))
            .ok();
    }
    Cmd::new("zstd").arg("-q").arg(lab.root.join("a.tar")).ok();
    let server = lab.serve();
    let url = server.url();
    let mut dockerfile = format!("FROM scratch\nADD {url}/a.tar.gz /packed/\n");
    for name in ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"] {
        dockerfile += &["ADD --unpack=true ", &url, "/", name, " /", name, "/\n"].concat();
    }
    lab.build(&dockerfile, &[]);
    assert_eq!(paths(&lab.out("packed")), ["a.tar.gz"]);
    for name in ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.tar.zst"] {
        assert_eq!(lab.read(&format!("{name}/in/side")), "inside");
    }
}

#[test]
fn a_checksum_is_believed_without_asking_and_verified_on_arrival() {
    let lab = Lab::new();
    lab.env.write("srv/x", "x");
    let server = lab.serve();
    let sum = Cmd::new("sha256sum").arg(lab.root.join("x")).ok().text()[..64].to_owned();
    let good = format!("FROM scratch\nADD --checksum=sha256:{sum} {}/x /\n", server.url());
    lab.build(&good, &[]);
    lab.rebuild(&good, &[]);
    assert_eq!(server.requests(), ["GET /x 200"]);
    let bad = good.replace(&sum, &"0".repeat(64));
    let refused = lab.bad(&bad, &[], "digest mismatch");
    assert!(refused.stderr.contains(&sum), "{refused}");
    lab.env.assert_nothing_left();
}

#[test]
fn a_server_that_says_nothing_does_not_keep_anybody() {
    let lab = Lab::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    lab.env.write("ctx/Dockerfile", format!("FROM scratch\nADD http://{address}/x /\n"));
    let mut build = lab.env.bld(["build", "ctx"]).spawn(&lab.env.path(""));
    let (_connection, _) = silent.accept().unwrap();
    let asked = std::time::Instant::now();
    Cmd::new("kill").args(["-INT", &build.id().to_string()]).ok();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < std::time::Duration::from_secs(5));
    lab.env.assert_nothing_left();
}

#[test]
fn git_ends_with_the_build_however_that_ends() {
    let lab = Lab::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    // By HTTP, it is a helper of git that is connected.
    for (scheme, signal) in [("git", "INT"), ("git", "KILL"), ("http", "INT"), ("http", "KILL")] {
        let dockerfile = format!("FROM scratch\nADD {scheme}://{address}/x.git /\n");
        lab.env.write("ctx/Dockerfile", dockerfile);
        let mut build = lab.env.bld(["build", "ctx"]).spawn(&lab.env.path(""));
        let (mut connection, _) = silent.accept().unwrap();
        connection.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        connection.read_exact(&mut [0]).unwrap();
        Cmd::new("kill").args(["-s", signal, &build.id().to_string()]).ok();
        build.wait().unwrap();
        // The rest of what git asked, then the end of git.
        let ended = connection.read_to_end(&mut Vec::new());
        assert!(ended.is_ok(), "{scheme} {signal}: {ended:?}");
    }
    lab.env.assert_nothing_left();
}

#[test]
fn what_a_server_refuses_is_said_where_it_is_asked_for() {
    let lab = Lab::new();
    let server = lab.serve();
    let dockerfile = format!("FROM scratch\nADD {}/nosuch /\n", server.url());
    let failed = lab.bad(&dockerfile, &[], "");
    for part in ["404 Not Found", "Dockerfile:2:5", "^^^^"] {
        assert!(failed.stderr.contains(part), "{part}: {failed}");
    }
    lab.bad("FROM scratch\nADD http://127.0.0.1:1/x /\n", &[], "could not be fetched");
}

#[test]
fn private_files_take_the_secret_of_their_host() {
    let lab = Lab::new();
    lab.env.write("srv/private/x", "x");
    let server = WebServer::start_private(&lab.root, "Bearer s3cr3t-token").unwrap();
    let dockerfile = format!("FROM scratch\nADD {}/private/x /\n", server.url());
    lab.bad(&dockerfile, &[], "HTTP_AUTH_TOKEN_<host>");
    let token = lab.env.write("token", "s3cr3t-token");
    let secret = format!("id=HTTP_AUTH_TOKEN_127.0.0.1,src={}", token.display());
    lab.build(&dockerfile, &["--secret", &secret]);
    assert_eq!(lab.read("x"), "x");
    assert_secret_nowhere(&lab, "s3cr3t-token");
}

#[test]
fn a_login_in_a_url_is_used_and_not_told() {
    let lab = Lab::new();
    lab.env.write("srv/private/x", "x");
    let header = format!("Basic {}", base64("me:pa55-w0rd"));
    let server = WebServer::start_private(&lab.root, &header).unwrap();
    let url = server.url().replace("//", "//me:pa55-w0rd@");
    let dockerfile = format!("FROM scratch\nARG url={url}\nADD $url/private/x /\n");
    lab.env.write("ctx/Dockerfile", &dockerfile);
    let built = lab.env.bld(["build", "--progress", "plain", "--explain", "-t", "x:1", "ctx"]).ok();
    assert!(built.stderr.contains("me:xxxxx@127.0.0.1"), "{built}");
    let history = lab.env.bld(["history", "--no-trunc", "x:1"]).ok();
    let failed = lab.env.bld(["build", "ctx", "--build-arg"]).arg(format!("url={url}/no")).run();
    for output in [&built, &history, &failed] {
        let told = format!("{}{}", output.stdout, output.stderr).replace(&dockerfile, "");
        // The file itself is shown where it is wrong, and what an ARG holds is in its history.
        let told = told.lines().filter(|line| !line.contains("ARG url"));
        assert!(told.into_iter().all(|line| !line.contains("pa55-w0rd")), "{output}");
    }
}

/// Fails when the value is anywhere in the store.
fn assert_secret_nowhere(lab: &Lab, value: &str) {
    let found = Cmd::new("grep").args(["-rlaF", value]).arg(lab.env.root()).run();
    assert_eq!(found.code, 1, "{found}");
}

#[test]
fn repositories_are_checked_out_by_reference_commit_and_directory() {
    let lab = Lab::new();
    let (repository, first, second) = lab.repository();
    let server = lab.serve();
    let url = format!("{}/git/r.git", server.url());
    let dockerfile = format!(
        "FROM scratch\nADD {url} /head/\nADD {url}#v1 /tag/\nADD {url}#{first} /commit/\n\
         ADD {url}#main:sub /sub/\nADD {url}?branch=main&subdir=sub /query/\n\
         ADD {url}?tag=v1&commit={} /checked/\nADD --keep-git-dir=true {url}#v1 /git/\n",
        &first[..12]
    );
    lab.build(&dockerfile, &[]);
    assert_eq!(
        paths(&lab.out("head")),
        ["Dockerfile", "file", "link", "run.sh", "sub", "sub/deep"]
    );
    assert_eq!(lab.read("head/file"), "two");
    for place in ["tag", "commit", "checked", "git"] {
        assert_eq!(lab.read(&format!("{place}/file")), "one", "{place}");
    }
    for place in ["sub", "query"] {
        assert_eq!(paths(&lab.out(place)), ["deep"], "{place}");
    }
    for (path, expected) in [("head/run.sh", 0o755), ("head/file", 0o644), ("head/sub", 0o755)] {
        assert_eq!(mode(&lab.out(path)), expected, "{path}");
        assert_eq!(lab.out(path).metadata().unwrap().mtime(), COMMITTED, "{path}");
    }
    let log = Cmd::new("git").args(["-c", "safe.directory=*", "log", "--format=%H"]);
    assert_eq!(log.cwd(lab.out("git")).ok().text(), first);

    lab.rebuild(&dockerfile, &[]);
    let third = repository.commit("file", "three");
    repository.publish(&lab.root.join("r.git"));
    assert_ne!(third, second);
    lab.build(&dockerfile, &[]);
    assert_eq!((lab.read("head/file"), lab.read("tag/file")), ("three".into(), "one".into()));

    for (source, part) in [
        (format!("{url}#nosuch"), "does not contain ref nosuch"),
        (format!("{url}#main:nosuch"), "has no directory"),
        (format!("{url}?ref=main&checksum=abcdef"), "expected checksum to match abcdef"),
        (format!("{}/git/nosuch.git", server.url()), "not found"),
    ] {
        let dockerfile = format!("FROM scratch\nADD {source} /\n");
        lab.bad(&dockerfile, &[], part);
    }
    lab.env.assert_nothing_left();
}

#[test]
fn submodules_come_along_unless_they_are_not_wanted() {
    let lab = Lab::new();
    let part = Repository::init(lab.env.path("part"));
    part.commit("inner", "inner");
    part.publish(&lab.root.join("part.git"));
    let daemon = GitDaemon::start(&lab.root).unwrap();
    let whole = Repository::init(lab.env.path("whole"));
    whole.git(["submodule", "--quiet", "add", &format!("{}/part.git", daemon.url()), "part"]);
    whole.commit("outer", "outer");
    whole.publish(&lab.root.join("whole.git"));
    let url = format!("{}/whole.git", daemon.url());
    let dockerfile =
        format!("FROM scratch\nADD {url} /with/\nADD {url}?submodules=false /without/\n");
    lab.build(&dockerfile, &[]);
    assert_eq!(paths(&lab.out("with")), [".gitmodules", "outer", "part", "part/inner"]);
    assert_eq!(paths(&lab.out("without")), [".gitmodules", "outer", "part"]);

    // A repository must not bring files of this machine along.
    let thief = Repository::init(lab.env.path("thief"));
    let local = lab.env.path("part").display().to_string();
    thief.git(["submodule", "--quiet", "add", &local, "part"]);
    thief.commit("outer", "outer");
    thief.publish(&lab.root.join("thief.git"));
    let dockerfile = format!("FROM scratch\nADD {}/thief.git /\n", daemon.url());
    lab.bad(&dockerfile, &[], "transport 'file' not allowed");
    lab.env.assert_nothing_left();
}

#[test]
fn private_repositories_take_tokens_and_keys() {
    let lab = Lab::new();
    lab.repository();
    let token = "g1t-t0ken-value";
    let header = format!("basic {}", base64(&format!("x-access-token:{token}")));
    let server = WebServer::start_private(&lab.root, &header).unwrap();
    let dockerfile = format!("FROM scratch\nADD {}/git/r.git /\n", server.url());
    lab.bad(&dockerfile, &[], "");
    let file = lab.env.write("token", token);
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", file.display());
    lab.build(&dockerfile, &["--secret", &secret]);
    assert_eq!(lab.read("file"), "two");
    assert_secret_nowhere(&lab, token);
    assert_secret_nowhere(&lab, &header);

    let ssh = SshServer::start().unwrap();
    let url = format!("{}{}/r.git", ssh.url(), lab.root.display());
    let dockerfile = format!("FROM scratch\nADD {url} /\n");
    lab.bad(&dockerfile, &[], "--ssh default");
    let agent = SshAgent::start(&ssh.key).unwrap();
    let flag = format!("default={}", agent.socket.display());
    lab.build(&dockerfile, &["--ssh", &flag]);
    assert_eq!(lab.read("file"), "two");
    lab.context(&url, &["--ssh", &flag], b"");
    assert_eq!(lab.read("file"), "two");

    // A host that is known by another key is not believed.
    let known = lab.env.home().join(".ssh/known_hosts");
    fs::create_dir_all(known.parent().unwrap()).unwrap();
    fs::write(known, ssh.wrong_known_host()).unwrap();
    lab.bad(&dockerfile, &["--ssh", &flag], "Host key verification failed");
    lab.env.assert_nothing_left();
}

#[test]
fn a_kept_git_directory_is_that_of_the_reference_that_was_asked_for() {
    let lab = Lab::new();
    let (repository, first, _) = lab.repository();
    repository.git(["branch", "old", &first]);
    repository.publish(&lab.root.join("both.git"));
    let server = lab.serve();
    let url = format!("{}/git/both.git", server.url());
    // The same commit by two names: the files are the same, and what git says of them is not.
    for (reference, file) in [("v1", "tags/v1"), ("old", "heads/old"), ("v1", "tags/v1")] {
        lab.build(&format!("FROM scratch\nADD --keep-git-dir {url}#{reference} /\n"), &[]);
        assert_eq!(lab.read("file"), "one");
        assert!(lab.out(&format!(".git/refs/{file}")).exists(), "{reference}");
    }
}

#[test]
fn a_login_in_a_url_reaches_submodules_and_is_kept_nowhere() {
    let lab = Lab::new();
    let (part, ..) = lab.repository();
    part.publish(&lab.root.join("part.git"));
    let outer = Repository::init(lab.env.path("outer"));
    outer.git(["submodule", "--quiet", "add", &lab.env.path("repo").display().to_string(), "part"]);
    outer.git(["config", "-f", ".gitmodules", "submodule.part.url", "../part.git"]);
    outer.commit("outer", "outer");
    outer.publish(&lab.root.join("outer.git"));
    let password = "p4ssw0rd-of-me";
    let header = format!("Basic {}", base64(&format!("me:{password}")));
    let server = WebServer::start_private(&lab.root, &header).unwrap();
    let url =
        format!("{}/git/outer.git", server.url()).replace("://", &format!("://me:{password}@"));
    let built = lab.build(&format!("FROM scratch\nADD --keep-git-dir=true {url} /\n"), &[]);
    assert_eq!(lab.read("part/file"), "two");
    assert!(!built.stderr.contains(password), "{built}");
    let configured = fs::read_to_string(lab.env.path("out/.git/config")).unwrap();
    assert!(!configured.contains("me:"), "{configured}");
    assert_secret_nowhere(&lab, password);
    assert_secret_nowhere(&lab, &header);
    lab.env.assert_nothing_left();
}

fn base64(text: &str) -> String {
    Cmd::new("base64").arg("-w0").stdin(text).ok().stdout
}

#[test]
fn contexts_may_lie_elsewhere() {
    let lab = Lab::new();
    let (_, first, _) = lab.repository();
    let tree = lab.env.path("tree");
    lab.env.write("tree/Dockerfile", "FROM scratch\nCOPY . /\n");
    lab.env.write("tree/other.Dockerfile", "FROM scratch\nCOPY data /only\n");
    lab.env.write("tree/data", "data");
    lab.env.write("tree/.dockerignore", "data\n");
    lab.env.write("srv/Dockerfile", "FROM scratch\nCOPY <<EOF /here\nhere\nEOF\n");
    Cmd::new("tar").arg("-czf").arg(lab.root.join("c.tgz")).arg(".").cwd(&tree).ok();
    Cmd::new("tar").arg("-cf").arg(lab.root.join("c.tar")).arg(".").cwd(&tree).ok();
    let (tgz, tar) =
        (fs::read(lab.root.join("c.tgz")).unwrap(), fs::read(lab.root.join("c.tar")).unwrap());
    let server = lab.serve();
    let url = server.url();

    lab.context(&format!("{url}/git/r.git"), &[], b"");
    assert_eq!(lab.read("file"), "two");
    lab.context(&format!("{url}/git/r.git#{first}"), &[], b"");
    assert_eq!(lab.read("file"), "one");
    assert!(!lab.out(".git").exists());
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    lab.context(&format!("{url}/git/r.git"), &keep, b"");
    assert!(lab.out(".git/HEAD").exists());

    for (context, stdin) in [
        (format!("{url}/c.tgz"), b"".as_slice()),
        (format!("{url}/c.tar"), b""),
        ("-".to_owned(), &tgz),
        ("-".to_owned(), &tar),
    ] {
        lab.context(&context, &[], stdin);
        // What has arrived is not ignored any more, as with BuildKit.
        assert_eq!(
            paths(&lab.env.path("out")),
            [".dockerignore", "Dockerfile", "data", "other.Dockerfile"],
            "{context}"
        );
        lab.context(&context, &["-f", "other.Dockerfile"], stdin);
        assert_eq!(paths(&lab.env.path("out")), ["only"], "{context}");
    }
    lab.context(&format!("{url}/Dockerfile"), &[], b"");
    assert_eq!(lab.read("here"), "here\n");
    lab.context("-", &[], b"FROM scratch\nCOPY <<EOF /in\nEOF\n");
    assert_eq!(paths(&lab.env.path("out")), ["in"]);
    let dockerfile = format!("{url}/Dockerfile");
    lab.context("ctx", &["-f", &dockerfile], b"");
    assert_eq!(lab.read("here"), "here\n");

    lab.bad_context(&format!("{url}/nosuch.tar"), &[], b"", "404");
    lab.bad_context("-", &["-f", "-"], b"", "can't use stdin for both");
    lab.bad_context("-", &["-f", "x"], b"FROM scratch\n", "");
    lab.bad_context("-", &[], &tgz[..tgz.len() / 2], "");
    lab.env.assert_nothing_left();
}

#[test]
fn a_context_that_was_brought_here_stays_while_it_is_built() {
    let lab = Lab::new();
    lab.env.load_busybox();
    let repository = Repository::init(lab.env.path("repo"));
    repository.commit("Dockerfile", "FROM busybox\nRUN echo up; sleep 2\nCOPY Dockerfile /x\n");
    repository.publish(&lab.root.join("r.git"));
    let server = lab.serve();
    let url = format!("{}/git/r.git", server.url());
    lab.context(&url, &[], b"");
    let logs = lab.env.path("");
    let args = ["build", "--no-cache", "--progress", "plain", "-o", "out", &url];
    let mut build = lab.env.bld(args).spawn(&logs);
    for _ in 0..400 {
        if fs::read_to_string(logs.join("stderr")).unwrap().contains(" up\n") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    lab.env.bld(["builder", "prune", "-a", "-f"]).ok();
    let code = build.wait().unwrap().code();
    assert_eq!(code, Some(0), "{}", fs::read_to_string(logs.join("stderr")).unwrap());
    assert!(lab.read("x").starts_with("FROM busybox"));
}

#[test]
fn a_context_that_was_brought_here_leads_nowhere_else() {
    let lab = Lab::new();
    let secret = lab.env.write("outside", "FROM scratch\nCOPY <<EOF /leak\nEOF\n");
    let tree = lab.env.path("tree");
    fs::create_dir_all(&tree).unwrap();
    std::os::unix::fs::symlink(&secret, tree.join("Dockerfile")).unwrap();
    std::os::unix::fs::symlink(&secret, tree.join("link")).unwrap();
    lab.env.write("tree/real.Dockerfile", "FROM scratch\nCOPY link /\n");
    let tar = Cmd::new("tar").args(["-c", "."]).cwd(&tree);
    // The archive is made of text only, so it survives being read as such.
    let tar = tar.ok().stdout;
    lab.bad_context("-", &[], tar.as_bytes(), "");
    lab.bad_context("-", &["-f", "real.Dockerfile"], tar.as_bytes(), "");
}

#[test]
fn named_contexts_may_lie_elsewhere() {
    let lab = Lab::new();
    lab.repository();
    lab.env.write("srv/x", "x");
    let server = lab.serve();
    let url = server.url();
    let dockerfile =
        "FROM scratch AS base\nFROM base\nCOPY --from=repo . /r/\nCOPY --from=file context /x\n";
    let (repo, file) = (format!("repo={url}/git/r.git#main:sub"), format!("file={url}/x"));
    lab.build(dockerfile, &["--build-context", &repo, "--build-context", &file]);
    assert_eq!((lab.read("r/deep"), lab.read("x")), ("deep".into(), "x".into()));
    let base = format!("base={url}/git/r.git");
    lab.build("FROM base\n", &["--build-context", &base]);
    assert_eq!(lab.read("file"), "two");

    let dockerfile = "FROM scratch AS one\nCOPY <<E /one\nE\nFROM scratch AS two\nCOPY <<E /two\nE\n\
                      FROM one\nCOPY --from=image / /i/\n";
    let stages = ["--build-context", "one=target:two", "--build-context", "image=target:one"];
    lab.build(dockerfile, &stages);
    assert_eq!(paths(&lab.env.path("out")), ["i", "i/one", "two"]);
    lab.bad(dockerfile, &["--build-context", "image=target:tow"], "did you mean two?");
}

#[test]
fn the_context_can_be_listed_with_the_rules_that_keep_files_out() {
    let lab = Lab::new();
    lab.env.write("ctx/.dockerignore", "# rules\nnode_modules\n!node_modules/keep\n*.md\n");
    lab.env.write("ctx/Dockerfile", "FROM scratch\n");
    lab.env.write("ctx/node_modules/a/b", "b");
    lab.env.write("ctx/node_modules/keep", "keep");
    lab.env.write("ctx/README.md", "readme");
    for size in 1..12_usize {
        lab.env.write(&format!("ctx/data/{size}"), "x".repeat(size * 1000));
    }
    let listing = lab.env.bld(["build", "--print", "context", "ctx"]).ok();
    for part in [
        "+       4B  node_modules/keep\n",
        "node_modules/a/  (ctx/.dockerignore:2: node_modules)\n",
        "README.md  (ctx/.dockerignore:4: *.md)\n",
        "largest:\n      11kB  data/11\n      10kB  data/10\n",
        "14 go in",
        "2 are kept out",
    ] {
        assert!(listing.stdout.contains(part), "{part:?}: {listing}");
    }
    let largest = listing.stdout.split("largest:").nth(1).unwrap_or_default();
    assert_eq!(largest.matches("data/").count(), 10);
    let json = lab.env.bld(["build", "--print", "context=json", "ctx"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["excluded"][0]["path"], "README.md");
    assert_eq!(json["excluded"][0]["line"], 4);
    assert_eq!(json["included"].as_array().unwrap().len(), 14);
}
