//! The pages of the program itself: code and constants that only a start needs are unmapped after it.
//!
//! A start reads configuration, compiles rules and touches most of the program once; serving needs a small part. What is unmapped is a
//! file's, unchanged: it comes back from the page cache when it is used, and meanwhile the kernel may have the memory.

use std::ffi::{c_int, c_void};

use rustix::mm::{Advice, madvise};

/// Unmaps the segments that nothing writes, not even the loader: those of code and constants (elf(5), `PT_LOAD` without `PF_W`).
pub(crate) fn forget() {
    // SAFETY: the function that is called keeps nothing of what it is shown.
    unsafe { libc::dl_iterate_phdr(Some(forget_segments), std::ptr::null_mut()) };
}

/// The program comes first among the objects that are loaded; others, as the kernel's own, stay as they are.
unsafe extern "C" fn forget_segments(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the C library hands over a description that is valid during the call.
    let (base, headers) =
        unsafe { ((*object).dlpi_addr, std::slice::from_raw_parts((*object).dlpi_phdr, usize::from((*object).dlpi_phnum))) };
    let page = rustix::param::page_size() as u64;
    for segment in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let start = (base + segment.p_vaddr) / page * page;
        // A last page that is not whole may hold something else behind it.
        let end = (base + segment.p_vaddr + segment.p_filesz) / page * page;
        // SAFETY: the pages are those of a file that is mapped privately and was not written to: they can be had again as they are. A
        // kernel that does not do it leaves them.
        let _ = unsafe { madvise(start as *mut c_void, (end - start) as usize, Advice::LinuxDontNeed) };
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the program's code is mapped, and how many kilobytes of it are (proc_pid_smaps(5)).
    fn mapped() -> (std::ops::Range<usize>, u64) {
        let program = std::env::current_exe().unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| !(line.contains(" r-xp ") && line.ends_with(program.to_str().unwrap())));
        let (start, end) = lines.next().unwrap().split_once(' ').unwrap().0.split_once('-').unwrap();
        let address = |text| usize::from_str_radix(text, 16).unwrap();
        let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        (address(start)..address(end), resident.trim().trim_end_matches(" kB").parse().unwrap())
    }

    /// In a process of its own: other tests use code at the same time.
    fn alone(test: &str) -> bool {
        const ALONE: &str = "BOTTLE_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return true;
        }
        let program = std::env::current_exe().unwrap();
        let done = std::process::Command::new(program).args(["--exact", test]).env(ALONE, "1").output().unwrap();
        assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("1 passed"), "{done:?}");
        false
    }

    #[test]
    fn code_is_no_longer_mapped_and_is_the_same_when_it_is_used_again() {
        if !alone("program::tests::code_is_no_longer_mapped_and_is_the_same_when_it_is_used_again") {
            return;
        }
        let (code, _) = mapped();
        // SAFETY: it is mapped for reading as long as the program runs.
        let read = || code.clone().step_by(1024).map(|at| unsafe { (at as *const u8).read_volatile() }).collect::<Vec<_>>();
        let before = read();
        let all = mapped().1;
        forget();
        let left = mapped().1;
        // Whatever ran since is mapped again, with all that stands around it; without forgetting, all would be.
        assert!(left < all - all / 4, "{left} of {all} kB");
        assert_eq!(read(), before);
    }
}
