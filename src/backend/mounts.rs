//! The host's table of mounts (proc_pid_mountinfo(5)). Pure.

use std::path::PathBuf;

/// Where something is mounted: each place once.
pub(super) fn mount_points(table: &str) -> Vec<PathBuf> {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let plain = |point: &str| escapes.iter().fold(point.to_owned(), |point, (escape, character)| point.replace(escape, character));
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<PathBuf> = points.map(|point| plain(point).into()).collect();
    points.sort();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::mount_points;

    #[test]
    fn each_mount_point_is_named_once_and_as_it_is() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /a\\040b ro - ext4 a rw\n3 2 0:6 / /a\\040b ro - tmpfs t rw\n";
        assert_eq!(mount_points(table), ["/", "/a b"].map(std::path::PathBuf::from));
    }
}
