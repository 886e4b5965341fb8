//! What an operation asks of a GPU, as data: kernels with their source, their grids and their arguments. It can be
//! looked at, kept, and run again, and says nothing of drivers: operations are written the same with and without the
//! feature `cuda`.

use crate::storage::{Storage, Uniform};
use crate::{DType, Error, ErrorKind, Layout, Op, Result, Shape, Spec};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Threads of a block where a kernel has no reason for another number.
pub const BLOCK: u32 = 256;

/// The most blocks of a grid in which each thread goes on to further elements: several for each multiprocessor of the
/// largest device.
const MOST_BLOCKS: usize = 4096;

/// An operand or a result as a kernel for a GPU is asked to read or write it.
#[derive(Clone, Copy, Debug)]
pub struct CudaOperand<'a> {
    spec: Spec,
    layout: &'a Layout,
    value: Option<Uniform>,
}

impl<'a> CudaOperand<'a> {
    pub(crate) fn new(spec: Spec, layout: &'a Layout, value: Option<Uniform>) -> CudaOperand<'a> {
        CudaOperand { spec, layout, value }
    }

    /// Shape and element type.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// The dimensions.
    pub fn shape(&self) -> &Shape {
        &self.spec.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.spec.dtype
    }

    /// Shape and strides, of which the offset counts from the start of the memory.
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// The one value of all elements, where it is known on the host and lies in no memory.
    pub(crate) fn value(&self) -> Option<&Uniform> {
        self.value.as_ref()
    }
}

/// Memory that a kernel is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer(pub(crate) Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The first element of an operand.
    Input(usize),
    /// The first element of a result.
    Output(usize),
    /// Room for what only this operation needs.
    Room(usize),
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum LaunchArgument {
    /// A pointer.
    Pointer(Pointer),
    /// The bytes of a value, as the kernel's parameter has them.
    Bytes(SmallVec<[u8; 16]>),
    /// Where the kernel reports what it finds wrong with the values, a `kiln::Faults`: [`CudaCall::faults`].
    Faults,
}

/// What a kernel has found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The position that it named.
    pub position: i64,
    pub(crate) bits: u64,
}

impl Fault {
    /// The value that it named, where that is a whole number.
    pub fn integer(&self) -> i64 {
        self.bits as i64
    }

    /// The value that it named, where that is an `f64`.
    pub fn number(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// Makes the error of a fault.
pub(crate) type Tell = Arc<dyn Fn(Fault) -> Error + Send + Sync>;

impl From<Pointer> for LaunchArgument {
    fn from(pointer: Pointer) -> LaunchArgument {
        LaunchArgument::Pointer(pointer)
    }
}

macro_rules! argument_values {
    ($($t:ty)*) => {$(
        impl From<$t> for LaunchArgument {
            fn from(value: $t) -> LaunchArgument {
                LaunchArgument::Bytes(SmallVec::from_slice(&value.to_ne_bytes()))
            }
        }
    )*};
}
argument_values!(i32 u32 i64 u64 f32 f64);

impl From<usize> for LaunchArgument {
    /// As the `i64` that kernels count with.
    fn from(value: usize) -> LaunchArgument {
        (value as i64).into()
    }
}

impl From<&[i64]> for LaunchArgument {
    /// A struct of so many `i64`, or of arrays of them.
    fn from(values: &[i64]) -> LaunchArgument {
        LaunchArgument::Bytes(values.iter().flat_map(|value| value.to_ne_bytes()).collect())
    }
}

impl<const N: usize> From<[usize; N]> for LaunchArgument {
    /// A struct of so many `i64`.
    fn from(values: [usize; N]) -> LaunchArgument {
        LaunchArgument::Bytes(values.iter().flat_map(|&value| (value as i64).to_ne_bytes()).collect())
    }
}

/// One launch of a kernel written in CUDA C++. Its source begins with Kiln's prelude (`prelude.cuh`), which has the element
/// types, their conversions and the scalar functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub(crate) source: Cow<'static, str>,
    /// Macros defined before the source.
    pub(crate) defines: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) entry: &'static str,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    pub(crate) arguments: Vec<LaunchArgument>,
    /// Whether its kernel is one of `calls.cuh`, of which several calls can be one launch.
    pub(crate) is_joinable: bool,
}

