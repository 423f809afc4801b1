//! Who one is at a registry: nobody, a password, a token; and over TLS.

use std::time::{SystemTime, UNIX_EPOCH};

use auraed_image::{Credentials, ErrorKind, RegistryConfig};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::support::image::small;
use crate::support::registry::{Options, PASSWORD, Registry, USERNAME};
use crate::support::server::{Reply, Request, Server};
use crate::support::{Node, chain, credentials};

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_and_each_one_is_tried() {
    let registry = Registry::start_with_password().await;
    registry.add("team/app", "1", &small("x"));
    let reference = registry.reference("team/app:1");
    let node = Node::new(Vec::new()).await;

    let nobody = node.pull(&reference).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unauthorized);
    assert!(
        chain(&nobody).contains("no basic auth credentials"),
        "{}",
        chain(&nobody)
    );

    let wrong = credentials(&registry.reference("team"), USERNAME, "wrong");
    let refused = node
        .pull_as(&reference, std::slice::from_ref(&wrong))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized);
    assert!(
        chain(&refused).contains("pull access denied") && !chain(&refused).contains("wrong"),
        "{}",
        chain(&refused)
    );

    let elsewhere = credentials("example.com", USERNAME, PASSWORD);
    assert!(node.pull_as(&reference, &[elsewhere]).await.is_err());

    // The longer match is tried first, and is wrong.
    let right = credentials(&registry.host(), USERNAME, PASSWORD);
    node.pull_as(&reference, &[right, wrong]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_here_is_not_given_to_who_may_not_have_it() {
    let registry = Registry::start_with_password().await;
    let built = small("x");
    registry.add("app", "1", &built);
    let node = Node::new(Vec::new()).await;
    let right = credentials(&registry.host(), USERNAME, PASSWORD);
    let wrong = credentials(&registry.host(), USERNAME, "guessed");
    let (by_tag, by_digest) = (
        registry.reference("app:1"),
        registry.reference(&format!("app@{}", built.digest())),
    );
    node.pull_as(&by_tag, std::slice::from_ref(&right)).await.unwrap();
    for reference in [&by_tag, &by_digest] {
        for who in [&[wrong.clone()][..], &[]] {
            let refused = node.pull_as(reference, who).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{}", chain(&refused));
            assert!(!chain(&refused).contains("guessed"), "{}", chain(&refused));
        }
    }
    node.pull_as(&by_digest, &[right]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_the_registry_goes_to_it_as_it_is() {
    let built = small("x");
    let (manifest, config, layer, id) = (
        built.manifest.clone(),
        built.config.clone(),
        built.layers[0].clone(),
        built.id(),
    );
    let server = Server::start(move |request| {
        if request.header("authorization") != Some("Bearer t0ken") {
            let challenge = "Bearer realm=\"http://127.0.0.1:1/never-asked\"";
            return Reply::status("401 Unauthorized").header("www-authenticate", challenge);
        }
        match request.line() {
            line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
            line if line.contains(&id) => Reply::ok(config.clone()),
            _ => Reply::ok(layer.clone()),
        }
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let token = |registry: String, token: &str| Credentials {
        registry,
        registry_token: token.to_owned(),
        ..Credentials::default()
    };
    let reference = server.reference("app:1");
    let right = token(server.host(), "t0ken");
    node.pull_as(&reference, std::slice::from_ref(&right))
        .await
        .unwrap();
    // The scheme and the path that docker writes into its keys are no part of the host.
    let whole = token(format!("http://{}/v2/", server.host()), "t0ken");
    node.pull_as(&reference, &[whole]).await.unwrap();
    for other in [
        token(server.host(), "wrong"),
        token("example.com".into(), "t0ken"),
        token(format!("{}/other", server.host()), "t0ken"),
    ] {
        let refused = node.pull_as(&reference, &[other]).await.unwrap_err();
        assert!(!chain(&refused).contains("t0ken"), "{}", chain(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_config_is_read_at_each_pull() {
    let registry = Registry::start_with_password().await;
    registry.add("app", "1", &small("x"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let node = Node::with(Vec::new(), Some(path.clone())).await;
    let reference = registry.reference("app:1");
    assert_eq!(
        node.pull(&reference).await.unwrap_err().kind(),
        ErrorKind::Unauthorized
    );

    fs_err::write(&path, "{\"auths\": ").unwrap();
    let malformed = node.pull(&reference).await.unwrap_err();
    assert_eq!(malformed.kind(), ErrorKind::Internal);
    assert!(
        chain(&malformed).contains("config.json is malformed at line 1"),
        "{}",
        chain(&malformed)
    );

    let auth = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    let auths = json!({"auths": {format!("http://{}/v1/", registry.host()): {"auth": auth}}});
    fs_err::write(&path, auths.to_string()).unwrap();
    node.pull(&reference).await.unwrap();
}

/// A token service as the registry's configuration names it: its certificate signs the tokens that it gives.
struct Issuer {
    certificate: rcgen::Certificate,
    key: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Issuer {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der()).unwrap();
        Issuer { certificate, key }
    }

    fn token(&self, repository: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.certificate.der())]});
        let claims = json!({
            "iss": "issuer", "sub": USERNAME, "aud": "service", "exp": now + 300, "nbf": now - 30, "iat": now,
            "jti": "1", "access": [{"type": "repository", "name": repository, "actions": ["pull"]}],
        });
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Gives tokens for `public` to anybody, for `private` to who knows the password or has the refresh token.
    fn answer(&self, request: &Request) -> Reply {
        let basic = format!("Basic {}", STANDARD.encode(format!("{USERNAME}:{PASSWORD}")));
        let known = match request.header("authorization") {
            Some(authorization) if authorization == basic => true,
            Some(_) => return Reply::status("401 Unauthorized"),
            None => {
                request.body.contains("refresh_token=r%2Bfresh")
                    && request.body.contains("grant_type=refresh_token")
            }
        };
        let asked = format!("{}{}", request.line(), request.body);
        let name = if asked.contains("repository%3Aprivate%3Apull") {
            "private"
        } else {
            "public"
        };
        if name == "private" && !known {
            return Reply::status("401 Unauthorized");
        }
        let field = if request.line().starts_with("POST") {
            "access_token"
        } else {
            "token"
        };
        Reply::ok(json!({field: self.token(name)}).to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_for_nobody_a_password_and_a_refresh_token() {
    let issuer = std::sync::Arc::new(Issuer::new());
    let answering = issuer.clone();
    let service = Server::start(move |request| answering.answer(request)).await;
    let registry = Registry::start_with(|directory| {
        let bundle = directory.join("issuer.pem");
        fs_err::write(&bundle, issuer.certificate.pem()).unwrap();
        let realm = format!("http://{}/token", service.host());
        let bundle = bundle.display();
        let auth = format!(
            "token: {{realm: '{realm}', service: service, issuer: issuer, rootcertbundle: {bundle}}}"
        );
        Options { auth, tls: None }
    })
    .await;
    for name in ["public", "private"] {
        registry.add(name, "1", &small(name));
    }
    let (public, private) = (registry.reference("public:1"), registry.reference("private:1"));

    let node = Node::new(Vec::new()).await;
    node.pull(&public).await.unwrap();
    // One token does for the manifest, the configuration and the layer.
    assert_eq!(service.requests().len(), 1);
    let nobody = node.pull(&private).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unauthorized);
    assert!(
        chain(&nobody).contains("token service refused"),
        "{}",
        chain(&nobody)
    );

    let wrong = credentials(&registry.host(), USERNAME, "wrong");
    assert_eq!(
        node.pull_as(&private, std::slice::from_ref(&wrong))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Unauthorized
    );
    node.pull_as(&private, &[wrong, credentials("", USERNAME, PASSWORD)])
        .await
        .unwrap();

    let other = Node::new(Vec::new()).await;
    let refresh = Credentials {
        identity_token: "r+fresh".to_owned(),
        ..credentials(&registry.host(), "", "")
    };
    other.pull_as(&private, &[refresh]).await.unwrap();
    assert_eq!(service.count("POST /token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_does_not_take_the_password_along() {
    let built = small("x");
    let (manifest, config, layer) = (
        built.manifest.clone(),
        built.config.clone(),
        built.layers[0].clone(),
    );
    let elsewhere = Server::start(move |_| Reply::ok(layer.clone())).await;
    let target = format!("http://{}/blob", elsewhere.host());
    let config_digest = built.id();
    let front = Server::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::status("401 Unauthorized").header("www-authenticate", "Basic realm=\"x\"");
        }
        match request.line() {
            line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
            line if line.contains(&config_digest) => Reply::ok(config.clone()),
            _ => Reply::status("307 Temporary Redirect").header("location", &target),
        }
    })
    .await;
    let node = Node::new(Vec::new()).await;
    let password = credentials(&front.host(), USERNAME, PASSWORD);
    node.pull_as(&front.reference("app:1"), &[password])
        .await
        .unwrap();
    assert_eq!(elsewhere.requests().len(), 1);
    for header in ["authorization", "referer"] {
        assert_eq!(elsewhere.requests()[0].header(header), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_a_registry_redirects_to_gets_no_credentials_by_asking() {
    let built = small("x");
    let (manifest, config, id) = (built.manifest.clone(), built.config.clone(), built.id());
    for scheme in ["Basic realm=\"x\"", "Bearer realm=\"http://REALM/token\""] {
        let elsewhere = Server::start(move |request| {
            if request.line().contains("/token") {
                return Reply::ok(r#"{"token": "t0ken"}"#);
            }
            let realm = request.header("host").unwrap();
            let challenge = scheme.replace("REALM", realm);
            Reply::status("401 Unauthorized").header("www-authenticate", &challenge)
        })
        .await;
        let target = format!("http://{}/blob", elsewhere.host());
        let (manifest, config, id) = (manifest.clone(), config.clone(), id.clone());
        let front = Server::start(move |request| {
            if request.header("authorization").is_none() {
                return Reply::status("401 Unauthorized").header("www-authenticate", "Basic realm=\"x\"");
            }
            match request.line() {
                line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
                line if line.contains(&id) => Reply::ok(config.clone()),
                _ => Reply::status("307 Temporary Redirect").header("location", &target),
            }
        })
        .await;
        let node = Node::new(Vec::new()).await;
        let password = credentials(&front.host(), USERNAME, PASSWORD);
        let refused = node.pull_as(&front.reference("app:1"), &[password]).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{}", chain(&refused));
        let asked: Vec<_> = elsewhere
            .requests()
            .iter()
            .map(|request| request.line().to_owned())
            .collect();
        assert_eq!(asked, ["GET /blob"]);
        assert_eq!(elsewhere.requests()[0].header("authorization"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_redirected_within_its_token_service_alone() {
    let built = small("x");
    let elsewhere = Server::start(|_| Reply::ok(r#"{"access_token": "t0ken"}"#)).await;
    let outside = format!("http://{}/token", elsewhere.host());
    for (location, pulled) in [("/moved", true), (outside.as_str(), false)] {
        let location = location.to_owned();
        let service = Server::start(move |request| {
            if request.line() == "POST /moved" && request.body.contains("refresh_token=r1") {
                return Reply::ok(r#"{"token": null, "access_token": "t0ken"}"#);
            }
            Reply::status("307 Temporary Redirect").header("location", &location)
        })
        .await;
        let challenge = format!("Bearer realm=\"http://{}/token\"", service.host());
        let (manifest, config, layer, id) = (
            built.manifest.clone(),
            built.config.clone(),
            built.layers[0].clone(),
            built.id(),
        );
        let front = Server::start(move |request| {
            if request.header("authorization") != Some("Bearer t0ken") {
                return Reply::status("401 Unauthorized").header("www-authenticate", &challenge);
            }
            match request.line() {
                line if line.contains("/manifests/") => Reply::ok(manifest.clone()),
                line if line.contains(&id) => Reply::ok(config.clone()),
                _ => Reply::ok(layer.clone()),
            }
        })
        .await;
        let refresh = Credentials {
            identity_token: "r1".to_owned(),
            ..credentials(&front.host(), "", "")
        };
        let node = Node::new(Vec::new()).await;
        let outcome = node.pull_as(&front.reference("app:1"), &[refresh]).await;
        assert_eq!(
            outcome.is_ok(),
            pulled,
            "{:?}",
            outcome.map_err(|error| chain(&error))
        );
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_tls_is_trusted_by_its_own_certificates_alone() {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    let registry = Registry::start_with(|_| Options {
        auth: String::new(),
        tls: Some((certificate.clone(), key.serialize_pem())),
    })
    .await;
    registry.add("app", "1", &small("x"));
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    fs_err::write(&ca_file, certificate).unwrap();

    let tls = RegistryConfig {
        host: registry.host(),
        plain_http: Some(false),
        ..RegistryConfig::default()
    };
    let trusting = RegistryConfig {
        ca_file: Some(ca_file),
        ..tls.clone()
    };
    Node::new(vec![trusting])
        .await
        .pull(&registry.reference("app:1"))
        .await
        .unwrap();

    let missing = RegistryConfig {
        ca_file: Some(directory.path().join("none")),
        ..tls.clone()
    };
    let error = Node::new(vec![missing])
        .await
        .pull(&registry.reference("app:1"))
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("cannot use the certificates in"),
        "{}",
        chain(&error)
    );

    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other_file = directory.path().join("other.pem");
    fs_err::write(&other_file, other.cert.pem()).unwrap();
    let distrusting = RegistryConfig {
        ca_file: Some(other_file),
        ..tls
    };
    let error = Node::new(vec![distrusting])
        .await
        .pull(&registry.reference("app:1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
}
