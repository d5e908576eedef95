//! What the kernel says of a process.

use std::fs;

/// Resident memory of process `id`, in KiB.
#[must_use]
pub fn rss_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process with memory");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// Open descriptors of process `id`.
#[must_use]
pub fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).expect("a running process of ours").count()
}

/// Whether process `id` exists and has not ended.
#[must_use]
pub fn is_alive(id: u32) -> bool {
    // State `Z`: ended, and its parent has not asked yet.
    fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
