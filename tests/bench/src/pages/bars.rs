//! Groups of bars as SVG, written by hand: a plot here is some rectangles, lines and words, and a
//! style sheet that follows a light or a dark page, which drawing libraries do not write.

use std::fmt::{self, Write};

use super::scale::{Run, Scale};

/// A plot. Every figure has its unit in `title` or `unit`.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) title: &'static str,
    /// What the vertical axis counts.
    pub(crate) unit: &'static str,
    pub(crate) run: Run,
    /// What the groups of bars are.
    pub(crate) groups_are: &'static str,
    pub(crate) groups: Vec<String>,
    /// A name, and a value for each group, where there is one.
    pub(crate) series: Vec<(String, Vec<Option<f64>>)>,
    /// What shows it again.
    pub(crate) command: String,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// The field of the bars.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 16.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = HEIGHT - 72.0;
/// The share of its place that a group of bars fills.
const FILLED: f64 = 0.82;

/// Colours of series are seen on white and on black; the rest changes with the page.
const STYLE: &str = "\
.page{fill:#ffffff}text{fill:#1f2328;font:13px system-ui,sans-serif}.title{font-size:16px;font-weight:600}\
.small{font-size:10.5px}.grid{stroke:#d0d7de}.foot{stroke:#59636e}\
.s0{fill:#2f81f7}.s1{fill:#d9822b}.s2{fill:#3fa45b}.s3{fill:#a371f7}.s4{fill:#8b949e}\
@media(prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}.foot{stroke:#9198a1}}";

const COLOURS: usize = 5;

impl Bars {
    /// The plot, or `None` where there is nothing to show.
    pub(crate) fn svg(&self) -> Option<String> {
        let values = self.series.iter().flat_map(|(_, values)| values).flatten();
        let scale = Scale::of(self.run, values.copied())?;
        let mut svg = String::new();
        // Writing into a string does not fail.
        self.write(&mut svg, &scale).ok()?;
        Some(svg)
    }

    fn write(&self, svg: &mut String, scale: &Scale) -> fmt::Result {
        let (title, command) = (escaped(self.title), escaped(&self.command));
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">"
        )?;
        writeln!(svg, "<title>{title}</title><style>{STYLE}</style>")?;
        writeln!(
            svg,
            "<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"
        )?;
        writeln!(
            svg,
            "<text class=\"title\" x=\"16\" y=\"26\">{title}</text>"
        )?;
        self.legend(svg)?;
        self.axis(svg, scale)?;
        for (group, name) in self.groups.iter().enumerate() {
            self.group(svg, scale, group, name)?;
        }
        let (middle, below) = (f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0);
        let groups_are = escaped(self.groups_are);
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{groups_are}</text>"
        )?;
        let foot = HEIGHT - 10.0;
        writeln!(
            svg,
            "<text class=\"small\" x=\"16\" y=\"{foot}\">{command}</text>"
        )?;
        writeln!(svg, "</svg>")
    }

    fn legend(&self, svg: &mut String) -> fmt::Result {
        let mut x = LEFT;
        for (number, (name, _)) in self.series.iter().enumerate() {
            let colour = number % COLOURS;
            writeln!(
                svg,
                "<rect class=\"s{colour}\" x=\"{x}\" y=\"42\" width=\"12\" height=\"12\"/>"
            )?;
            let (from, name_width) = (x + 17.0, 8.0 * name.chars().count() as f64);
            writeln!(svg, "<text x=\"{from}\" y=\"53\">{}</text>", escaped(name))?;
            x = from + name_width + 16.0;
        }
        Ok(())
    }

    fn axis(&self, svg: &mut String, scale: &Scale) -> fmt::Result {
        for tick in scale.ticks() {
            let y = height(scale.place(tick));
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            )?;
            let (x, y, name) = (LEFT - 8.0, y + 4.0, figure(tick));
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>"
            )?;
        }
        let foot = height(scale.foot());
        writeln!(
            svg,
            "<line class=\"foot\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{foot:.1}\" y2=\"{foot:.1}\"/>"
        )?;
        let (middle, unit) = (f64::midpoint(TOP, BOTTOM), escaped(self.unit));
        writeln!(
            svg,
            "<text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{unit}</text>"
        )
    }

    fn group(&self, svg: &mut String, scale: &Scale, group: usize, name: &str) -> fmt::Result {
        let place = (RIGHT - LEFT) / self.groups.len() as f64;
        let width = place * FILLED / self.series.len() as f64;
        let left = LEFT + place * (group as f64 + (1.0 - FILLED) / 2.0);
        for (number, (_, values)) in self.series.iter().enumerate() {
            let Some(value) = values.get(group).copied().flatten() else {
                continue;
            };
            let (foot, end) = (height(scale.foot()), height(scale.place(value)));
            let (x, colour) = (left + width * number as f64, number % COLOURS);
            let (top, tall) = (foot.min(end), (foot - end).abs().max(1.0));
            writeln!(
                svg,
                "<rect class=\"s{colour}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"/>",
                x + 1.0,
                width - 2.0
            )?;
            // Beyond the end of the bar, on the side to which it goes.
            let beyond = if end <= foot { end - 4.0 } else { end + 12.0 };
            let (middle, value) = (x + width / 2.0, figure(value));
            writeln!(
                svg,
                "<text class=\"small\" x=\"{middle:.1}\" y=\"{beyond:.1}\" text-anchor=\"middle\">{value}</text>"
            )?;
        }
        let (middle, below) = (LEFT + place * (group as f64 + 0.5), BOTTOM + 18.0);
        let name = escaped(name);
        writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\">{name}</text>"
        )
    }
}

/// From a place on the axis to one on the page.
fn height(place: f64) -> f64 {
    BOTTOM - place * (BOTTOM - TOP)
}

/// Three digits, and thousands as such.
fn figure(value: f64) -> String {
    let (value, thousands) = if value >= 10_000.0 {
        (value / 1_000.0, "k")
    } else {
        (value, "")
    };
    let decimals = match value {
        small if small < 1.0 => 2,
        middle if middle < 10.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{thousands}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> Bars {
        Bars {
            title: "Calls & more",
            unit: "ratio",
            run: Run::Ratio,
            groups_are: "in flight",
            groups: vec!["1".to_owned(), "256".to_owned()],
            series: vec![
                ("tonic".to_owned(), vec![Some(2.5), Some(12.0)]),
                ("TLS".to_owned(), vec![None, Some(0.5)]),
            ],
            command: "quicraft-bench rpc".to_owned(),
        }
    }

    #[test]
    fn every_value_is_a_bar_with_its_figure() {
        let svg = bars().svg().unwrap();
        // Three bars, two marks of the legend, and the page.
        assert_eq!(svg.matches("<rect").count(), 6);
        for shown in [
            ">2.5<",
            ">12<",
            ">0.5<",
            "Calls &amp; more",
            "quicraft-bench rpc",
            "dark",
        ] {
            assert!(svg.contains(shown), "{shown} in {svg}");
        }
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }

    #[test]
    fn without_values_there_is_no_plot() {
        let mut bars = bars();
        bars.series.clear();
        assert_eq!(bars.svg(), None);
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.051, 0.5, 2.0, 2.54, 97.6, 9_999.0, 61_400.0].map(figure);
        assert_eq!(shown, ["0.05", "0.5", "2", "2.5", "98", "9999", "61k"]);
    }
}
