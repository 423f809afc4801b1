//! Reads a kubeconfig and the files that it names.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::ClusterError;

/// A kubeconfig that was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// The kubeconfig and what it refers to.
    pub(super) files: Vec<PathBuf>,
}

/// Reads `path`; relative names in it are relative to it.
pub(super) async fn load(path: &Path) -> Result<Loaded, ClusterError> {
    let failed = |source| ClusterError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let mut files = vec![path.to_owned()];
    files.extend(kubeconfig.clusters.iter().filter_map(|named| {
        named
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.certificate_authority.as_ref())
            .map(PathBuf::from)
    }));
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)?;
    let user = &config.auth_info;
    if !has_credentials(user) {
        return Err(ClusterError::NoCredentials {
            path: path.to_owned(),
        });
    }
    // A token file is read again by the client itself.
    files.extend(
        [&user.client_certificate, &user.client_key]
            .into_iter()
            .flatten()
            .map(PathBuf::from),
    );
    Ok(Loaded { config, files })
}

fn has_credentials(user: &AuthInfo) -> bool {
    user.token.is_some()
        || user.token_file.is_some()
        || user.client_certificate.is_some()
        || user.client_certificate_data.is_some()
        || user.username.is_some()
        || user.exec.is_some()
        || user.auth_provider.is_some()
}

/// Refuses the certificate of another node: the API server would refuse all that we do as ourselves.
pub(super) fn check_name(path: &Path, loaded: &Loaded, node: &str) -> Result<(), ClusterError> {
    let Some(certificate) = node_of_certificate(&loaded.config.auth_info) else {
        return Ok(());
    };
    if certificate == node {
        return Ok(());
    }
    Err(ClusterError::OtherNode {
        path: path.to_owned(),
        certificate,
        node: node.to_owned(),
    })
}

/// The node that a client certificate is of; none for people's certificates, and for what does not read (which TLS
/// reports better).
fn node_of_certificate(user: &AuthInfo) -> Option<String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => decode_base64(data)?,
        (None, Some(file)) => fs_err::read(file).ok()?,
        (None, None) => return None,
    };
    let der = CertificateDer::from_pem_slice(&pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_prefix("system:node:").map(str::to_owned)
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use k8s_openapi::ByteString;
    let quoted = serde_json::Value::String(text.split_whitespace().collect());
    serde_json::from_value::<ByteString>(quoted)
        .ok()
        .map(|bytes| bytes.0)
}

/// Changes whenever the content of one of the files does.
pub(super) fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs_err::read(file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}
