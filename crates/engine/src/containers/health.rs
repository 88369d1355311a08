//! Finding out whether a container is well: its health check, run again and again by its holder.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bld_oci::Healthcheck;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::Control;
use super::exec::ExecRequest;
use super::model::{Container, Status};
use super::relay::{Bell, Io};
use crate::{Engine, Result};

/// What is meant where nothing is said; docker's.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The exit code of a check that took too long.
const TOO_LONG: i32 = -1;

/// How many results are kept.
const KEPT: usize = 5;

/// How many bytes are kept of what a check writes.
const OUTPUT: usize = 4096;

/// Whether a container is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nobody knows yet.
    #[default]
    Starting,
    /// The last check was fine.
    Healthy,
    /// Too many checks in a row have failed, or it does not run.
    Unhealthy,
}

impl HealthStatus {
    /// `starting`, `healthy` or `unhealthy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What the checks of a container have found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What that means.
    pub status: HealthStatus,
    /// How many have failed since one was fine.
    pub failing_streak: u32,
    /// The last results, the newest in the end.
    pub log: Vec<Probe>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    #[serde(with = "crate::time")]
    pub start: SystemTime,
    /// When it ended.
    #[serde(with = "crate::time")]
    pub end: SystemTime,
    /// Its exit code; -1 when it took too long or could not be started.
    pub exit_code: i32,
    /// The first of what it wrote.
    pub output: String,
}

impl Health {
    /// Takes in a result. One that fails `early`, while the container is still starting, does not
    /// count.
    fn enter(&mut self, probe: Probe, retries: u32, early: bool) {
        if probe.exit_code == 0 {
            self.status = HealthStatus::Healthy;
            self.failing_streak = 0;
        } else if !(early && self.status == HealthStatus::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(probe);
        let old = self.log.len().saturating_sub(KEPT);
        self.log.drain(..old);
    }
}

/// A health check with everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Check {
    /// The check of a container; none when it has none.
    pub(super) fn of(container: &Container) -> Option<Self> {
        let healthcheck = container.config.healthcheck.as_ref()?;
        let (kind, words) = healthcheck.test.split_first()?;
        let command = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = container.config.shell.clone().filter(|shell| !shell.is_empty());
                let shell = shell.unwrap_or_else(|| ["/bin/sh", "-c"].map(str::to_owned).to_vec());
                shell.into_iter().chain(words.iter().cloned()).collect()
            }
            _ => return None,
        };
        let span = |nanoseconds: Option<i64>, usual: Duration| {
            let given = nanoseconds.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
            given.map_or(usual, Duration::from_nanos)
        };
        let retries = healthcheck.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        (!command.is_empty()).then(|| Self {
            command,
            interval: span(healthcheck.interval, INTERVAL),
            timeout: span(healthcheck.timeout, TIMEOUT),
            start_period: span(healthcheck.start_period, Duration::ZERO),
            start_interval: span(healthcheck.start_interval, START_INTERVAL),
            retries: retries.unwrap_or(RETRIES),
        })
    }
}

/// What a user said about health checks, and for the rest what the image says.
pub(super) fn merge(own: &Healthcheck, image: Option<&Healthcheck>) -> Healthcheck {
    let image = image.cloned().unwrap_or_default();
    Healthcheck {
        test: if own.test.is_empty() { image.test } else { own.test.clone() },
        interval: own.interval.or(image.interval),
        timeout: own.timeout.or(image.timeout),
        start_period: own.start_period.or(image.start_period),
        start_interval: own.start_interval.or(image.start_interval),
        retries: own.retries.or(image.retries),
    }
}

impl Engine {
    /// Checks a container that was started just now, until `stop` rings.
    pub(super) fn check_health(&self, container: &Container, check: &Check, stop: &Bell) {
        let begun = Instant::now();
        loop {
            let early = begun.elapsed() < check.start_period;
            let starting = container_is_starting(self, &container.id);
            let pause = if early && starting {
                check.start_interval.min(check.interval)
            } else {
                check.interval
            };
            if rings_within(&[stop], pause) {
                return;
            }
            match self.find_container(&container.id) {
                Ok(now) if now.state.status == Status::Paused => continue,
                Ok(now) if now.state.is_running() => {}
                _ => return,
            }
            let Some(probe) = self.probe(container, check, stop) else { return };
            let early = begun.elapsed() < check.start_period;
            let mut found = None;
            let entered = self.update(&container.id, |stored| {
                if stored.state.is_running() {
                    let health = stored.state.health.get_or_insert_default();
                    let before = health.status;
                    health.enter(probe, check.retries, early);
                    found = Some(health.status).filter(|now| *now != before);
                }
            });
            // The store may be full; the next check tries again.
            if let (Ok(container), Some(status)) = (entered, found) {
                let action = format!("health_status: {}", status.name());
                self.announce_container(&container, &action);
            }
        }
    }

