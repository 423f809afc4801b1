//! A docker `config.json`, or its older form without the `auths` level.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::{Entry, Secret};

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerConfigError {
    #[error("cannot read the docker config {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the docker config {} is larger than {LIMIT} bytes", path.display())]
    TooLarge { path: PathBuf },
    // The parser's own message is left out, since it may quote what it stumbled over.
    #[error("the docker config {} is malformed at line {line}, column {column}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    #[error("the docker config {} has a malformed \"auth\" for {registry:?}", path.display())]
    Auth { path: PathBuf, registry: String },
}

const LIMIT: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    #[serde(alias = "identityToken")]
    identitytoken: String,
    #[serde(alias = "registryToken")]
    registrytoken: String,
}

/// Reads the file; a missing one holds nothing. Blocks, shortly.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, DockerConfigError> {
    let mut text = String::new();
    let read = fs_err::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(DockerConfigError::Read {
                path: path.to_owned(),
                source,
            });
        }
        Ok(read) if read as u64 > LIMIT => {
            return Err(DockerConfigError::TooLarge {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Entry>, DockerConfigError> {
    let malformed = |error: serde_json::Error| DockerConfigError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    };
    let value: serde_json::Value = serde_json::from_str(text).map_err(malformed)?;
    let object = value.as_object();
    let has = |key: &str| object.is_some_and(|object| object.contains_key(key));
    let auths = if has("auths") {
        serde_json::from_value::<DockerConfig>(value)
            .map_err(malformed)?
            .auths
    } else if has("credsStore") || has("credHelpers") || has("HttpHeaders") {
        // A new file that keeps its secrets in a helper, which is not run.
        BTreeMap::new()
    } else {
        serde_json::from_value(value).map_err(malformed)?
    };
    let mut entries = Vec::new();
    for (registry, auth) in auths {
        let bad = || DockerConfigError::Auth {
            path: path.to_owned(),
            registry: registry.clone(),
        };
        if let Some(secret) = secret(auth).ok_or_else(bad)? {
            entries.push(Entry { registry, secret });
        }
    }
    Ok(entries)
}

/// `None` for what is malformed, `Some(None)` for an entry without a secret.
fn secret(auth: Auth) -> Option<Option<Secret>> {
    if !auth.registrytoken.is_empty() {
        return Some(Some(Secret::RegistryToken(auth.registrytoken)));
    }
    if !auth.identitytoken.is_empty() {
        return Some(Some(Secret::IdentityToken(auth.identitytoken)));
    }
    if !auth.auth.is_empty() {
        let text = auth.auth.trim();
        let decoded = STANDARD
            .decode(text)
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (username, password) = decoded.split_once(':')?;
        // Docker has ended passwords with NUL bytes.
        let password = password.trim_end_matches('\0').to_owned();
        return Some(Some(Secret::Password {
            username: username.to_owned(),
            password,
        }));
    }
    if auth.username.is_empty() {
        return Some(None);
    }
    Some(Some(Secret::Password {
        username: auth.username,
        password: auth.password,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<Entry>, DockerConfigError> {
        parse(text, Path::new("config.json"))
    }

    fn password(username: &str, password: &str) -> Secret {
        Secret::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn each_form_of_an_entry_is_read() {
        let text = r#"{"auths": {
            "a": {"auth": "dXNlcjpwYTpzcw=="}, "b": {"username": "u", "password": "p"}, "c": {},
            "d": {"auth": "", "identitytoken": "i"}, "e": {"registrytoken": "r"}}, "credsStore": "x"}"#;
        let entries = entries(text).unwrap();
        let secrets: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.registry, entry.secret))
            .collect();
        assert_eq!(
            secrets,
            [
                ("a".to_owned(), password("user", "pa:ss")),
                ("b".to_owned(), password("u", "p")),
                ("d".to_owned(), Secret::IdentityToken("i".to_owned())),
                ("e".to_owned(), Secret::RegistryToken("r".to_owned())),
            ]
        );
    }

    #[test]
    fn the_old_form_has_no_auths() {
        let old = entries(r#"{"example.com": {"auth": "dXNlcjpwYXNz", "email": "x"}}"#).unwrap();
        assert_eq!(old[0].secret, password("user", "pass"));
        assert!(entries(r#"{"credsStore": "desktop"}"#).unwrap().is_empty());
        assert!(entries("{}").unwrap().is_empty());
    }

    #[test]
    fn errors_say_where_and_quote_nothing() {
        let error = entries("{\"auths\": {\"a\": {\"auth\": \"hunter2\n")
            .err()
            .unwrap();
        assert!(matches!(
            error,
            DockerConfigError::Malformed { line: 2, .. } | DockerConfigError::Malformed { line: 1, .. }
        ));
        let error = entries(r#"{"auths": {"a": {"auth": "hunter2"}}}"#)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("\"a\"") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_missing_file_holds_nothing() {
        assert!(read(Path::new("/nonexistent/config.json")).unwrap().is_empty());
    }
}
