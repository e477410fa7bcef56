//! A colour for each subject, the same in all charts, told apart by people who see few colours.

use plotters::style::RGBColor;

/// From Paul Tol's and Okabe and Ito's palettes. PartitionedEts is the only red one.
const KNOWN: [(&str, RGBColor); 11] = [
    ("PartitionedEts", RGBColor(213, 61, 33)),
    (":ets named", RGBColor(0, 68, 136)),
    (":ets tid", RGBColor(86, 160, 220)),
    (":ets tid rc", RGBColor(0, 158, 115)),
    (":ets tid wc", RGBColor(240, 190, 60)),
    (":ets tid wc auto", RGBColor(190, 140, 0)),
    (":ets tid rc wc", RGBColor(204, 121, 167)),
    (":ets tid rc wc auto", RGBColor(136, 46, 114)),
    (":ets 16 shards", RGBColor(150, 150, 150)),
    (":ets 16 shards rc wc", RGBColor(90, 90, 90)),
    (":persistent_term", RGBColor(20, 20, 20)),
];

pub(crate) fn of(subject: &str) -> RGBColor {
    let known = KNOWN.iter().find(|(name, _)| *name == subject);
    known.map_or(RGBColor(120, 90, 60), |(_, colour)| *colour)
}
