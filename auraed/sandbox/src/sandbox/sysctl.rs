//! Kernel parameters that a pod may set: those that its own namespaces hold. Any other would be the host's.

use super::{Error, NetworkNamespace, SandboxSpec};

/// Parameters of an IPC namespace (ipc/ipc_sysctl.c, ipc/mq_sysctl.c).
const IPC: [&str; 13] = [
    "kernel.auto_msgmni",
    "kernel.msg_next_id",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.msgmnb_max",
];

/// Refuses what is not the pod's own.
pub(super) fn check(spec: &SandboxSpec) -> Result<(), Error> {
    let own_network = matches!(spec.network, NetworkNamespace::Namespace(_));
    spec.sysctls
        .iter()
        .try_for_each(|(name, _)| check_one(name, own_network, !spec.host_ipc))
}

fn check_one(name: &str, own_network: bool, own_ipc: bool) -> Result<(), Error> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !name.split('.').all(plain) {
        return Err(Error::Refused(format!("{name:?} is not the name of a sysctl")));
    }
    let (holder, own) = if name.starts_with("net.") {
        ("network", own_network)
    } else if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        ("IPC", own_ipc)
    } else {
        return Err(Error::Refused(format!(
            "sysctl {name} is not a pod's but the whole machine's"
        )));
    };
    if own {
        Ok(())
    } else {
        Err(Error::Refused(format!(
            "sysctl {name} needs a {holder} namespace of the pod's own"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_namespace_holds_can_be_set() {
        assert!(check_one("net.ipv4.ip_unprivileged_port_start", true, false).is_ok());
        assert!(check_one("kernel.shm_rmid_forced", false, true).is_ok());
        assert!(check_one("fs.mqueue.msg_max", false, true).is_ok());
        for (name, own_network, own_ipc) in [
            ("net.ipv4.tcp_syncookies", false, true),
            ("kernel.shmmax", true, false),
            ("kernel.panic", true, true),
            ("vm.swappiness", true, true),
            ("net...kernel.panic", true, true),
            ("net./../kernel/panic", true, true),
            ("", true, true),
        ] {
            assert!(check_one(name, own_network, own_ipc).is_err(), "{name}");
        }
    }
}
