//! Measures how long a container takes from the decision to its end: `start [RUNS]`, as root, with
//! a static busybox at /bin/busybox.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bld_sandbox::{CgroupSpec, Network, Root, Spec, spawn};

fn main() -> Result<(), Box<dyn Error>> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(200), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let lower = dir.path().join("lower");
    for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(lower.join(name))?;
    }
    for name in ["resolv.conf", "hosts"] {
        fs::write(lower.join("etc").join(name), "")?;
    }
    fs::copy("/bin/busybox", lower.join("bin/true"))?;

    let spec = |n: usize| -> Result<Spec, Box<dyn Error>> {
        let (upper, work) = (dir.path().join(format!("u{n}")), dir.path().join(format!("w{n}")));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let mut lowers = vec![lower.clone()];
        for n in 0..9 {
            let empty = dir.path().join(format!("l{n}"));
            fs::create_dir_all(&empty)?;
            lowers.push(empty);
        }
        let root = Root::Overlay { lowers, upper, work, volatile: true };
        let mut spec = Spec::new(root, ["/bin/true"]);
        spec.network = Network::Host;
        spec.resolv_conf = Some(b"nameserver 127.0.0.1\n".to_vec());
        spec.hosts = Some(b"127.0.0.1 localhost\n".to_vec());
        spec.hostname = Some("bench".to_owned());
        Ok(spec)
    };
    measure("no group", runs, dir.path(), &spec)?;
    measure("with a control group", runs, dir.path(), &|n| {
        let mut spec = spec(n)?;
        let name = format!("bench{n}");
        spec.cgroup = Some(CgroupSpec { name, ..CgroupSpec::default() });
        Ok(spec)
    })?;
    measure("and an own network namespace", runs, dir.path(), &|n| {
        let mut spec = spec(n)?;
        let name = format!("bench{n}");
        spec.cgroup = Some(CgroupSpec { name, ..CgroupSpec::default() });
        spec.network = Network::None;
        Ok(spec)
    })?;
    // A process that has read much.
    let memory = vec![1u8; 400 << 20];
    measure("from a process of 400 MiB", runs, dir.path(), &spec)?;
    drop(memory);
    Ok(())
}

fn measure(
    what: &str,
    runs: usize,
    dir: &Path,
    spec: &dyn Fn(usize) -> Result<Spec, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut started = Vec::new();
    let mut ended = Vec::new();
    for n in 0..runs {
        let spec = spec(n)?;
        let start = Instant::now();
        let mut process = spawn(spec)?;
        started.push(start.elapsed());
        let status = process.wait()?;
        ended.push(start.elapsed());
        assert!(status.success(), "{status:?}");
        fs::remove_dir_all(dir.join(format!("u{n}")))?;
        fs::remove_dir_all(dir.join(format!("w{n}")))?;
    }
    started.sort();
    ended.sort();
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    println!(
        "{what:32} executed: min {:.2} p50 {:.2}   ended: min {:.2} p50 {:.2} p90 {:.2} ms",
        ms(started[0]),
        ms(started[runs / 2]),
        ms(ended[0]),
        ms(ended[runs / 2]),
        ms(ended[runs * 9 / 10]),
    );
    Ok(())
}
