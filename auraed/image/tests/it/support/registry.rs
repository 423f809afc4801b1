//! Debian's docker-registry, on a loopback port of its own, with its content written into its storage.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use auraed_image::Digest;
use tempfile::TempDir;

use super::eventually;
use super::image::BuiltImage;

pub(crate) const USERNAME: &str = "ada";
pub(crate) const PASSWORD: &str = "s3cret";
/// Of PASSWORD, by bcrypt with the least cost.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

/// A running registry; it ends with the value.
pub(crate) struct Registry {
    directory: TempDir,
    child: Child,
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
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n",
            path.join("storage").display()
        );
        if !options.auth.is_empty() {
            config += &format!("auth: {{{}}}\n", options.auth);
        }
        config += &format!("http:\n  addr: 127.0.0.1:{port}\n");
        if let Some((certificate, key)) = options.tls {
            fs_err::write(path.join("tls.crt"), certificate).unwrap();
            fs_err::write(path.join("tls.key"), key).unwrap();
            config += &format!(
                "  tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}\n",
                path.display()
            );
        }
        fs_err::write(path.join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(path.join("log")).unwrap().into_parts().0)
            .spawn()
            .expect("docker-registry must be installed: apt-get install docker-registry");
        let mut registry = Registry {
            directory,
            child,
            port,
        };
        eventually("the registry listens", || {
            let over = registry.child.try_wait().unwrap();
            assert!(over.is_none(), "docker-registry ended: {}", registry.log());
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
        .await;
        registry
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.directory.path().join("log")).unwrap_or_default()
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on, or did a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
