//! What is kept of what containers write.

use std::time::Duration;

use serde_json::Value;

use crate::env;

#[test]
fn a_log_has_bounds_and_is_read_across_its_files() {
    let env = env();
    let bounds = ["--log-opt", "max-size=20k", "--log-opt", "max-file=3"];
    let script =
        "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 0.5; echo end";
    let id = env.bld(["run", "-d", "--name", "busy"]).args(bounds);
    let id = id.args(["busybox", "sh", "-c", script]).ok().text().to_owned();
    let followed =
        env.bld(["logs", "-f", "--tail", "1", "busy"]).timeout(Duration::from_mins(1)).ok();
    assert!(followed.stdout.ends_with("line 1999\nend\n"), "{followed}");
    let files = |number: u32| {
        let name = format!("{id}-json.log");
        let name = if number == 0 { name } else { format!("{name}.{number}") };
        std::fs::metadata(env.root().join("containers").join(&id).join(name)).map(|stat| stat.len())
    };
    for number in 0..3 {
        assert!(files(number).unwrap() <= 20_000);
    }
    assert!(files(3).is_err());
    let all = env.bld(["logs", "busy"]).ok().stdout;
    let lines: Vec<_> = all.lines().collect();
    let first: usize = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
    let expected: Vec<_> = (first..2000).map(|n| format!("line {n}")).collect();
    assert_eq!(
        (&lines[..lines.len() - 1], lines[lines.len() - 1]),
        (&expected.iter().map(String::as_str).collect::<Vec<_>>()[..], "end")
    );
    assert!(lines.len() > 300, "{}", lines.len());
    let tail = env.bld(["logs", "-n", "400", "busy"]).ok().stdout;
    assert_eq!(tail.lines().collect::<Vec<_>>(), lines[lines.len() - 400..]);
    let config = env.bld(["inspect", "-f", "{{json .HostConfig.LogConfig}}", "busy"]).ok().stdout;
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["Config"]["max-size"], "20k");
    env.bld(["rm", "busy"]).ok();
    env.assert_nothing_left();
}

#[test]
fn drivers_are_known_or_refused() {
    let env = env();
    env.bld(["run", "--name", "local", "--log-driver", "local", "busybox", "echo", "kept"]).ok();
    assert_eq!(env.bld(["logs", "local"]).ok().stdout, "kept\n");
    env.bld(["run", "--name", "none", "--log-driver", "none", "busybox", "echo", "gone"]).ok();
    let _ = env.bld(["logs", "none"]).run().expect_code(1);
    let wrong = env.bld(["run", "--log-opt", "nosuch=1", "busybox", "true"]).run().expect_code(125);
    let _ = wrong.expect_text("unknown log opt 'nosuch' for json-file log driver");
    let wrong = env.bld(["run", "--log-opt", "max-file=3", "busybox", "true"]).run();
    let _ = wrong.expect_code(125).expect_text("max-file needs max-size");
    assert_eq!(env.bld(["ps", "-aq"]).ok().stdout.lines().count(), 2);
}
