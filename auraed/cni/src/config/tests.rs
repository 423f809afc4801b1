use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIST: &str = r#"{
  "cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0", "9.0.0"], "name": "dbnet", "disableGC": "True",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "big": 123456789012345678901234567890, "keyA": ["some", {"more": 1.50}],
     "cni.dev/x": 1, "ipam": {"type": "host-local"}},
    {"type": "portmap", "capabilities": {"portMappings": true, "dns": false}, "runtimeConfig": {"of": "old"}}
  ]
}"#;

fn list(text: &str) -> Result<NetworkConfig, ConfigError> {
    NetworkConfig::parse_list(text.as_bytes())
}

fn requested(config: &NetworkConfig, plugin: usize, occasion: &Occasion<'_>) -> String {
    let request = config.request(&config.plugins()[plugin], Version::V1_0_0, occasion);
    String::from_utf8(request.unwrap()).unwrap()
}

#[test]
fn a_list_is_read() {
    let config = list(LIST).unwrap();
    assert_eq!(config.name(), "dbnet");
    let versions: Vec<_> = config.versions().iter().map(|version| version.as_str()).collect();
    assert_eq!(
        versions,
        ["0.4.0", "1.0.0", "1.1.0"],
        "what is not spoken here is left out"
    );
    assert!(config.disable_gc() && !config.disable_check() && !config.only_inlined());
    let kinds: Vec<_> = config.plugins().iter().map(PluginConfig::kind).collect();
    assert_eq!(kinds, ["bridge", "portmap"]);
    assert!(config.has_capability("portMappings") && !config.has_capability("dns"));
}

