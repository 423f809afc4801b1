//! The figures for a person: a table in Markdown, and what the processes weigh.

use std::fmt::Write as _;

use super::Figures;
use super::lives::CALLS;
use crate::memory::Weight;

/// Draws it; the ratio is each peer's figure by the first one's, above one where the first is better.
pub(super) fn render(figures: &[Figures], pods: usize) -> String {
    let mut text = String::from("| |");
    for figure in figures {
        let _ = write!(text, " {} |", figure.runtime);
    }
    for figure in figures.iter().skip(1) {
        let _ = write!(text, " {}: ratio |", figure.runtime);
    }
    let columns = (figures.len() * 2).saturating_sub(1);
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(columns));
    let milliseconds = |us: u64| us as f64 / 1000.0;
    let mut row = |name: &str, unit: &str, more_is_better: bool, of: &dyn Fn(&Figures) -> Option<f64>| {
        let values: Option<Vec<f64>> = figures.iter().map(of).collect();
        let Some(values) = values else { return };
        let _ = write!(text, "| {name} |");
        for value in &values {
            let _ = write!(text, " {} {unit} |", number(*value));
        }
        if let Some((first, others)) = values.split_first() {
            for other in others {
                let ratio = if more_is_better {
                    first / other
                } else {
                    other / first
                };
                let _ = write!(text, " {ratio:.1} |");
            }
        }
        text.push('\n');
    };
    row("start and stop, p50", "ms", false, &|figure| {
        Some(milliseconds(figure.serial.start_and_stop_us.0))
    });
    row("start and stop, p90", "ms", false, &|figure| {
        Some(milliseconds(figure.serial.start_and_stop_us.1))
    });
    row("start, p50", "ms", false, &|figure| {
        Some(milliseconds(figure.serial.start_us.0))
    });
    row("stop, p50", "ms", false, &|figure| {
        Some(milliseconds(figure.serial.stop_us.0))
    });
    for (index, call) in CALLS.iter().enumerate() {
        row(&format!("{call}, p50"), "ms", false, &|figure| {
            figure
                .serial
                .calls
                .get(index)
                .map(|(_, p50, _)| milliseconds(*p50))
        });
    }
    row("`true` in a container, p50", "ms", false, &|figure| {
        Some(milliseconds(figure.own.through_cri_us.0))
    });
    row("`true`, the OCI runtime alone, p50", "ms", false, &|figure| {
        Some(milliseconds(figure.own.alone_us.0))
    });
    row(&format!("{pods} at once"), "pods/s", true, &|figure| {
        Some(figure.parallel.pods_per_s)
    });
    row(
        &format!("{pods} at once: start and stop, p50"),
        "ms",
        false,
        &|figure| Some(milliseconds(figure.parallel.start_and_stop_us.0)),
    );
    let operations = figures
        .first()
        .map(|figure| figure.critest.as_slice())
        .unwrap_or_default();
    for (index, (name, _)) in operations.iter().enumerate() {
        row(&format!("critest: {name}, p50"), "ms", false, &|figure| {
            figure.critest.get(index).map(|(_, p50)| milliseconds(*p50))
        });
    }
    row("pull and unpack, one big layer", "s", false, &|figure| {
        figure.pulls.map(|pulls| pulls.big_s)
    });
    row("pull and unpack, 60 layers", "s", false, &|figure| {
        figure.pulls.map(|pulls| pulls.many_layers_s)
    });
    row("memory, idle (PSS)", "MB", false, &|figure| {
        Some(megabytes(sum(&figure.idle)))
    });
    row("memory, a pod more (PSS)", "MB", false, &|figure| {
        Some(megabytes(sum(&figure.full).saturating_sub(sum(&figure.idle))) / pods as f64)
    });
    for figure in figures {
        let _ = writeln!(
            text,
            "\n{}: proportional MB, idle and with {pods} pods",
            figure.runtime
        );
        for (idle, full) in figure.idle.iter().zip(&figure.full) {
            let _ = writeln!(
                text,
                "  {:<15} {:>6} {:>6} in {} processes",
                idle.program,
                number(megabytes(idle.proportional_kib)),
                number(megabytes(full.proportional_kib)),
                full.processes
            );
        }
    }
    text
}

fn sum(weights: &[Weight]) -> u64 {
    weights.iter().map(|weight| weight.proportional_kib).sum()
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

fn number(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.2}"),
        value if value < 10.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
