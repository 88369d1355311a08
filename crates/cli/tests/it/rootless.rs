//! What an ordinary user does with containers: with the ids that `newuidmap` hands out, and with one id.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use bld_testkit::{Cmd, TestEnv, User};
use serde_json::Value;

use crate::BLD;
use crate::networks::until;

/// Both kinds of users, each with a busybox in a store of its own.
fn users() -> [TestEnv; 2] {
    [true, false].map(|has_ids| TestEnv::of_user(BLD, User::new(has_ids)))
}

#[test]
fn containers_live_and_end() {
    for env in users() {
        let run = ["run", "--rm", "--network", "none", "busybox"];
        let seen =
            env.bld(run).args(["sh", "-c", "id -u; cat /proc/self/status; ls -ln /dev"]).ok();
        assert!(seen.stdout.starts_with("0\n"), "{seen}");
        // Docker's capabilities, no more, and its filter.
        assert!(seen.stdout.contains("CapEff:\t00000000a80425fb"), "{seen}");
        assert!(seen.stdout.contains("Seccomp:\t2"), "{seen}");
        assert_eq!(env.bld(run).args(["sh", "-c", "exit 7"]).run().code, 7);
        assert_eq!(env.bld(run).arg("nothing-like-that").run().code, 127);

        let detached = ["run", "-d", "--network", "none", "--name", "web", "-v", "data:/data"];
        env.bld(detached).args(["busybox", "sh", "-c", "echo begun; sleep 1000"]).ok();
        until(|| (env.bld(["logs", "web"]).ok().text() == "begun").then_some(()));
        env.bld(["exec", "web", "sh", "-c", "echo kept > /data/file; echo new > /file"]).ok();
        assert_eq!(env.bld(["exec", "web", "cat", "/data/file"]).ok().text(), "kept");
        assert_eq!(env.bld(["exec", "web", "sh", "-c", "exit 3"]).run().code, 3);
        let shown = env.bld(["diff", "web"]).ok();
        assert!(shown.stdout.contains("A /file"), "{shown}");
        assert!(env.bld(["top", "web"]).ok().stdout.contains("sleep 1000"));
        let _used = env.bld(["stats", "--no-stream", "web"]).ok().expect_text("web");

        env.write("in", "from outside");
        env.bld(["cp", "in", "web:/in"]).ok();
        assert_eq!(env.bld(["exec", "web", "cat", "/in"]).ok().text(), "from outside");
        env.bld(["cp", "web:/file", "out"]).ok();
        assert_eq!(std::fs::read_to_string(env.path("out")).unwrap(), "new\n");
        env.bld(["commit", "web", "made"]).ok();
        assert_eq!(env.bld(run[..4].iter().chain(&["made", "cat", "/file"])).ok().text(), "new");

        env.bld(["restart", "-t", "0", "web"]).ok();
        assert_eq!(env.bld(["exec", "web", "cat", "/data/file"]).ok().text(), "kept");
        env.bld(["kill", "web"]).ok();
        assert_eq!(env.bld(["wait", "web"]).ok().text(), "137");
        env.bld(["rm", "-v", "web"]).ok();
        env.bld(["volume", "rm", "data"]).ok();
        env.assert_nothing_left();
    }
}

#[test]
fn terminals_work() {
    for env in users() {
        let mut terminal = env.terminal("run --rm -it --network none busybox sh");
        terminal.wait_for("#");
        terminal.type_in("tty; stty size\n");
        terminal.wait_for("/dev/pts/0");
        terminal.wait_for("33 101");
        terminal.type_in("exit 4\n");
        assert_eq!(terminal.end().0, 4);
    }
}

#[test]
fn networks_lead_to_neighbours_to_the_world_and_from_the_host() {
    for env in users() {
        env.bld(["network", "create", "ours"]).ok();
        let echo = "nc -ll -p 7000 -e cat & sleep 1000";
        let run = ["run", "-d", "--network", "ours", "-p", "127.0.0.1::7000", "--name", "echo"];
        env.bld(run).args(["busybox", "sh", "-c", echo]).ok();

        let address = env.bld(["port", "echo", "7000/tcp"]).ok();
        let answer = until(|| {
            let mut stream = TcpStream::connect(address.text()).ok()?;
            stream.write_all(b"hello").ok()?;
            stream.shutdown(Shutdown::Write).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            (!answer.is_empty()).then_some(answer)
        });
        assert_eq!(answer, "hello");

        let run = ["run", "--rm", "--network", "ours", "busybox", "sh", "-c"];
        let asked = env.bld(run).arg("echo hi | nc -w 5 echo 7000").ok();
        assert_eq!(asked.text(), "hi", "{asked}");

        // The world is the host's own address, which is no loopback.
        let host = Cmd::new("hostname").arg("-I").ok();
        if let Some(host) =
            host.text().split(' ').find(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok())
        {
            let server = TcpListener::bind((host, 0)).unwrap();
            let port = server.local_addr().unwrap().port();
            let serve = std::thread::spawn(move || {
                let (mut stream, _) = server.accept().unwrap();
                stream.write_all(b"world").unwrap();
            });
            let ask = format!("nc -w 5 {host} {port} < /dev/null");
            let heard = env.bld(["run", "--rm", "busybox", "sh", "-c", &ask]).ok();
            assert_eq!(heard.text(), "world", "{heard}");
            serve.join().unwrap();
        }
        let own =
            env.bld(["run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net"]).ok();
        let hosts = Cmd::new("ls").arg("/sys/class/net").ok();
        assert_eq!(own.stdout, hosts.stdout);
        env.bld(["rm", "-f", "echo"]).ok();
        env.bld(["network", "rm", "ours"]).ok();
        env.assert_nothing_left();
    }
}

