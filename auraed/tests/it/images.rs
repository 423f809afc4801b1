//! Images over the API.

use crate::archive::BUSYBOX;
use crate::machine::{Machine, PATIENCE};
use crate::node::{Node, pod, shell};
use auraed_api::runtime::v0 as api;
use auraed_api::runtime::v0::RestartPolicy;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use tonic::{Code, Status};

impl Node {
    async fn image(&self, reference: &str) -> Result<api::Image, Status> {
        let reference = reference.to_owned();
        let found = self
            .client
            .images()
            .get_image(api::GetImageRequest { reference })
            .await?;
        Ok(found.into_inner().image.unwrap())
    }

    async fn images(&self) -> Vec<api::Image> {
        let found = self
            .client
            .images()
            .list_images(api::ListImagesRequest {})
            .await
            .unwrap();
        found.into_inner().images
    }

    async fn remove_image(&self, reference: &str) -> Result<(), Status> {
        let request = api::RemoveImageRequest {
            reference: reference.into(),
            unless_used: false,
        };
        self.client.images().remove_image(request).await.map(drop)
    }

    async fn usage(&self) -> (api::FilesystemUsage, api::FilesystemUsage) {
        let usage = self
            .client
            .images()
            .get_image_usage(api::GetImageUsageRequest {})
            .await;
        let usage = usage.unwrap().into_inner();
        (usage.images.unwrap(), usage.containers.unwrap())
    }

    /// Pulls to the end; answers the image.
    async fn pull(&self, request: api::PullImageRequest) -> Result<api::Image, Status> {
        let mut progress = self.client.images().pull_image(request).await?.into_inner();
        while let Some(message) = progress.message().await? {
            if let Some(api::pull_image_response::Event::Image(image)) = message.event {
                return Ok(image);
            }
        }
        panic!("the pull ended without an image");
    }

    /// Directories of layers.
    fn layers(&self) -> usize {
        let layers = fs_err::read_dir(self.machine.path("state/images/layers")).unwrap();
        layers
            .filter(|entry| entry.as_ref().unwrap().file_name() != "empty")
            .count()
    }
}

/// Waits until a condition holds, and looks whenever something happens to an entry of a directory.
async fn until(directory: &Path, what: &str, mut condition: impl FnMut() -> bool) {
    let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let wanted = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MODIFY | WatchFlags::MOVE;
    inotify::add_watch(&events, directory, wanted).unwrap();
    let events = Arc::new(events);
    while !condition() {
        let events = Arc::clone(&events);
        let happened = tokio::task::spawn_blocking(move || next(&events)).await;
        assert!(happened.unwrap(), "nothing happened: {what}");
    }
}

/// Takes up what happened; false if nothing did.
fn next(events: &OwnedFd) -> bool {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    if poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&patience)) == Ok(0) {
        return false;
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    while rustix::io::read(events, &mut buffer).is_ok() {}
    true
}

async fn configured(test: &str, config: &str) -> Option<Node> {
    let mut machine = Machine::new(test)?;
    fs_err::write(machine.path("auraed.toml"), config).unwrap();
    machine.start().await;
    Node::on(machine).await
}

#[tokio::test]
async fn an_image_tells_its_configuration_and_whether_it_is_pinned() {
    for (pattern, pinned) in [("example.test/*", true), ("example.test/other", false)] {
        let config = format!("[images]\npinned = [\"{pattern}\", \"pause:3.10\"]\n");
        let Some(node) = configured(
            "an_image_tells_its_configuration_and_whether_it_is_pinned",
            &config,
        )
        .await
        else {
            return;
        };
        let image = node.image(BUSYBOX).await.unwrap();
        assert_eq!(image.env, ["PATH=/bin", "FROM_IMAGE=yes"]);
        assert_eq!(image.working_directory, "/tmp");
        assert_eq!(image.stop_signal, "SIGTERM");
        assert_eq!(image.labels["maker"], "auraed");
        assert_eq!(image.pinned, pinned);
        assert_eq!(node.images().await, [image]);
        node.finish().await;
    }
}

