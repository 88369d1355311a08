//! What steps may use up: each by `--resource`, all together by the flags of docker's classic builder,
//! which ran one step at a time.

use bld_engine::containers::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Classic;
use crate::commands::options::parse_swap;
use crate::error::Failure;
use crate::output::units::parse_size;

/// The keys of `--resource`, which are also names of flags.
const KEYS: [&str; 7] = [
    "memory",
    "memory-swap",
    "cpu-shares",
    "cpu-period",
    "cpu-quota",
    "cpuset-cpus",
    "cpuset-mems",
];

/// The limits of all steps together: `--cpus`, `--memory` and the old flags.
pub(super) fn together(
    cpus: Option<f64>,
    memory: Option<&str>,
    classic: &Classic,
) -> Result<Limits, Failure> {
    let values = [
        memory,
        classic.memory_swap.as_deref(),
        classic.cpu_shares.as_deref(),
        classic.cpu_period.as_deref(),
        classic.cpu_quota.as_deref(),
        classic.cpuset_cpus.as_deref(),
        classic.cpuset_mems.as_deref(),
    ];
    let mut limits = Limits::default();
    for (key, value) in KEYS.iter().zip(values) {
        if let Some(value) = value {
            set(&mut limits, key, value, &format!("--{key}"))?;
        }
    }
    let Some(cpus) = cpus else { return Ok(limits) };
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let why = "conflicting options: --cpus cannot be used with --cpu-period or --cpu-quota";
        return Err(Failure::new(why));
    }
    if !(0.0..=1e6).contains(&cpus) {
        return Err(Failure::new(format!("invalid number of CPUs: {cpus}")));
    }
    limits.nano_cpus = Some((cpus * 1e9).round() as u64).filter(|cpus| *cpus > 0);
    Ok(limits)
}

/// The limits of each step: `--resource`.
pub(super) fn of_each(resources: &[String]) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    for word in resources {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            Failure::new(format!("invalid resource {word:?}, expected key=value"))
        })?;
        set(&mut limits, key.trim(), value.trim(), "--resource")?;
    }
    Ok(limits)
}

/// Lets this process open as many files as it may, because it holds every result of a build open.
/// Steps keep the limit that `bld` was started with, unless `ulimits` has another one for them.
pub(super) fn open_files(ulimits: &mut Vec<(String, u64, u64)>) {
    const NOFILE: &str = "nofile";
    let Rlimit { current: Some(soft), maximum: hard } = getrlimit(Resource::Nofile) else { return };
    // Without more than it has, a build of ordinary size works all the same.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    if raised.is_ok() && ulimits.iter().all(|(name, ..)| name != NOFILE) {
        ulimits.push((NOFILE.to_owned(), soft, hard.unwrap_or(u64::MAX)));
    }
    make_room(if raised.is_ok() { hard.unwrap_or(u64::MAX) } else { soft });
}

/// Lets the kernel's table of this process's open files grow now, which takes microseconds as long as
/// there is one thread. With several, it waits each time for all processors to have seen the new table
/// (`expand_fdtable` in fs/file.c): ten milliseconds, at the 64th, the 256th file and so on.
fn make_room(limit: u64) {
    const ROOM: u64 = 4096;
    let last = i32::try_from(limit.min(ROOM).saturating_sub(1)).unwrap_or_default();
    // It grows for the sake of a copy that is not kept. Should that fail, it grows later.
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), last));
}

/// Sets the limit `key`; 0, as docker has it, means no limit.
fn set(limits: &mut Limits, key: &str, value: &str, flag: &str) -> Result<(), Failure> {
    let invalid = |_| Failure::new(format!("invalid value {value:?} for {key} ({flag})"));
    let size =
        || parse_size(value).map(|size| Some(size).filter(|size| *size > 0)).map_err(invalid);
    let number = || {
        let number = value.parse::<u64>().map_err(|error| invalid(error.to_string()))?;
        Ok::<_, Failure>(Some(number).filter(|number| *number > 0))
    };
    let text = || Some(value.to_owned()).filter(|text| !text.is_empty());
    match key {
        "memory" => limits.memory = size()?,
        "memory-swap" => {
            limits.memory_swap =
                Some(parse_swap(value).map_err(invalid)?).filter(|swap| *swap != 0);
        }
        "cpu-shares" => limits.cpu_shares = number()?,
        "cpu-period" => limits.cpu_period = number()?,
        "cpu-quota" => limits.cpu_quota = number()?,
        "cpuset-cpus" => limits.cpuset_cpus = text(),
        "cpuset-mems" => limits.cpuset_mems = text(),
        other => {
            let near = bld_dockerfile::suggest(other, KEYS.into_iter());
            let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            return Err(Failure::new(format!("unknown resource {other:?}{near}"))
                .with_hint(format!("the resources are {}", KEYS.join(", "))));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn of_each(resources: &[&str]) -> Result<Limits, Option<String>> {
        let resources: Vec<String> = resources.iter().map(ToString::to_string).collect();
        super::of_each(&resources).map_err(|failure| failure.text().map(str::to_owned))
    }

    #[test]
    fn flags_limit_all_steps_and_resources_each() {
        let classic = Classic { cpu_shares: Some("512".to_owned()), ..Classic::default() };
        let all = Limits {
            memory: Some(1 << 30),
            nano_cpus: Some(1_500_000_000),
            cpu_shares: Some(512),
            ..Limits::default()
        };
        assert_eq!(together(Some(1.5), Some("1g"), &classic).ok(), Some(all));
        let classic = Classic { cpu_quota: Some("50000".to_owned()), ..classic };
        assert!(together(None, None, &classic).is_ok_and(|all| all.cpu_quota == Some(50_000)));
        assert!(together(Some(1.0), None, &classic).is_err(), "two ways to say it");
        assert!(together(Some(-1.0), None, &Classic::default()).is_err());

        let wanted = ["memory=64m", "memory-swap=-1", "cpuset-cpus=0,1", "cpu-quota=0"];
        let each = Limits {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            cpuset_cpus: Some("0,1".to_owned()),
            ..Limits::default()
        };
        assert_eq!(of_each(&wanted), Ok(each));
    }

    #[test]
    fn mistakes_are_named() {
        for (word, part) in [
            ("memroy=1g", "did you mean memory?"),
            ("memory", "expected key=value"),
            ("memory=lots", "invalid value \"lots\" for memory"),
            ("cpu-quota=-5", "invalid value \"-5\" for cpu-quota"),
        ] {
            let text = of_each(&[word]).unwrap_err().unwrap_or_default();
            assert!(text.contains(part), "{word}: {text}");
        }
    }
}
