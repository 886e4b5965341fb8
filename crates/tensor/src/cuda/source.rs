//! CUDA C++ made of programs: what an elementwise operation computes, printed as a kernel. The same list of instructions
//! runs as compiled code on the CPU, so nothing is written twice.

use super::launch::{BLOCK, CudaCall, CudaOperand, Launch, LaunchArgument, Place, Pointer};
use crate::scalar::{Argument, Pointwise, Program};
use crate::{DType, Layout, MAX_RANK, Shape};
use smallvec::SmallVec;
use std::fmt::Write;
use std::sync::Arc;

/// Bytes that one instruction reads or writes at most.
const WIDEST: usize = 16;

/// How the elements of an operand are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// One value, an argument of the kernel.
    Value,
    /// One element, read once.
    Single,
    /// Element `i` of the result's order lies at `i`.
    Dense,
    /// By strides: the operand's place among those that are.
    Strided(usize),
}

fn access(x: &CudaOperand<'_>, shape: Shape, strided: &mut usize) -> Access {
    let layout = x.layout().broadcast_to(shape);
    if x.value().is_some() {
        Access::Value
    } else if layout.strides().iter().zip(shape.iter()).all(|(&stride, &length)| stride == 0 || length == 1) {
        Access::Single
    } else if layout.is_contiguous() {
        Access::Dense
    } else {
        *strided += 1;
        Access::Strided(*strided - 1)
    }
}

/// Asks for the kernel of a pointwise operation.
pub(crate) fn pointwise(call: &mut CudaCall<'_>, program: &Pointwise) {
    let Some(y) = call.outputs().first() else { return };
    let (shape, count) = (y.shape, y.shape.count());
    if count == 0 {
        return;
    }
    let x = call.inputs();
    let y: Vec<Pointer> = (0..call.outputs().len()).map(|i| call.output(i)).collect();
    let inputs: Vec<Pointer> = (0..x.len()).map(|i| Pointer(Place::Input(i))).collect();
    call.launch(kernel(program, x, &inputs, shape, &y));
}

/// The launch that copies operand `number` densely into `to`.
pub(super) fn copy(x: &CudaOperand<'_>, number: usize, to: Pointer) -> Launch {
    let dtype = x.dtype();
    // Each type by way of one that holds all its values.
    let compute = match dtype {
        DType::F16 | DType::BF16 | DType::F32 => DType::F32,
        DType::F64 => DType::F64,
        _ => DType::I64,
    };
    let itself = Program::new::<false>(1, &[crate::Expr::input(0)]);
    let program = Pointwise {
        arguments: vec![Argument::Element(dtype)],
        compute,
        program: Arc::new(itself),
        outputs: vec![dtype],
    };
    kernel(&program, &[*x], &[Pointer(Place::Input(number))], *x.shape(), &[to])
}

