//! The chart: what is asked of the server, what it answers in time, and how many wait there, second by second.

use plotters::prelude::*;

use super::simulation::{Outcome, Storm};

/// Those that are drawn, by their names, and in which colour.
const DRAWN: [(&str, RGBColor); 4] = [
    ("every 100ms", RGBColor(200, 60, 50)),
    ("exponential 100ms..20s, no jitter", RGBColor(220, 150, 30)),
    ("exponential, full jitter", RGBColor(60, 130, 200)),
    ("exponential, full jitter, both", RGBColor(40, 150, 90)),
];

const PANELS: [&str; 3] = [
    "calls offered, in multiples of the capacity",
    "answered in time, of the capacity",
    "calls that wait, in seconds of work",
];

type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// The chart as SVG.
pub(crate) fn draw(storm: &Storm, outcomes: &[Outcome]) -> Result<String, String> {
    let mut svg = String::new();
    panels(&mut svg, storm, outcomes).map_err(|error| error.to_string())?;
    Ok(svg)
}

fn panels(svg: &mut String, storm: &Storm, outcomes: &[Outcome]) -> Result<(), Wrong> {
    let area = SVGBackend::with_string(svg, (860, 720)).into_drawing_area();
    area.fill(&WHITE)?;
    for (number, panel) in area.margin(8, 8, 8, 16).split_evenly((3, 1)).iter().enumerate() {
        // Load is drawn by its logarithm: it goes up to seventy times the capacity.
        let top = [2.0, 1.05, 5.5][number];
        let mut chart = ChartBuilder::on(panel)
            .caption(PANELS[number], ("sans-serif", 15))
            .x_label_area_size(22)
            .y_label_area_size(44)
            .build_cartesian_2d(0..storm.seconds, if number == 0 { -1.0..top } else { 0.0..top })?;
        let down =
            (storm.down.0 / super::simulation::SECOND) as usize..(storm.down.1 / super::simulation::SECOND) as usize;
        let low = if number == 0 { -1.0 } else { 0.0 };
        chart.draw_series([Rectangle::new([(down.start, low), (down.end, top)], RGBColor(235, 235, 235).filled())])?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_labels(10)
            .y_labels(5)
            .x_label_formatter(&|second| format!("{second} s"))
            .y_label_formatter(&|y| if number == 0 { format!("{}", 10_f64.powf(*y)) } else { format!("{y:.1}") })
            .draw()?;
        for (name, colour) in DRAWN {
            let Some(outcome) = outcomes.iter().find(|outcome| outcome.policy.name == name) else { continue };
            let series = [&outcome.offered, &outcome.answered, &outcome.queue][number];
            let points = series.iter().enumerate().map(|(second, &count)| {
                let y = f64::from(count) / storm.capacity;
                (second, if number == 0 { y.max(0.1).log10() } else { y })
            });
            let drawn = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            if number == 0 {
                drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            }
        }
        if number == 0 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .border_style(TRANSPARENT)
                .background_style(WHITE.mix(0.8))
                .label_font(("sans-serif", 13))
                .draw()?;
        }
    }
    area.present()?;
    Ok(())
}
