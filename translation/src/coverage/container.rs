//! Container, with its probes, hooks, environment and security context.

use super::pod::{APP_ARMOR, SE_LINUX, SECCOMP, WINDOWS_OPTIONS};
use super::{Struct, ignored, mapped, nested, only, refused};

pub(super) static CONTAINER: Struct = Struct {
    name: "Container",
    fields: &[
        mapped("args"),
        mapped("command"),
        nested("env", &ENV_VAR),
        nested("envFrom", &ENV_FROM),
        mapped("image"),
        only(
            "imagePullPolicy",
            &["Always", "IfNotPresent", "Never"],
            "unknown pull policy",
        ),
        nested("lifecycle", &LIFECYCLE),
        nested("livenessProbe", &PROBE),
        mapped("name"),
        nested("ports", &PORT),
        nested("readinessProbe", &PROBE),
        ignored(
            "resizePolicy",
            "the resources of a running container do not change yet: a resize is answered Infeasible",
        ),
        nested("resources", &RESOURCES),
        only(
            "restartPolicy",
            &["Always"],
            "only Always on an init container: others follow the pod's policy",
        ),
        refused("restartPolicyRules", "restarts by exit code are not decided yet"),
        nested("securityContext", &SECURITY_CONTEXT),
        nested("startupProbe", &PROBE),
        mapped("stdin"),
        mapped("stdinOnce"),
        mapped("terminationMessagePath"),
        only(
            "terminationMessagePolicy",
            &["File", "FallbackToLogsOnError"],
            "unknown termination message policy",
        ),
        mapped("tty"),
        refused("volumeDevices", "block devices are not given to containers yet"),
        nested("volumeMounts", &VOLUME_MOUNT),
        mapped("workingDir"),
    ],
};

static ENV_VAR: Struct = Struct {
    name: "EnvVar",
    fields: &[
        mapped("name"),
        mapped("value"),
        nested("valueFrom", &ENV_VAR_SOURCE),
    ],
};

static ENV_VAR_SOURCE: Struct = Struct {
    name: "EnvVarSource",
    fields: &[
        nested("configMapKeyRef", &CONFIG_MAP_KEY),
        nested("fieldRef", &FIELD_REF),
        refused("fileKeyRef", "variables are not read from files of a volume yet"),
        nested("resourceFieldRef", &RESOURCE_FIELD_REF),
        nested("secretKeyRef", &SECRET_KEY),
    ],
};

static CONFIG_MAP_KEY: Struct = Struct {
    name: "ConfigMapKeySelector",
    fields: &[mapped("key"), mapped("name"), mapped("optional")],
};

static SECRET_KEY: Struct = Struct {
    name: "SecretKeySelector",
    fields: &[mapped("key"), mapped("name"), mapped("optional")],
};

pub(super) static FIELD_REF: Struct = Struct {
    name: "ObjectFieldSelector",
    fields: &[ignored("apiVersion", "there is only v1"), mapped("fieldPath")],
};

pub(super) static RESOURCE_FIELD_REF: Struct = Struct {
    name: "ResourceFieldSelector",
    fields: &[mapped("containerName"), mapped("divisor"), mapped("resource")],
};

static ENV_FROM: Struct = Struct {
    name: "EnvFromSource",
    fields: &[
        nested("configMapRef", &CONFIG_MAP_ENV),
        mapped("prefix"),
        nested("secretRef", &SECRET_ENV),
    ],
};

static CONFIG_MAP_ENV: Struct = Struct {
    name: "ConfigMapEnvSource",
    fields: &[mapped("name"), mapped("optional")],
};

static SECRET_ENV: Struct = Struct {
    name: "SecretEnvSource",
    fields: &[mapped("name"), mapped("optional")],
};

static LIFECYCLE: Struct = Struct {
    name: "Lifecycle",
    fields: &[
        nested("postStart", &LIFECYCLE_HANDLER),
        nested("preStop", &LIFECYCLE_HANDLER),
        refused("stopSignal", "the signal is the image's, else SIGTERM"),
    ],
};

