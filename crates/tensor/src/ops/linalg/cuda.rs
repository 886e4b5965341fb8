//! Equations, determinants and Cholesky's factor on a GPU. The other decompositions have no kernel.

use super::{SINGULAR, SolveTriangular, Triangle, fails};
use crate::{CudaCall, Launch, LaunchArgument, Pointer};

/// Matrices that are worked on at a time, each of which needs room.
const BLOCKS: usize = 1 << 10;

/// A launch with the sizes, and room for a copy of each matrix that is worked on and of its `width` right sides.
fn launch(call: &mut CudaCall<'_>, entry: &'static str, width: usize) -> (Launch, Pointer) {
    let x = call.inputs()[0];
    let (lead, n) = x.shape().split_at(x.shape().rank() - 2);
    let (count, n) = (lead.iter().product::<usize>(), n[0]);
    let blocks = count.clamp(1, BLOCKS);
    let room = call.room((8 * blocks * n * (n + width)).max(8));
    let launch = Launch::new(include_str!("linalg.cu"), entry).define_type("T", x.dtype());
    (launch.grid(blocks as u32, 1, 1).block(256, 1, 1).arg([count, n, width]), room)
}

/// Where a matrix is told that something is the matter with.
fn faults(call: &mut CudaCall<'_>, op: &'static str, what: &'static str) -> LaunchArgument {
    let shape = *call.inputs()[0].shape();
    call.faults(move |fault| fails(op, fault.position as usize, shape, what))
}

/// Solves with all of the matrices, or with a triangle.
pub(super) fn solve(call: &mut CudaCall<'_>, part: Option<&SolveTriangular>) {
    let shape = *call.inputs()[1].shape();
    if shape.count() == 0 {
        return;
    }
    let faults = match part {
        None => faults(call, "solve", SINGULAR),
        Some(_) => faults(call, "solve_triangular", "is singular: its diagonal has a 0"),
    };
    let flag = |on: bool| if on { "1" } else { "0" };
    let (launch, room) = launch(call, "solve", shape[shape.rank() - 1]);
    let launch = launch
        .define("SOLVE", flag(part.is_none()))
        .define("UPPER", flag(part.is_some_and(|part| part.triangle == Triangle::Upper)))
        .define("UNIT", flag(part.is_some_and(|part| part.unit_diagonal)));
    let (a, b, y) = (call.dense(0), call.dense(1), call.output(0));
    call.launch(launch.arg(a).arg(b).arg(y).arg(room).arg(faults));
}

/// The determinants, or their signs and the logarithms of their sizes.
pub(super) fn determinant(call: &mut CudaCall<'_>) {
    if call.outputs()[0].shape.count() == 0 {
        return;
    }
    let log = call.outputs().len() - 1;
    let (launch, room) = launch(call, "determinant", 0);
    let (a, y, size) = (call.dense(0), call.output(0), call.output(log));
    call.launch(launch.define("LOG", if log == 1 { "1" } else { "0" }).arg(a).arg(y).arg(size).arg(room));
}

pub(super) fn cholesky(call: &mut CudaCall<'_>) {
    if call.outputs()[0].shape.count() == 0 {
        return;
    }
    let faults = faults(call, "cholesky", "is not positive definite");
    let (launch, room) = launch(call, "cholesky", 0);
    let (a, l) = (call.dense(0), call.output(0));
    call.launch(launch.define("CHOLESKY", "1").arg(a).arg(l).arg(room).arg(faults));
}
