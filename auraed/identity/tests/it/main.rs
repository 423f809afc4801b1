//! The identity directory from outside: what is made, kept, renewed and refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use auraed_identity::{ClientId, Identity, IdentityError, InvalidClientId, Owner};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn load(directory: &Path) -> Result<Identity, IdentityError> {
    Identity::load_or_create(directory, "aurae.test".parse().unwrap())
}

fn client(name: &str) -> ClientId {
    ClientId {
        tenant: "team-a".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Every file below a directory, with its content.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs_err::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.display().to_string(), fs_err::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn what_was_made_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/identity");
    load(&path).unwrap().server_config().unwrap();
    let made = content(&path);
    let identity = load(&path).unwrap();
    assert_eq!(content(&path), made);
    assert!(!identity.renew().unwrap());
    assert_eq!(content(&path), made);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity");
    load(&path).unwrap();
    for (name, mode) in [
        ("", 0o700),
        ("ca.key", 0o600),
        ("server.key", 0o600),
        ("admin", 0o700),
        ("admin/tls.key", 0o600),
        ("ca.crt", 0o644),
    ] {
        let found = fs_err::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let directory = tempfile::tempdir().unwrap();
    let identity = load(directory.path()).unwrap();
    let issued = identity.issue(&client("kubelet-bridge")).unwrap();
    assert_eq!(
        identity.client_of(&certificate(issued.certificate_pem())),
        Ok(client("kubelet-bridge"))
    );
    // The daemon's own certificate is nobody's.
    let own = fs_err::read_to_string(directory.path().join("server.crt")).unwrap();
    assert!(matches!(
        identity.client_of(&certificate(&own)),
        Err(InvalidClientId::Form(_))
    ));
    // Nor is one of another trust domain.
    let other = tempfile::tempdir().unwrap();
    let other = Identity::load_or_create(other.path(), "other.test".parse().unwrap()).unwrap();
    let foreign = other.issue(&client("x")).unwrap();
    assert!(matches!(
        identity.client_of(&certificate(foreign.certificate_pem())),
        Err(InvalidClientId::Form(_))
    ));
}

#[test]
fn no_key_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let identity = load(directory.path()).unwrap();
    let issued = identity.issue(&client("x")).unwrap();
    assert!(issued.key_pem().contains("PRIVATE KEY"));
    let secret = issued.key_pem().lines().nth(1).unwrap();
    for printed in [format!("{issued:?}"), format!("{identity:?}")] {
        assert!(
            !printed.contains("PRIVATE KEY") && !printed.contains(secret),
            "{printed}"
        );
    }
    let server = fs_err::read_to_string(directory.path().join("server.key")).unwrap();
    assert!(!format!("{identity:?}").contains(server.lines().nth(1).unwrap()));
}

#[test]
fn a_certificate_that_does_not_fit_is_issued_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let identity = load(path).unwrap();
    // A crash between key and certificate, another authority's certificate, half a file: all mend themselves.
    let other = tempfile::tempdir().unwrap();
    load(other.path()).unwrap();
    let foreign = |name: &str| fs_err::read(other.path().join(name)).unwrap();
    let breakages: [(&str, Vec<u8>); 4] = [
        ("server.key", foreign("server.key")),
        ("server.crt", foreign("server.crt")),
        ("server.crt", b"-----BEGIN CERTIFICATE-----\nhalf".to_vec()),
        ("admin/tls.key", foreign("admin/tls.key")),
    ];
    for (name, broken) in breakages {
        let before = fs_err::read(path.join(name)).unwrap();
        fs_err::write(path.join(name), broken).unwrap();
        load(path).unwrap().server_config().unwrap();
        assert_ne!(fs_err::read(path.join(name)).unwrap(), before, "{name}");
    }
    for (certificate, key) in [("server.crt", "server.key"), ("admin/tls.crt", "admin/tls.key")] {
        for name in [certificate, key] {
            fs_err::remove_file(path.join(name)).unwrap();
            load(path).unwrap();
            assert!(path.join(name).exists());
        }
    }
    // A stop in the middle of a write leaves a file beside, which the next write takes away.
    fs_err::write(path.join(".server.crt.new"), "half").unwrap();
    fs_err::remove_file(path.join("server.crt")).unwrap();
    assert!(identity.server_config().is_ok());
    load(path).unwrap();
    assert!(!path.join(".server.crt.new").exists());
}

