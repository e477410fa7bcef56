//! One panel: its axes, and the bars or curves on them.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::PathElement;
use plotters::prelude::*;

use super::scale::{Log, number};
use super::{Area, Drawn, colours};
use crate::figures::{Chart, Panel};
use crate::results::words;

const TEXT: (&str, u32) = ("sans-serif", 13);
const CAPTION: (&str, u32) = ("sans-serif", 16);
/// Of the width that a group of bars has, what the bars take.
const BARS: f64 = 0.84;

/// A group of bars for each value of the horizontal axis, with a thin line from the lowest round to
/// the highest one.
pub(crate) fn bars(chart: &Chart, panel: &Panel, scale: &Log, area: &Area<'_>) -> Drawn {
    let (low, high) = (scale.low, scale.high);
    let groups = panel.x.len();
    let labels: Vec<String> = panel.x.iter().map(words).collect();
    let mut context = ChartBuilder::on(area)
        .margin(8)
        .margin_right(16)
        .caption(&panel.title, CAPTION)
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(Groups(groups), *scale)?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(215, 215, 215))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_labels(groups)
        .x_label_formatter(&|x| labels.get(*x as usize).cloned().unwrap_or_default())
        .x_desc(chart.x_label)
        .y_label_formatter(&|y| number(*y))
        .y_desc(&chart.y_label)
        .draw()?;

    let width = BARS / chart.subjects.len() as f64;
    for (i, (subject, points)) in chart.subjects.iter().zip(&panel.points).enumerate() {
        let colour = colours::of(subject);
        for (group, point) in points.iter().enumerate() {
            let Some(point) = point else { continue };
            let left = group as f64 + (1.0 - BARS) / 2.0 + width * i as f64;
            let right = left + 0.92 * width;
            let middle = (left + right) / 2.0;
            let top = point.median.clamp(low, high);
            let bar = Rectangle::new([(left, low), (right, top)], colour.filled());
            context.draw_series([bar])?;
            let ends = [point.low, point.high].map(|y| (middle, y.clamp(low, high)));
            context.draw_series([PathElement::new(ends, BLACK.mix(0.7))])?;
        }
    }
    Ok(())
}

/// A curve for each subject over the numbers of the horizontal axis, in a band from the lowest
/// round to the highest one.
pub(crate) fn lines(chart: &Chart, panel: &Panel, scale: &Log, area: &Area<'_>) -> Drawn {
    let (low, high) = (scale.low, scale.high);
    let x: Vec<f64> = panel.x.iter().filter_map(|x| x.as_f64()).collect();
    let first = x.iter().copied().fold(f64::INFINITY, f64::min);
    let last = x.iter().copied().fold(1.0, f64::max);
    let mut context = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .caption(&panel.title, CAPTION)
        .x_label_area_size(42)
        .y_label_area_size(66)
        .build_cartesian_2d(Log { low: first * 0.8, high: last * 1.25 }, *scale)?;
    context
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(215, 215, 215))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .x_label_formatter(&|x| number(*x))
        .x_desc(chart.x_label)
        .y_label_formatter(&|y| number(*y))
        .y_desc(&chart.y_label)
        .draw()?;

    for (subject, points) in chart.subjects.iter().zip(&panel.points) {
        let colour = colours::of(subject);
        let measured: Vec<_> =
            x.iter().zip(points).filter_map(|(x, point)| point.map(|point| (*x, point))).collect();
        let upper = measured.iter().map(|(x, point)| (*x, point.high.clamp(low, high)));
        let lower = measured.iter().rev().map(|(x, point)| (*x, point.low.clamp(low, high)));
        let band: Vec<(f64, f64)> = upper.chain(lower).collect();
        context.draw_series([Polygon::new(band, colour.mix(0.12).filled())])?;
        let curve: Vec<(f64, f64)> =
            measured.iter().map(|(x, point)| (*x, point.median.clamp(low, high))).collect();
        context.draw_series([PathElement::new(curve.clone(), colour.stroke_width(3))])?;
        context.draw_series(curve.iter().map(|&at| Circle::new(at, 4, colour.filled())))?;
    }
    Ok(())
}

/// A horizontal axis of groups, each one wide, with its label in the middle.
struct Groups(usize);

impl Ranged for Groups {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = value / self.0.max(1) as f64;
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (0..self.0).map(|group| group as f64 + 0.5).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.0 as f64
    }
}

impl ValueFormatter<f64> for Groups {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}
