//! What the machine is that a node runs on. It must not know what the node does.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// What a system does not tell.
const UNKNOWN: &str = "unknown";

/// The machine of a node, its memory in bytes. What its system does not tell is `unknown`, or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostFacts {
    /// Its name in the network.
    pub name: String,
    /// Its operating system, for example `Ubuntu` or `Windows`.
    pub os: String,
    /// The version of that.
    pub os_version: String,
    /// Its processor architecture, for example `x86_64`.
    pub arch: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Memory that there is: of the machine, or of the container if that has less.
    pub memory_total: u64,
    /// Memory that is in use, by all processes of the machine or of the container.
    pub memory_used: u64,
    /// Memory of this process alone that is not swapped out.
    pub process_memory: u64,
    /// The version of Quicraft.
    pub version: String,
}

/// Reads the facts: what cannot change once, the memory whenever it is asked for.
#[derive(Debug)]
pub(crate) struct Host {
    system: Mutex<System>,
    lasting: HostFacts,
}

impl Host {
    pub(crate) fn new() -> Self {
        let told = |fact: Option<String>| fact.unwrap_or_else(|| UNKNOWN.to_owned());
        let cpus = std::thread::available_parallelism();
        Self {
            system: Mutex::new(System::new()),
            lasting: HostFacts {
                name: told(System::host_name()),
                os: told(System::name()),
                os_version: told(System::os_version()),
                arch: System::cpu_arch(),
                cpus: cpus.map_or(0, usize::from),
                memory_total: 0,
                memory_used: 0,
                process_memory: 0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }

    /// The facts now. It reads a few small files of the kernel, or asks it as often.
    pub(crate) fn facts(&self) -> HostFacts {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_memory();
        let mut facts = self.lasting.clone();
        let (total, used) = (system.total_memory(), system.used_memory());
        let container = system.cgroup_limits();
        let container = container.filter(|limits| limits.total_memory < total);
        (facts.memory_total, facts.memory_used) = container.map_or((total, used), |limits| {
            let used = limits.total_memory.saturating_sub(limits.free_memory);
            (limits.total_memory, used)
        });
        if let Ok(me) = sysinfo::get_current_pid() {
            facts.process_memory = process_memory(&mut system, me);
        }
        facts
    }
}

fn process_memory(system: &mut System, process: Pid) -> u64 {
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), true, memory);
    let process = system.process(process);
    process.map_or(0, |process| process.memory())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_a_system_and_memory() {
        let facts = Host::new().facts();
        for fact in [&facts.name, &facts.os, &facts.os_version, &facts.arch] {
            assert!(!fact.is_empty() && fact != UNKNOWN, "{facts:?}");
        }
        assert!(facts.cpus > 0, "{facts:?}");
        assert!(facts.process_memory > 1 << 20, "{facts:?}");
        assert!(facts.memory_used <= facts.memory_total, "{facts:?}");
        assert!(facts.process_memory < facts.memory_total, "{facts:?}");
        assert_eq!(facts.version, env!("CARGO_PKG_VERSION"));
    }
}
