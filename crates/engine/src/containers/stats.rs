//! What a container uses.

use std::fs;
use std::time::Instant;

use super::model::Container;
use crate::{Engine, Result};

/// What a container uses, since its start or right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// When this was.
    pub at: Instant,
    /// Processor time in microseconds.
    pub cpu: u64,
    /// Bytes of memory, without what could be given back at once.
    pub memory: u64,
    /// Bytes of memory it may have: its own limit, or all there is.
    pub memory_limit: u64,
    /// Bytes received by its own network interfaces.
    pub received: u64,
    /// Bytes sent by them.
    pub sent: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to them.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Percentage of one processor that was used since `before`.
    pub fn cpu_percent(&self, before: &Self) -> f64 {
        let time = self.at.saturating_duration_since(before.at).as_micros();
        if time == 0 {
            return 0.0;
        }
        self.cpu.saturating_sub(before.cpu) as f64 / time as f64 * 100.0
    }

    /// Percentage of the memory it may have.
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            return 0.0;
        }
        self.memory as f64 / self.memory_limit as f64 * 100.0
    }
}

impl Engine {
    /// What a running container uses.
    pub fn container_usage(&self, container: &Container) -> Result<Usage> {
        let stats = container.used()?;
        let total = total_memory();
        let pid = container.first_process()?;
        let (received, sent) = if container.host.network.is_bridged() {
            traffic(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
        } else {
            (0, 0)
        };
        Ok(Usage {
            at: Instant::now(),
            cpu: stats.cpu_usec,
            memory: stats.memory,
            memory_limit: stats.memory_limit.filter(|limit| *limit < total).unwrap_or(total),
            received,
            sent,
            read: stats.io_read,
            written: stats.io_written,
            pids: stats.pids,
        })
    }
}

/// Bytes received and sent, of all interfaces but loopback; see `/proc/pid/net/dev` in proc(5).
fn traffic(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        let mut numbers = numbers.split_whitespace().map(|word| word.parse().unwrap_or(0));
        if name.trim() != "lo" {
            sum.0 += numbers.next().unwrap_or(0);
            sum.1 += numbers.nth(7).unwrap_or(0);
        }
    }
    sum
}

/// Bytes of memory of this machine; see proc(5).
fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  \
                    eth0: 70 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth1: 1 0 0 0 0 0 0 0 2 0 0\n";
        assert_eq!(traffic(text), (71, 11));
    }

    #[test]
    fn processors_are_counted_by_the_time_between() {
        let before = Usage {
            at: Instant::now(),
            cpu: 1000,
            memory: 50,
            memory_limit: 200,
            received: 0,
            sent: 0,
            read: 0,
            written: 0,
            pids: 1,
        };
        let after = Usage { at: before.at + Duration::from_secs(1), cpu: 1_501_000, ..before };
        assert!((after.cpu_percent(&before) - 150.0).abs() < 1e-6);
        assert!((after.memory_percent() - 25.0).abs() < 1e-6);
        assert!(before.cpu_percent(&before) == 0.0);
    }
}
