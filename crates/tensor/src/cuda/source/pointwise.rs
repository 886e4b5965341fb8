//! The kernels of pointwise operations, alone or several together.

use super::super::launch::{BLOCK, CudaCall, CudaOperand, Launch, LaunchArgument, Place, Pointer};
use super::statements;
use super::walk::Walk;
use crate::scalar::{Argument, Pointwise, Program};
use crate::{DType, Layout, Shape};
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

/// How the elements of an operand are found by a kernel that runs alone, or abreast of others whose shapes may be larger.
fn access(x: &CudaOperand<'_>, shape: Shape, strided: &mut usize, is_abreast: bool) -> Access {
    let layout = x.layout().broadcast_to(shape);
    if x.value().is_some() {
        Access::Value
    } else if is_abreast && !x.spec().is_number() && *x.shape() == shape && layout.is_contiguous() {
        Access::Dense
    } else if layout.strides().iter().zip(shape.iter()).all(|(&stride, &length)| stride == 0 || length == 1) {
        Access::Single
    } else if layout.is_contiguous() {
        Access::Dense
    } else {
        *strided += 1;
        Access::Strided(*strided - 1)
    }
}

/// The function `one` of an element.
struct Body {
    text: String,
    /// The types of its results.
    outputs: Vec<DType>,
}

/// Asks for the kernel of a pointwise operation, which is all of its work.
pub(crate) fn pointwise(call: &mut CudaCall<'_>, program: &Pointwise) {
    let Some(y) = call.outputs().first() else { return };
    let (shape, count) = (y.shape, y.shape.count());
    if count == 0 {
        return;
    }
    let x = call.inputs();
    let y: Vec<Pointer> = (0..call.outputs().len()).map(|i| call.output(i)).collect();
    let inputs: Vec<Pointer> = (0..x.len()).map(|i| Pointer(Place::Input(i))).collect();
    call.launch(kernel(&Body::of(program, x), x, &inputs, shape, &y, call.is_abreast));
    call.is_pointwise = true;
}

/// Pointwise steps of one shape that one kernel runs together: what one of them gives to another stays in registers.
pub(crate) struct Group<'a> {
    pub(crate) shape: Shape,
    /// What comes from outside.
    pub(crate) operands: Vec<CudaOperand<'a>>,
    steps: Vec<GroupStep>,
    /// The types of all that the steps give, in their order.
    given: Vec<DType>,
    /// Which of that leaves.
    leaving: Vec<usize>,
}

struct GroupStep {
    program: Pointwise,
    operands: Vec<GroupOperand>,
}

/// An operand of a step in a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GroupOperand {
    /// From outside, by number.
    Outside(usize),
    /// What an earlier step has given, by number.
    Given(usize),
}

impl<'a> Group<'a> {
    pub(crate) fn new(shape: Shape) -> Group<'a> {
        Group { shape, operands: Vec::new(), steps: Vec::new(), given: Vec::new(), leaving: Vec::new() }
    }

    /// Adds a step; gives the number of its first result.
    pub(crate) fn step(&mut self, program: Pointwise, operands: Vec<GroupOperand>) -> usize {
        let first = self.given.len();
        self.given.extend(&program.outputs);
        self.steps.push(GroupStep { program, operands });
        first
    }

    /// What was given under this number is the next result.
    pub(crate) fn leave(&mut self, number: usize) {
        self.leaving.push(number);
    }

    /// The launch, by itself or abreast of others of its kind: then its kernel does not depend on the number of elements.
    pub(crate) fn launch(&self, is_abreast: bool) -> Launch {
        let outputs: Vec<DType> = self.leaving.iter().map(|&number| self.given[number]).collect();
        let inputs: Vec<Pointer> = (0..self.operands.len()).map(|i| Pointer(Place::Input(i))).collect();
        let results: Vec<Pointer> = (0..outputs.len()).map(|i| Pointer(Place::Output(i))).collect();
        let body = Body { text: self.text(&outputs), outputs };
        kernel(&body, &self.operands, &inputs, self.shape, &results, is_abreast)
    }

    /// A function for each step, and one that calls them.
    fn text(&self, outputs: &[DType]) -> String {
        let dtype = |operand: &GroupOperand| match *operand {
            GroupOperand::Outside(i) => self.operands[i].dtype(),
            GroupOperand::Given(number) => self.given[number],
        };
        let (mut text, mut calls, mut first) = (String::new(), String::new(), 0);
        for (i, GroupStep { program, operands }) in self.steps.iter().enumerate() {
            let dtypes: Vec<DType> = operands.iter().map(dtype).collect();
            text.push_str(&function(&format!("step{i}"), program, &dtypes));
            put!(calls, "    step{i}(i");
            for operand in operands {
                match operand {
                    GroupOperand::Outside(i) => put!(calls, ", x{i}"),
                    GroupOperand::Given(number) => put!(calls, ", v{number}"),
                }
            }
            (first..first + program.outputs.len()).for_each(|number| put!(calls, ", v{number}"));
            calls.push_str(");\n");
            first += program.outputs.len();
        }
        let dtypes: Vec<DType> = self.operands.iter().map(CudaOperand::dtype).collect();
        put!(text, "{}", head("one", &dtypes, outputs));
        for (number, dtype) in self.given.iter().enumerate() {
            put!(text, "    {} v{number};\n", dtype.name());
        }
        text.push_str(&calls);
        for (i, number) in self.leaving.iter().enumerate() {
            put!(text, "    y{i} = v{number};\n");
        }
        text.push_str("}\n\n");
        text
    }
}

