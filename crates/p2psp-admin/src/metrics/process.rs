//! The process as the operating system sees it, under the names that Prometheus' own clients use. Where there is no `/proc`, the
//! figures are 0.

use super::{Metric, Value, counter, gauge};
use std::fs;

/// The unit in which `/proc` tells CPU time, on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// What the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    cpu_s: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: u64,
    max_fds: u64,
    threads: u64,
}

impl Figures {
    pub(super) fn read() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let open_fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            open_fds: u64::try_from(open_fds).unwrap_or(0),
            ..Self::parse(&read("stat"), &read("status"), &read("limits"))
        }
    }

    fn parse(stat: &str, status: &str, limits: &str) -> Self {
        // The command's name, in brackets, may hold anything.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        let number = |text: &str, name: &str, column: usize| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().nth(column).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            cpu_s: (ticks(11) + ticks(12)) / TICKS_PER_S,
            resident_bytes: number(status, "VmRSS:", 0) * 1024,
            virtual_bytes: number(status, "VmSize:", 0) * 1024,
            open_fds: 0,
            max_fds: number(limits, "Max open files", 0),
            threads: number(status, "Threads:", 0),
        }
    }
}

pub(super) const METRICS: &[Metric<Figures>] = &[
    counter("process_cpu_seconds_total", "CPU time of the process.", |f| Value::Real(f.cpu_s)),
    gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.", |f| {
        Value::Int(f.resident_bytes)
    }),
    gauge("process_virtual_memory_bytes", "Address space of the process.", |f| Value::Int(f.virtual_bytes)),
    gauge("process_open_fds", "File descriptors in use.", |f| Value::Int(f.open_fds)),
    gauge("process_max_fds", "File descriptors that the process may use.", |f| Value::Int(f.max_fds)),
    gauge("process_threads", "Threads of the process.", |f| Value::Int(f.threads)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 3 0 1 2 3";
        let status = "Name:\ta) b (c\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t3\n";
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 4096     files\n";
        let expected = Figures {
            cpu_s: 1.75,
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            open_fds: 0,
            max_fds: 1024,
            threads: 3,
        };
        assert_eq!(Figures::parse(stat, status, limits), expected);
        assert_eq!(Figures::parse("", "", ""), Figures::default());
    }
}
