//! The file that the benchmarks write.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was measured, by group. Groups may come from runs of different days.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) groups: Vec<Group>,
}

/// One group of cases, from one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Its heading.
    pub(crate) about: String,
    /// What is measured and how, in Markdown.
    pub(crate) notes: String,
    /// Whether the run only showed that everything works.
    pub(crate) quick: bool,
    pub(crate) command: String,
    pub(crate) date: String,
    pub(crate) seconds: u64,
    pub(crate) settings: Value,
    pub(crate) machine: Machine,
    pub(crate) results: Vec<Comparison>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Where a group was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) schedulers: u32,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) system: String,
    pub(crate) otp: String,
    pub(crate) elixir: String,
    pub(crate) rustc: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) partitioned_ets: String,
}

/// What is told apart within a group, such as `rows` and `operation`, with its value.
pub(crate) type Case = BTreeMap<String, Value>;

/// One case with all subjects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) case: Case,
    pub(crate) unit: String,
    pub(crate) figures: Vec<Figure>,
}

/// What one subject took: the median of the rounds, the lowest and the highest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) subject: String,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// By what PartitionedEts took in the same round; PartitionedEts itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<Spread>,
}

/// A ratio of each round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What a run left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) case: Case,
    pub(crate) reason: String,
}

/// The order in which a case is told.
const FIELDS: [&str; 9] =
    ["type", "operation", "mix", "stage", "shape", "keys", "rows", "chunk", "processes"];

impl Results {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|error| named(&error))?;
        serde_json::from_str(&text).map_err(|error| named(&error))
    }

    /// Takes the groups of a run, each in the place of its former one.
    pub(crate) fn add(&mut self, run: Results) {
        for group in run.groups {
            match self.groups.iter_mut().find(|former| former.name == group.name) {
                Some(former) => *former = group,
                None => self.groups.push(group),
            }
        }
    }

    /// Writes a line for each case, so that two versions can be compared.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = String::from("{\"groups\":[");
        for (i, group) in self.groups.iter().enumerate() {
            let head = Group { results: Vec::new(), ..group.clone() };
            let lines: Result<Vec<_>, _> =
                group.results.iter().map(serde_json::to_string).collect();
            // Within a text its quotes would be escaped: only the list itself reads like this.
            let results = format!("\"results\":[\n{}\n]", lines?.join(",\n"));
            text.push_str(if i == 0 { "\n" } else { ",\n" });
            text.push_str(&serde_json::to_string(&head)?.replace("\"results\":[]", &results));
        }
        text.push_str("\n]}\n");
        fs::write(path, text)
    }
}

/// A value of a case in words.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or(number.to_string(), thousands),
        other => other.to_string(),
    }
}

/// A number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The values of a field, in the order in which they first come.
pub(crate) fn values(results: &[Comparison], field: &str) -> Vec<Value> {
    let mut values = Vec::new();
    for value in results.iter().filter_map(|comparison| comparison.case.get(field)) {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    values
}

/// The fields that cases of a group differ in, and those in which they are all the same.
pub(crate) fn fields(results: &[Comparison]) -> (Vec<&'static str>, Vec<&'static str>) {
    let used = FIELDS.into_iter().filter(|field| !values(results, field).is_empty());
    used.partition(|field| values(results, field).len() > 1)
}

/// All subjects of a group, in the order in which they first come.
pub(crate) fn subjects(results: &[Comparison]) -> Vec<&str> {
    let mut subjects = Vec::new();
    for figure in results.iter().flat_map(|comparison| &comparison.figures) {
        if !subjects.contains(&figure.subject.as_str()) {
            subjects.push(&figure.subject);
        }
    }
    subjects
}

/// A case in words.
pub(crate) fn case_in_words(case: &Case) -> String {
    let told: Vec<String> = FIELDS
        .into_iter()
        .filter_map(|field| case.get(field).map(|value| told(field, value)))
        .collect();
    if told.is_empty() { "everything".into() } else { told.join(", ") }
}

/// A value of a case, with its field where the value alone says nothing.
pub(crate) fn told(field: &str, value: &Value) -> String {
    let text = words(value);
    match field {
        "rows" => format!("{text} rows"),
        "chunk" => format!("lists of {text}"),
        "keys" => format!("{text} keys"),
        "processes" if text == "1" => "1 process".into(),
        "processes" => format!("{text} processes"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = include_str!("../tests/run.json");

    fn run() -> Results {
        serde_json::from_str(RUN).expect("a run")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("bench_report-{}", std::process::id()));
        run().write(&path).expect("it can be written");
        let read = Results::read(&path);
        let lines = fs::read_to_string(&path).expect("it is there").lines().count();
        fs::remove_file(&path).expect("it is there");
        let same = serde_json::to_value(read.expect("it is JSON")).expect("it is JSON");
        assert_eq!(same, serde_json::to_value(run()).expect("it is JSON"));
        let cases: usize = run().groups.iter().map(|group| group.results.len()).sum();
        assert!(lines > cases, "a line for each case");
    }

    #[test]
    fn a_group_comes_in_the_place_of_its_former_one() {
        let mut results = run();
        let mut newer = run();
        newer.groups.remove(1);
        newer.groups[0].date = "2026-02-01".into();
        newer.groups.push(Group { name: "new".into(), ..run().groups[1].clone() });
        results.add(newer);
        let told: Vec<_> =
            results.groups.iter().map(|group| (group.name.as_str(), group.date.as_str())).collect();
        let old = "2026-01-31";
        assert_eq!(told, [("contention", "2026-02-01"), ("types", old), ("new", old)]);
    }

    #[test]
    fn cases_are_told_in_the_order_of_speech() {
        let case = &run().groups[0].results[0].case;
        assert_eq!(case_in_words(case), "lookup, int, 1,000 rows, 1 process");
        assert_eq!(case_in_words(&Case::new()), "everything");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(thousands), ["0", "999", "1,000", "12,345,678"]);
    }
}
