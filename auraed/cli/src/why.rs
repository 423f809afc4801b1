//! `aurae why`: where a pod's start spent its time.

use crate::arguments::WhyOptions;
use crate::failure::Failure;
use crate::message;
use crate::printer;
use crate::session::Session;
use auraed_api::observe::v0::{GetTimelineRequest, GetTimelineResponse, TimelineStep};

/// Columns that the bars take.
const WIDTH: u64 = 40;

/// Prints the steps in the order of their start, each with a bar on one scale.
pub(crate) async fn why(session: &Session, options: WhyOptions) -> Result<(), Failure> {
    let request = GetTimelineRequest { pod: options.pod };
    let timeline = session
        .connect()
        .await?
        .observe()
        .get_timeline(request)
        .await?
        .into_inner();
    if session.json() {
        return Ok(printer::json(&message::to_json(
            "aurae.observe.v0.GetTimelineResponse",
            &timeline,
        )?)?);
    }
    let total = total(&timeline);
    let row = |step: &TimelineStep| {
        let duration = if step.duration_microseconds == 0 {
            "-".into()
        } else {
            milliseconds(step.duration_microseconds)
        };
        vec![
            milliseconds(step.start_microseconds),
            duration,
            step.name.clone(),
            step.subject.clone(),
            bar(step, total),
            step.detail.clone(),
        ]
    };
    Ok(printer::table(
        &["AT MS", "TOOK MS", "STEP", "OF", "", "DETAIL"],
        timeline.steps.iter().map(row),
    )?)
}

fn total(timeline: &GetTimelineResponse) -> u64 {
    timeline
        .steps
        .iter()
        .map(|step| step.start_microseconds + step.duration_microseconds)
        .max()
        .unwrap_or(0)
        .max(1)
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:01}", microseconds / 1000, microseconds % 1000 / 100)
}

fn bar(step: &TimelineStep, total: u64) -> String {
    let column = |microseconds: u64| usize::try_from(microseconds * WIDTH / total).unwrap_or(0);
    let start = column(step.start_microseconds);
    let length = column(step.start_microseconds + step.duration_microseconds)
        .saturating_sub(start)
        .max(1);
    format!("{}{}", " ".repeat(start), "=".repeat(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_share_one_scale() {
        let step = |start_microseconds, duration_microseconds| TimelineStep {
            start_microseconds,
            duration_microseconds,
            ..TimelineStep::default()
        };
        assert_eq!(bar(&step(0, 1000), 2000), "=".repeat(20));
        assert_eq!(
            bar(&step(1000, 1000), 2000),
            format!("{}{}", " ".repeat(20), "=".repeat(20))
        );
        assert_eq!(bar(&step(2000, 0), 2000), format!("{}=", " ".repeat(40)));
        assert_eq!(milliseconds(12_345), "12.3");
    }
}