#[test]
fn images_are_built_and_run() {
    for (n, env) in users().into_iter().enumerate() {
        let user = if n == 0 { "RUN chown nobody /made\nUSER nobody\n" } else { "" };
        env.write("ctx/file", "copied");
        let dockerfile = format!(
            "FROM busybox\nCOPY file /\nRUN cat /file > /made && rm -r /home && mkdir /home && \
             mkdir /sub && touch /sub/x\n{user}CMD [\"cat\", \"/made\"]\n"
        );
        let built = env.build("app", &dockerfile, []).expect_code(0);
        let known = |output: &bld_testkit::Output| output.stderr.matches(" CACHED").count();
        let base = known(&built);
        let run = ["run", "--rm", "--network", "none", "app"];
        assert_eq!(env.bld(run).ok().text(), "copied");
        if n == 0 {
            assert_eq!(env.bld(run).args(["id", "-u"]).ok().text(), "65534");
            let owner = env.bld(run).args(["stat", "-c", "%u", "/made"]).ok();
            assert_eq!(owner.text(), "65534");
        }
        let again = env.build("app", &dockerfile, []).expect_code(0);
        assert!(known(&again) > base + 1, "{again}");

        // What leaves the store comes back the same.
        env.bld(["save", "-o", "app.tar", "app"]).ok();
        env.bld(["rmi", "app"]).ok();
        env.bld(["load", "-i", "app.tar"]).ok();
        assert_eq!(env.bld(run).ok().text(), "copied");
        // Network and all: steps have the same as containers.
        let online = "FROM busybox\nRUN ip addr show eth0 | grep -q 10.88\n";
        let _built = env.build("online", online, []).expect_code(0);
    }
}

#[test]
fn whoever_does_not_exist_runs_nothing() {
    let env = TestEnv::of_user(BLD, User::new(false));
    let run = ["run", "--rm", "--network", "none", "--user", "33", "busybox", "id"];
    let refused = env.bld(run).run().expect_code(125);
    let _said = refused.expect_text("there is no user 33").expect_text("bld doctor");
}

#[test]
fn limits_that_cannot_be_kept_are_told() {
    let [env, _] = users();
    let run = ["run", "-m", "64m", "--name", "limited", "--network", "none", "busybox", "true"];
    let ran = env.bld(run).ok();
    let told = ran.stderr.contains("Limitation discarded");
    let doctor = env.bld(["doctor", "--format", "json"]).ok();
    let lacks = doctor.stdout.lines().any(|line| {
        let finding: Value = serde_json::from_str(line).unwrap();
        finding["Subject"] == "control groups" && finding["State"] == "lacking"
    });
    assert_eq!(told, lacks, "{ran}{doctor}");
}

#[test]
fn the_doctor_says_what_is_missing_and_how_to_get_it() {
    let root = TestEnv::new(BLD);
    let _well = root.bld(["doctor"]).ok().expect_text("rights: root");
    let [many, one] = users();
    let _well = many.bld(["doctor"]).ok().expect_text("ids: 65537 users and groups");
    let _told = one.bld(["doctor"]).ok().expect_text("usermod --add-subuids");
    // Somebody from whom namespaces are kept, by the one switch that does not hold for others, too.
    let store = many.path("open");
    std::fs::create_dir(&store).unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o777)).unwrap();
    let line = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces
         exec setpriv --reuid 1000 --regid 1000 --clear-groups {BLD} --root {} \"$@\"",
        store.display()
    );
    let kept = |arguments: &[&str]| {
        let unshare = Cmd::new("unshare").args(["--user", "--map-root-user", "--map-auto"]);
        unshare.args(["sh", "-c", &line, "-"]).args(arguments).user(User::new(true)).run()
    };
    let told = kept(&["doctor"]).expect_code(1).expect_text("broken   rights: user 1000");
    let _how = told.expect_text("sysctl -w user.max_user_namespaces");
    let told = kept(&["ps"]).expect_code(125).expect_text("as you are not root");
    let _where = told.expect_text("hint: `bld doctor`");
}
