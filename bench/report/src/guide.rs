//! The guide: text, tables and the charts.

use std::fmt::Write;

use crate::figures::Chart;
use crate::results::{Group, Machine, case_in_words, fields, thousands, told, values};
use crate::table;

const INTRODUCTION: &str = include_str!("introduction.md");

/// The whole guide, of all groups with their charts.
pub(crate) fn markdown(sections: &[(&Group, Vec<Chart>)]) -> String {
    let mut text = String::from(INTRODUCTION);
    if sections.iter().any(|(group, _)| group.quick) {
        text.push_str(
            "\n> Some figures below come from a quick run, which only shows that the suite works.\n\
             > They are worth nothing, and say so.\n",
        );
    }
    for (group, charts) in sections {
        section(&mut text, group, charts).expect("a string takes everything");
    }
    text
}

fn section(text: &mut String, group: &Group, charts: &[Chart]) -> std::fmt::Result {
    writeln!(text, "\n## {}\n", capital(&group.about))?;
    if group.quick {
        writeln!(text, "**A quick run: these figures are worth nothing.**\n")?;
    }
    writeln!(text, "{}\n", group.notes.trim())?;
    for chart in charts {
        writeln!(text, "![{}](benchmarks/{})\n", chart.title, chart.file)?;
    }
    if !group.results.is_empty() {
        writeln!(text, "<details>\n<summary>The figures</summary>\n")?;
        let (_, constant) = fields(&group.results);
        let all: Vec<String> = constant
            .iter()
            .flat_map(|field| values(&group.results, field).first().map(|v| told(field, v)))
            .collect();
        if !all.is_empty() {
            writeln!(text, "All: {}.\n", all.join(", "))?;
        }
        writeln!(text, "{}\n</details>\n", table::of(&group.results))?;
    }
    if !group.skipped.is_empty() {
        writeln!(text, "Left out:\n")?;
        for skipped in &group.skipped {
            writeln!(text, "* {}: {}", case_in_words(&skipped.case), skipped.reason)?;
        }
        writeln!(text)?;
    }
    writeln!(
        text,
        "`{}`, {}, {} s. {}.",
        group.command,
        group.date,
        thousands(group.seconds),
        machine(&group.machine)
    )
}

fn machine(machine: &Machine) -> String {
    let mut parts = vec![
        machine.cpu.clone(),
        format!("{} schedulers", machine.schedulers),
        machine.system.clone(),
        format!("OTP {}", machine.otp),
        format!("Elixir {}", machine.elixir),
    ];
    if let Some(bytes) = machine.memory_bytes {
        parts.insert(2, format!("{} GiB", (bytes as f64 / f64::from(1 << 30)).round()));
    }
    parts.extend(machine.rustc.clone());
    let commit = machine.commit.as_ref().map_or(String::new(), |commit| format!(" ({commit})"));
    parts.push(format!("PartitionedEts {}{commit}", machine.partitioned_ets));
    parts.join(", ")
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{figures, results::Results};

    #[test]
    fn each_section_has_its_charts_its_figures_and_where_they_come_from() {
        let results: Results =
            serde_json::from_str(include_str!("../tests/run.json")).expect("a run");
        let sections: Vec<_> =
            results.groups.iter().map(|group| (group, figures::of(group))).collect();
        let text = markdown(&sections);
        for part in [
            "## Who waits for whom\n",
            "![contention: 1,000 rows](benchmarks/contention_1000.svg)",
            "All: int.",
            "| lookup | 1,000 | 1 |",
            "`mix bench contention`, 2026-01-31, 1,234 s. A processor, 2 schedulers, 24 GiB,",
            "PartitionedEts 0.1.0 (abc).",
            "## Other types\n\n**A quick run: these figures are worth nothing.**",
            "* bag: refused",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
