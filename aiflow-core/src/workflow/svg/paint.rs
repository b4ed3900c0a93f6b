//! Paint: how do boxes, texts and arrows become SVG?

use std::fmt::Write as _;

use super::layout::{Point, Size};
use super::{JobStatus, Shape};

/// Height of a line of text.
pub(super) const LINE: f64 = 16.0;
/// Room between a box and its text.
pub(super) const PAD: f64 = 10.0;
/// Room around the picture.
const MARGIN: f64 = 24.0;
/// Width of a character, as wide as most.
const CHAR: f64 = 7.0;
/// Characters after which a line is broken.
const LINE_CHARS_MAX: usize = 44;
/// Lines of one label; the whole text is shown when one points at the box.
const LINES_MAX: usize = 6;

/// The lines of a label, broken where they are too long.
pub(super) fn lines(label: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for text in label.split('\n') {
        let mut line = String::new();
        for word in text.split(' ') {
            let n = line.chars().count();
            if n > 0 && n + 1 + word.chars().count() > LINE_CHARS_MAX {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().take(LINE_CHARS_MAX));
        }
        lines.push(line);
    }
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines.push("…".to_owned());
    }
    lines
}

pub(super) fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// The size of a box with this label.
pub(super) fn size_of(label: &[String]) -> Size {
    let widest = label.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    Size { w: count(widest) * CHAR + 2.0 * PAD, h: count(label.len()) * LINE + 2.0 * PAD }
}

/// How wide the text along an arrow is.
pub(super) fn written(label: &str) -> f64 {
    count(label.chars().count()) * CHAR * 0.8
}

/// The picture in the making.
pub(super) struct Canvas {
    text: String,
    labels: String,
}

impl Canvas {
    pub(super) fn new(title: &str, whole: Size) -> Self {
        let (w, h) = (whole.w + 2.0 * MARGIN, whole.h + 2.0 * MARGIN);
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"{0:.0} {0:.0} {w:.0} {h:.0}\" \
             font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n<title>{1}</title>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
             <path d=\"M0 0 8 4 0 8z\" fill=\"#555\"/></marker></defs>\n\
             <rect x=\"{0:.0}\" y=\"{0:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" fill=\"#fff\"/>\n",
            -MARGIN,
            escaped(title)
        );
        Self { text, labels: String::new() }
    }

    pub(super) fn boxed(&mut self, at: Point, size: Size, label: &[String], shape: Shape, status: Option<JobStatus>) {
        let (fill, stroke) = status.map_or_else(|| colours(shape), of_status);
        let (round, dash) = match shape {
            Shape::Step => (6.0, ""),
            Shape::Data => (14.0, ""),
            Shape::Workflow => (0.0, ""),
            Shape::Event => (size.h / 2.0, " stroke-dasharray=\"4 3\""),
            Shape::Rule => (2.0, " stroke-dasharray=\"4 3\""),
        };
        let _ = writeln!(
            self.text,
            "<g><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round:.1}\" fill=\"{fill}\" \
             stroke=\"{stroke}\"{dash}/>",
            escaped(&label.join("\n")),
            at.x,
            at.y,
            size.w,
            size.h
        );
        for (i, line) in label.iter().enumerate() {
            let weight = if i == 0 && shape == Shape::Step { " font-weight=\"bold\"" } else { "" };
            let _ = writeln!(
                self.text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\"{weight}>{}</text>",
                at.x + size.w / 2.0,
                at.y + PAD + LINE * (count(i) + 0.75),
                escaped(line)
            );
        }
        self.text.push_str("</g>\n");
    }

    /// From the right side of one box to the left side of another; one that leads back goes round below them.
    pub(super) fn arrow(&mut self, from: (Point, Size), to: (Point, Size), label: &str, is_control: bool) {
        let ((a, a_size), (b, b_size)) = (from, to);
        let start = Point { x: a.x + a_size.w, y: a.y + a_size.h / 2.0 };
        let end = Point { x: b.x, y: b.y + b_size.h / 2.0 };
        let dash = if is_control { " stroke-dasharray=\"5 4\"" } else { "" };
        let middle;
        let path;
        if end.x >= start.x {
            let bend = ((end.x - start.x) / 2.0).max(12.0);
            middle = Point { x: f64::midpoint(start.x, end.x), y: f64::midpoint(start.y, end.y) };
            path = format!(
                "M{:.1} {:.1} C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
                start.x,
                start.y,
                start.x + bend,
                start.y,
                end.x - bend,
                end.y,
                end.x,
                end.y
            );
        } else {
            let low = (a.y + a_size.h).max(b.y + b_size.h) + 14.0;
            middle = Point { x: f64::midpoint(start.x, end.x), y: low };
            let (right, left) = (start.x + 14.0, end.x - 14.0);
            path = format!(
                "M{:.1} {:.1} C{right:.1} {:.1} {right:.1} {low:.1} {:.1} {low:.1} L{:.1} {low:.1} C{left:.1} {low:.1} {left:.1} {:.1} {:.1} {:.1}",
                start.x, start.y, start.y, start.x, end.x, end.y, end.x, end.y
            );
        }
        let _ =
            writeln!(self.text, "<path d=\"{path}\" fill=\"none\" stroke=\"#555\"{dash} marker-end=\"url(#tip)\"/>");
        if !label.is_empty() {
            // Above everything else, and readable across a line.
            let _ = writeln!(
                self.labels,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" fill=\"#333\" stroke=\"#fff\" stroke-width=\"3\" \
                 paint-order=\"stroke\">{}</text>",
                middle.x,
                middle.y - 4.0,
                escaped(label)
            );
        }
    }

    pub(super) fn finish(self) -> String {
        let Self { text, labels } = self;
        format!("{text}{labels}</svg>\n")
    }
}

fn colours(shape: Shape) -> (&'static str, &'static str) {
    match shape {
        Shape::Step => ("#f3f5f8", "#64748b"),
        Shape::Data => ("#eef6ee", "#64748b"),
        Shape::Event => ("#fff8e1", "#b08900"),
        Shape::Rule => ("#fdf2e9", "#b86b1e"),
        Shape::Workflow => ("#ede9fe", "#6d5bd0"),
    }
}

fn of_status(status: JobStatus) -> (&'static str, &'static str) {
    match status {
        JobStatus::Init | JobStatus::Queued => ("#e2e8f0", "#64748b"),
        JobStatus::Running => ("#dbeafe", "#2563eb"),
        JobStatus::Ready => ("#ccfbf1", "#0d9488"),
        JobStatus::Succeeded => ("#dcfce7", "#16a34a"),
        JobStatus::Failed => ("#fee2e2", "#dc2626"),
        JobStatus::Retrying => ("#ffedd5", "#ea580c"),
        JobStatus::Stopping | JobStatus::Stopped => ("#fef3c7", "#d97706"),
        JobStatus::Skipped => ("#ffffff", "#94a3b8"),
        JobStatus::Unknown => ("#f5d0fe", "#a21caf"),
    }
}

/// Text as it can stand in XML, which has no place at all for some characters.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
