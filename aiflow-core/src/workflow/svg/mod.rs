//! Pictures as SVG, which need no other program: boxes with boxes in them, what leads from one to another, and how jobs stand.

mod layout;
mod paint;

use std::collections::{BTreeMap, BTreeSet};

use super::{Drawing, End, Job, Shape, Workflow};
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{JobExecution, JobStatus};
use crate::function::{FUNCTION_EXECUTOR, FunctionSpec};
use crate::id::JobName;
use layout::{Point, Size, place};
use paint::{Canvas, LINE, PAD, count, lines, size_of, written};

/// The most boxes in a picture: jobs, nodes, events and rules.
pub const SVG_BOXES_MAX: usize = 2_000;

/// How the jobs of an execution stand, for a picture of it.
#[derive(Debug, Clone, Default)]
pub struct Live(BTreeMap<JobName, JobStatus>);

impl Live {
    /// How the newest execution of each of these jobs stands; `executions` come oldest first.
    #[must_use]
    pub fn of<'a>(executions: impl IntoIterator<Item = &'a JobExecution>) -> Self {
        Self(executions.into_iter().map(|job| (job.job.clone(), job.status)).collect())
    }

    pub(crate) fn status(&self, job: &str) -> Option<JobStatus> {
        JobName::parse(job).ok().and_then(|job| self.0.get(&job).copied())
    }
}

/// A picture, before anything has its place in it but what is in boxes.
pub(crate) struct Picture<'d> {
    title: &'d str,
    frames: Vec<Frame>,
    n_boxes: usize,
    lines: Vec<Line<'d>>,
}

/// A box with its text.
pub(crate) struct Boxed {
    label: Vec<String>,
    shape: Shape,
    status: Option<JobStatus>,
}

/// A box, and the boxes in it with their sizes and places.
struct Frame {
    own: Boxed,
    size: Size,
    inner: Vec<(Boxed, Size, Point)>,
}

/// A box of the picture, or one of those in it, by position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) frame: usize,
    pub(crate) inner: Option<usize>,
}

struct Line<'d> {
    from: Spot,
    to: Spot,
    label: &'d str,
    is_control: bool,
}

impl Boxed {
    pub(crate) fn new(label: &str, shape: Shape, status: Option<JobStatus>) -> Self {
        let mut label = lines(label);
        label.extend(status.map(|status| status.to_string()));
        Self { label, shape, status }
    }

    fn draw(&self, canvas: &mut Canvas, at: Point, size: Size) {
        canvas.boxed(at, size, &self.label, self.shape, self.status);
    }
}

impl Frame {
    /// Where the inner boxes begin, below the text.
    fn top(&self) -> f64 {
        count(self.own.label.len()) * LINE + 2.0 * PAD
    }
}

impl<'d> Picture<'d> {
    pub(crate) fn new(title: &'d str) -> Self {
        Self { title, frames: Vec::new(), n_boxes: 0, lines: Vec::new() }
    }

    /// Adds a box and the boxes in it, between which `edges` lead with `room` for what is written along them. Gives its position.
    pub(crate) fn add(
        &mut self,
        own: Boxed,
        inner: Vec<Boxed>,
        edges: &BTreeSet<(usize, usize)>,
        room: f64,
    ) -> Result<usize> {
        self.n_boxes = self.n_boxes.saturating_add(1).saturating_add(inner.len());
        check_boxes(self.n_boxes, self.title)?;
        let mut size = size_of(&own.label);
        let sizes: Vec<Size> = inner.iter().map(|boxed| size_of(&boxed.label)).collect();
        let (places, whole) = place(&sizes, edges, room);
        if !inner.is_empty() {
            size = Size { w: size.w.max(whole.w + 2.0 * PAD), h: size.h + whole.h + PAD };
        }
        let inner = inner.into_iter().zip(sizes).zip(places).map(|((boxed, size), at)| (boxed, size, at)).collect();
        self.frames.push(Frame { own, size, inner });
        Ok(self.frames.len().saturating_sub(1))
    }

    /// Adds a line from one box to another.
    pub(crate) fn line(&mut self, from: Spot, to: Spot, label: &'d str, is_control: bool) {
        self.lines.push(Line { from, to, label, is_control });
    }