#[tokio::test]
async fn what_images_and_containers_take_is_told() {
    let Some(node) = Node::new("what_images_and_containers_take_is_told").await else {
        return;
    };
    let script = "head -c 5000000 /dev/zero > /tmp/large; echo written; exec sleep 1000";
    node.run(pod("writer", RestartPolicy::Always, vec![shell("main", script)]))
        .await;
    node.until_log("writer", "main", "written").await;
    let (images, containers) = node.usage().await;
    for usage in [&images, &containers] {
        assert!(Path::new(&usage.mountpoint).is_dir(), "{usage:?}");
        assert!(
            usage
                .mountpoint
                .starts_with(&node.machine.path("state").display().to_string())
        );
    }
    let busybox = fs_err::metadata(node.machine.path("state/images/layers")).unwrap();
    assert!(busybox.is_dir());
    assert!(
        images.used_bytes > 500_000 && images.inodes_used > 15,
        "{images:?}"
    );
    assert!(
        (5_000_000..6_000_000).contains(&containers.used_bytes),
        "{containers:?}"
    );
    assert!((2..20).contains(&containers.inodes_used), "{containers:?}");
    node.remove("writer").await;
    node.finish().await;
}

#[tokio::test]
async fn an_image_that_is_used_goes_with_its_last_container() {
    let Some(mut node) = Node::new("an_image_that_is_used_goes_with_its_last_container").await else {
        return;
    };
    let id = node.image(BUSYBOX).await.unwrap().id;
    node.run(pod(
        "user",
        RestartPolicy::Always,
        vec![shell("main", "exec sleep 1000")],
    ))
    .await;
    node.until_running("user").await;
    let sandbox = api::SandboxSpec {
        id: "box".into(),
        name: "box".into(),
        namespace: "tests".into(),
        uid: "uid".into(),
        ..api::SandboxSpec::default()
    };
    let request = api::CreateSandboxRequest { spec: Some(sandbox) };
    node.client.sandboxes().create_sandbox(request).await.unwrap();
    let container = api::ContainerSpec {
        id: "created".into(),
        sandbox: "box".into(),
        name: "created".into(),
        image: BUSYBOX.into(),
        command: vec!["sleep".into(), "1000".into()],
        ..api::ContainerSpec::default()
    };
    let request = api::CreateContainerRequest {
        spec: Some(container),
    };
    node.client.containers().create_container(request).await.unwrap();

    node.remove_image(BUSYBOX).await.unwrap();
    for name in [BUSYBOX, &id] {
        assert_eq!(
            node.image(name).await.unwrap_err().code(),
            Code::NotFound,
            "{name}"
        );
        assert_eq!(node.remove_image(name).await.unwrap_err().code(), Code::NotFound);
    }
    assert!(node.images().await.is_empty());
    assert_eq!(node.layers(), 1);
    // What was made before can still be started, and a killed daemon forgets nothing of it.
    node.machine.kill().await;
    node.restart().await;
    assert_eq!(node.layers(), 1);
    let request = api::StartContainerRequest { id: "created".into() };
    node.client.containers().start_container(request).await.unwrap();
    assert_eq!(node.exec("user", &["id", "-u"]).await.stdout, "0\n");

    node.remove("user").await;
    assert_eq!(node.layers(), 1);
    let request = api::RemoveSandboxRequest { id: "box".into() };
    node.client.sandboxes().remove_sandbox(request).await.unwrap();
    let layers = node.machine.path("state/images/layers");
    until(&layers, "the layer is gone", || node.layers() == 0).await;
    node.finish().await;
}

/// A registry of files: what busybox serves, on loopback of the machine.
struct Files {
    server: Child,
    layer: Vec<u8>,
    /// Where it is served from.
    blob: PathBuf,
}

const PORT: u16 = 5000;

