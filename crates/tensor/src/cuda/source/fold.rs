//! The kernels of reductions.

use super::super::launch::{BLOCK, CudaCall, CudaOperand, Launch, Pointer};
use super::statements;
use super::walk::Walk;
use crate::scalar::Program;
use crate::{DType, Layout, MAX_RANK, Shape};
use std::fmt::Write;

/// A fold with what is folded, as programs.
pub(crate) struct FoldProgram {
    /// What is folded, of one element of each operand; the operand itself if there is none.
    pub(crate) front: Option<Program>,
    /// The type that the function in front computes in.
    pub(crate) compute: DType,
    /// The type of the state.
    pub(crate) accumulate: DType,
    /// The state before any element.
    pub(crate) start: Program,
    /// The state and one more element.
    pub(crate) take: Program,
    /// Two states.
    pub(crate) join: Program,
    /// The state, and then how many elements there were, if the program wants to know.
    pub(crate) finish: Program,
    /// How many elements there are.
    pub(crate) count: usize,
}

/// Threads of a warp, which exchange numbers without shared memory.
const WARP: usize = 32;

/// How many rows or parts a block of [`BLOCK`] threads folds, one warp each.
const WARPS: usize = BLOCK as usize / WARP;

/// Elements that a row needs before a whole block folds it.
const LONG_ROW: usize = 1024;

/// Elements of a row before several blocks share it.
const SHARED_ROW: usize = 16384;

/// Blocks that keep the largest device busy.
const BUSY: usize = 1024;

/// Asks for the kernels of a reduction over the flagged axes of the operands' common shape. The order of additions follows
/// from the shapes and layouts alone.
pub(crate) fn fold(call: &mut CudaCall<'_>, program: &FoldProgram, shape: Shape, axes: &[bool; MAX_RANK]) {
    let y = call.outputs()[0];
    let outputs = y.shape.count();
    if outputs == 0 {
        return;
    }
    let x = call.inputs();
    let (pointers, layouts): (Vec<Pointer>, Vec<Layout>) = (0..x.len()).map(|i| call.placed(i)).unzip();
    let layouts: Vec<Layout> = layouts.iter().map(|layout| layout.broadcast_to(shape)).collect();
    let part = |folded: bool| {
        let picked: Vec<usize> = (0..shape.rank()).filter(|&axis| axes[axis] == folded).collect();
        let dims: Vec<usize> = picked.iter().map(|&axis| shape[axis]).collect();
        let narrowed: Vec<Layout> = layouts
            .iter()
            .map(|layout| {
                let steps: Vec<isize> = picked.iter().map(|&axis| layout.strides()[axis]).collect();
                Layout::new(Shape::from_slice(&dims), &steps, 0)
            })
            .collect();
        Walk::of(&narrowed, Shape::from_slice(&dims))
    };
    let (kept, folded, count) = (part(false), part(true), program.count);
    // Neighbouring threads read neighbouring elements: along the row, or across the results where those lie dense.
    let dense = |walk: &Walk| walk.steps.iter().any(|steps| steps.last() == Some(&1)) && walk.dims.last() != Some(&1);
    let across = dense(&kept) && !dense(&folded);
    // Threads of a block that fold one result.
    let (lanes, tile) = match (across, count >= LONG_ROW) {
        (true, _) => (WARPS, WARP),
        (false, true) => (BLOCK as usize, 1),
        (false, false) => (WARP, WARPS),
    };
    let blocks = outputs.div_ceil(tile);
    let parts = match count >= SHARED_ROW && blocks < BUSY {
        true => (BUSY / blocks).min(count.div_ceil(lanes * 32)).max(1),
        false => 1,
    };
    let text = fold_text(program, x, &kept, &folded, y.dtype, across);
    let mut launch = Launch::new(text.clone(), "fold")
        .joinable()
        .define("LANES", lanes.to_string())
        .define("PARTS", if parts > 1 { "1" } else { "0" })
        .grid(blocks.min(1 << 20) as u32, parts as u32, 1)
        .block(if across { WARP as u32 } else { lanes as u32 }, if across { lanes as u32 } else { tile as u32 }, 1)
        .arg(outputs)
        .arg(count)
        .arg(count.div_ceil(parts))
        .arg(kept.argument())
        .arg(folded.argument());
    for pointer in pointers {
        launch = launch.arg(pointer);
    }
    if parts == 1 {
        let to = call.output(0);
        call.launch(launch.arg(to));
        return;
    }
    let partial = call.room(outputs * parts * program.start.outputs() * program.accumulate.size());
    call.launch(launch.arg(partial));
    let to = call.output(0);
    call.launch(
        Launch::new(text, "join_parts")
            .joinable()
            .define("LANES", WARP.to_string())
            .define("PARTS", "1")
            .grid(outputs.div_ceil(WARPS).min(1 << 20) as u32, 1, 1)
            .block(WARP as u32, WARPS as u32, 1)
            .arg(outputs)
            .arg(count)
            .arg(parts)
            .arg(partial)
            .arg(to),
    );
}

