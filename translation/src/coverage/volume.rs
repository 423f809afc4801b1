//! Volume and its sources.

use super::container::{FIELD_REF, RESOURCE_FIELD_REF};
use super::{Struct, mapped, nested, only, refused};

const IN_TREE: &str = "taken out of Kubernetes: use the storage's CSI driver";
const NETWORK: &str = "network storage is not mounted yet";

pub(super) static VOLUME: Struct = Struct {
    name: "Volume",
    fields: &[
        refused("awsElasticBlockStore", IN_TREE),
        refused("azureDisk", IN_TREE),
        refused("azureFile", IN_TREE),
        refused("cephfs", IN_TREE),
        refused("cinder", IN_TREE),
        nested("configMap", &CONFIG_MAP),
        refused("csi", "CSI drivers are not spoken to yet"),
        nested("downwardAPI", &DOWNWARD_API),
        nested("emptyDir", &EMPTY_DIR),
        refused("ephemeral", "claims are not mounted yet"),
        refused("fc", NETWORK),
        refused(
            "flexVolume",
            "deprecated by Kubernetes: use the storage's CSI driver",
        ),
        refused("flocker", IN_TREE),
        refused("gcePersistentDisk", IN_TREE),
        refused("gitRepo", "taken out of Kubernetes: clone in an init container"),
        refused("glusterfs", IN_TREE),
        nested("hostPath", &HOST_PATH),
        refused("image", "images are not mounted as volumes yet"),
        refused("iscsi", NETWORK),
        mapped("name"),
        refused("nfs", NETWORK),
        refused("persistentVolumeClaim", "claims are not mounted yet"),
        refused("photonPersistentDisk", IN_TREE),
        refused("portworxVolume", IN_TREE),
        nested("projected", &PROJECTED),
        refused("quobyte", IN_TREE),
        refused("rbd", IN_TREE),
        refused("scaleIO", IN_TREE),
        nested("secret", &SECRET),
        refused("storageos", IN_TREE),
        refused("vsphereVolume", IN_TREE),
    ],
};

static CONFIG_MAP: Struct = Struct {
    name: "ConfigMapVolumeSource",
    fields: &[
        mapped("defaultMode"),
        mapped("defaultUser"),
        nested("items", &KEY_TO_PATH),
        mapped("name"),
        mapped("optional"),
    ],
};

static SECRET: Struct = Struct {
    name: "SecretVolumeSource",
    fields: &[
        mapped("defaultMode"),
        mapped("defaultUser"),
        nested("items", &KEY_TO_PATH),
        mapped("optional"),
        mapped("secretName"),
    ],
};

static KEY_TO_PATH: Struct = Struct {
    name: "KeyToPath",
    fields: &[mapped("key"), mapped("mode"), mapped("path"), mapped("user")],
};

static DOWNWARD_API: Struct = Struct {
    name: "DownwardAPIVolumeSource",
    fields: &[
        mapped("defaultMode"),
        mapped("defaultUser"),
        nested("items", &DOWNWARD_API_FILE),
    ],
};

static DOWNWARD_API_FILE: Struct = Struct {
    name: "DownwardAPIVolumeFile",
    fields: &[
        nested("fieldRef", &FIELD_REF),
        mapped("mode"),
        mapped("path"),
        nested("resourceFieldRef", &RESOURCE_FIELD_REF),
        mapped("user"),
    ],
};

static EMPTY_DIR: Struct = Struct {
    name: "EmptyDirVolumeSource",
    fields: &[
        only("medium", &["Memory"], "huge pages are not given to pods yet"),
        refused("mode", "the directory's mode is 0777"),
        mapped("sizeLimit"),
    ],
};

static HOST_PATH: Struct = Struct {
    name: "HostPathVolumeSource",
    fields: &[
        mapped("path"),
        only(
            "type",
            &[
                "DirectoryOrCreate",
                "Directory",
                "FileOrCreate",
                "File",
                "Socket",
                "CharDevice",
                "BlockDevice",
            ],
            "unknown type",
        ),
    ],
};

static PROJECTED: Struct = Struct {
    name: "ProjectedVolumeSource",
    fields: &[
        mapped("defaultMode"),
        mapped("defaultUser"),
        nested("sources", &PROJECTION),
    ],
};

static PROJECTION: Struct = Struct {
    name: "VolumeProjection",
    fields: &[
        refused("clusterTrustBundle", "trust bundles are not fetched yet"),
        nested("configMap", &CONFIG_MAP_PROJECTION),
        nested("downwardAPI", &DOWNWARD_API_PROJECTION),
        refused("podCertificate", "certificates are not requested for pods yet"),
        nested("secret", &SECRET_PROJECTION),
        nested("serviceAccountToken", &TOKEN_PROJECTION),
    ],
};

static CONFIG_MAP_PROJECTION: Struct = Struct {
    name: "ConfigMapProjection",
    fields: &[nested("items", &KEY_TO_PATH), mapped("name"), mapped("optional")],
};

static SECRET_PROJECTION: Struct = Struct {
    name: "SecretProjection",
    fields: &[nested("items", &KEY_TO_PATH), mapped("name"), mapped("optional")],
};

static DOWNWARD_API_PROJECTION: Struct = Struct {
    name: "DownwardAPIProjection",
    fields: &[nested("items", &DOWNWARD_API_FILE)],
};

static TOKEN_PROJECTION: Struct = Struct {
    name: "ServiceAccountTokenProjection",
    fields: &[
        mapped("audience"),
        mapped("expirationSeconds"),
        mapped("path"),
        mapped("user"),
    ],
};