#[test]
fn a_single_plugin_is_a_network() {
    let config =
        NetworkConfig::parse_single(br#"{"cniVersion": "0.3.1", "name": "lo", "type": "loopback"}"#).unwrap();
    assert_eq!((config.name(), config.plugins().len()), ("lo", 1));
    assert!(config.only_inlined());
}

#[test]
fn a_plugin_gets_its_own_fields_untouched() {
    let config = list(LIST).unwrap();
    let (capabilities, previous) = (BTreeMap::new(), json!({"ips": []}));
    let occasion = Occasion::Attachment {
        capabilities: &capabilities,
        previous: Some(&previous),
    };
    assert_eq!(
        requested(&config, 0, &occasion),
        concat!(
            r#"{"big":123456789012345678901234567890,"bridge":"cni0","cniVersion":"1.0.0","#,
            r#""ipam":{"type": "host-local"},"keyA":["some", {"more": 1.50}],"name":"dbnet","#,
            r#""prevResult":{"ips":[]},"type":"bridge"}"#
        )
    );
}

#[test]
fn only_capabilities_that_a_plugin_has_reach_it() {
    let config = list(LIST).unwrap();
    let capabilities = BTreeMap::from([
        ("portMappings".to_owned(), json!([{"hostPort": 1}])),
        ("dns".to_owned(), json!({})),
        ("mac".to_owned(), json!("x")),
    ]);
    let occasion = Occasion::Attachment {
        capabilities: &capabilities,
        previous: None,
    };
    assert!(!requested(&config, 0, &occasion).contains("runtimeConfig"));
    assert_eq!(
        requested(&config, 1, &occasion),
        r#"{"cniVersion":"1.0.0","name":"dbnet","runtimeConfig":{"portMappings":[{"hostPort":1}]},"type":"portmap"}"#
    );
}

#[test]
fn what_is_valid_is_told_by_both_of_its_names() {
    let config = list(LIST).unwrap();
    let valid = [Valid {
        id: "a".to_owned(),
        interface: "eth0".to_owned(),
    }];
    let told = r#"[{"containerID":"a","ifname":"eth0"}]"#;
    let request = requested(&config, 1, &Occasion::Collection(&valid));
    assert_eq!(
        request,
        format!(
            r#"{{"cni.dev/attachments":{told},"cni.dev/valid-attachments":{told},"cniVersion":"1.0.0","name":"dbnet","type":"portmap"}}"#
        )
    );
    let request = requested(&config, 1, &Occasion::Collection(&[]));
    assert!(
        request.contains(r#""cni.dev/valid-attachments":[]"#),
        "none is said too: {request}"
    );
}

#[test]
fn what_is_kept_leads_to_the_same_requests() {
    let config = list(LIST).unwrap();
    let kept = list(config.to_list(Version::V1_0_0).unwrap().get()).unwrap();
    assert_eq!(
        kept.versions().iter().copied().collect::<Vec<_>>(),
        [Version::V1_0_0]
    );
    assert!(kept.disable_gc() && kept.only_inlined());
    for plugin in 0..2 {
        assert_eq!(
            requested(&config, plugin, &Occasion::Status),
            requested(&kept, plugin, &Occasion::Status)
        );
    }
}

#[test]
fn plugins_may_be_in_other_files() {
    let config = list(r#"{"cniVersion": "1.1.0", "name": "a"}"#).unwrap();
    assert!(matches!(
        config.clone().with_plugins(Vec::new()),
        Err(ConfigError::Plugins(0))
    ));
    let plugin = PluginConfig::parse(br#"{"type": "tuning"}"#).unwrap();
    assert_eq!(config.with_plugins(vec![plugin]).unwrap().plugins().len(), 1);
}

#[test]
fn what_cannot_be_used_is_named() {
    for (text, reason) in [
        ("", "it is not a JSON object"),
        ("[]", "it is not a JSON object"),
        (
            r#"{"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}"#,
            "name is missing",
        ),
        (
            r#"{"name": "../x", "cniVersion": "1.0.0", "plugins": [{"type": "a"}]}"#,
            r#"name "../x" is not made of letters, digits, '_', '.' and '-', a letter or digit first"#,
        ),
        (
            r#"{"name": "a", "plugins": [{"type": "a"}]}"#,
            "no version of it can be used",
        ),
        (
            r#"{"name": "a", "cniVersion": "0.2.0", "plugins": [{"type": "a"}]}"#,
            "no version of it can be used",
        ),
        (
            r#"{"name": "a", "cniVersion": 1, "plugins": [{"type": "a"}]}"#,
            "cniVersion is not a text",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": []}"#,
            "it has 0 plugins, not 1 to 64",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": {}}"#,
            "plugins is not a list of objects",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": [{}]}"#,
            "type is missing",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "../a"}]}"#,
            r#"type "../a" is not a program's name"#,
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "a", "capabilities": {"b": 1}}]}"#,
            "capabilities is not an object of true and false",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "disableGC": 1, "plugins": [{"type": "a"}]}"#,
            "disableGC is not true or false",
        ),
        (
            r#"{"name": "a", "cniVersion": "1.0.0", "loadOnlyInlinedPlugins": true}"#,
            "plugins is missing",
        ),
    ] {
        assert_eq!(list(text).unwrap_err().to_string(), reason, "{text}");
    }
    let long = format!(r#"{{"name": "a", "pad": "{}"}}"#, "x".repeat(2 << 20));
    assert!(matches!(list(&long), Err(ConfigError::TooLong)));
    let deep = format!(
        r#"{{"name": "a", "cniVersion": "1.0.0", "plugins": [{{"type": "a", "x": {}{}}}]}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    // Whatever is said of it, it is said, and the stack holds.
    let _ = list(&deep);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = NetworkConfig::parse_list(&bytes);
        let _ = NetworkConfig::parse_single(&bytes);
    }

    #[test]
    fn any_values_in_known_fields_are_read_or_refused(
        version in any_json(), versions in any_json(), name in any_json(), plugins in any_json(),
        flag in any_json(), capabilities in any_json(),
    ) {
        let list = json!({
            "cniVersion": version, "cniVersions": versions, "name": name, "plugins": plugins, "disableCheck": flag,
        });
        let _ = NetworkConfig::parse_list(list.to_string().as_bytes());
        let plugin = json!({"type": name, "capabilities": capabilities});
        let _ = PluginConfig::parse(plugin.to_string().as_bytes());
    }

    #[test]
    fn unknown_fields_reach_the_plugin(fields in prop::collection::btree_map("[a-z]{3,8}X", any_json(), 0..6)) {
        let mut plugin = serde_json::Map::from_iter(fields.clone());
        plugin.insert("type".to_owned(), json!("p"));
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]});
        let config = NetworkConfig::parse_list(list.to_string().as_bytes()).unwrap();
        let request = config.request(&config.plugins()[0], Version::V1_0_0, &Occasion::Status).unwrap();
        let request: serde_json::Map<String, Value> = serde_json::from_slice(&request).unwrap();
        // Through text, as the configuration went: a number may have lost digits there.
        let list: Value = serde_json::from_str(&list.to_string()).unwrap();
        for key in fields.keys() {
            prop_assert_eq!(&request[key], &list["plugins"][0][key]);
        }
    }
}
