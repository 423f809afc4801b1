//! Debian's docker-registry, on a loopback port of its own, with its content written into its storage.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;

use auraed_image::Digest;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};

use super::image::BuiltImage;
use super::watch::PATIENCE;

pub(crate) const USERNAME: &str = "ada";
pub(crate) const PASSWORD: &str = "s3cret";
/// Of PASSWORD, by bcrypt with the least cost.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

/// A running registry; it ends with the value.
pub(crate) struct Registry {
    directory: TempDir,
    _child: Child,
    log: tokio::task::JoinHandle<()>,
    pub(crate) port: u16,
}

/// What more there is to its configuration than a storage and an address.
#[derive(Default)]
pub(crate) struct Options {
    /// Lines of `auth:`.
    pub(crate) auth: String,
    /// Certificate and key, PEM.
    pub(crate) tls: Option<(String, String)>,
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        Registry::start_with(|_| Options::default()).await
    }

    /// Wants USERNAME and PASSWORD by HTTP basic authentication.
    pub(crate) async fn start_with_password() -> Registry {
        Registry::start_with(|directory| {
            let path = directory.join("htpasswd");
            fs_err::write(&path, format!("{USERNAME}:{HASH}\n")).unwrap();
            Options {
                auth: format!("htpasswd: {{realm: test, path: {}}}", path.display()),
                tls: None,
            }
        })
        .await
    }

    pub(crate) async fn start_with(options: impl FnOnce(PathBuf) -> Options) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let options = options(path.clone());
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n",
            path.join("storage").display()
        );
        if !options.auth.is_empty() {
            config += &format!("auth: {{{}}}\n", options.auth);
        }
        config += "http:\n  addr: 127.0.0.1:0\n";
        if let Some((certificate, key)) = options.tls {
            fs_err::write(path.join("tls.crt"), certificate).unwrap();
            fs_err::write(path.join("tls.key"), key).unwrap();
            config += &format!(
                "  tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}\n",
                path.display()
            );
        }
        fs_err::write(path.join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(path.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("docker-registry must be installed: apt-get install docker-registry");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            let mut said = String::new();
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("docker-registry ended: {said}"));
                if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    return rest[..digits].parse().unwrap();
                }
                said += &line;
            }
        };
        let port = tokio::time::timeout(PATIENCE, listening).await;
        let port = port.expect("docker-registry does not listen");
        // What it says later is nobody's, but must not fill the pipe.
        let log =
            tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Registry {
            directory,
            _child: child,
            log,
            port,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    /// Adds an image under a tag.
    pub(crate) fn add(&self, repository: &str, tag: &str, image: &BuiltImage) {
        self.add_image(repository, image);
        self.tag(repository, tag, &image.digest());
    }

    /// Adds an image by its digest alone.
    pub(crate) fn add_image(&self, repository: &str, image: &BuiltImage) {
        for blob in image.blobs() {
            let digest = self.add_blob(blob);
            self.link(repository, &format!("_layers/sha256/{}", digest.hex()), &digest);
        }
        self.add_manifest(repository, &image.manifest);
    }

    pub(crate) fn add_manifest(&self, repository: &str, manifest: &[u8]) -> Digest {
        let digest = self.add_blob(manifest);
        self.link(
            repository,
            &format!("_manifests/revisions/sha256/{}", digest.hex()),
            &digest,
        );
        digest
    }

    pub(crate) fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.link(repository, &format!("_manifests/tags/{tag}/current"), digest);
        self.link(
            repository,
            &format!("_manifests/tags/{tag}/index/sha256/{}", digest.hex()),
            digest,
        );
    }

    fn add_blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let path = self.blob(&digest);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        digest
    }

    /// The file that a blob is in.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.directory.path().join(format!(
            "storage/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }

    fn link(&self, repository: &str, place: &str, digest: &Digest) {
        let path = self.directory.path().join(format!(
            "storage/docker/registry/v2/repositories/{repository}/{place}"
        ));
        fs_err::create_dir_all(&path).unwrap();
        fs_err::write(path.join("link"), digest.as_str()).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// A place that nobody listens at, as long as there is this value.
pub(crate) struct Nobody {
    socket: TcpSocket,
}

impl Nobody {
    pub(crate) fn new() -> Nobody {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Nobody { socket }
    }

    pub(crate) fn host(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }
}