impl Launch {
    /// A launch of one block of [`BLOCK`] threads of the function `entry` (`KERNEL entry(…)`) of a source.
    pub fn new(source: impl Into<Cow<'static, str>>, entry: &'static str) -> Launch {
        let (grid, block) = ([1; 3], [BLOCK, 1, 1]);
        let (source, defines, arguments) = (source.into(), Vec::new(), Vec::new());
        Launch { source, defines, entry, grid, block, shared: 0, arguments, is_joinable: false }
    }

    /// Defines a macro: a size that is known when the kernel is compiled.
    #[must_use]
    pub fn define(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Launch {
        self.defines.push((name, value.into()));
        self
    }

    /// Defines a macro that stands for an element type.
    #[must_use]
    pub fn define_type(self, name: &'static str, dtype: DType) -> Launch {
        self.define(name, dtype.name())
    }

    /// The blocks of the grid.
    #[must_use]
    pub fn grid(mut self, x: u32, y: u32, z: u32) -> Launch {
        self.grid = [x, y, z];
        self
    }

    /// The threads of a block.
    #[must_use]
    pub fn block(mut self, x: u32, y: u32, z: u32) -> Launch {
        self.block = [x, y, z];
        self
    }

    /// As many threads as work through `count` elements, each of which may take several (`THREAD`, `THREADS`).
    #[must_use]
    pub fn over(mut self, count: usize) -> Launch {
        let blocks = count.div_ceil(BLOCK as usize).clamp(1, MOST_BLOCKS) as u32;
        (self.grid, self.block) = ([blocks, 1, 1], [BLOCK, 1, 1]);
        self
    }

    /// So many blocks of the size that was set, or as many as make sense, of which each goes on to further work
    /// (`for (i64 i = blockIdx.x; i < count; i += gridDim.x)`).
    #[must_use]
    pub fn blocks(mut self, count: usize) -> Launch {
        self.grid = [count.clamp(1, 16 * MOST_BLOCKS) as u32, 1, 1];
        self
    }

    /// The next argument: where the elements of operands lie in row-major order of `shape`, each relative to the first. In the
    /// kernel it is a `kiln::Walk<RANK, N>` of N operands; the macro `RANK` is defined.
    #[must_use]
    pub fn walk(self, shape: Shape, operands: &[Layout]) -> Launch {
        let (rank, walk) = super::source::walk(shape, operands);
        self.define("RANK", rank.to_string()).arg(walk)
    }

    /// The next arguments: structs of numbers of the type `INDEX`, which is defined as `i32` where neither they nor `most`, to
    /// which the kernel counts with it, are too large for that, and as `i64` otherwise.
    #[must_use]
    pub fn indices(self, most: usize, structs: &[&[usize]]) -> Launch {
        // What is left above is for sums of a few.
        let is_small = structs.iter().copied().flatten().chain([&most]).all(|&number| number < 1 << 28);
        let launch = self.define_type("INDEX", if is_small { DType::I32 } else { DType::I64 });
        structs.iter().fold(launch, |launch, numbers| {
            let bytes = |&number: &usize| match is_small {
                true => SmallVec::<[u8; 8]>::from_slice(&(number as i32).to_ne_bytes()),
                false => SmallVec::from_slice(&(number as i64).to_ne_bytes()),
            };
            launch.arg(LaunchArgument::Bytes(numbers.iter().flat_map(bytes).collect()))
        })
    }

    /// Bytes of dynamic shared memory (`KILN_SHARED`).
    #[must_use]
    pub fn shared(mut self, bytes: u32) -> Launch {
        self.shared = bytes;
        self
    }

    /// The next argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<LaunchArgument>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    /// Its kernel is written as `JOINABLE`.
    #[must_use]
    pub(crate) fn joinable(mut self) -> Launch {
        self.is_joinable = true;
        self
    }

    /// The text that is compiled: the macros, then the source.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.defines {
            text.push_str(&format!("#define {name} {value}\n"));
        }
        if self.is_joinable {
            text.push_str(include_str!("calls.cuh"));
        }
        text.push_str(&self.source);
        text
    }
}

/// What an operation asks a device to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// A kernel.
    Kernel(Launch),
    /// Kernels of which none reads or overwrites what another writes.
    Together(Vec<Launch>),
    /// A product of matrices by NVIDIA's library, or by this kernel where that is not there.
    Product(Product, Launch),
    /// A convolution by NVIDIA's library, or by kernels.
    Convolution(Box<ConvolutionWork>),
}

