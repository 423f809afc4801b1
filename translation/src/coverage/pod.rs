//! PodSpec and what hangs on it, but for containers and volumes.

use super::container::CONTAINER;
use super::volume::VOLUME;
use super::{Field, Struct, apart, ignored, mapped, nested, only, refused};

const SCHEDULER: &str = "the scheduler's: the pod is on this node already";
const LABELS: &str = "no SELinux labels are made, as with a container runtime whose SELinux support is off";
const WINDOWS: &str = "of Windows nodes alone, as under a kubelet on Linux";

/// The spec of a pod.
pub static POD_SPEC: Struct = Struct {
    name: "PodSpec",
    fields: &[
        mapped("activeDeadlineSeconds"),
        ignored("affinity", SCHEDULER),
        ignored(
            "automountServiceAccountToken",
            "the API server's: it has made a volume of it",
        ),
        nested("containers", &CONTAINER),
        nested("dnsConfig", &DNS_CONFIG),
        only(
            "dnsPolicy",
            &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
            "unknown DNS policy",
        ),
        mapped("enableServiceLinks"),
        apart(
            "ephemeralContainers",
            "containers cannot be added to a running pod yet",
        ),
        ignored(
            "evictionResponders",
            "the eviction API's: this node evicts no pods yet",
        ),
        nested("hostAliases", &HOST_ALIAS),
        mapped("hostIPC"),
        mapped("hostNetwork"),
        mapped("hostPID"),
        only(
            "hostUsers",
            &["true"],
            "user namespaces are not made for pods yet",
        ),
        mapped("hostname"),
        mapped("hostnameOverride"),
        nested("imagePullSecrets", &LOCAL_OBJECT_REFERENCE),
        nested("initContainers", &CONTAINER),
        mapped("nodeName"),
        ignored("nodeSelector", SCHEDULER),
        nested("os", &OS),
        refused(
            "overhead",
            "it comes from a runtime class, and this node has none yet",
        ),
        ignored("preemptionPolicy", SCHEDULER),
        ignored("priority", "this node neither evicts nor preempts pods yet"),
        ignored(
            "priorityClassName",
            "the API server's: it has made a priority of it",
        ),
        nested("readinessGates", &READINESS_GATE),
        refused("resourceClaims", "devices are not allocated to pods yet"),
        refused(
            "resources",
            "limits of a whole pod are not enforced yet: give each container its own",
        )
        .status_reason("PodLevelResourcesNotSupported"),
        only(
            "restartPolicy",
            &["Always", "OnFailure", "Never"],
            "unknown restart policy",
        ),
        refused(
            "runtimeClassName",
            "this node has one way of running pods, and no runtime classes yet",
        ),
        ignored("schedulerName", SCHEDULER),
        ignored("schedulingGates", SCHEDULER),
        ignored("schedulingGroup", SCHEDULER),
        nested("securityContext", &POD_SECURITY_CONTEXT),
        ignored(
            "serviceAccount",
            "the old name of serviceAccountName, kept equal by the API server",
        ),
        mapped("serviceAccountName"),
        mapped("setHostnameAsFQDN"),
        mapped("shareProcessNamespace"),
        mapped("subdomain"),
        mapped("terminationGracePeriodSeconds"),
        ignored("tolerations", SCHEDULER),
        ignored("topologySpreadConstraints", SCHEDULER),
        nested("volumes", &VOLUME),
    ],
};

static DNS_CONFIG: Struct = Struct {
    name: "PodDNSConfig",
    fields: &[
        mapped("nameservers"),
        nested("options", &DNS_OPTION),
        mapped("searches"),
    ],
};

static DNS_OPTION: Struct = Struct {
    name: "PodDNSConfigOption",
    fields: &[mapped("name"), mapped("value")],
};

static HOST_ALIAS: Struct = Struct {
    name: "HostAlias",
    fields: &[mapped("hostnames"), mapped("ip")],
};

static LOCAL_OBJECT_REFERENCE: Struct = Struct {
    name: "LocalObjectReference",
    fields: &[mapped("name")],
};

static OS: Struct = Struct {
    name: "PodOS",
    fields: &[only(
        "name",
        &["linux"],
        "Failed to admit pod as the OS field doesn't match node OS",
    )
    .status_reason("PodOSNotSupported")],
};

static READINESS_GATE: Struct = Struct {
    name: "PodReadinessGate",
    fields: &[mapped("conditionType")],
};

static POD_SECURITY_CONTEXT: Struct = Struct {
    name: "PodSecurityContext",
    fields: &[
        nested("appArmorProfile", &APP_ARMOR),
        mapped("fsGroup"),
        ignored(
            "fsGroupChangePolicy",
            "volumes that have a group are made new for each pod: both policies do the same",
        ),
        mapped("runAsGroup"),
        mapped("runAsNonRoot"),
        mapped("runAsUser"),
        ignored("seLinuxChangePolicy", LABELS),
        SE_LINUX,
        nested("seccompProfile", &SECCOMP),
        mapped("supplementalGroups"),
        only(
            "supplementalGroupsPolicy",
            &["Merge"],
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        )
        .status_reason("SupplementalGroupsPolicyNotSupported"),
        nested("sysctls", &SYSCTL),
        WINDOWS_OPTIONS,
    ],
};

static SYSCTL: Struct = Struct {
    name: "Sysctl",
    fields: &[mapped("name"), mapped("value")],
};

pub(super) const SE_LINUX: Field = ignored("seLinuxOptions", LABELS);
pub(super) const WINDOWS_OPTIONS: Field = ignored("windowsOptions", WINDOWS);

pub(super) static SECCOMP: Struct = Struct {
    name: "SeccompProfile",
    fields: &[
        ignored("localhostProfile", "of the type Localhost alone"),
        only(
            "type",
            &["RuntimeDefault", "Unconfined"],
            "seccomp profiles from files are not read yet",
        ),
    ],
};

pub(super) static APP_ARMOR: Struct = Struct {
    name: "AppArmorProfile",
    fields: &[
        ignored("localhostProfile", "of the type Localhost alone"),
        only(
            "type",
            &["Unconfined"],
            "Cannot enforce AppArmor: this node applies no profiles yet",
        )
        .status_reason("AppArmor"),
    ],
};
