//! What was measured, as a table: medians of both daemons, their ratio, and the goal if there is one.

use std::fmt::Write as _;

/// What the project wants a row to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// Shown only.
    None,
    /// Ours at most the peer's divided by this.
    Fraction(f64),
    /// Ours at least the peer's multiplied by this.
    Multiple(f64),
    /// Ours at most this, whatever the peer has.
    AtMost(f64),
}

/// One thing that was measured on both daemons.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// Whether more is better, as for throughput.
    pub(super) more_is_better: bool,
    pub(super) goal: Goal,
    pub(super) peer: Vec<f64>,
    pub(super) ours: Vec<f64>,
}

impl Row {
    fn ratio(&self) -> String {
        let (peer, ours) = (median(&self.peer), median(&self.ours));
        if peer <= 0.0 || ours <= 0.0 {
            return "–".to_owned();
        }
        if self.more_is_better {
            format!("{} times", short(ours / peer))
        } else if ours <= peer {
            format!("1/{}", short(peer / ours))
        } else {
            format!("{} times", short(ours / peer))
        }
    }

    fn goal(&self) -> String {
        let (peer, ours) = (median(&self.peer), median(&self.ours));
        let (text, met) = match self.goal {
            Goal::None => return String::new(),
            Goal::Fraction(n) => (format!("1/{}", short(n)), ours <= peer / n),
            Goal::Multiple(n) => (format!("{} times", short(n)), ours >= peer * n),
            Goal::AtMost(n) => (format!("{} {}", short(n), self.unit), ours <= n),
        };
        format!("{text}: {}", if met { "met" } else { "missed" })
    }
}

/// The table in Markdown, which is readable on a terminal too.
pub(super) fn table(rows: &[Row], peer: &str) -> String {
    let mut cells = vec![["", peer, "Gantry", "best tenth", "ratio", "goal"].map(str::to_owned)];
    for row in rows {
        cells.push([
            row.name.clone(),
            format!("{} {}", short(median(&row.peer)), row.unit),
            format!("{} {}", short(median(&row.ours)), row.unit),
            format!(
                "{} / {}",
                short(best_tenth(&row.peer, row.more_is_better)),
                short(best_tenth(&row.ours, row.more_is_better))
            ),
            row.ratio(),
            row.goal(),
        ]);
    }
    let widths: [usize; 6] = std::array::from_fn(|i| {
        cells
            .iter()
            .map(|c| c[i].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            write!(text, "| {cell:width$} ").expect("a string takes any text");
        }
        text += "|\n";
        if number == 0 {
            for width in widths {
                write!(text, "|{}", "-".repeat(width + 2)).expect("a string takes any text");
            }
            text += "|\n";
        }
    }
    text
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The value that a tenth of the runs reached or bettered: a guess at an idle machine.
fn best_tenth(values: &[f64], more_is_better: bool) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if more_is_better {
        sorted.reverse();
    }
    sorted.get(sorted.len() / 10).copied().unwrap_or(0.0)
}

/// Three digits that matter.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 || (v.fract() == 0.0 && v >= 1.0) => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(more_is_better: bool, goal: Goal, peer: f64, ours: f64) -> Row {
        Row {
            name: "x".into(),
            unit: "ms",
            more_is_better,
            goal,
            peer: vec![peer],
            ours: vec![ours],
        }
    }

    #[test]
    fn medians_and_tenths() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!((best_tenth(&values, false) - 3.0).abs() < f64::EPSILON);
        assert!((best_tenth(&values, true) - 18.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ratios_and_goals() {
        let fast = row(false, Goal::Fraction(15.0), 300.0, 10.0);
        assert_eq!(
            (fast.ratio(), fast.goal()),
            ("1/30".into(), "1/15: met".into())
        );
        let slow = row(false, Goal::Fraction(15.0), 300.0, 30.0);
        assert_eq!(
            (slow.ratio(), slow.goal()),
            ("1/10".into(), "1/15: missed".into())
        );
        assert_eq!(row(false, Goal::None, 10.0, 25.0).ratio(), "2.50 times");
        let stream = row(true, Goal::Multiple(10.0), 20.0, 210.0);
        assert_eq!(
            (stream.ratio(), stream.goal()),
            ("10.5 times".into(), "10 times: met".into())
        );
        assert_eq!(
            row(false, Goal::AtMost(0.4), 5.0, 0.5).goal(),
            "0.40 ms: missed"
        );
    }
}
