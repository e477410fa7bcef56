//! A group's figures as a Markdown table.

use std::fmt::Write;

use crate::results::{Comparison, Figure, Spread, fields, subjects, thousands, words};

const OWN: &str = "PartitionedEts";
/// With more subjects than these a row would be too wide: then the fastest `:ets` is shown.
const WIDEST: usize = 4;
const ALWAYS: [&str; 3] = [":ets named", ":ets tid", ":persistent_term"];

/// One row for each case: what PartitionedEts took, and how many times as much the others.
pub(crate) fn of(results: &[Comparison]) -> String {
    let (fields, _) = fields(results);
    let rivals: Vec<&str> = subjects(results).into_iter().filter(|s| *s != OWN).collect();
    let fastest = rivals.len() > WIDEST;
    let shown: Vec<&str> =
        rivals.iter().copied().filter(|s| !fastest || ALWAYS.contains(s)).collect();
    let unit = results.first().map_or("", |comparison| comparison.unit.as_str());

    let mut head: Vec<String> = fields.iter().map(|field| heading(field).into()).collect();
    head.push(format!("{OWN} ({unit})"));
    head.extend(shown.iter().map(|subject| format!("`{subject}`")));
    if fastest {
        head.extend(["best `:ets`".into(), "which is".into()]);
    }

    let mut table = String::new();
    row(&mut table, &head);
    row(&mut table, &vec!["---".into(); head.len()]);
    for comparison in results {
        let value = |field: &&str| comparison.case.get(*field).map(words).unwrap_or_default();
        let mut cells: Vec<String> = fields.iter().map(value).collect();
        let find = |subject: &str| comparison.figures.iter().find(|f| f.subject == subject);
        cells.push(find(OWN).map_or("-".into(), time));
        let ratio = |subject: &&str| find(subject).and_then(|f| f.ratio).map_or("-".into(), times);
        cells.extend(shown.iter().map(ratio));
        if fastest {
            match best(&comparison.figures) {
                Some((figure, ratio)) => {
                    cells.push(times(ratio));
                    cells.push(figure.subject.trim_start_matches(":ets ").into());
                }
                None => cells.extend(["-".into(), "-".into()]),
            }
        }
        row(&mut table, &cells);
    }
    table
}

/// The fastest way to use `:ets`.
fn best(figures: &[Figure]) -> Option<(&Figure, Spread)> {
    figures
        .iter()
        .filter(|figure| figure.subject.starts_with(":ets"))
        .filter_map(|figure| figure.ratio.map(|ratio| (figure, ratio)))
        .min_by(|(a, _), (b, _)| a.median.total_cmp(&b.median))
}

fn heading(field: &str) -> &str {
    match field {
        "chunk" => "objects in a list",
        "mix" => "reads:writes",
        "shape" => "object",
        other => other,
    }
}

fn row(table: &mut String, cells: &[String]) {
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes everything");
}

fn time(figure: &Figure) -> String {
    let number = |value: f64| match value {
        v if v < 99.95 => format!("{v:.1}"),
        v => thousands(v.round() as u64),
    };
    let (median, low, high) = (number(figure.median), number(figure.low), number(figure.high));
    if low == high { median } else { format!("{median} ({low} to {high})") }
}

fn times(Spread { median, low, high }: Spread) -> String {
    let (text, low, high) = (format!("{median:.2}"), format!("{low:.2}"), format!("{high:.2}"));
    if low == high { text } else { format!("{text} ({low} to {high})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Results;

    fn comparisons() -> Vec<Comparison> {
        let results: Results =
            serde_json::from_str(include_str!("../tests/run.json")).expect("a run");
        results.groups[0].results.clone()
    }

    #[test]
    fn a_row_for_each_case_with_what_differs() {
        let table = of(&comparisons());
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(
            rows[0],
            "| operation | rows | processes | PartitionedEts (ns) | `:ets named` | `:ets tid` |"
        );
        assert_eq!(
            rows[2],
            "| lookup | 1,000 | 1 | 40.0 (38.0 to 44.0) | 2.00 (1.90 to 2.10) | 0.75 |"
        );
        assert_eq!(
            rows[4],
            "| lookup | 1,000,000 | 8 | 1,400 (1,380 to 1,440) | 2.00 (1.90 to 2.10) | - |"
        );
        assert_eq!(rows.len(), 5);
    }

    #[test]
    fn of_many_subjects_the_fastest_is_told() {
        let mut results = comparisons();
        results.truncate(1);
        for subject in [":ets a", ":ets b", ":persistent_term"] {
            let mut figure = results[0].figures[1].clone();
            figure.subject = subject.into();
            if subject == ":ets b" {
                figure.median = 20.0;
                figure.ratio = Some(Spread { median: 0.5, low: 0.4, high: 0.6 });
            }
            results[0].figures.push(figure);
        }
        let table = of(&results);
        let last = table.lines().last().expect("a row");
        assert!(
            last.ends_with("| 0.75 | 2.00 (1.90 to 2.10) | 0.50 (0.40 to 0.60) | b |"),
            "{last}"
        );
    }
}