static LIFECYCLE_HANDLER: Struct = Struct {
    name: "LifecycleHandler",
    fields: &[
        nested("exec", &EXEC),
        nested("httpGet", &HTTP_GET),
        nested("sleep", &SLEEP),
        nested("tcpSocket", &TCP_SOCKET),
    ],
};

static PROBE: Struct = Struct {
    name: "Probe",
    fields: &[
        nested("exec", &EXEC),
        mapped("failureThreshold"),
        refused("grpc", "gRPC probes are not made yet"),
        nested("httpGet", &HTTP_GET),
        mapped("initialDelaySeconds"),
        mapped("periodSeconds"),
        mapped("successThreshold"),
        nested("tcpSocket", &TCP_SOCKET),
        mapped("terminationGracePeriodSeconds"),
        mapped("timeoutSeconds"),
    ],
};

static EXEC: Struct = Struct {
    name: "ExecAction",
    fields: &[mapped("command")],
};

static HTTP_GET: Struct = Struct {
    name: "HTTPGetAction",
    fields: &[
        mapped("host"),
        nested("httpHeaders", &HTTP_HEADER),
        mapped("path"),
        mapped("port"),
        only("protocol", &["HTTP1"], "probes speak HTTP/1.1 alone"),
        only("scheme", &["HTTP", "HTTPS"], "unknown scheme"),
    ],
};

static HTTP_HEADER: Struct = Struct {
    name: "HTTPHeader",
    fields: &[mapped("name"), mapped("value")],
};

static SLEEP: Struct = Struct {
    name: "SleepAction",
    fields: &[mapped("seconds")],
};

static TCP_SOCKET: Struct = Struct {
    name: "TCPSocketAction",
    fields: &[mapped("host"), mapped("port")],
};

static PORT: Struct = Struct {
    name: "ContainerPort",
    fields: &[
        mapped("containerPort"),
        mapped("hostIP"),
        mapped("hostPort"),
        mapped("name"),
        only("protocol", &["TCP", "UDP", "SCTP"], "unknown protocol"),
    ],
};

static RESOURCES: Struct = Struct {
    name: "ResourceRequirements",
    fields: &[
        refused("claims", "devices are not allocated to containers yet"),
        mapped("limits").note(
            "cpu and memory are enforced; storage and extended resources are not; huge pages are refused",
        ),
        mapped("requests")
            .note("storage and extended resources are the scheduler's count alone; huge pages are refused"),
    ],
};

static SECURITY_CONTEXT: Struct = Struct {
    name: "SecurityContext",
    fields: &[
        mapped("allowPrivilegeEscalation"),
        nested("appArmorProfile", &APP_ARMOR),
        nested("capabilities", &CAPABILITIES),
        mapped("privileged"),
        only("procMount", &["Default", "Unmasked"], "unknown proc mount"),
        mapped("readOnlyRootFilesystem"),
        mapped("runAsGroup"),
        mapped("runAsNonRoot"),
        mapped("runAsUser"),
        SE_LINUX,
        nested("seccompProfile", &SECCOMP),
        WINDOWS_OPTIONS,
    ],
};

static CAPABILITIES: Struct = Struct {
    name: "Capabilities",
    fields: &[mapped("add"), mapped("drop")],
};

static VOLUME_MOUNT: Struct = Struct {
    name: "VolumeMount",
    fields: &[
        refused("bindMountOptions", "mounts take no options of their own yet"),
        mapped("mountPath"),
        only(
            "mountPropagation",
            &["None", "HostToContainer", "Bidirectional"],
            "unknown propagation",
        ),
        mapped("name"),
        mapped("readOnly"),
        only(
            "recursiveReadOnly",
            &["Disabled", "IfPossible"],
            "mounts below a read-only mount are not made read-only yet",
        ),
        mapped("subPath"),
        mapped("subPathExpr"),
    ],
};
