//! The bodies of the fuzz targets, with what a generator thinks of.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ONES: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn config_of(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn descriptor() -> impl Strategy<Value = Value> {
    let media_type = prop_oneof![
        Just("application/vnd.oci.image.layer.v1.tar+gzip"),
        Just("application/vnd.oci.image.manifest.v1+json"),
        Just("application/vnd.oci.image.config.v1+json"),
        Just("application/vnd.docker.image.rootfs.diff.tar.gzip"),
        Just(""),
        Just("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
    ];
    let digest = prop_oneof![
        4 => Just(ONES.to_owned()),
        1 => Just("sha256:../../../../etc/passwd".to_owned()),
        1 => "[a-z0-9]{0,8}:[0-9a-f]{0,70}",
    ];
    let platform = prop_oneof![
        Just(json!({"os": "linux", "architecture": "amd64"})),
        Just(json!({"os": "linux", "architecture": "arm64", "variant": "v8"})),
        Just(json!({"os": "", "architecture": "unknown"})),
        Just(Value::Null),
        Just(json!([])),
    ];
    let size = prop_oneof![any::<u32>().prop_map(i64::from), any::<i64>()];
    (media_type, digest, size, platform).prop_map(|(media_type, digest, size, platform)| {
        let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
        if !platform.is_null() {
            descriptor["platform"] = platform;
        }
        descriptor
    })
}

/// Any JSON that has the words of images in it.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(2)),
        Just(json!(ONES)),
        ".{0,12}".prop_map(Value::from),
        descriptor(),
    ];
    let words = prop_oneof![
        Just("schemaVersion"),
        Just("mediaType"),
        Just("manifests"),
        Just("layers"),
        Just("config"),
        Just("rootfs"),
        Just("diff_ids"),
        Just("type"),
        Just("os"),
        Just("architecture"),
        Just("Env"),
        Just("Cmd"),
        Just("Entrypoint"),
        Just("User"),
        Just("Labels"),
        Just("Volumes"),
        Just("StopSignal"),
        Just("created"),
        Just("history"),
        Just("annotations"),
        Just("platform"),
        Just("digest"),
        Just("size"),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(words.clone(), inner, 0..6).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

fn manifests() -> impl Strategy<Value = Value> {
    let layers = proptest::collection::vec(descriptor(), 0..4);
    (
        descriptor(),
        layers,
        any::<bool>(),
        prop_oneof![4 => Just(2), 1 => any::<u8>()],
    )
        .prop_map(|(config, layers, index, version)| match index {
            false => json!({"schemaVersion": version, "config": config, "layers": layers}),
            true => json!({"schemaVersion": version, "manifests": layers}),
        })
}

fn configs() -> impl Strategy<Value = Value> {
    let list = proptest::option::of(proptest::collection::vec(".{0,12}", 0..3));
    let diff_ids = proptest::collection::vec(prop_oneof![4 => Just(ONES.to_owned()), 1 => ".{0,80}"], 0..3);
    (list.clone(), list, diff_ids, ".{0,24}", any::<bool>()).prop_map(
        |(env, command, diff_ids, text, here)| {
            let architecture = if here {
                crate::platform::architecture()
            } else {
                text.as_str()
            };
            json!({
                "architecture": architecture, "os": "linux", "created": text,
                "config": {"Env": env, "Cmd": command, "User": text, "StopSignal": text, "WorkingDir": text,
                    "Labels": {text.clone(): text}, "Volumes": {text.clone(): {}}},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
            })
        },
    )
}

/// A document with some of its bytes changed.
fn damaged(document: &Value, damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = document.to_string().into_bytes();
    for (index, byte) in damage {
        let index = index.index(bytes.len());
        bytes[index] = *byte;
    }
    bytes
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 0..3)
}

/// Names that are nearly right.
fn names() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just("".to_owned()),
        Just("docker.io/".to_owned()),
        Just("index.docker.io/".to_owned()),
        Just("localhost:5000/".to_owned()),
        Just("[::1]:80/".to_owned()),
        Just("[::1/".to_owned()),
        "[a-zA-Z0-9.:-]{1,12}/",
    ];
    let path = prop_oneof![
        3 => "[a-z0-9]{1,6}(/[a-z0-9._-]{1,8}){0,3}",
        1 => "[a-zA-Z0-9._/ -]{0,12}",
    ];
    let tag = prop_oneof![
        Just("".to_owned()),
        ":[a-zA-Z0-9._-]{0,8}",
        Just(format!(":{}", "t".repeat(129)))
    ];
    let digest =
        prop_oneof![3 => Just("".to_owned()), 2 => Just(format!("@{ONES}")), 1 => "@[a-z0-9:]{0,20}"];
    (host, path, tag, digest).prop_map(|(host, path, tag, digest)| format!("{host}{path}{tag}{digest}"))
}

