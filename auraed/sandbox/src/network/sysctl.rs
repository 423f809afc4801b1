//! The node's own settings under /proc/sys, in the calling thread's network namespace.

use std::io;
use std::path::Path;

use fs_err as fs;

/// Files under /proc/sys, their values, and what does not work without each.
pub(super) fn wanted(bridge: &str) -> [(String, &'static str, &'static str); 3] {
    [
        (
            "/proc/sys/net/ipv4/ip_forward".to_owned(),
            "1",
            "pods reach nothing beyond the node",
        ),
        (
            format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"),
            "1",
            "host ports are not served on the node's 127.0.0.1",
        ),
        // Else a pod could make itself the node's IPv6 router.
        (
            format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"),
            "0",
            "pods may send the node IPv6 routes",
        ),
    ]
}

// What is as wanted is not written: in a container these files are often read-only.
pub(super) fn set(path: &str, value: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(present) if present.trim() == value => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.contains("/ipv6/") => Ok(()),
        _ => fs::write(Path::new(path), value),
    }
}
