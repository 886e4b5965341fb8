//! Strided operands: in the kernel a `kiln::Walk` says where their elements lie.

use super::super::launch::LaunchArgument;
use crate::{Layout, Shape};

/// Rank and argument of a `kiln::Walk` of these operands in row-major order of `shape`.
pub(in crate::cuda) fn walk(shape: Shape, operands: &[Layout]) -> (usize, LaunchArgument) {
    let walk = Walk::of(operands, shape);
    (walk.rank(), walk.argument())
}

/// The dimensions that strided operands are walked through, as few as can be.
pub(super) struct Walk {
    pub(super) dims: Vec<usize>,
    /// Of each operand.
    pub(super) steps: Vec<Vec<isize>>,
}

impl Walk {
    pub(super) fn of(layouts: &[Layout], shape: Shape) -> Walk {
        let mut walk = Walk { dims: Vec::new(), steps: vec![Vec::new(); layouts.len()] };
        for axis in (0..shape.rank()).filter(|&axis| shape[axis] != 1) {
            let length = shape[axis];
            let joins = !walk.dims.is_empty()
                && layouts.iter().zip(&walk.steps).all(|(layout, steps)| {
                    steps.last().is_some_and(|&step| step == layout.strides()[axis] * length as isize)
                });
            if joins && let Some(last) = walk.dims.last_mut() {
                *last *= length;
                for (layout, steps) in layouts.iter().zip(&mut walk.steps) {
                    if let Some(step) = steps.last_mut() {
                        *step = layout.strides()[axis];
                    }
                }
            } else {
                walk.dims.push(length);
                for (layout, steps) in layouts.iter().zip(&mut walk.steps) {
                    steps.push(layout.strides()[axis]);
                }
            }
        }
        if walk.dims.is_empty() {
            walk.dims.push(1);
            walk.steps.iter_mut().for_each(|steps| steps.push(0));
        }
        walk
    }

    pub(super) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The bytes of a `kiln::Walk`.
    pub(super) fn argument(&self) -> LaunchArgument {
        let dims = self.dims.iter().map(|&length| length as i64);
        let steps = self.steps.iter().flatten().map(|&step| step as i64);
        LaunchArgument::Bytes(dims.chain(steps).flat_map(i64::to_ne_bytes).collect())
    }
}
