//! From a challenge (`WWW-Authenticate`) to the `Authorization` that answers it.
//!
//! Basic is answered with name and password. Bearer is answered with a token of the token service that the challenge
//! names: asked by GET, with the password if there is one, or, with a refresh token, by POST (distribution's
//! "Token Authentication" and "OAuth2 Token Authentication").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_auth::parser::ChallengeParser;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::FetchError;
use super::endpoint::Endpoint;
use super::session::read_bounded;
use super::transport::{Redirects, Transports};
use crate::credentials::Secret;

/// A token and what comes with it.
const TOKEN_LIMIT: u64 = 1024 * 1024;

/// What a registry wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// Nothing that this client can answer.
    Unknown,
}

/// Either may be missing, null or empty.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Bearer before Basic, where both are offered.
pub(super) fn challenge(headers: &HeaderMap) -> Challenge {
    let mut found = Challenge::Unknown;
    for value in headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        for challenge in ChallengeParser::new(value).filter_map(Result::ok) {
            let parameter = |name: &str| {
                let mut parameters = challenge.params.iter();
                parameters
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                found = Challenge::Basic;
            } else if challenge.scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameter("realm")
            {
                return Challenge::Bearer {
                    realm,
                    service: parameter("service"),
                    scope: parameter("scope"),
                };
            }
        }
    }
    found
}

/// The `Authorization` for a challenge by the registry at `endpoint`. An `Unauthorized` error means that this secret is
/// not the one.
pub(super) async fn answer(
    transports: &Transports,
    endpoint: &Endpoint,
    challenge: &Challenge,
    secret: Option<&Secret>,
) -> Result<HeaderValue, FetchError> {
    let registry = &endpoint.base;
    let denied = |reason: &str| FetchError::Unauthorized {
        url: registry.to_string(),
        reason: reason.to_owned(),
    };
    match (challenge, secret) {
        (_, Some(Secret::RegistryToken(token))) => {
            Ok(bearer(token).ok_or_else(|| denied("malformed token"))?)
        }
        (Challenge::Basic, Some(Secret::Password { username, password })) => Ok(basic(username, password)),
        (Challenge::Basic, _) => Err(denied("no basic auth credentials")),
        (Challenge::Unknown, _) => Err(denied("the registry wants a scheme that is not supported")),
        (
            Challenge::Bearer {
                realm,
                service,
                scope,
            },
            secret,
        ) => {
            let realm = token_service(registry, realm)?;
            let scope = scope
                .clone()
                .unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
            let redirects = match secret {
                Some(Secret::IdentityToken(_)) => Redirects::SameServer,
                _ => Redirects::Anywhere,
            };
            let client = transports.client(&endpoint.trust, redirects)?;
            let answer = ask(&client, realm.clone(), service.as_deref(), &scope, secret).await?;
            let token = token(answer, &realm).await?;
            bearer(&token).ok_or_else(|| denied("malformed token"))
        }
    }
}

/// Credentials that came over TLS to the registry do not go to a token service in clear.
fn token_service(registry: &Url, realm: &str) -> Result<Url, FetchError> {
    let refused = |reason| FetchError::TokenService {
        url: registry.to_string(),
        reason,
    };
    let url = Url::parse(realm).map_err(|_| refused("its address is malformed"))?;
    match (registry.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => Ok(url),
        ("https", "http") => Err(refused("it is not reached over TLS")),
        _ => Err(refused("it is not reached over HTTP")),
    }
}

async fn ask(
    client: &Client,
    mut realm: Url,
    service: Option<&str>,
    scope: &str,
    secret: Option<&Secret>,
) -> Result<Response, FetchError> {
    let service = service.unwrap_or_default();
    let shown = realm.clone();
    let request = if let Some(Secret::IdentityToken(token)) = secret {
        // Encodes the form's body with the query encoder, which is the same encoding.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("client_id", "aurae")
            .append_pair("scope", scope)
            .append_pair("refresh_token", token);
        let body = form.query().unwrap_or_default().to_owned();
        client
            .post(realm)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
    } else {
        if !service.is_empty() {
            realm.query_pairs_mut().append_pair("service", service);
        }
        realm.query_pairs_mut().append_pair("scope", scope);
        let request = client.get(realm);
        match secret {
            Some(Secret::Password { username, password }) => {
                request.header(AUTHORIZATION, basic(username, password))
            }
            _ => request,
        }
    };
    request
        .header(ACCEPT, "application/json")
        .send()
        .await
        .map_err(|error| FetchError::request(&shown, error))
}

async fn token(response: Response, realm: &Url) -> Result<String, FetchError> {
    let url = realm.to_string();
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            return Err(FetchError::Unauthorized {
                url,
                reason: "the token service refused the credentials".into(),
            });
        }
        status => {
            return Err(FetchError::Status {
                url,
                status,
                message: String::new(),
            });
        }
    }
    let bytes = read_bounded(response, realm, TOKEN_LIMIT).await?;
    let answer: TokenAnswer = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut tokens = answer.token.into_iter().chain(answer.access_token);
    let token = tokens.find(|token| !token.is_empty());
    token.ok_or(FetchError::TokenService {
        url,
        reason: "its answer holds no token",
    })
}

fn basic(username: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    // Base64 is made of characters that a header takes.
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(values: &[&'static str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read_and_bearer_is_preferred() {
        let bearer =
            r#"Bearer realm="https://auth.example/token",service="s, with comma",scope="repository:a:pull""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("s, with comma".into()),
            scope: Some("repository:a:pull".into()),
        };
        assert_eq!(challenged(&[bearer]), expected);
        assert_eq!(challenged(&["Basic realm=\"x\"", bearer]), expected);
        assert_eq!(challenged(&["basic realm=x"]), Challenge::Basic);
        assert_eq!(challenged(&["Negotiate"]), Challenge::Unknown);
        assert_eq!(challenged(&["Bearer service=x"]), Challenge::Unknown);
        assert_eq!(challenged(&[]), Challenge::Unknown);
    }

    #[test]
    fn a_token_service_in_clear_is_not_used_for_a_registry_with_tls() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(token_service(&url("https://r/v2/"), "http://r/token").is_err());
        assert!(token_service(&url("https://r/v2/"), "https://other/token").is_ok());
        assert!(token_service(&url("http://r/v2/"), "http://r/token").is_ok());
        assert!(token_service(&url("http://r/v2/"), "file:///etc/passwd").is_err());
        assert!(token_service(&url("http://r/v2/"), "token").is_err());
    }
}
