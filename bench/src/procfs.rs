//! What the kernel says about processes, the machine and the network namespace. Owns the reading of `/proc`; knows
//! nothing of the programs that are measured.

use std::{fs, io, path::Path, time::Duration};

/// Ticks per second of `/proc/PID/stat`; Linux shows 100 to user space on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process has used so far, user and system, of all its threads.
///
/// The scheduler's figure (nanoseconds, living threads only) unless the accounting of `stat` (ticks of 10 ms, ended
/// threads too) exceeds it by more than its rounding.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = parse_stat_ticks(&stat).ok_or_else(|| malformed("stat"))?;
    let accounted = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    let mut scheduled = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread may end between the listing and the reading; kernels without schedstat leave it to `stat`.
        if let Ok(text) = fs::read_to_string(path) {
            scheduled += Duration::from_nanos(first_number(&text).unwrap_or(0));
        }
    }
    let rounding = Duration::from_millis(2 * 1000 / TICKS_PER_SECOND);
    Ok(if accounted > scheduled + rounding { accounted } else { scheduled })
}

/// The most memory that a process ever had resident, in bytes (`VmHWM`).
///
/// # Errors
/// The process is gone.
pub fn peak_rss_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse_peak_rss(&status).ok_or_else(|| malformed("status"))
}

/// Time of all processors together, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Not idle: user, nice, system, interrupts. Without steal, which is other machines' time.
    pub busy: u64,
    /// All of it.
    pub total: u64,
}

impl Machine {
    /// The present counters.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub fn read() -> io::Result<Self> {
        parse_machine(&fs::read_to_string("/proc/stat")?).ok_or_else(|| malformed("/proc/stat"))
    }

    /// Share of all processors that was busy since an earlier reading, 0 to 1.
    #[must_use]
    pub fn busy_share_since(&self, earlier: &Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 { 0.0 } else { self.busy.saturating_sub(earlier.busy) as f64 / total as f64 }
    }
}

/// What the network namespace of this process has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Bytes that went over the loopback, IP headers included.
    pub loopback_bytes: u64,
    /// UDP sends; a train sent with segmentation offload counts once.
    pub udp_sends: u64,
    /// UDP packets lost because a receive buffer was full.
    pub udp_buffer_drops: u64,
    /// TCP segments sent.
    pub tcp_segments: u64,
}

impl Namespace {
    /// The present counters.
    ///
    /// # Errors
    /// `/proc/net` cannot be read.
    pub fn read() -> io::Result<Self> {
        let dev = fs::read_to_string("/proc/net/dev")?;
        let snmp = fs::read_to_string("/proc/net/snmp")?;
        Ok(Self {
            loopback_bytes: parse_loopback_bytes(&dev).ok_or_else(|| malformed("/proc/net/dev"))?,
            udp_sends: parse_snmp(&snmp, "Udp", "OutDatagrams").ok_or_else(|| malformed("/proc/net/snmp"))?,
            udp_buffer_drops: parse_snmp(&snmp, "Udp", "RcvbufErrors").unwrap_or(0),
            tcp_segments: parse_snmp(&snmp, "Tcp", "OutSegs").ok_or_else(|| malformed("/proc/net/snmp"))?,
        })
    }

    /// What was counted since an earlier reading.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            loopback_bytes: self.loopback_bytes.saturating_sub(earlier.loopback_bytes),
            udp_sends: self.udp_sends.saturating_sub(earlier.udp_sends),
            udp_buffer_drops: self.udp_buffer_drops.saturating_sub(earlier.udp_buffer_drops),
            tcp_segments: self.tcp_segments.saturating_sub(earlier.tcp_segments),
        }
    }
}

/// Processors that this process may use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Whether a file exists and says that the process is still there.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} does not look as proc(5) says"))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// `utime + stime`, fields 14 and 15. The second field is the command in parentheses and may hold anything.
fn parse_stat_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_peak_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(first_number(line)? * 1024)
}

fn parse_machine(stat: &str) -> Option<Machine> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, io_wait, interrupt, soft_interrupt, ..] = *times.as_slice() else {
        return None;
    };
    let busy = user + nice + system + interrupt + soft_interrupt;
    Some(Machine { busy, total: busy + idle + io_wait })
}

fn parse_loopback_bytes(dev: &str) -> Option<u64> {
    let line = dev.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
    // Eight receive fields, then the bytes sent.
    line.split_whitespace().nth(8)?.parse().ok()
}

/// One field of a protocol: a line of names, then a line of numbers, both with the protocol in front.
fn parse_snmp(snmp: &str, protocol: &str, field: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == field)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command may hold spaces and parentheses; the fields after it must not move.
    #[test]
    fn stat_survives_any_command() {
        let stat = "42 (a) R (b c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 0 0 20 0 1 0 1000 1 1 1";
        assert_eq!(parse_stat_ticks(stat), Some(42));
        assert_eq!(parse_stat_ticks("42 (cut"), None);
    }

    #[test]
    fn status_and_machine() {
        assert_eq!(parse_peak_rss("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2048 * 1024));
        let earlier = parse_machine("cpu  10 0 10 80 0 0 0 5 0 0\ncpu0 1 1 1 1\n").unwrap();
        let later = parse_machine("cpu  40 0 20 140 0 0 0 50 0 0\n").unwrap();
        assert!((later.busy_share_since(&earlier) - 0.4).abs() < 1e-9);
        assert_eq!(parse_machine("cpu0 1 2 3"), None);
    }

    #[test]
    fn network_counters_by_name() {
        let dev = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo:  100 1 0 0 0 0 0 0  777 1 0 0 0 0 0 0\n";
        assert_eq!(parse_loopback_bytes(dev), Some(777));
        let snmp = "Udp: InDatagrams NoPorts OutDatagrams RcvbufErrors\nUdp: 1 2 3 4\n\
                    UdpLite: InDatagrams OutDatagrams\nUdpLite: 8 9\n";
        assert_eq!(parse_snmp(snmp, "Udp", "OutDatagrams"), Some(3));
        assert_eq!(parse_snmp(snmp, "Udp", "RcvbufErrors"), Some(4));
        assert_eq!(parse_snmp(snmp, "Udp", "Missing"), None);
    }

    /// The living kernel agrees with the parsers: this very process has used some CPU and some memory.
    #[test]
    fn this_process() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let mut sum = 0_u64;
        for i in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
        assert!(cpu_time(pid).unwrap() > before, "{sum}");
        assert!(peak_rss_bytes(pid).unwrap() > 1 << 20);
        assert!(Machine::read().unwrap().total > 0);
        Namespace::read().unwrap();
    }
}
