//! Ports as a query names them, for the protocols that have them there.

/// Ports at once; each has two channels, whose numbers must be single characters in the base64 protocol.
const MAX_PORTS: usize = 32;

/// The query does not say which ports. Answer 400 with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPorts {
    /// There are none.
    #[error("query parameter \"port\" is required")]
    Missing,
    /// One of them is no number from 1 to 65535.
    #[error("unable to parse {0:?} as a port: it must be between 1 and 65535")]
    NotAPort(String),
    /// There are too many.
    #[error("no more than {MAX_PORTS} ports can be forwarded over one connection")]
    TooMany,
}

/// Reads a query string (without the question mark): `port`, repeated or with commas. Other names are passed over.
///
/// # Errors
/// [`InvalidPorts`].
pub fn ports_from_query(query: &str) -> Result<Vec<u16>, InvalidPorts> {
    let mut ports = Vec::new();
    for (_, value) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port") {
        for text in value.split(',') {
            let port = parse(text).ok_or_else(|| InvalidPorts::NotAPort(value.clone().into_owned()))?;
            ports.push(port);
        }
    }
    match ports.len() {
        0 => Err(InvalidPorts::Missing),
        1..=MAX_PORTS => Ok(ports),
        _ => Err(InvalidPorts::TooMany),
    }
}

/// A port that something can listen on, in decimal digits.
pub(super) fn parse(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_repeated_or_listed() {
        assert_eq!(
            ports_from_query("port=80&x=y&port=443%2C8080").unwrap(),
            [80, 443, 8080]
        );
    }

    #[test]
    fn what_is_no_port_is_told() {
        assert_eq!(ports_from_query("x=1"), Err(InvalidPorts::Missing));
        for text in ["", "0", "65536", "-1", "+1", "http", "80,"] {
            let query = format!("port={}", text.replace('+', "%2B"));
            assert_eq!(
                ports_from_query(&query),
                Err(InvalidPorts::NotAPort(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            ports_from_query(&"port=1&".repeat(33)),
            Err(InvalidPorts::TooMany)
        );
    }
}
