//! Who to be at a registry.

use std::fmt;

/// Credentials for one registry, or for a part of it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `host[:port][/path]` as in a docker `config.json`; labels of the host may be `*`. Empty fits every registry.
    pub registry: String,
    /// With `password`.
    pub username: String,
    /// With `username`.
    pub password: String,
    /// An OAuth2 refresh token; wins over name and password where it is not empty.
    pub identity_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