impl Files {
    /// Serves `app:1` of one large layer that no packing makes smaller, and of that its beginning alone for now.
    fn serve(machine: &Machine, layer_bytes: usize, beginning: usize) -> Files {
        let root = machine.path("registry");
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut content = Vec::with_capacity(layer_bytes + 8);
        while content.len() < layer_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, "large", content.as_slice())
            .unwrap();
        let layer = builder.into_inner().unwrap();
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let blob = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": blob("application/vnd.oci.image.config.v1+json", &config),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let put = |path: PathBuf, bytes: &[u8]| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, bytes).unwrap();
        };
        put(root.join("v2/app/manifests/1"), manifest.to_string().as_bytes());
        let blobs = root.join("v2/app/blobs");
        put(blobs.join(digest(&config)), &config);
        let blob = blobs.join(digest(&layer));
        put(blob.clone(), &layer[..beginning]);
        let mut server = machine.inside("busybox");
        server
            .args(["httpd", "-f", "-p", &format!("127.0.0.1:{PORT}"), "-h"])
            .arg(root);
        let server = server.stdin(Stdio::null()).spawn().unwrap();
        Files { server, layer, blob }
    }

    /// Serves the whole layer.
    fn complete(&self) {
        fs_err::write(&self.blob, &self.layer).unwrap();
    }

    fn request() -> api::PullImageRequest {
        api::PullImageRequest {
            reference: format!("127.0.0.1:{PORT}/app:1"),
            credentials: vec![api::RegistryCredentials {
                registry: format!("127.0.0.1:{PORT}"),
                username: "somebody".into(),
                password: "pa55-of-nobody".into(),
                ..api::RegistryCredentials::default()
            }],
        }
    }

    /// Bytes that went over the machine's loopback.
    fn carried(machine: &Machine) -> u64 {
        let devices = machine.inside("cat").arg("/proc/self/net/dev").output().unwrap();
        let devices = String::from_utf8(devices.stdout).unwrap();
        let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[tokio::test]
async fn a_pull_goes_on_after_the_daemon_was_killed_and_leaves_no_credentials() {
    let test = "a_pull_goes_on_after_the_daemon_was_killed_and_leaves_no_credentials";
    let Some(mut node) = Node::new(test).await else {
        return;
    };
    let beginning = 48 << 20;
    let files = Files::serve(&node.machine, 96 << 20, beginning);
    let pulling = {
        let client = node.client.clone();
        tokio::spawn(async move {
            let mut progress = client.images().pull_image(Files::request()).await?.into_inner();
            while progress.message().await?.is_some() {}
            Ok::<_, Status>(())
        })
    };
    let partial = node.machine.path("state/images/partial");
    let kept = || {
        let entries = fs_err::read_dir(&partial).into_iter().flatten();
        entries
            // One may go in between.
            .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
            .sum::<u64>()
    };
    // More does not come, however late this is seen.
    until(&partial, "the beginning is here", || kept() == beginning as u64).await;
    node.machine.kill().await;
    let (here, before) = (kept(), Files::carried(&node.machine));
    assert_eq!(here, beginning as u64);
    assert!(pulling.await.unwrap().is_err());

    files.complete();
    node.restart().await;
    let image = node.pull(Files::request()).await.unwrap();
    let carried = Files::carried(&node.machine) - before;
    let whole = files.layer.len() as u64;
    let most = whole - here + (10 << 20);
    assert!(
        carried < most,
        "{carried} bytes, though {here} of {whole} were here"
    );
    until(&partial, "the part is gone", || kept() == 0).await;
    assert_eq!(image.tags, [Files::request().reference]);

    // Once it is here it still asks the registry, which has moved on.
    fs_err::remove_file(node.machine.path("registry/v2/app/manifests/1")).unwrap();
    let gone = node.pull(Files::request()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
    let secret = "pa55-of-nobody";
    assert!(!format!("{gone:?}").contains(secret) && !node.machine.log().contains(secret));
    for file in ["aurae.db", "aurae.db-wal"] {
        let bytes = fs_err::read(node.machine.path("state").join(file)).unwrap_or_default();
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes()),
            "{file}"
        );
    }
    node.remove_image(&image.id).await.unwrap();
    drop(files);
    node.finish().await;
}