    /// Runs one check; none when `stop` rings meanwhile.
    fn probe(&self, container: &Container, check: &Check, stop: &Bell) -> Option<Probe> {
        let start = SystemTime::now();
        let output = Output::default();
        let ran = self.run_check(container, check, stop, &output);
        let failed = |error: &dyn std::error::Error| {
            output.clone().add(crate::error::in_one_line(error).as_bytes());
            TOO_LONG
        };
        let exit_code = match ran {
            Ok(Ran::Ended(code)) => code,
            Ok(Ran::TooLong) => {
                // What it wrote until then is of less use than why it ended.
                output.clear();
                let text = format!("Health check exceeded timeout ({:?})", check.timeout);
                output.clone().add(text.as_bytes());
                TOO_LONG
            }
            Ok(Ran::Stopped) => return None,
            Err(error) => failed(&error),
        };
        Some(Probe { start, end: SystemTime::now(), exit_code, output: output.text() })
    }

    fn run_check(
        &self,
        container: &Container,
        check: &Check,
        stop: &Bell,
        output: &Output,
    ) -> Result<Ran> {
        use crate::error::IoContext as _;
        let request = ExecRequest {
            container: container.id.clone(),
            command: check.command.clone(),
            ..ExecRequest::default()
        };
        let control = Control::new()?;
        let done = Bell::new().at("create", "an eventfd")?;
        let io = Io {
            stdout: Some(Box::new(output.clone())),
            stderr: Some(Box::new(output.clone())),
            ..Io::default()
        };
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                let exit = self
                    .find_container(&container.id)
                    .and_then(|now| self.exec_attended(&now, &request, io, &control, &|| {}));
                done.ring();
                exit
            });
            let ended = rings_within(&[&done, stop], check.timeout);
            let finished = rings_within(&[&done], Duration::ZERO);
            if !finished {
                control.signal(rustix::process::Signal::KILL.as_raw());
            }
            let exit = running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (finished, ended) {
                (true, _) => exit.map(|exit| Ran::Ended(exit.code)),
                (false, true) => Ok(Ran::Stopped),
                (false, false) => Ok(Ran::TooLong),
            }
        })
    }
}

/// What became of a check.
enum Ran {
    Ended(i32),
    TooLong,
    Stopped,
}

fn container_is_starting(engine: &Engine, id: &str) -> bool {
    let health = engine.find_container(id).ok().and_then(|container| container.state.health);
    health.is_none_or(|health| health.status == HealthStatus::Starting)
}

/// Waits until one of `bells` rings; false when none has within `span`.
fn rings_within(bells: &[&Bell], span: Duration) -> bool {
    let end = Instant::now() + span;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds: Vec<_> = bells.iter().map(|bell| PollFd::new(*bell, PollFlags::IN)).collect();
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            // Without poll nothing can be waited for.
            Err(_) => return true,
            Ok(ready) => return ready > 0,
        }
    }
}

/// The first bytes of what a check writes to either stream.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        let now = SystemTime::UNIX_EPOCH;
        Probe { start: now, end: now, exit_code, output: String::new() }
    }

    #[test]
    fn failures_count_in_a_row_and_not_while_it_starts() {
        let mut health = Health::default();
        for _ in 0..10 {
            health.enter(probe(1), 3, true);
        }
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        assert_eq!(health.log.len(), KEPT);
        health.enter(probe(0), 3, true);
        assert_eq!(health.status, HealthStatus::Healthy);
        for _ in 0..2 {
            // Once it was well, the start is over.
            health.enter(probe(1), 3, true);
        }
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 2));
        health.enter(probe(TOO_LONG), 3, false);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        health.enter(probe(0), 3, false);
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
    }

    #[test]
    fn what_nobody_says_the_image_says() {
        let image = Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval: Some(5),
            retries: Some(7),
            ..Healthcheck::default()
        };
        let own = Healthcheck { retries: Some(1), ..Healthcheck::default() };
        let merged = merge(&own, Some(&image));
        assert_eq!((merged.test.len(), merged.interval, merged.retries), (2, Some(5), Some(1)));
        let own = Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() };
        assert_eq!(merge(&own, Some(&image)).test, ["NONE"]);
    }
}
