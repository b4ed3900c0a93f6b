//! Pictures of a workflow as SVG, which need no other program: jobs with their nodes, what controls them, and how they stand.

mod layout;
mod paint;

use std::collections::{BTreeMap, BTreeSet};

use super::{Drawing, End, Shape, Workflow};
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{JobExecution, JobStatus};
use crate::function::{FUNCTION_EXECUTOR, FunctionSpec};
use crate::id::JobName;
use layout::{Point, Size, place};
use paint::{Canvas, LINE, PAD, lines, size_of, written};

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
}

/// A box of the picture with what is in it.
struct Placed {
    label: Vec<String>,
    shape: Shape,
    status: Option<JobStatus>,
    size: Size,
    inner: Option<Inner>,
}

/// The nodes of a job.
struct Inner {
    labels: Vec<Vec<String>>,
    sizes: Vec<Size>,
    places: Vec<Point>,
    edges: BTreeSet<(usize, usize)>,
}

impl Workflow {
    /// The workflow as an SVG picture: jobs are boxes with their nodes and data edges in them, control edges are dashed and say what they wait
    /// for. With `live`, jobs have the colours of their statuses.
    ///
    /// # Errors
    /// `Full`: there is more to draw than [`SVG_BOXES_MAX`] boxes.
    pub fn to_svg(&self, live: Option<&Live>) -> Result<String> {
        let drawing = self.drawing();
        let mut boxes = Vec::with_capacity(drawing.blocks.len());
        let mut n_boxes = drawing.blocks.len();
        for (i, block) in drawing.blocks.iter().enumerate() {
            // The jobs come first.
            let job = self.jobs.get(i);
            let inner = job.and_then(|job| inner(&job.spec, job.executor.as_str()));
            n_boxes = n_boxes.saturating_add(inner.as_ref().map_or(0, |inner| inner.labels.len()));
            if n_boxes > SVG_BOXES_MAX {
                let message = format!("the picture would have more than {SVG_BOXES_MAX} boxes");
                return Err(Error::new(ErrorKind::Full, "draw", message).with("workflow", &self.name));
            }
            let status = job.zip(live).and_then(|(job, live)| live.0.get(&job.name).copied());
            boxes.push(Placed::new(&block.label, block.shape, status, inner));
        }
        Ok(paint(&drawing, &boxes))
    }
}

/// The nodes of a function job that has several.
fn inner(spec: &serde_json::Value, executor: &str) -> Option<Inner> {
    if executor != FUNCTION_EXECUTOR {
        return None;
    }
    let spec: FunctionSpec =
        serde_json::from_value(spec.clone()).ok().filter(|spec: &FunctionSpec| spec.nodes.len() > 1)?;
    let number: BTreeMap<&str, usize> =
        spec.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
    let edges = spec.nodes.iter().enumerate().flat_map(|(to, node)| {
        let from = node.inputs.iter().filter_map(|input| number.get(input.node.as_str()).copied());
        from.map(move |from| (from, to))
    });
    let edges: BTreeSet<(usize, usize)> = edges.collect();
    let labels: Vec<Vec<String>> = spec.nodes.iter().map(|node| lines(node.name.as_str())).collect();
    let sizes: Vec<Size> = labels.iter().map(|label| size_of(label)).collect();
    let (places, _) = place(&sizes, &edges, 0.0);
    Some(Inner { labels, sizes, places, edges })
}

impl Placed {
    fn new(label: &str, shape: Shape, status: Option<JobStatus>, inner: Option<Inner>) -> Self {
        // Nodes that are drawn are not listed as well.
        let label = if inner.is_some() { label.split(": ").next().unwrap_or(label) } else { label };
        let mut label = lines(label);
        label.extend(status.map(|status| status.to_string()));
        let own = size_of(&label);
        let size = match &inner {
            None => own,
            Some(inner) => {
                let right = inner.places.iter().zip(&inner.sizes).map(|(at, size)| at.x + size.w).fold(0.0, f64::max);
                let bottom = inner.places.iter().zip(&inner.sizes).map(|(at, size)| at.y + size.h).fold(0.0, f64::max);
                Size { w: own.w.max(right + 2.0 * PAD), h: own.h + bottom + PAD }
            }
        };
        Self { label, shape, status, size, inner }
    }

    fn draw(&self, canvas: &mut Canvas, at: Point) {
        canvas.boxed(at, self.size, &self.label, self.shape, self.status);
        let Some(inner) = &self.inner else { return };
        let top = f64::from(u32::try_from(self.label.len()).unwrap_or(u32::MAX)) * LINE + 2.0 * PAD;
        let inside = |i: usize| Point { x: at.x + PAD + inner.places[i].x, y: at.y + top + inner.places[i].y };
        for &(from, to) in &inner.edges {
            canvas.arrow((inside(from), inner.sizes[from]), (inside(to), inner.sizes[to]), "", false);
        }
        for (i, (label, size)) in inner.labels.iter().zip(&inner.sizes).enumerate() {
            canvas.boxed(inside(i), *size, label, Shape::Step, None);
        }
    }
}

fn paint(drawing: &Drawing, boxes: &[Placed]) -> String {
    let ends = |arrow: &super::Arrow| match (arrow.from, arrow.to) {
        (End::Block(from), End::Block(to)) => Some((from, to)),
        // A workflow has no frames.
        _ => None,
    };
    let edges: BTreeSet<(usize, usize)> = drawing.arrows.iter().filter_map(ends).collect();
    let sizes: Vec<Size> = boxes.iter().map(|placed| placed.size).collect();
    let room = drawing.arrows.iter().map(|arrow| written(&arrow.label)).fold(0.0, f64::max);
    let (places, whole) = place(&sizes, &edges, room);
    let mut canvas = Canvas::new(&drawing.title, whole);
    for (placed, at) in boxes.iter().zip(&places) {
        placed.draw(&mut canvas, *at);
    }
    for arrow in &drawing.arrows {
        if let Some((from, to)) = ends(arrow) {
            canvas.arrow((places[from], sizes[from]), (places[to], sizes[to]), &arrow.label, arrow.control);
        }
    }
    canvas.finish()
}
