//! `aurae logs`: a container's log.

use crate::arguments::LogsOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::observe::v0::{LogLine, LogsRequest};
use auraed_api::runtime::v0::ContainerReference;
use jiff::{SignedDuration, Timestamp};

/// Prints the log, line by line as it was written.
pub(crate) async fn logs(session: &Session, options: LogsOptions) -> Result<(), Failure> {
    let since = options
        .since
        .as_deref()
        .map(|text| moment(text, Timestamp::now()))
        .transpose()?;
    let request = LogsRequest {
        container: Some(ContainerReference {
            pod: options.pod,
            container: options.container.unwrap_or_default(),
        }),
        follow: options.follow,
        previous: options.previous,
        tail_lines: options.tail,
        since,
        limit_bytes: None,
    };
    let mut stream = session
        .connect()
        .await?
        .observe()
        .logs(request)
        .await?
        .into_inner();
    // A partial line's continuation does not begin with its time again.
    let mut begins = true;
    while let Some(response) = stream.message().await? {
        let mut text = Vec::new();
        for line in response.lines {
            if session.json() {
                printer::json_line(&message::to_json("aurae.observe.v0.LogLine", &line)?)?;
                continue;
            }
            append(&mut text, &line, options.timestamps && begins);
            begins = !line.partial;
        }
        printer::bytes(&text)?;
    }
    Ok(())
}

fn append(text: &mut Vec<u8>, line: &LogLine, with_time: bool) {
    if with_time {
        let time = line
            .time
            .as_ref()
            .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
            .unwrap_or_default();
        text.extend_from_slice(format!("{time:.9} ").as_bytes());
    }
    text.extend_from_slice(&line.content);
    if !line.partial {
        text.push(b'\n');
    }
}

/// A time, or a duration before `now`.
fn moment(text: &str, now: Timestamp) -> Result<prost_types::Timestamp, Failure> {
    let time = text.parse::<Timestamp>().or_else(|_| {
        let ago: SignedDuration = text.parse().map_err(drop)?;
        now.checked_sub(ago).map_err(drop)
    });
    let time = time.map_err(|()| {
        Failure::usage(format!(
            "--since {text}: neither a duration (10s, 5m, 3h) nor an RFC 3339 time"
        ))
    })?;
    Ok(prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_duration() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let minute_ago = moment("1m", now).unwrap();
        assert_eq!(moment("2026-01-01T00:00:00Z", now).unwrap(), minute_ago);
        assert!(moment("yesterday", now).is_err());
    }

    #[test]
    fn partial_lines_are_joined() {
        let mut text = Vec::new();
        append(
            &mut text,
            &LogLine {
                content: b"a".to_vec(),
                partial: true,
                ..LogLine::default()
            },
            false,
        );
        append(
            &mut text,
            &LogLine {
                content: b"b".to_vec(),
                ..LogLine::default()
            },
            false,
        );
        assert_eq!(text, b"ab\n");
    }
}