/// The launch that copies `x`, whose first element lies at `from`, densely into `to`.
pub(in crate::cuda) fn copy(x: &CudaOperand<'_>, from: Pointer, to: Pointer) -> Launch {
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
    kernel(&Body::of(&program, &[*x]), &[*x], &[from], *x.shape(), &[to], false)
}

/// The kernel of a function over `shape`, with the memory of its operands and results.
fn kernel(
    body: &Body,
    x: &[CudaOperand<'_>],
    inputs: &[Pointer],
    shape: Shape,
    y: &[Pointer],
    is_abreast: bool,
) -> Launch {
    let count = shape.count();
    let mut strided = 0;
    let accesses: Vec<Access> = x.iter().map(|x| access(x, shape, &mut strided, is_abreast)).collect();
    let walked = x.iter().zip(&accesses).filter(|(_, access)| matches!(access, Access::Strided(_)));
    let walked: Vec<Layout> = walked.map(|(x, _)| x.layout().broadcast_to(shape)).collect();
    let walk = (strided > 0).then(|| Walk::of(&walked, shape));
    let width = match width(body, x, &accesses, strided > 0) {
        // Few elements are read one by one, so that more threads share them.
        width if count < width * BLOCK as usize && !is_abreast => 1,
        width => width,
    };
    let launch = Launch::new(text(body, x, &accesses, &walk, width), "pointwise").joinable();
    let mut launch = launch.over(count.div_ceil(width)).arg(count);
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
fn width(body: &Body, x: &[CudaOperand<'_>], accesses: &[Access], strided: bool) -> usize {
    let dense = || x.iter().zip(accesses).filter(|(_, access)| **access == Access::Dense);
    let sizes = dense().map(|(x, _)| x.dtype().size()).chain(body.outputs.iter().map(|dtype| dtype.size()));
    let width = WIDEST / sizes.max().unwrap_or(WIDEST);
    // Where an operand does not begin at a multiple of what is read at once, elements are read one by one.
    let aligned = dense().all(|(x, _)| x.layout().offset % width == 0);
    if strided || !aligned { 1 } else { width }
}

/// The source of a kernel: one element, the macros that `pointwise.cu` is written with, and that.
fn text(body: &Body, x: &[CudaOperand<'_>], accesses: &[Access], walk: &Option<Walk>, width: usize) -> String {
    let mut text = body.text.clone();
    let each = |what: &dyn Fn(usize, &str, Access) -> Option<String>| -> Vec<String> {
        let operands = x.iter().zip(accesses).enumerate();
        operands.filter_map(|(i, (x, access))| what(i, x.dtype().name(), *access)).collect()
    };
    let results = |what: &dyn Fn(usize, &str) -> String| -> Vec<String> {
        body.outputs.iter().enumerate().map(|(i, dtype)| what(i, dtype.name())).collect()
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

impl Body {
    /// That of one program, on operands of these types.
    fn of(program: &Pointwise, x: &[CudaOperand<'_>]) -> Body {
        let dtypes: Vec<DType> = x.iter().map(CudaOperand::dtype).collect();
        Body { text: function("one", program, &dtypes), outputs: program.outputs.clone() }
    }
}

/// How the function of an element begins: its number, what the operands hold, and the results.
fn head(name: &str, x: &[DType], y: &[DType]) -> String {
    let mut text = format!("INLINE void {name}(i64 i");
    x.iter().enumerate().for_each(|(i, x)| put!(text, ", {} x{i}", x.name()));
    y.iter().enumerate().for_each(|(i, y)| put!(text, ", {}& y{i}", y.name()));
    text + ") {\n"
}

/// A program as a function of this name.
fn function(name: &str, program: &Pointwise, x: &[DType]) -> String {
    let compute = program.compute.name();
    let mut text = head(name, x, &program.outputs);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Work;
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
        let [Work::Kernel(launch)] = &call.work[..] else { panic!("{:?}", call.work) };
        let text = launch.text();
        assert!(text.contains("f32 t1 = kiln::sigmoid(t0);"), "{text}");
        assert!(text.contains("#define WIDTH 8\n"), "{text}");
        assert_eq!((launch.grid, launch.arguments.len()), ([2, 1, 1], 3));
    }
}
