//! Layout: where does each box stand?

use std::collections::BTreeSet;

use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;

/// Room between boxes.
const GAP: f64 = 36.0;

/// Width and height.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Size {
    pub(super) w: f64,
    pub(super) h: f64,
}

/// Where the upper left corner of a box is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Places boxes so that edges lead from left to right as far as they can, with `room` for what is written along them. Gives the corner of each
/// box, and the size of the whole.
pub(super) fn place(sizes: &[Size], edges: &BTreeSet<(usize, usize)>, room: f64) -> (Vec<Point>, Size) {
    let number = |i: usize| u32::try_from(i).unwrap_or(u32::MAX);
    // The algorithm leads from top to bottom, so it is given everything on its side.
    let vertices: Vec<(u32, (f64, f64))> =
        sizes.iter().enumerate().map(|(i, size)| (number(i), (size.h, size.w + room))).collect();
    let edges: Vec<(u32, u32)> =
        edges.iter().filter(|(from, to)| from != to).map(|(from, to)| (number(*from), number(*to))).collect();
    let config = Config { vertex_spacing: GAP, ..Config::default() };
    let mut places = vec![Point::default(); sizes.len()];
    let mut whole = Size::default();
    for (part, _, _) in from_vertices_and_edges(&vertices, &edges, &config) {
        let boxes = || {
            part.iter().filter_map(|(i, (down, right))| {
                let size = *sizes.get(*i)?;
                Some((*i, size, Point { x: right - size.w / 2.0, y: down - size.h / 2.0 }))
            })
        };
        let left = boxes().map(|(_, _, at)| at.x).fold(f64::INFINITY, f64::min);
        let top = boxes().map(|(_, _, at)| at.y).fold(f64::INFINITY, f64::min);
        let begin = if whole.h > 0.0 { whole.h + GAP } else { 0.0 };
        for (i, size, at) in boxes() {
            let at = Point { x: at.x - left, y: at.y - top + begin };
            if let Some(place) = places.get_mut(i) {
                *place = at;
            }
            whole = Size { w: whole.w.max(at.x + size.w), h: whole.h.max(at.y + size.h) };
        }
    }
    (places, whole)
}