/// `y = a · b`, for each of a batch of matrices, which lie one after the other in steps of any kind; `y` is dense.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) dtype: DType,
    /// Whether f32 may be multiplied in TF32.
    pub(crate) tf32: bool,
    pub(crate) batches: usize,
    /// Rows and columns of `y`, and what is summed over.
    pub(crate) sizes: [usize; 3],
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) y: Pointer,
}

/// What NVIDIA's library for convolutions wants addresses to be multiples of.
pub(crate) const LIBRARY_ALIGNMENT: usize = 16;

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConvolutionPass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// A convolution of dense images of single or half precision, with the channels last and as much padding before as behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convolution {
    pub(crate) pass: ConvolutionPass,
    pub(crate) dtype: DType,
    /// Whether f32 may be multiplied in TF32.
    pub(crate) tf32: bool,
    /// Images, channels, height and width of the input.
    pub(crate) images: [usize; 4],
    /// Filters, channels of a group, height and width of the kernel.
    pub(crate) weights: [usize; 4],
    /// Images, filters, height and width of the output.
    pub(crate) results: [usize; 4],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

/// A convolution with where its values lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConvolutionWork {
    pub(crate) convolution: Convolution,
    /// Of both operands in the library's order, and of the result.
    pub(crate) places: [Pointer; 3],
    /// Brings the weights into the library's order, in which the filters come first; their gradient out of it, afterwards.
    pub(crate) turn: Launch,
    /// What computes it where the library is not there, or has no way.
    pub(crate) kernels: Vec<Launch>,
}

/// Where the matrices of an operand lie: the first, and the steps from row to row, column to column and matrix to matrix. One
/// of the first two is 1, the other at least the length of what lies dense.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Matrix {
    pub(crate) pointer: Pointer,
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) batch: usize,
}

/// Whether products of f32 may round what they multiply to TF32.
static TF32: AtomicBool = AtomicBool::new(false);

/// See [`Device::allow_tf32`](crate::Device::allow_tf32).
pub(crate) fn allow_tf32(allow: bool) {
    TF32.store(allow, Ordering::Relaxed);
}

pub(crate) fn tf32_is_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}

impl Matrix {
    /// The matrices of a layout of rank two and up whose leading dimensions are `lead` or broadcast to it, if a library can take
    /// them as they lie.
    fn of(pointer: Pointer, layout: &Layout, lead: Shape) -> Option<Matrix> {
        let (shape, strides, first) = (layout.shape, layout.strides(), layout.shape.rank() - 2);
        let batch =
            Layout::new(Shape::from_slice(&shape[..first]), &strides[..first], 0).broadcast_to(lead).coalesced();
        let batch = match batch.strides() {
            [] => 0,
            &[step] => usize::try_from(step).ok()?,
            _ => return None,
        };
        let [rows, columns] = [shape[first], shape[first + 1]];
        // What is not stepped over may be stepped over anyhow.
        let step = |length: usize, step: isize, dense: usize| {
            if length == 1 { Some(dense) } else { usize::try_from(step).ok().filter(|&step| step >= dense) }
        };
        let is_dense = |length: usize, step: isize| length == 1 || step == 1;
        let row = is_dense(columns, strides[first + 1]).then(|| step(rows, strides[first], columns)).flatten();
        if let Some(row) = row {
            return Some(Matrix { pointer, row, column: 1, batch });
        }
        let column = is_dense(rows, strides[first]).then(|| step(columns, strides[first + 1], rows))??;
        Some(Matrix { pointer, row: 1, column, batch })
    }
}

/// Memory for what only one call needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) bytes: usize,
    /// What is there before the first launch, if that matters.
    pub(crate) content: Vec<u8>,
}

/// What an operation asks for: room, and work in its order.
pub(crate) struct Asked {
    pub(crate) rooms: Vec<Room>,
    pub(crate) work: Vec<Work>,
    pub(crate) tell: Option<Tell>,
    /// Whether it is one kernel that reads all operands of an element before it writes there.
    pub(crate) is_pointwise: bool,
}

impl Asked {
    /// Whether calls that ask for the like can be launched together: by kernels of which that is possible, which report nothing.
    pub(crate) fn is_joinable(&self) -> bool {
        let joins = |work: &Work| match work {
            Work::Kernel(launch) => launch.is_joinable,
            Work::Together(launches) => launches.iter().all(|launch| launch.is_joinable),
            Work::Product(..) | Work::Convolution(_) => false,
        };
        !self.work.is_empty() && self.work.iter().all(joins) && self.tell.is_none()
    }

