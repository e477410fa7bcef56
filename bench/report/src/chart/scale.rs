//! Logarithmic axes.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::figures::{Chart, Point};
use crate::results::thousands;

/// A logarithmic axis with its numbers at 1, 2 and 5 of each power of ten, or at the powers alone
/// where there are many of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Log {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Of more powers of ten than this only the powers are told.
const CROWDED: f64 = 3.5;

/// The vertical axis of all panels of a chart, so that they can be compared. A figure below a
/// nanosecond, or below nothing, is noise and stays at the edge.
pub(super) fn of(chart: &Chart) -> Log {
    let points = || chart.panels.iter().flat_map(|panel| panel.points.iter().flatten().flatten());
    let least = |least: f64, point: &Point| least.min(point.median);
    let most = |most: f64, point: &Point| most.max(point.high);
    let low = points().fold(f64::INFINITY, least);
    let high = points().fold(2.0, most);
    let low = if low.is_finite() { low.max(1.0) } else { 1.0 };
    // Bars grow from the edge: the shortest one must be seen.
    Log { low: low * 0.5, high: high * 1.2 }
}

impl Log {
    fn ticks(&self) -> Vec<f64> {
        let powers = (self.high / self.low).log10();
        let steps: &[f64] = if powers > CROWDED { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().floor() as i32;
        (first..=last)
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

impl Ranged for Log {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Plotters asks again for light lines in between, of which there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Log {
    fn format(value: &f64) -> String {
        number(*value)
    }
}

/// As short as it can be told.
pub(super) fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1.0 => thousands(v.round() as u64),
        v => format!("{v:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_within_the_axis_and_few() {
        assert_eq!(Log { low: 8.0, high: 210.0 }.ticks(), [10.0, 20.0, 50.0, 100.0, 200.0]);
        let wide = Log { low: 800.0, high: 1.25e7 };
        assert_eq!(wide.ticks(), [1e3, 1e4, 1e5, 1e6, 1e7]);
    }

    #[test]
    fn powers_of_ten_are_equally_far_apart() {
        let axis = Log { low: 1.0, high: 1000.0 };
        let places = [1.0, 10.0, 100.0, 1000.0].map(|value| axis.map(&value, (0, 300)));
        assert_eq!(places, [0, 100, 200, 300]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.5, 20.0, 1e5, 1e7].map(number), ["0.5", "20", "100,000", "10M"]);
    }
}
