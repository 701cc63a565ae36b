//! Naming a process so that another one with the same pid is not taken for it.

use crate::error::{Error, Result};

/// When the process started, in clock ticks since boot: field 22 of proc_pid_stat(5). `None` if there is no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(&stat)
}

/// The name in field 2 may hold anything, parentheses too; it ends with the last one.
fn parse(stat: &[u8]) -> Option<u64> {
    let behind_name = stat.iter().rposition(|&b| b == b')')? + 1;
    std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Names this boot of the machine: pids and start times of another one mean nothing.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => Err(Error::failed("this boot of the machine has no name", format!("read {path}: {e}"), "bottle needs /proc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_fields_is_read_right() {
        let stat = b"7 (a) R 1 (x 9) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 100 200";
        assert_eq!(parse(stat), Some(98765));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"7 (x) S"), None);
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
