//! The picture of an AI graph as SVG.

use std::collections::{BTreeMap, BTreeSet};

use super::AiGraph;
use crate::error::Result;
use crate::translator::jobs_of;
use crate::workflow::{Arrow, Boxed, End, Live, Picture, Shape, Spot, check_boxes, room_for};

impl AiGraph {
    /// The graph as an SVG picture: nodes with data edges between them, control edges dashed with what they wait for, and around the nodes of each
    /// job that has several, or that was named, a box: the jobs that the graph is translated to. With `live`, jobs have the colours of their
    /// statuses.
    ///
    /// A graph that cannot be translated is drawn too, so that one can look at what is wrong.
    ///
    /// # Errors
    /// `Full`: there is more to draw than [`SVG_BOXES_MAX`](crate::workflow::SVG_BOXES_MAX) boxes.
    pub fn to_svg(&self, live: Option<&Live>) -> Result<String> {
        check_boxes(self.nodes.len(), &self.workflow)?;
        let drawing = self.drawing();
        let mut picture = Picture::new(&drawing.title);
        // What is around each block, and which of the blocks in there it is.
        let mut spots: BTreeMap<usize, Spot> = BTreeMap::new();
        let mut jobs: BTreeMap<String, Spot> = BTreeMap::new();
        for job in jobs_of(self) {
            let status = live.and_then(|live| live.status(&job.name));
            let boxed = |node: &usize, status| {
                let block = drawing.blocks.get(*node)?;
                Some(Boxed::new(&block.label, block.shape, status))
            };
            let alone = job.nodes.first().filter(|_| job.nodes.len() == 1 && !job.is_explicit);
            if let Some(own) = alone.and_then(|node| boxed(node, status)) {
                let frame = picture.add(own, Vec::new(), &BTreeSet::new(), 0.0)?;
                spots.extend(alone.map(|node| (*node, Spot { frame, inner: None })));
                continue;
            }
            let inner = job.nodes.iter().filter_map(|node| boxed(node, None)).collect();
            let (edges, room) = within(&job.nodes, &drawing.arrows);
            let frame = picture.add(Boxed::new(&job.name, Shape::Step, status), inner, &edges, room)?;
            spots.extend(job.nodes.iter().enumerate().map(|(i, node)| (*node, Spot { frame, inner: Some(i) })));
            if job.is_explicit {
                jobs.insert(job.name, Spot { frame, inner: None });
            }
        }
        // Events, rules and the workflow come behind the nodes.
        for (block, at) in drawing.blocks.iter().zip(0..).skip(self.nodes.len()) {
            let frame = picture.add(Boxed::new(&block.label, block.shape, None), Vec::new(), &BTreeSet::new(), 0.0)?;
            spots.insert(at, Spot { frame, inner: None });
        }
        let spot = |end| match end {
            End::Block(block) => spots.get(&block).copied(),
            End::Group(group) => drawing.groups.get(group).and_then(|group| jobs.get(&group.label).copied()),
        };
        for arrow in &drawing.arrows {
            if let (Some(from), Some(to)) = (spot(arrow.from), spot(arrow.to)) {
                picture.line(from, to, &arrow.label, arrow.control);
            }
        }
        Ok(picture.to_svg())
    }
}

/// The arrows between these blocks, by their positions among them, and the room that their labels need.
fn within(blocks: &[usize], arrows: &[Arrow]) -> (BTreeSet<(usize, usize)>, f64) {
    let number: BTreeMap<usize, usize> = blocks.iter().enumerate().map(|(i, block)| (*block, i)).collect();
    let number = |end| match end {
        End::Block(block) => number.get(&block).copied(),
        End::Group(_) => None,
    };
    let inside = || arrows.iter().filter_map(|arrow| Some((arrow, (number(arrow.from)?, number(arrow.to)?))));
    (inside().map(|(_, edge)| edge).collect(), room_for(inside().map(|(arrow, _)| arrow.label.as_str())))
}
