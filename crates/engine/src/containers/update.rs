//! Changing the limits and the restart policy of containers that exist.

use bld_sandbox::Limits as CgroupLimits;

use super::model::{Container, Limits, RestartCondition, RestartPolicy};
use super::spec;
use crate::{Engine, EngineError, Result};

/// As many processes as the kernel can tell apart: what `pids.max` takes for no limit besides `max`.
const ALL_PIDS: u64 = 1 << 22;

/// The least memory a container can start with, in bytes.
const LEAST_MEMORY: u64 = 6 << 20;

/// What changes of a container; the rest stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// New limits, where there are any.
    pub limits: Limits,
    /// Any number of processes from now on.
    pub unlimited_pids: bool,
    /// The new restart policy.
    pub restart: Option<RestartPolicy>,
}

impl UpdateRequest {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Engine {
    /// Changes a container, at once if it runs.
    ///
    /// # Errors
    /// What contradicts itself or what the container has; [`EngineError::Cgroup`] when the kernel
    /// refuses. The container is as it was then, but for limits that were set before the one that
    /// was refused.
    pub fn update_container(&self, name: &str, request: &UpdateRequest) -> Result<Container> {
        let container = self.find_container(name)?;
        check(&container, request).map_err(|what| EngineError::Invalid {
            what: format!("Cannot update container {}: {what}", container.id),
        })?;
        let limits = merge(&container.host.limits, request);
        let changes = changes(&limits, request);
        if container.state.is_running() && changes != CgroupLimits::default() {
            let mut group = container.cgroup()?;
            let pid = container.first_process()?;
            group
                .extend(pid, &changes)
                .and_then(|()| group.set_limits(&changes))
                .map_err(|source| EngineError::Cgroup { source })?;
        }
        let updated = self.update(&container.id, |stored| {
            stored.host.limits = merge(&stored.host.limits, request);
            if let Some(policy) = &request.restart {
                stored.host.restart = policy.clone();
            }
        })?;
        self.announce_container(&updated, "update");
        Ok(updated)
    }
}

/// Why a container cannot be changed so.
fn check(container: &Container, request: &UpdateRequest) -> Result<(), &'static str> {
    let (old, new) = (&container.host.limits, &request.limits);
    let restarts =
        request.restart.as_ref().is_some_and(|policy| policy.name != RestartCondition::No);
    let swap = old.memory_swap.and_then(|sum| u64::try_from(sum).ok());
    let rules = [
        (
            restarts && container.host.auto_remove,
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
        (
            new.memory.is_some_and(|memory| memory < LEAST_MEMORY),
            "Minimum memory limit allowed is 6MB",
        ),
        (
            new.memory.zip(swap).is_some_and(|(memory, swap)| memory > swap)
                && new.memory_swap.is_none(),
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the \
             same time",
        ),
        (
            new.nano_cpus.is_some() && (old.cpu_period.is_some() || old.cpu_quota.is_some()),
            "conflicting options: Nano CPUs cannot be updated as CPU Period or CPU Quota has already been set",
        ),
        (
            old.nano_cpus.is_some() && (new.cpu_period.is_some() || new.cpu_quota.is_some()),
            "conflicting options: CPU Period and CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, what)) => Err(what),
        None => Ok(()),
    }
}

/// The limits that a container has with what is new.
fn merge(old: &Limits, request: &UpdateRequest) -> Limits {
    let (old, new) = (old.clone(), request.limits.clone());
    Limits {
        memory: new.memory.or(old.memory),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        nano_cpus: new.nano_cpus.or(old.nano_cpus),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpuset_cpus: new.cpuset_cpus.or(old.cpuset_cpus),
        cpuset_mems: new.cpuset_mems.or(old.cpuset_mems),
        io_weight: new.io_weight.or(old.io_weight),
        io_rates: if new.io_rates.is_empty() { old.io_rates } else { new.io_rates },
        pids: if request.unlimited_pids { None } else { new.pids.or(old.pids) },
    }
}

/// What the kernel is told: what is new, and of those that it takes together the one that is not.
fn changes(merged: &Limits, request: &UpdateRequest) -> CgroupLimits {
    let mut new = request.limits.clone();
    if new.memory.is_some() || new.memory_swap.is_some() {
        (new.memory, new.memory_swap) = (merged.memory, merged.memory_swap);
    }
    if new.cpu_period.is_some() || new.cpu_quota.is_some() {
        (new.cpu_period, new.cpu_quota) = (merged.cpu_period, merged.cpu_quota);
    }
    if request.unlimited_pids {
        new.pids = Some(ALL_PIDS);
    }
    spec::limits(&new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let old = Limits { memory: Some(8), pids: Some(3), ..Limits::default() };
        let limits = Limits { memory_swap: Some(16), ..Limits::default() };
        let request = UpdateRequest { limits, unlimited_pids: true, restart: None };
        let merged = merge(&old, &request);
        assert_eq!((merged.memory, merged.memory_swap, merged.pids), (Some(8), Some(16), None));
        let told = changes(&merged, &request);
        assert_eq!((told.memory, told.memory_swap), (Some(8), Some(16)));
        assert_eq!((told.pids, told.cpu_quota), (Some(ALL_PIDS), None));
        assert!(UpdateRequest::default().is_empty() && !request.is_empty());
    }
}
