//! Drawings as SVG: a card of its own, so that it reads on light and on dark pages.

use std::{fmt::Write, time::Duration};

use relent::plan::{Course, Finish, Plan};

/// A drawing, as wide as a page of documentation.
pub(crate) struct Svg {
    body: String,
    height: f64,
}

pub(crate) const WIDTH: f64 = 760.0;

impl Svg {
    pub(crate) fn new() -> Self {
        Self { body: String::new(), height: 0.0 }
    }

    fn reach(&mut self, y: f64) {
        self.height = self.height.max(y);
    }

    /// Text that begins, has its middle or ends (`start`, `middle`, `end`) at `x`.
    pub(crate) fn text(&mut self, class: &str, anchor: &str, x: f64, y: f64, text: &str) {
        self.reach(y + 6.0);
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.body, "<text class='{class}' text-anchor='{anchor}' x='{x:.1}' y='{y:.1}'>{text}</text>");
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.reach(from.1.max(to.1));
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, "<line class='{class}' x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}'/>");
    }

    pub(crate) fn bar(&mut self, class: &str, from: f64, to: f64, y: f64, height: f64) {
        self.reach(y + height);
        let width = (to - from).max(1.5);
        let _ = writeln!(
            self.body,
            "<rect class='{class}' x='{from:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' rx='2'/>"
        );
    }

    pub(crate) fn finish(self, title: &str) -> String {
        let height = self.height + 14.0;
        format!(
            "<svg class='relent' xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0}' role='img'>\n\
             <title>{title}</title>\n\
             <style>\n\
             .relent {{ max-width: {WIDTH}px; font: 13px sans-serif }}\n\
             .relent .card {{ fill: #fbfbf9; stroke: #d5d5d0 }}\n\
             .relent text {{ fill: #333 }}\n\
             .relent .title {{ font-weight: bold }}\n\
             .relent .words, .relent .ticks {{ font-size: 12px }}\n\
             .relent .ticks {{ fill: #777 }}\n\
             .relent .runs {{ fill: #3c82c8 }}\n\
             .relent .cut {{ fill: #c83c32 }}\n\
             .relent .other {{ fill: #28965a }}\n\
             .relent .faint {{ fill: #e4e4de }}\n\
             .relent line {{ stroke: #777; stroke-width: 1.2 }}\n\
             .relent .thin {{ stroke: #c5c5c0 }}\n\
             .relent .dashed {{ stroke-dasharray: 5 4 }}\n\
             .relent .hard {{ stroke: #c83c32; stroke-width: 2 }}\n\
             </style>\n\
             <rect class='card' x='0.5' y='0.5' width='{:.0}' height='{:.0}' rx='6'/>\n{}</svg>\n",
            WIDTH - 1.0,
            height - 1.0,
            self.body
        )
    }
}

/// Nanoseconds on a line of the drawing.
pub(crate) struct Scale {
    end: f64,
}

impl Scale {
    const LEFT: f64 = 24.0;

    pub(crate) fn to(end: Duration) -> Self {
        Self { end: end.as_secs_f64().max(1e-9) }
    }

    pub(crate) fn x(&self, at: Duration) -> f64 {
        Self::LEFT + (WIDTH - 2.0 * Self::LEFT) * (at.as_secs_f64() / self.end).min(1.0)
    }
}

/// What a policy does: when calls fail at once, and when they hang.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut svg = Svg::new();
    svg.text("title", "start", 24.0, 26.0, &plan.policy().to_string());
    let courses = [
        ("calls fail at once, longest pauses", plan.longest_pauses()),
        ("calls hang until they are cut", plan.worst()),
    ];
    let ends = courses.iter().flat_map(|(_, course)| course.ends().chain(course.total()).chain(course.starts()));
    let end = ends.filter(|&end| end < Duration::MAX).max().unwrap_or(Duration::from_secs(1));
    let scale = Scale::to(end);
    let mut y = 52.0;
    for (name, of) in courses {
        course(&mut svg, &scale, y, name, of);
        y += 78.0;
    }
    if let Some(worst) = plan.worst_total() {
        svg.text("words", "start", 24.0, y, &format!("at worst it takes {worst:?}"));
    }
    svg.finish("a policy's plan")
}

fn course(svg: &mut Svg, scale: &Scale, y: f64, name: &str, course: &Course) {
    let stops = match course.finish() {
        Finish::Stops(_) => course.total().map_or("stops".to_owned(), |total| format!("stops after {total:?}")),
        _ => "goes on".to_owned(),
    };
    svg.text("words", "start", 24.0, y, &format!("{name}: {} attempts, {stops}", course.attempts()));
    svg.line("thin", (scale.x(Duration::ZERO), y + 22.0), (WIDTH - 24.0, y + 22.0));
    let mut labelled = f64::NEG_INFINITY;
    for (start, end) in course.starts().zip(course.ends()) {
        let class = if end == start { "runs" } else { "cut" };
        let x = scale.x(start);
        svg.bar(class, x, scale.x(end), y + 12.0, 20.0);
        if x - labelled > 56.0 {
            let at = if start.is_zero() { "0".to_owned() } else { format!("{start:?}") };
            svg.text("ticks", "middle", x, y + 47.0, &at);
            labelled = x;
        }
    }
}
