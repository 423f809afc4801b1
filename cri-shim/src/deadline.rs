//! The caller's time-out. tonic answers one that is over with CANCELLED; gRPC's word for it is DEADLINE_EXCEEDED, and a
//! caller hears the server's word whenever that is faster than its own clock.

use std::convert::Infallible;
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{HeaderMap, Response};

/// tonic's own clock runs outside of this one and began earlier.
const EARLIER: Duration = Duration::from_millis(1);

/// The time that the caller gives: gRPC over HTTP/2, "Timeout", at most eight digits and a unit.
pub(crate) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Runs a call for at most this long.
pub(crate) async fn within(
    limit: Duration,
    call: BoxFuture<Response<Body>, Infallible>,
) -> Result<Response<Body>, Infallible> {
    match tokio::time::timeout(limit.saturating_sub(EARLIER), call).await {
        Ok(answer) => answer,
        Err(_) => {
            let status = Status::deadline_exceeded("not done in the time that the caller gives");
            Ok(status.into_http())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().ok()?);
        of(&headers)
    }

    #[test]
    fn a_time_out_is_read_in_every_unit() {
        assert_eq!(given("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(given("3M"), Some(Duration::from_secs(180)));
        assert_eq!(given("4S"), Some(Duration::from_secs(4)));
        assert_eq!(given("5m"), Some(Duration::from_millis(5)));
        assert_eq!(given("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(given("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "1", "1x", "-1S", "123456789S", "1.5S"] {
            assert_eq!(given(wrong), None, "{wrong}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_exceeds_its_deadline() {
        let answer = within(Duration::from_secs(1), Box::pin(std::future::pending())).await;
        let code = answer.map(|answer| answer.headers().get("grpc-status").cloned());
        assert_eq!(code, Ok(Some(http::HeaderValue::from_static("4"))));
    }
}
