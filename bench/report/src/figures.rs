//! Which charts are drawn of a group, and what is in them.

use serde_json::Value;

use crate::results::{Comparison, Group, subjects, told, values, words};

/// A chart: panels with the same subjects, side by side.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) panels: Vec<Panel>,
}

/// What a chart looks like. The vertical axis is logarithmic in all of them: what they show goes
/// from tens to tens of thousands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A group of bars for each value.
    Bars,
    /// A curve for each subject, over a logarithmic axis.
    Lines,
}

/// One pair of axes.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// The values along the horizontal axis.
    pub(crate) x: Vec<Value>,
    /// For each subject of the chart, for each value: what was measured, if it was.
    pub(crate) points: Vec<Vec<Option<Point>>>,
}

/// A median and the lowest and highest round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How a group is cut into charts: one for each value of `charts`, a panel for each combination of
/// the values of `panels`.
struct Cut {
    charts: &'static str,
    panels: &'static [&'static str],
    x: &'static str,
    x_label: &'static str,
    /// What a figure is for.
    per: &'static str,
    kind: Kind,
}

/// Contention, and groups that nobody thought of here, are cut by operation.
fn cut(group: &str) -> Cut {
    let (charts, panels, x, x_label, per, kind): (_, &[_], _, _, _, _) = match group {
        "shapes" => ("rows", &["operation"], "shape", "object", "call", Kind::Bars),
        "growth" => {
            let panels = &["operation", "processes"];
            ("shape", panels, "rows", "rows in the table", "call", Kind::Lines)
        }
        "mixes" => ("rows", &["keys", "processes"], "mix", "reads:writes", "call", Kind::Bars),
        "load" => ("shape", &["processes"], "chunk", "objects in a list", "object", Kind::Lines),
        "scan" => ("rows", &["operation"], "shape", "object", "object", Kind::Bars),
        "types" => ("rows", &["type", "operation"], "processes", "processes", "call", Kind::Bars),
        "memory" => ("operation", &["stage"], "shape", "object", "object", Kind::Bars),
        _ => ("rows", &["operation"], "processes", "processes", "call", Kind::Bars),
    };
    Cut { charts, panels, x, x_label, per, kind }
}

/// The charts of a group. A group in which nothing was measured has none.
pub(crate) fn of(group: &Group) -> Vec<Chart> {
    let cut = cut(&group.name);
    let charts = values(&group.results, cut.charts);
    let several = charts.len() > 1;
    let chart = |value: &Value| {
        let results = with(&group.results, &[(cut.charts, value)]);
        let title = match several {
            true => format!("{}: {}", group.name, told(cut.charts, value)),
            false => group.name.clone(),
        };
        let quick = if group.quick { " (a quick run, worth nothing)" } else { "" };
        let subjects: Vec<String> = subjects(&results).into_iter().map(String::from).collect();
        Chart {
            file: file(&group.name, several.then_some(value)),
            title: format!("{title}{quick}"),
            kind: cut.kind,
            x_label: cut.x_label,
            y_label: format!("{} per {}, log scale, lower is better", results[0].unit, cut.per),
            panels: panels(&results, &cut, &subjects),
            subjects,
        }
    };
    charts.iter().map(chart).collect()
}

fn file(group: &str, value: Option<&Value>) -> String {
    let text = value.map_or(group.into(), |value| format!("{group} {}", words(value)));
    let plain: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
    let parts: Vec<&str> = plain.split_whitespace().collect();
    format!("{}.svg", parts.join("_"))
}

fn with(results: &[Comparison], wanted: &[(&str, &Value)]) -> Vec<Comparison> {
    let matches = |comparison: &&Comparison| {
        wanted.iter().all(|(field, value)| comparison.case.get(*field) == Some(*value))
    };
    results.iter().filter(matches).cloned().collect()
}

fn panels(results: &[Comparison], cut: &Cut, subjects: &[String]) -> Vec<Panel> {
    let mut keys: Vec<Vec<Value>> = Vec::new();
    for comparison in results {
        let key: Option<Vec<Value>> =
            cut.panels.iter().map(|field| comparison.case.get(*field).cloned()).collect();
        match key {
            Some(key) if !keys.contains(&key) => keys.push(key),
            _ => {}
        }
    }
    let panel = |key: &Vec<Value>| {
        let wanted: Vec<(&str, &Value)> = cut.panels.iter().copied().zip(key).collect();
        let results = with(results, &wanted);
        let title: Vec<String> = wanted.iter().map(|(field, value)| told(field, value)).collect();
        let x = values(&results, cut.x);
        let points = subjects
            .iter()
            .map(|subject| x.iter().map(|x| point(&results, cut.x, x, subject)).collect())
            .collect();
        Panel { title: title.join(", "), x, points }
    };
    keys.iter().map(panel).collect()
}

fn point(results: &[Comparison], field: &str, x: &Value, subject: &str) -> Option<Point> {
    let comparison = results.iter().find(|comparison| comparison.case.get(field) == Some(x))?;
    let figure = comparison.figures.iter().find(|figure| figure.subject == subject)?;
    Some(Point { median: figure.median, low: figure.low, high: figure.high })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Results;

    const RUN: &str = include_str!("../tests/run.json");

    fn group(name: &str) -> Group {
        let results: Results = serde_json::from_str(RUN).expect("a run");
        results.groups.into_iter().find(|group| group.name == name).expect("the group")
    }

    #[test]
    fn a_chart_for_each_number_of_rows_and_a_panel_for_each_operation() {
        let charts = of(&group("contention"));
        let files: Vec<_> = charts.iter().map(|chart| chart.file.as_str()).collect();
        assert_eq!(files, ["contention_1000.svg", "contention_1000000.svg"]);
        assert_eq!(charts[0].subjects, ["PartitionedEts", ":ets named", ":ets tid"]);
        let titles: Vec<_> = charts[0].panels.iter().map(|panel| panel.title.as_str()).collect();
        assert_eq!(titles, ["lookup", "insert"]);
    }

    #[test]
    fn what_was_not_measured_has_no_point() {
        let charts = of(&group("contention"));
        let insert = &charts[0].panels[1];
        assert_eq!(insert.x, [Value::from(1)]);
        let named = Point { median: 80.0, low: 75.0, high: 90.0 };
        assert_eq!(insert.points[1], [Some(named)]);
        assert_eq!(insert.points[2], [None]);
    }

    #[test]
    fn a_group_of_which_everything_was_left_out_has_no_chart() {
        assert!(of(&group("types")).is_empty());
    }
}