/// The kernel of a program over `shape`, with the memory of its operands and results.
fn kernel(program: &Pointwise, x: &[CudaOperand<'_>], inputs: &[Pointer], shape: Shape, y: &[Pointer]) -> Launch {
    let count = shape.count();
    let mut strided = 0;
    let accesses: Vec<Access> = x.iter().map(|x| access(x, shape, &mut strided)).collect();
    let walk = Walk::new(x.iter().zip(&accesses).filter(|(_, a)| matches!(a, Access::Strided(_))), shape);
    let width = width(program, x, &accesses, count, strided > 0);
    let mut launch = Launch::new(text(program, x, &accesses, &walk, width), "pointwise").over(count.div_ceil(width));
    launch = launch.arg(count);
    if let Some(walk) = &walk {
        launch = launch.arg(walk.argument());
    }
    for ((x, &pointer), access) in x.iter().zip(inputs).zip(&accesses) {
        launch = match (access, x.value()) {
            (Access::Value, Some(value)) => {
                launch.arg(LaunchArgument::Bytes(SmallVec::from_slice(value.bytes(x.dtype().size()))))
            }
            _ => launch.arg(pointer),
        };
    }
    y.iter().fold(launch, |launch, &y| launch.arg(y))
}

/// How many elements a thread takes at once.
fn width(program: &Pointwise, x: &[CudaOperand<'_>], accesses: &[Access], count: usize, strided: bool) -> usize {
    let dense = || x.iter().zip(accesses).filter(|(_, access)| **access == Access::Dense);
    let sizes = dense().map(|(x, _)| x.dtype().size()).chain(program.outputs.iter().map(|dtype| dtype.size()));
    let width = WIDEST / sizes.max().unwrap_or(WIDEST);
    // Where an operand does not begin at a multiple of what is read at once, elements are read one by one. So are few.
    let aligned = dense().all(|(x, _)| x.layout().offset % width == 0);
    if strided || !aligned || count < width * BLOCK as usize { 1 } else { width }
}

/// Rank and argument of a `kiln::Walk` of these operands in row-major order of `shape`.
pub(super) fn walk(shape: Shape, operands: &[Layout]) -> (usize, LaunchArgument) {
    let walk = Walk::of(operands, shape);
    (walk.rank(), walk.argument())
}

/// The dimensions that strided operands are walked through, as few as can be.
struct Walk {
    dims: Vec<usize>,
    /// Of each operand.
    steps: Vec<Vec<isize>>,
}

impl Walk {
    fn new<'a, 'b: 'a>(
        operands: impl Iterator<Item = (&'a CudaOperand<'b>, &'a Access)>,
        shape: Shape,
    ) -> Option<Walk> {
        let layouts: Vec<Layout> = operands.map(|(x, _)| x.layout().broadcast_to(shape)).collect();
        (!layouts.is_empty()).then(|| Walk::of(&layouts, shape))
    }

    fn of(layouts: &[Layout], shape: Shape) -> Walk {
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

    fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The bytes of a `kiln::Walk`.
    fn argument(&self) -> LaunchArgument {
        let dims = self.dims.iter().map(|&length| length as i64);
        let steps = self.steps.iter().flatten().map(|&step| step as i64);
        LaunchArgument::Bytes(dims.chain(steps).flat_map(i64::to_ne_bytes).collect())
    }
}

/// Writes into a string, which does not fail.
macro_rules! put {
    ($to:expr, $($format:tt)*) => {
        write!($to, $($format)*).unwrap_or_else(|_| unreachable!("a string takes all that is written"))
    };
}

/// The source of a kernel: one element, the macros that `pointwise.cu` is written with, and that.
fn text(program: &Pointwise, x: &[CudaOperand<'_>], accesses: &[Access], walk: &Option<Walk>, width: usize) -> String {
    let mut text = one(program, x);
    let each = |what: &dyn Fn(usize, &str, Access) -> Option<String>| -> Vec<String> {
        let operands = x.iter().zip(accesses).enumerate();
        operands.filter_map(|(i, (x, access))| what(i, x.dtype().name(), *access)).collect()
    };
    let results = |what: &dyn Fn(usize, &str) -> String| -> Vec<String> {
        program.outputs.iter().enumerate().map(|(i, dtype)| what(i, dtype.name())).collect()
    };
    let parameters = each(&|i, dtype, access| match access {
        Access::Value => Some(format!("{dtype} x{i}")),
        // A result may lie where an operand lies, so neither is `__restrict__`.
        _ => Some(format!("const {dtype}* p{i}")),
    });
    let walked = walk.iter().map(|walk| format!("kiln::Walk<{}, {}> walk", walk.rank(), walk.steps.len()));
    let targets = results(&|i, dtype| format!("{dtype}* q{i}"));
    let parameters: Vec<String> = walked.chain(parameters).chain(targets).collect();
    let operands = |dense: &str| {
        each(&|i, _, access| match access {
            Access::Value | Access::Single => Some(format!("x{i}")),
            Access::Dense => Some(dense.replace('#', &i.to_string())),
            Access::Strided(place) => Some(format!("p{i}[at[{place}]]")),
        })
    };
    let call = |index: &str, dense: &str, result: &str| {
        let results = results(&|i, _| result.replace('#', &i.to_string()));
        let arguments: Vec<String> = [index.to_owned()].into_iter().chain(operands(dense)).chain(results).collect();
        format!("one({})", arguments.join(", "))
    };
    let singles = each(&|i, dtype, access| (access == Access::Single).then(|| format!("{dtype} x{i} = *p{i};")));
    let packs = each(&|i, dtype, access| {
        (access == Access::Dense).then(|| format!("kiln::Pack<{dtype}, WIDTH> a{i} = kiln::read<WIDTH>(p{i} + i);"))
    });
    let result_packs = results(&|i, dtype| format!("kiln::Pack<{dtype}, WIDTH> b{i};"));
    let place = walk.as_ref().map(|walk| format!("i64 at[{}]; walk.at(i, at);", walk.steps.len()));
    let macros = [
        ("WIDTH", width.to_string()),
        ("PARAMETERS", parameters.join(", ")),
        ("SINGLES", singles.join(" ")),
        ("PLACE", place.unwrap_or_default()),
        ("RESULTS", results(&|i, dtype| format!("{dtype} r{i};")).join(" ")),
        ("ONE(i)", call("i", "p#[i]", "r#")),
        ("WRITE(i)", results(&|i, _| format!("q{i}[i] = r{i};")).join(" ")),
        ("READ_PACKS", [packs, result_packs].concat().join(" ")),
        ("ONE_OF_PACKS(k)", call("i + k", "a#.v[k]", "b#.v[k]")),
        ("WRITE_PACKS", results(&|i, _| format!("kiln::write<WIDTH>(q{i} + i, b{i});")).join(" ")),
    ];
    macros.iter().for_each(|(name, value)| put!(text, "#define {name} {value}\n"));
    text + include_str!("pointwise.cu")
}

/// The function of one element: what the operands hold, and the results.
fn one(program: &Pointwise, x: &[CudaOperand<'_>]) -> String {
    let compute = program.compute.name();
    let mut text = String::new();
    put!(text, "INLINE void one(i64 i");
    x.iter().enumerate().for_each(|(i, x)| put!(text, ", {} x{i}", x.dtype().name()));
    program.outputs.iter().enumerate().for_each(|(i, y)| put!(text, ", {}& y{i}", y.name()));
    put!(text, ") {{\n");
    let mut operand = 0;
    for (i, argument) in program.arguments.iter().enumerate() {
        let value = match *argument {
            Argument::Element(_) | Argument::Number(_) => format!("kiln::load<{compute}>(x{operand})"),
            Argument::Index => format!("({compute})i"),
            Argument::Random { distribution, dtype, key } => {
                let key_and_first = format!("x{key}, x{}, i, x{}", key + 1, key + 2);
                let drawn = match (distribution.parameters(), distribution.name()) {
                    (1, name) => format!("kiln::{name}({key_and_first})"),
                    (_, name) => format!("kiln::Draw<{}>::{name}({key_and_first}, x{})", dtype.name(), key + 3),
                };
                format!("kiln::load<{compute}>({drawn})")
            }
        };
        put!(text, "    {compute} in{i} = {value};\n");
        operand = match *argument {
            Argument::Element(_) | Argument::Number(_) => operand + 1,
            Argument::Index => operand,
            Argument::Random { distribution, key, .. } => key + 2 + distribution.parameters(),
        };
    }
    let results = statements(&mut text, "    ", &program.program, program.compute, "in");
    for (i, (result, dtype)) in results.iter().zip(&program.outputs).enumerate() {
        put!(text, "    y{i} = kiln::store<{}>({result});\n", dtype.name());
    }
    put!(text, "}}\n\n");
    text
}

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

/// Writes the instructions of a program as statements on variables `{input}0`, `{input}1`, … and gives the names of the
/// results.
fn statements(text: &mut String, indent: &str, program: &Program, compute: DType, input: &str) -> Vec<String> {
    let compute_name = compute.name();
    program.print(
        &mut |line, is_mask| {
            let dtype = if is_mask { "bool" } else { compute_name };
            put!(text, "{indent}{dtype} {line};\n");
        },
        &|value| literal(value, compute),
        input,
    )
}

/// A constant of the type that is computed in, to the bit.
fn literal(value: f64, compute: DType) -> String {
    match compute {
        DType::F32 => format!("kiln::float_of({:#x}u)", (value as f32).to_bits()),
        DType::F64 => format!("kiln::double_of({:#x}ull)", value.to_bits()),
        _ => format!("(i64){:#x}ull", value as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Elementwise, Sigmoid};
    use crate::{Op, Spec};

    #[test]
    fn a_program_becomes_a_kernel() {
        let spec = Spec::new(Shape::from_slice(&[4096]), DType::F16);
        let layout = Layout::contiguous(spec.shape);
        let x = [CudaOperand::new(spec, &layout, None)];
        let y = [spec];
        let mut call = CudaCall::new(&x, &y);
        let op = Elementwise::<_, 1, 1>(Sigmoid);
        op.cuda(&mut call).unwrap();
        let [launch] = &call.launches[..] else { panic!("{:?}", call.launches) };
        let text = launch.text();
        assert!(text.contains("f32 t1 = kiln::sigmoid(t0);"), "{text}");
        assert!(text.contains("#define WIDTH 8\n"), "{text}");
        assert_eq!((launch.grid, launch.arguments.len()), ([2, 1, 1], 3));
    }
}
