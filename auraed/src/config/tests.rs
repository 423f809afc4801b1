use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auraed.toml");
    fs_err::write(&path, text).unwrap();
    Config::load(&Flags {
        config: Some(path),
        ..Flags::default()
    })
}

#[test]
fn every_default_works() {
    let config = parse("").unwrap();
    assert_eq!(config.socket, Path::new("/run/aurae/aurae.sock"));
    assert_eq!(config.network.subnet, None);
    assert_eq!(config.network.default_subnet.to_string(), "10.88.0.0/16");
    assert_eq!(
        (config.container_logs.max_bytes, config.container_logs.max_files),
        (10 << 20, 5)
    );
}

/// The file for users to begin with, with what is commented out taken in.
fn example() -> String {
    include_str!("../../../examples/auraed.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_example_says_every_key_and_its_default() {
    let mut example: toml::Table = example().parse().unwrap();
    // What has no default is shown by a value of somebody's.
    let mut network = example["network"].as_table().unwrap().clone();
    assert_eq!(network.remove("subnet").unwrap().as_str(), Some(DEFAULT_SUBNET));
    assert!(network.remove("mtu").is_some());
    let mut images = example["images"].as_table().unwrap().clone();
    assert!(images.remove("docker_config").is_some() && images.remove("registries").is_some());
    example.insert("network".into(), network.into());
    example.insert("images".into(), images.into());
    let defaults: toml::Table = parse("").unwrap().to_toml().parse().unwrap();
    assert_eq!(example, defaults);
    parse(&self::example()).unwrap();
}

#[test]
fn who_makes_networks_is_chosen() {
    let mode = |text: &str| parse(text).unwrap().network.mode;
    assert_eq!(mode(""), Mode::Auto);
    assert_eq!(mode("[network]\nenabled = true"), Mode::Auto);
    assert_eq!(mode("[network]\nenabled = false"), Mode::None);
    assert_eq!(mode("[network]\nmode = \"cni\""), Mode::Cni);
    assert_eq!(mode("[network]\nmode = \"none\"\nenabled = false"), Mode::None);
    let directories = parse("").unwrap().network.cni_bin_dirs;
    assert_eq!(
        directories,
        [Path::new("/opt/cni/bin"), Path::new("/usr/lib/cni")]
    );
}

#[test]
fn runtime_handlers_are_labels_each_once() {
    let handlers =
        |text: &str| parse(&format!("[runtime]\nhandlers = {text}")).map(|config| config.runtime.handlers);
    assert!(parse("").unwrap().runtime.handlers.is_empty());
    assert_eq!(handlers(r#"["runc", "crun-2"]"#).unwrap(), ["runc", "crun-2"]);
    for refused in [r#"[""]"#, r#"["-a"]"#, r#"["Runc"]"#, r#"["runc", "runc"]"#] {
        let error = handlers(refused).unwrap_err();
        assert!(error.to_string().starts_with("runtime.handlers"), "{error}");
    }
}

#[test]
fn the_socket_follows_the_run_directory() {
    let config = parse("run_dir = \"/run/other\"").unwrap();
    assert_eq!(config.socket, Path::new("/run/other/aurae.sock"));
}

#[test]
fn flags_override_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auraed.toml");
    fs_err::write(
        &path,
        "cgroup_root = \"one\"\n[network]\nbridge = \"b1\"\ntable = \"t1\"\n",
    )
    .unwrap();
    let flags = Flags {
        config: Some(path),
        bridge: Some("b2".into()),
        ..Flags::default()
    };
    let config = Config::load(&flags).unwrap();
    assert_eq!(config.cgroup_root, "one");
    assert_eq!(config.network.bridge, "b2");
    assert_eq!(config.network.table, "t1");
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    let error = parse("state_dir = \"/x\"\n\n[network]\nbrigde = \"b\"\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 4") && error.contains("unknown field `brigde`"),
        "{error}"
    );
    assert!(error.contains("`bridge`"), "{error}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let flags = Flags {
        config: Some("/nonexistent/auraed.toml".into()),
        ..Flags::default()
    };
    let error = Config::load(&flags).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nonexistent/auraed.toml"
    );
}

#[test]
fn values_are_checked() {
    for (text, field) in [
        ("state_dir = \"relative\"", "state_dir"),
        ("run_dir = \"/\"", "run_dir"),
        ("cgroup_root = \"../x\"", "cgroup_root"),
        ("cgroup_root = \"/x\"", "cgroup_root"),
        ("trust_domain = \"Not/One\"", "trust_domain"),
        (
            "[network]\nbridge = \"a-name-that-is-too-long\"",
            "network.bridge",
        ),
        ("[network]\ntable = \"a b\"", "network.table"),
        ("[network]\nsubnet = \"10.0.0.0\"", "network.subnet"),
        ("[network]\nmtu = 5", "network.mtu"),
        ("[network]\ncni_config_dir = \"net.d\"", "network.cni_config_dir"),
        ("[network]\ncni_bin_dirs = [\"/a:/b\"]", "network.cni_bin_dirs"),
        ("[network]\nenabled = false\nmode = \"cni\"", "network.enabled"),
        ("[container_logs]\nmax_files = 0", "container_logs.max_files"),
        ("[images]\nparallel_layers = 0", "images.parallel_layers"),
        (
            "[images]\nparallel_layers_of_all = 1000",
            "images.parallel_layers_of_all",
        ),
        ("[images]\npinned = [\"UPPER\"]", "images.pinned"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{text}: {error}");
    }
    let long = format!("socket = \"/{}\"", "x".repeat(120));
    assert!(parse(&long).unwrap_err().to_string().starts_with("socket: "));
}

#[test]
fn what_is_printed_leads_to_itself() {
    let text = "cgroup_root = \"a/b\"\n[images]\npinned = [\"pause:*\"]\npartial_layers_bytes = 0\n[[images.registries]]\nhost = \"r.example\"\nmirrors = [\"m.example\"]\n";
    let printed = parse(text).unwrap().to_toml();
    assert_eq!(parse(&printed).unwrap().to_toml(), printed);
    assert!(printed.contains("mirrors"), "{printed}");
}
