//! The table that people read.

use std::fmt::Write as _;

use super::Figures;
use crate::memory::Weight;

/// Rows of figures, a column a node, and how the first compares with the last where there are several.
pub(super) fn render(figures: &[Figures], pods: usize) -> String {
    let mut rows: Vec<(String, Vec<f64>, &str)> = Vec::new();
    let mut row = |name: &str, unit: &'static str, value: &dyn Fn(&Figures) -> f64| {
        rows.push((name.to_owned(), figures.iter().map(value).collect(), unit));
    };
    row("start, one at a time, p50", "ms", &|f| {
        f.serial.start_ms.p50 as f64
    });
    row("start, one at a time, p90", "ms", &|f| {
        f.serial.start_ms.p90 as f64
    });
    row("stop, one at a time, p50", "ms", &|f| f.serial.stop_ms.p50 as f64);
    row("stop, one at a time, p90", "ms", &|f| f.serial.stop_ms.p90 as f64);
    row(&format!("start, {pods} at once"), "pods/s", &|f| {
        f.parallel.pods_per_s
    });
    row(&format!("start, {pods} at once, p50"), "ms", &|f| {
        f.parallel.start_ms.p50 as f64
    });
    row(&format!("stop, {pods} at once"), "pods/s", &|f| {
        f.parallel.stopped_per_s
    });
    row("resident, idle", "MB", &|f| {
        megabytes(f.idle.iter().map(|weight| weight.resident_kib).sum())
    });
    row("private, idle", "MB", &|f| {
        megabytes(f.idle.iter().map(|weight| weight.private_kib).sum())
    });
    row(&format!("private, {pods} pods"), "MB", &|f| {
        megabytes(f.full.iter().map(|weight| weight.private_kib).sum())
    });
    row("private, a pod more", "MB", &|f| per_pod(f, pods));
    let mut text = String::from("| |");
    for figure in figures {
        let _ = write!(text, " {} |", figure.node);
    }
    text.push_str(if figures.len() > 1 { " ratio |\n" } else { "\n" });
    text.push_str(&format!(
        "|---|{}\n",
        "---:|".repeat(figures.len() + usize::from(figures.len() > 1))
    ));
    for (name, values, unit) in rows {
        let _ = write!(text, "| {name} |");
        for value in &values {
            let _ = write!(text, " {} {unit} |", number(*value));
        }
        if let [first, .., last] = values.as_slice() {
            let _ = write!(
                text,
                " {:.1} |",
                if unit == "pods/s" {
                    first / last
                } else {
                    last / first
                }
            );
        }
        text.push('\n');
    }
    for figure in figures {
        let _ = writeln!(
            text,
            "\n{}: resident (private) MB, idle and with {pods} pods",
            figure.node
        );
        for (idle, full) in figure.idle.iter().zip(&figure.full) {
            let _ = writeln!(
                text,
                "  {:<15} {}   {} in {} processes",
                idle.program,
                weight(idle),
                weight(full),
                full.processes
            );
        }
    }
    text
}

fn weight(weight: &Weight) -> String {
    format!(
        "{:>6} ({})",
        number(megabytes(weight.resident_kib)),
        number(megabytes(weight.private_kib))
    )
}

fn per_pod(figures: &Figures, pods: usize) -> f64 {
    let sum = |weights: &[Weight]| weights.iter().map(|weight| weight.private_kib).sum::<u64>();
    megabytes(sum(&figures.full).saturating_sub(sum(&figures.idle))) / pods as f64
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

fn number(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::{Quantiles, Result};

    fn figures(node: &str, milliseconds: u64) -> Figures {
        let quantiles = Quantiles {
            p50: milliseconds,
            p90: milliseconds,
            max: milliseconds,
        };
        let result = Result {
            pods: 1,
            start_ms: quantiles,
            pods_per_s: 1000.0 / milliseconds as f64,
            stop_ms: quantiles,
            stopped_per_s: 1.0,
        };
        let weight = |kib| {
            vec![Weight {
                program: "p".to_owned(),
                processes: 1,
                resident_kib: kib,
                private_kib: kib,
                proportional_kib: kib,
            }]
        };
        Figures {
            node: node.to_owned(),
            serial: result,
            parallel: result,
            idle: weight(1000),
            full: weight(3000),
        }
    }

    #[test]
    fn the_ratio_says_how_much_better_the_first_is() {
        let text = render(&[figures("ours", 100), figures("theirs", 600)], 1);
        assert!(
            text.contains("| start, one at a time, p50 | 100 ms | 600 ms | 6.0 |"),
            "{text}"
        );
        assert!(
            text.contains("| start, 1 at once | 10 pods/s | 1.7 pods/s | 6.0 |"),
            "{text}"
        );
        assert!(
            text.contains("| private, a pod more | 2.0 MB | 2.0 MB | 1.0 |"),
            "{text}"
        );
    }
}
