//! The memory of this process.

/// The largest resident set of this process so far, in bytes (`VmHWM` of `/proc/self/status`); `None` where the
/// system does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    of_status(
        "VmHWM:",
        &std::fs::read_to_string("/proc/self/status").ok()?,
    )
}

/// The resident set of this process now, in bytes (`VmRSS`); `None` where the system does not say.
pub(crate) fn resident_memory_bytes() -> Option<u64> {
    of_status(
        "VmRSS:",
        &std::fs::read_to_string("/proc/self/status").ok()?,
    )
}

fn of_status(key: &str, status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kibibytes() {
        let status = "Name:\twise\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(of_status("VmHWM:", status), Some(2 << 20));
        assert_eq!(of_status("VmHWM:", "VmHWM:\t many kB\n"), None);
        assert_eq!(of_status("VmHWM:", "Name:\twise\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_uses_memory() {
        let now = resident_memory_bytes().unwrap();
        assert!(now > 100_000 && peak_memory_bytes().unwrap() >= now);
    }
}