    /// What `op` asks for to compute `y` from `x`, alone or abreast of others of its kind.
    ///
    /// # Errors
    /// It has no kernel for GPUs.
    pub(crate) fn of(op: &dyn Op, x: &[CudaOperand<'_>], y: &[Spec], is_abreast: bool) -> Result<Asked> {
        let mut call = CudaCall { is_abreast, ..CudaCall::new(x, y) };
        op.cuda(&mut call)?;
        let CudaCall { rooms, work, tell, is_pointwise, .. } = call;
        Ok(Asked { rooms, work, tell, is_pointwise })
    }
}

/// A step of a plan on a GPU.
pub(crate) struct PlannedCall {
    pub(crate) op: Arc<dyn Op>,
    /// The line that asked for it.
    pub(crate) at: &'static Location<'static>,
    pub(crate) asked: Asked,
    /// Where its operands begin.
    pub(crate) x: Vec<Source>,
    /// Where its results begin.
    pub(crate) y: Vec<Source>,
    /// Where each room lies in the arena; one that has a content lies in memory of its own.
    pub(crate) rooms: Vec<usize>,
}

/// Where a step of a plan finds a value.
pub(crate) enum Source {
    /// What a run is given, first its inputs and then the memory of its results, by number; from so many bytes on.
    Given(usize, usize),
    /// From this byte of the arena on.
    Arena(usize),
    /// In memory of its own, from so many bytes on.
    Constant(Storage, usize),
}

/// A call of an operation on a GPU that its [`Op::cuda`](crate::Op::cuda) turns into launches. They run in order.
pub struct CudaCall<'a> {
    x: &'a [CudaOperand<'a>],
    y: &'a [Spec],
    rooms: Vec<Room>,
    pub(super) work: Vec<Work>,
    /// The dense copies that have been asked for.
    copies: Vec<(usize, Pointer)>,
    tell: Option<Tell>,
    /// Whether others of its kind are started together with it, whose kernel should then be the same.
    pub(super) is_abreast: bool,
    /// See [`Asked::is_pointwise`].
    pub(super) is_pointwise: bool,
}

impl fmt::Debug for CudaCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaCall").field("rooms", &self.rooms).field("work", &self.work).finish_non_exhaustive()
    }
}

impl<'a> CudaCall<'a> {
    pub(crate) fn new(x: &'a [CudaOperand<'a>], y: &'a [Spec]) -> CudaCall<'a> {
        let (rooms, work, copies) = (Vec::new(), Vec::new(), Vec::new());
        CudaCall { x, y, rooms, work, copies, tell: None, is_abreast: false, is_pointwise: false }
    }