#[test]
fn what_clients_rely_on_is_never_replaced_silently() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    load(path).unwrap();
    let authority = fs_err::read(path.join("ca.crt")).unwrap();
    let key = fs_err::read(path.join("ca.key")).unwrap();

    fs_err::remove_file(path.join("ca.key")).unwrap();
    let error = load(path).unwrap_err();
    assert!(matches!(error, IdentityError::KeyMissing { .. }), "{error}");
    assert!(error.to_string().contains("restore it from a copy"), "{error}");

    fs_err::write(path.join("ca.key"), "nonsense").unwrap();
    let error = load(path).unwrap().issue(&client("x")).unwrap_err();
    assert!(
        matches!(error, IdentityError::Malformed { what: "key", .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("nonsense"), "{error}");

    fs_err::write(path.join("ca.key"), key).unwrap();
    fs_err::write(path.join("ca.crt"), "nonsense").unwrap();
    let error = load(path).unwrap_err();
    assert!(
        matches!(
            error,
            IdentityError::Malformed {
                what: "certificate",
                ..
            }
        ),
        "{error}"
    );
    fs_err::write(path.join("ca.crt"), &authority).unwrap();
    load(path).unwrap();
    assert_eq!(fs_err::read(path.join("ca.crt")).unwrap(), authority);
}

#[test]
fn an_authority_that_was_not_finished_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path()).unwrap();
    // The key is written first; without its certificate nothing was ever signed by it.
    fs_err::remove_file(directory.path().join("ca.crt")).unwrap();
    let identity = load(directory.path()).unwrap();
    let issued = identity.issue(&client("x")).unwrap();
    assert_eq!(
        issued.authority_pem(),
        fs_err::read_to_string(directory.path().join("ca.crt")).unwrap()
    );
}

#[test]
fn starts_side_by_side_make_one_authority() {
    let directory = tempfile::tempdir().unwrap();
    let authorities: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            load(directory.path())
                .unwrap()
                .issue(&client("x"))
                .unwrap()
                .authority_pem()
                .to_owned()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(authorities.iter().all(|authority| *authority == authorities[0]));
}

#[test]
fn credentials_are_written_for_their_owner() {
    let directory = tempfile::tempdir().unwrap();
    let identity = load(&directory.path().join("identity")).unwrap();
    let out = directory.path().join("a/b/out");
    let root = rustix::process::geteuid().is_root();
    let owner = root.then_some(Owner { uid: 1234, gid: 2345 });
    let issued = identity.issue(&client("x")).unwrap();
    issued.write(&out, owner).unwrap();
    issued.write(&out, owner).unwrap();
    for name in ["tls.key", "tls.crt", "ca.crt"] {
        let found = fs_err::metadata(out.join(name)).unwrap();
        let expected = if root {
            (1234, 2345)
        } else {
            (found.uid(), found.gid())
        };
        assert_eq!((found.uid(), found.gid()), expected, "{name}");
    }
    // A link that an owner of the directory puts in the way is replaced, not followed.
    let victim = directory.path().join("victim");
    fs_err::write(&victim, "precious").unwrap();
    fs_err::remove_file(out.join("tls.key")).unwrap();
    fs_err::os::unix::fs::symlink(&victim, out.join("tls.key")).unwrap();
    fs_err::os::unix::fs::symlink(&victim, out.join(".tls.key.new")).unwrap();
    issued.write(&out, owner).unwrap();
    assert_eq!(fs_err::read_to_string(&victim).unwrap(), "precious");
    assert!(
        !fs_err::symlink_metadata(out.join("tls.key"))
            .unwrap()
            .file_type()
            .is_symlink()
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let error = load(Path::new("/proc/nothing/identity")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the directory /proc/nothing/identity"
    );
}

/// Signs a certificate of this many days before and after now with the directory's authority, or its own key.
fn sign(directory: &Path, before: u64, after: i64, own_authority: bool) -> (String, String) {
    let day = std::time::Duration::from_secs(24 * 3600);
    let now = std::time::SystemTime::now();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(["auraed".to_owned()]).unwrap();
    params.not_before = (now - day * u32::try_from(before).unwrap()).into();
    let days = day * u32::try_from(after.unsigned_abs()).unwrap();
    params.not_after = if after < 0 {
        (now - days).into()
    } else {
        (now + days).into()
    };
    let certificate = if own_authority {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.self_signed(&key).unwrap()
    } else {
        let read = |name: &str| fs_err::read_to_string(directory.join(name)).unwrap();
        let authority_key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
        let authority = rcgen::Issuer::from_ca_cert_pem(&read("ca.crt"), authority_key).unwrap();
        params.signed_by(&key, &authority).unwrap()
    };
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_is_renewed_before_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    load(path).unwrap();
    for (before, after, renewed) in [(100, 265, false), (260, 105, true), (365, -1, true)] {
        let (certificate, key) = sign(path, before, after, false);
        fs_err::write(path.join("server.crt"), &certificate).unwrap();
        fs_err::write(path.join("server.key"), &key).unwrap();
        load(path).unwrap();
        let now = fs_err::read_to_string(path.join("server.crt")).unwrap();
        assert_eq!(now != certificate, renewed, "{before} days old, {after} to go");
    }
}

#[test]
fn an_authority_whose_time_is_over_is_told_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = sign(directory.path(), 10, -1, true);
    fs_err::write(directory.path().join("ca.crt"), certificate).unwrap();
    fs_err::write(directory.path().join("ca.key"), key).unwrap();
    let error = load(directory.path()).unwrap_err();
    assert!(matches!(error, IdentityError::Expired { .. }), "{error}");
    assert!(error.to_string().contains("check the machine's clock"), "{error}");
}
