//! Draws a chart as SVG. It asks for no font: the text is laid out by whoever shows the file.

mod axes;
mod colours;
mod scale;

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::figures::{Chart, Kind};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 1000;
const HEADER: u32 = 40;
const LEGEND_ROW: u32 = 22;
const LEGEND_COLUMNS: usize = 4;
const PANEL_HEIGHT: u32 = 300;

/// Draws a chart into a file.
pub(crate) fn draw(chart: &Chart, path: &Path) -> Drawn {
    let columns = columns(chart);
    let rows = chart.panels.len().div_ceil(columns);
    let legend = LEGEND_ROW * chart.subjects.len().div_ceil(LEGEND_COLUMNS) as u32;
    let height = HEADER + legend + PANEL_HEIGHT * rows as u32;

    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, body) = root.split_vertically(HEADER + legend);
    draw_header(chart, &header)?;
    let scale = scale::of(chart);
    for (panel, area) in chart.panels.iter().zip(body.split_evenly((rows, columns))) {
        match chart.kind {
            Kind::Bars => axes::bars(chart, panel, &scale, &area)?,
            Kind::Lines => axes::lines(chart, panel, &scale, &area)?,
        }
    }
    root.present()?;
    Ok(())
}

/// Many groups of bars need the whole width.
fn columns(chart: &Chart) -> usize {
    let widest = chart.panels.iter().map(|panel| panel.x.len()).max().unwrap_or(1);
    let bars = widest * chart.subjects.len();
    let wide = chart.kind == Kind::Bars && (bars > 45 || widest > 8);
    if wide { 1 } else { 2.min(chart.panels.len().max(1)) }
}

fn draw_header(chart: &Chart, area: &Area<'_>) -> Drawn {
    let title = ("sans-serif", 20).into_font().style(FontStyle::Bold);
    area.draw_text(&chart.title, &title.into(), (12, 10))?;
    let text: TextStyle<'_> = ("sans-serif", 14).into();
    for (i, subject) in chart.subjects.iter().enumerate() {
        let x = 16 + (i % LEGEND_COLUMNS) as i32 * (WIDTH as i32 - 20) / LEGEND_COLUMNS as i32;
        let y = (HEADER + LEGEND_ROW * (i / LEGEND_COLUMNS) as u32) as i32;
        let colour = colours::of(subject);
        area.draw(&Rectangle::new([(x, y), (x + 14, y + 14)], colour.filled()))?;
        area.draw_text(subject, &text, (x + 20, y + 1))?;
    }
    Ok(())
}