    /// The operands.
    pub fn inputs(&self) -> &'a [CudaOperand<'a>] {
        self.x
    }

    /// Shapes and types of the results.
    pub fn outputs(&self) -> &'a [Spec] {
        self.y
    }

    /// The elements of operand `i` in row-major order: where they lie, or copied by a launch before those that follow.
    pub fn dense(&mut self, i: usize) -> Pointer {
        let x = self.x[i];
        if x.value.is_none() && x.layout.is_contiguous() {
            return Pointer(Place::Input(i));
        }
        self.copied(i)
    }

    /// The elements of operand `i` in row-major order, copied, to where memory begins.
    pub(crate) fn copied(&mut self, i: usize) -> Pointer {
        let x = self.x[i];
        if let Some((_, copy)) = self.copies.iter().find(|(operand, _)| *operand == i) {
            return *copy;
        }
        let room = self.room(x.shape().count() * x.dtype().size());
        self.launch(super::source::copy(&x, Pointer(Place::Input(i)), room));
        self.copies.push((i, room));
        room
    }

    /// The first element of operand `i`, and how its elements lie from there on: where it lies already, or, if it is one value
    /// that lies in no memory, in a copy.
    pub fn placed(&mut self, i: usize) -> (Pointer, Layout) {
        let x = self.x[i];
        match x.value {
            None => (Pointer(Place::Input(i)), Layout { offset: 0, ..*x.layout }),
            Some(_) => (self.dense(i), Layout::contiguous(*x.shape())),
        }
    }

    /// The first element of result `i`, which is dense.
    pub fn output(&self, i: usize) -> Pointer {
        Pointer(Place::Output(i))
    }

    /// So many bytes for what only this operation needs, aligned for every type, with arbitrary values.
    pub fn room(&mut self, bytes: usize) -> Pointer {
        self.rooms.push(Room { bytes, content: Vec::new() });
        Pointer(Place::Room(self.rooms.len() - 1))
    }

    /// Numbers that the operation holds itself, such as a table of bounds, where kernels can read them.
    pub fn table(&mut self, values: &[f64]) -> Pointer {
        let content: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        self.rooms.push(Room { bytes: content.len(), content });
        Pointer(Place::Room(self.rooms.len() - 1))
    }

    /// Copies the elements of the one operand in row-major order to the one result, whatever shape that has.
    pub fn copy(&mut self) {
        if self.x[0].shape().count() > 0 {
            let to = self.output(0);
            self.launch(super::source::copy(&self.x[0], Pointer(Place::Input(0)), to));
        }
    }

    /// An argument by which kernels of this call report what only values show. The error that `tell` makes of the first report
    /// comes when the host next reads from the device.
    pub fn faults(&mut self, tell: impl Fn(Fault) -> Error + Send + Sync + 'static) -> LaunchArgument {
        self.tell = Some(Arc::new(tell));
        LaunchArgument::Faults
    }

    /// Appends a launch. One over an empty result does nothing and may be left out.
    pub fn launch(&mut self, launch: Launch) {
        self.work.push(Work::Kernel(launch));
    }

    /// Appends launches of which none reads or overwrites what another writes: those of one kernel are started together.
    pub(crate) fn launch_together(&mut self, launches: Vec<Launch>) {
        self.work.push(Work::Together(launches));
    }

    /// The matrices of operand `i` as a library can take them, copied if they do not lie so, with their layout; `None` where they
    /// broadcast to `lead` in no even steps.
    pub(crate) fn matrices(&mut self, i: usize, lead: Shape) -> (Option<Matrix>, Pointer, Layout) {
        let (pointer, layout) = self.placed(i);
        if let Some(matrix) = Matrix::of(pointer, &layout, lead) {
            return (Some(matrix), pointer, layout);
        }
        let dense = Layout::contiguous(*self.x[i].shape());
        match Matrix::of(pointer, &dense, lead) {
            None => (None, pointer, layout),
            Some(matrix) => {
                let pointer = self.dense(i);
                (Some(Matrix { pointer, ..matrix }), pointer, dense)
            }
        }
    }

    /// Appends a product by NVIDIA's library, or by a kernel where that is not there.
    pub(crate) fn product(&mut self, dtype: DType, batches: usize, sizes: [usize; 3], x: [Matrix; 2], kernel: Launch) {
        let ([a, b], tf32) = (x, tf32_is_allowed());
        let product = Product { dtype, tf32, batches, sizes, a, b, y: self.output(0) };
        self.work.push(Work::Product(product, kernel));
    }

    /// Appends a convolution of the call's two operands by NVIDIA's library, or by `kernels` where that is not there or has no way. Both
    /// lie dense at `x`; weights, and their gradient, are `[KH, KW, C, O]`.
    pub(crate) fn convolution(&mut self, convolution: Convolution, x: [Pointer; 2], kernels: Vec<Launch>) {
        let (dtype, [filters, channels, rows, columns]) = (convolution.dtype, convolution.weights);
        let turned = |layout: &Layout, axes: [usize; 4], value, from, to| {
            let shape = Shape::from_slice(&axes.map(|axis| layout.shape[axis]));
            let layout = Layout::new(shape, &axes.map(|axis| layout.strides()[axis]), layout.offset);
            super::source::copy(&CudaOperand::new(Spec::new(shape, dtype), &layout, value), from, to)
        };
        let (room, y) = (self.room(filters * channels * rows * columns * dtype.size()), self.output(0));
        let (places, turn) = match convolution.pass {
            ConvolutionPass::WeightGrad => {
                let given = Layout::contiguous(Shape::from_slice(&[filters, rows, columns, channels]));
                ([x[0], x[1], room], turned(&given, [1, 2, 3, 0], None, room, y))
            }
            pass => {
                let w = self.x[1];
                let turn = turned(w.layout, [3, 0, 1, 2], w.value, Pointer(Place::Input(1)), room);
                (if pass == ConvolutionPass::Forward { [x[0], room, y] } else { [room, x[0], y] }, turn)
            }
        };
        self.work.push(Work::Convolution(Box::new(ConvolutionWork { convolution, places, turn, kernels })));
    }
}

/// The error of an operation that has no kernel for GPUs.
pub(crate) fn no_kernel(op: &str) -> Error {
    Error::new(ErrorKind::Device, op, "has no CUDA kernel")
        .help("implement Op::cuda for it, or move its operands: .to_device(Device::Cpu)")
}