    pub(crate) fn to_svg(&self) -> String {
        let between = || self.lines.iter().filter(|line| line.from.frame != line.to.frame);
        let edges: BTreeSet<(usize, usize)> = between().map(|line| (line.from.frame, line.to.frame)).collect();
        let room = between().map(|line| written(line.label)).fold(0.0, f64::max);
        let sizes: Vec<Size> = self.frames.iter().map(|frame| frame.size).collect();
        let (places, whole) = place(&sizes, &edges, room);
        let mut canvas = Canvas::new(self.title, whole);
        let spot = |spot: Spot| {
            let (frame, at) = (&self.frames[spot.frame], places[spot.frame]);
            match spot.inner.and_then(|inner| frame.inner.get(inner)) {
                None => (at, frame.size),
                Some((_, size, inner)) => (Point { x: at.x + PAD + inner.x, y: at.y + frame.top() + inner.y }, *size),
            }
        };
        for (number, frame) in self.frames.iter().enumerate() {
            frame.own.draw(&mut canvas, places[number], frame.size);
            for (i, (boxed, size, _)) in frame.inner.iter().enumerate() {
                boxed.draw(&mut canvas, spot(Spot { frame: number, inner: Some(i) }).0, *size);
            }
        }
        for line in &self.lines {
            canvas.arrow(spot(line.from), spot(line.to), line.label, line.is_control);
        }
        canvas.finish()
    }
}

/// Whether a picture may have so many boxes.
pub(crate) fn check_boxes(n: usize, title: &str) -> Result<()> {
    if n <= SVG_BOXES_MAX {
        return Ok(());
    }
    let message = format!("the picture would have more than {SVG_BOXES_MAX} boxes");
    Err(Error::new(ErrorKind::Full, "draw", message).with("picture", title))
}

/// How wide what is written along these arrows is at most.
pub(crate) fn room_for<'a>(labels: impl Iterator<Item = &'a str>) -> f64 {
    labels.map(written).fold(0.0, f64::max)
}

impl Workflow {
    /// The workflow as an SVG picture: jobs are boxes with their nodes and data edges in them, control edges are dashed and say what they wait
    /// for. With `live`, jobs have the colours of their statuses.
    ///
    /// # Errors
    /// `Full`: there is more to draw than [`SVG_BOXES_MAX`] boxes.
    pub fn to_svg(&self, live: Option<&Live>) -> Result<String> {
        let drawing: Drawing = self.drawing();
        let mut picture = Picture::new(&drawing.title);
        let mut inner_edges = Vec::new();
        for (i, block) in drawing.blocks.iter().enumerate() {
            // The jobs come first.
            let job = self.jobs.get(i);
            let status = job.zip(live).and_then(|(job, live)| live.status(job.name.as_str()));
            let Some(spec) = job.and_then(nodes) else {
                picture.add(Boxed::new(&block.label, block.shape, status), Vec::new(), &BTreeSet::new(), 0.0)?;
                continue;
            };
            // Nodes that are drawn are not listed as well.
            let label = block.label.split(": ").next().unwrap_or(&block.label);
            let inner = spec.nodes.iter().map(|node| Boxed::new(node.name.as_str(), Shape::Step, None)).collect();
            let edges = edges(&spec);
            picture.add(Boxed::new(label, block.shape, status), inner, &edges, 0.0)?;
            inner_edges.extend(edges.into_iter().map(|(from, to)| (i, from, to)));
        }
        let spot = |frame, inner| Spot { frame, inner };
        for (job, from, to) in inner_edges {
            picture.line(spot(job, Some(from)), spot(job, Some(to)), "", false);
        }
        for arrow in &drawing.arrows {
            // A workflow has no frames.
            if let (End::Block(from), End::Block(to)) = (arrow.from, arrow.to) {
                picture.line(spot(from, None), spot(to, None), &arrow.label, arrow.control);
            }
        }
        Ok(picture.to_svg())
    }
}

/// The nodes of a function job that has several.
fn nodes(job: &Job) -> Option<FunctionSpec> {
    let is_function = job.executor.as_str() == FUNCTION_EXECUTOR;
    let spec: Option<FunctionSpec> = is_function.then(|| serde_json::from_value(job.spec.clone()).ok()).flatten();
    spec.filter(|spec| spec.nodes.len() > 1)
}

/// The data edges between nodes of one job, by their positions.
fn edges(spec: &FunctionSpec) -> BTreeSet<(usize, usize)> {
    let number: BTreeMap<&str, usize> =
        spec.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
    let into = spec.nodes.iter().enumerate().flat_map(|(to, node)| {
        let from = node.inputs.iter().filter_map(|input| number.get(input.node.as_str()).copied());
        from.map(move |from| (from, to))
    });
    into.collect()
}