proptest! {
    #![proptest_config(config_of(600))]

    #[test]
    fn any_document_is_survived(document in documents(), damage in damage()) {
        let bytes = damaged(&document, &damage);
        manifest(&bytes);
        config(&bytes);
    }

    #[test]
    fn any_manifest_is_survived(document in manifests(), damage in damage()) {
        manifest(&damaged(&document, &damage));
    }

    #[test]
    fn any_configuration_is_survived(document in configs(), damage in damage()) {
        config(&damaged(&document, &damage));
    }

    #[test]
    fn any_name_is_taken_as_it_is_written(name in names(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        reference(name.as_bytes());
        reference(&bytes);
    }
}

/// What fuzzers begin with: names and contents.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/fuzz/seeds");
    let entries = fs_err::read_dir(std::path::Path::new(directory).join(target)).unwrap();
    let seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs_err::read(path).unwrap())
        })
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn what_fuzzers_begin_with_is_right() {
    for (name, bytes) in seeds("manifest") {
        let parsed = document::parse(&Digest::sha256(&bytes), &bytes);
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
        manifest(&bytes);
    }
    for (name, bytes) in seeds("config") {
        let blob = Blob {
            digest: Digest::sha256(&bytes),
            size: bytes.len() as u64,
        };
        let mut parsed = (0..3).map(|layers| {
            let manifest = Manifest {
                config: blob.clone(),
                layers: vec![blob.clone(); layers],
            };
            document::parse_config(&manifest, &bytes)
        });
        // They are of one architecture.
        let right = |parsed| matches!(parsed, Ok(_) | Err(document::DocumentError::OtherPlatform { .. }));
        assert!(parsed.any(right), "{name}");
        config(&bytes);
    }
    for (name, bytes) in seeds("reference") {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.parse::<Reference>().is_ok(), "{name}");
        reference(text.as_bytes());
    }
    let directory = tempfile::tempdir().unwrap();
    let ingest = Ingest::open(directory.path().join("ingest")).unwrap();
    for (name, bytes) in seeds("layer") {
        let mut content = Vec::new();
        let mut inflated = crate::layer::inflate(bytes.as_slice()).unwrap();
        std::io::Read::read_to_end(&mut inflated, &mut content).unwrap();
        let plan = Plan {
            layer: Digest::sha256(&bytes),
            diff_id: Digest::sha256(&content),
        };
        let unpacked = unpack_blob(&plan, bytes.as_slice(), &ingest);
        assert!(unpacked.is_ok(), "{name}: {unpacked:?}");
        drop(unpacked);
        layer(&bytes);
        clean_at_the_end();
    }
}

/// Headers that a tar stream may have, right and wrong, with their content.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        Just(b'0'),
        Just(b'1'),
        Just(b'2'),
        Just(b'3'),
        Just(b'5'),
        Just(b'6'),
        Just(b'S'),
        Just(b'x'),
        Just(b'g'),
        Just(b'L'),
        Just(b'K'),
        Just(b'V'),
        any::<u8>()
    ];
    let names = prop_oneof![
        4 => "(a|b|\\.\\.|\\.wh\\.a|\\.wh\\.\\.wh\\.\\.opq|)(/(a|b|\\.\\.)){0,3}",
        1 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ];
    let content = prop_oneof![
        2 => proptest::collection::vec(any::<u8>(), 0..700),
        3 => pax(),
    ];
    let size = proptest::option::weighted(0.1, any::<u64>());
    let fields = proptest::collection::vec(any::<(u8, u8)>(), 0..3);
    (kinds, names.clone(), names, content, size, fields, any::<bool>()).prop_map(
        |(kind, name, link, content, size, fields, gnu)| {
            let mut header = if gnu {
                tar::Header::new_gnu()
            } else {
                tar::Header::new_ustar()
            };
            let bytes = header.as_mut_bytes();
            let put = |bytes: &mut [u8; 512], at: usize, text: &str| {
                let length = text.len().min(100);
                bytes[at..at + length].copy_from_slice(&text.as_bytes()[..length]);
            };
            put(bytes, 0, &name);
            put(bytes, 157, &link);
            bytes[156] = kind;
            for (at, byte) in fields {
                // Somewhere in the numbers, or in the map of an old sparse file.
                bytes[if gnu {
                    386 + usize::from(at) / 3
                } else {
                    100 + usize::from(at) % 48
                }] = byte;
            }
            header.set_size(size.unwrap_or(content.len() as u64));
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend_from_slice(&content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes
        },
    )
}

/// Extended headers.
fn pax() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop_oneof![
        Just("path"),
        Just("linkpath"),
        Just("size"),
        Just("uid"),
        Just("gid"),
        Just("mtime"),
        Just("SCHILY.xattr.user.a"),
        Just("SCHILY.xattr.trusted.overlay.opaque"),
        Just("SCHILY.xattr.security.capability"),
        Just("SCHILY.xattr.system.posix_acl_default"),
        Just("GNU.sparse.size"),
        Just("GNU.sparse.realsize"),
        Just("GNU.sparse.major"),
        Just("GNU.sparse.minor"),
        Just("GNU.sparse.name"),
        Just("GNU.sparse.map"),
        Just("GNU.sparse.offset"),
        Just("GNU.sparse.numbytes"),
        Just("GNU.sparse.numblocks"),
        Just("comment"),
    ];
    let values = prop_oneof![
        Just("".to_owned()),
        Just("0".to_owned()),
        Just("1".to_owned()),
        Just("../../../../etc/passwd".to_owned()),
        "[0-9]{1,20}",
        "[0-9]{1,4}(,[0-9]{1,4}){0,4}",
        Just("a/".repeat(2040)),
        Just("n".repeat(256)),
        ".{0,20}",
    ];
    proptest::collection::vec((keys, values), 1..5).prop_map(|records| {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + rest.to_string().len();
            if rest + length.to_string().len() > length {
                length += 1;
            }
            bytes.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(config_of(1500))]

    #[test]
    fn any_layer_is_survived_and_stays_in_its_place(
        headers in proptest::collection::vec(headers(), 1..8),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        packed in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> = headers.concat();
        if packed {
            bytes = zstd::encode_all(bytes.as_slice(), 0).unwrap();
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        layer(&bytes);
        clean_at_the_end();
    }
}

/// Removes the directory of a test's thread when it ends.
fn clean_at_the_end() {
    struct Cleaner;
    impl Drop for Cleaner {
        fn drop(&mut self) {
            clean();
        }
    }
    thread_local! {
        static CLEANER: Cleaner = const { Cleaner };
    }
    CLEANER.with(|_| ());
}
