//! Charts and tables of what the benchmarks measured.
//!
//! `bench_report DIRECTORY [RUN]`: adds a run's groups to `DIRECTORY/benchmarks/results.json`, each
//! in the place of its former one, and makes `DIRECTORY/benchmarks.md` and its charts of all of
//! them. `mix bench` calls it; `mix bench --redraw` does so without a run.

mod chart;
mod figures;
mod guide;
mod results;
mod table;

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use results::Results;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, run) = match arguments.as_slice() {
        [directory] => (directory, None),
        [directory, run] => (directory, Some(run)),
        _ => {
            eprintln!("usage: bench_report DIRECTORY [RUN]");
            return ExitCode::from(2);
        }
    };
    match report(Path::new(directory), run.map(Path::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(directory: &Path, run: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let charts = directory.join("benchmarks");
    let path = charts.join("results.json");
    fs::create_dir_all(&charts)?;
    let mut results = match run {
        Some(_) if !path.exists() => Results::default(),
        _ => Results::read(&path)?,
    };
    if let Some(run) = run {
        results.add(Results::read(run)?);
        results.write(&path)?;
    }
    remove_charts(&charts)?;
    let mut sections = Vec::new();
    for group in &results.groups {
        let figures = figures::of(group);
        for figure in &figures {
            chart::draw(figure, &charts.join(&figure.file))?;
        }
        sections.push((group, figures));
    }
    fs::write(directory.join("benchmarks.md"), guide::markdown(&sections))?;
    Ok(())
}

/// A chart whose case is measured no more would stay for ever.
fn remove_charts(charts: &Path) -> io::Result<()> {
    for entry in fs::read_dir(charts)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
