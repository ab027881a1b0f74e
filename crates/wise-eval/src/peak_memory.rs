//! The most memory this process has used.

/// The largest resident set of this process so far, in bytes (`VmHWM` of `/proc/self/status`); `None` where the
/// system does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_in_kibibytes() {
        let status = "Name:\twise\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(high_water_mark(status), Some(2 << 20));
        assert_eq!(high_water_mark("VmHWM:\t many kB\n"), None);
        assert_eq!(high_water_mark("Name:\twise\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_uses_memory() {
        assert!(peak_memory_bytes().unwrap() > 100_000);
    }
}
