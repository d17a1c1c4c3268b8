//! How much memory a program and the programs that it started take.

use std::fs;

/// Most processes that are looked at.
const MAX_PROCESSES: usize = 256;

/// The resident memory of a process and of those that it started, in bytes; 0 if it is gone.
pub(super) fn of_group(pid: u32) -> u64 {
    let mut all = vec![pid];
    let mut kibibytes = 0;
    let mut next = 0;
    while next < all.len().min(MAX_PROCESSES) {
        let pid = all[next];
        next += 1;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kibibytes += resident
            .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0);
        // Threads other than the first start few processes, and a kernel without this file has none to offer.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
    }
    kibibytes << 10
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_takes_memory_and_one_that_is_gone_takes_none() {
        assert!(super::of_group(std::process::id()) > 1 << 20);
        assert_eq!(super::of_group(u32::MAX), 0);
    }
}