fn fold_text(
    program: &FoldProgram,
    x: &[CudaOperand<'_>],
    kept: &Walk,
    folded: &Walk,
    result: DType,
    across: bool,
) -> String {
    let (state, accumulate, operands) = (program.start.outputs(), program.accumulate.name(), x.len());
    let mut text = String::new();
    put!(text, "typedef {accumulate} A;\nstruct State {{ A v[{state}]; }};\n");
    let states = |text: &mut String, from: usize, name: &str| {
        (0..state).for_each(|i| put!(text, "    A in{} = {name}.v[{i}];\n", from + i));
    };
    let function = |text: &mut String, steps: &Program| {
        let results = statements(text, "    ", steps, program.accumulate, "in");
        put!(text, "    State to = {{{{{}}}}};\n    return to;\n}}\n", results.join(", "));
    };
    put!(text, "INLINE State start() {{\n");
    function(&mut text, &program.start);
    put!(text, "INLINE State take(State a, A in{state}) {{\n");
    states(&mut text, 0, "a");
    function(&mut text, &program.take);
    put!(text, "INLINE State join(State a, State b) {{\n");
    states(&mut text, 0, "a");
    states(&mut text, state, "b");
    function(&mut text, &program.join);
    put!(text, "INLINE {} finish(State a, i64 count) {{\n", result.name());
    states(&mut text, 0, "a");
    put!(text, "    A in{state} = (A)count;\n");
    let results = statements(&mut text, "    ", &program.finish, program.accumulate, "in");
    put!(text, "    return kiln::store<{}>({});\n}}\n", result.name(), results.join(", "));
    put!(text, "INLINE A front(");
    let parameter = |(i, x): (usize, &CudaOperand<'_>)| format!("{} x{i}", x.dtype().name());
    put!(text, "{}) {{\n", x.iter().enumerate().map(parameter).collect::<Vec<_>>().join(", "));
    match &program.front {
        None => put!(text, "    return kiln::load<A>(x0);\n}}\n"),
        Some(front) => {
            let compute = program.compute.name();
            (0..operands).for_each(|i| put!(text, "    {compute} in{i} = kiln::load<{compute}>(x{i});\n"));
            let results = statements(&mut text, "    ", front, program.compute, "in");
            put!(text, "    return (A){};\n}}\n", results.join(", "));
        }
    }
    put!(text, "#define OPERANDS {operands}\n#define KEPT kiln::Walk<{}, {operands}>\n", kept.rank());
    put!(text, "#define FOLDED kiln::Walk<{}, {operands}>\n#define RESULT {}\n", folded.rank(), result.name());
    let list = |what: &dyn Fn(usize) -> String| (0..operands).map(what).collect::<Vec<_>>().join(", ");
    put!(text, "#define POINTERS {}\n", list(&|i| format!("const {}* p{i}", x[i].dtype().name())));
    put!(text, "#define ELEMENTS {}\n", list(&|i| format!("p{i}[base[{i}] + at[{i}]]")));
    put!(text, "#define ACROSS {}\n", u8::from(across));
    text + include_str!("fold.cu")
}
