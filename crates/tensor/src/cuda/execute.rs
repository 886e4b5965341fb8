//! Running operations on a GPU, and moving tensors there and back.

use super::compile::Function;
use super::convolution::{Convolutions, Way};
use super::driver::check;
use super::gpu::{Gpu, gpu};
use super::joined::{Joined, Task, tasks};
use super::known::{Known, Question};
use super::launch::{ConvolutionPass, ConvolutionWork, CudaOperand, Launch, LaunchArgument, Place, Product, Work};
use super::memory::Buffer;
use crate::abreast::Waiting;
use crate::op::{Outputs, Specs};
use crate::run::no_memory;
use crate::storage::Storage;
use crate::{DType, Device, DeviceMemory, Layout, Op, Result, Tensor};
use cudarc::driver::sys;
use smallvec::SmallVec;
use std::ffi::c_void;
use std::sync::Arc;

/// Succeeds when the device of this number can be used.
pub(crate) fn ensure_available(number: usize) -> Result<()> {
    gpu(number).map(|_| ())
}

/// What the memory of a device is used for.
pub(crate) fn memory(number: usize) -> Result<DeviceMemory> {
    let gpu = gpu(number)?;
    Ok(gpu.pool().memory(gpu))
}

/// Forgets how much memory was in use at most.
pub(crate) fn reset_peak(number: usize) -> Result<()> {
    gpu(number).map(|gpu| gpu.pool().reset_peak())
}

/// Gives memory that waits for reuse back to the driver.
pub(crate) fn release(number: usize) -> Result<()> {
    let gpu = gpu(number)?;
    gpu.pool().release(gpu)
}

/// Waits for all that was asked of a device.
pub(crate) fn synchronize(number: usize) -> Result<()> {
    gpu(number)?.finish()
}

/// The name of a device, its architecture, and what multiplies matrices and computes convolutions there.
pub(crate) fn describe(number: usize) -> Result<String> {
    let gpu = gpu(number)?;
    let (products, convolutions) = (gpu.products_by(), gpu.convolutions_by());
    Ok(format!("{} (sm_{}), products by {products}, convolutions by {convolutions}", gpu.name, gpu.architecture))
}

/// Memory for so many elements of a device.
pub(crate) fn room(number: usize, count: usize, dtype: DType) -> Result<Storage> {
    let bytes = count.saturating_mul(dtype.size());
    Ok(Storage::Cuda(Arc::new(Buffer::new(gpu(number)?, bytes)?)))
}

/// Runs an operation whose operands, if they lie in memory, are on this device. Results may take the places of `donors`.
pub(crate) fn run(
    number: usize,
    op: &dyn Op,
    x: &[&Tensor],
    donors: &mut [Option<Storage>],
    out: &Specs,
    y: &mut Outputs,
) -> Result<()> {
    let mut run = || -> Result<()> {
        let gpu = gpu(number)?;
        gpu.enter()?;
        let Some(known) = gpu.known(&[question(op, x, out)])? else { return Ok(()) };
        let results = gpu.results(&known, op, x, donors, out)?;
        gpu.execute(&known, x, &results)?;
        push(y, out, results);
        Ok(())
    };
    run().map_err(|error| error.renamed("cuda", op.name()))
}

/// Runs calls that read nothing of each other by launches as few as they can be, if all are of kernels that can be joined; does
/// nothing where they are not.
pub(crate) fn run_abreast(number: usize, calls: &[&Waiting]) -> Result<Option<Vec<Outputs>>> {
    let gpu = gpu(number)?;
    gpu.enter()?;
    let x: Vec<Vec<&Tensor>> = calls.iter().map(|call| call.x.iter().collect()).collect();
    let questions: Vec<Question<'_>> =
        calls.iter().zip(&x).map(|(call, x)| question(&*call.op, x, &call.out)).collect();
    let Some(known) = gpu.known(&questions)? else { return Ok(None) };
    let mut results = Vec::with_capacity(calls.len());
    for (call, x) in calls.iter().zip(&x) {
        results.push(gpu.results(&known, &*call.op, x, &mut call.donors.clone(), &call.out)?);
    }
    gpu.execute(&known, &x.concat(), &results.concat())?;
    let outputs = |(call, results): (&&Waiting, Results)| {
        let mut y = Outputs::default();
        push(&mut y, &call.out, results);
        y
    };
    Ok(Some(calls.iter().zip(results).map(outputs).collect()))
}

fn question<'a>(op: &'a dyn Op, x: &[&'a Tensor], y: &'a Specs) -> Question<'a> {
    let operand = |x: &&'a Tensor| CudaOperand::new(x.spec(), &x.layout, x.storage.uniform().copied());
    Question { op, x: x.iter().map(operand).collect(), y }
}

/// Memory of results.
type Results = SmallVec<[Arc<Buffer>; 4]>;

fn push(y: &mut Outputs, out: &Specs, results: Results) {
    for (spec, buffer) in out.iter().zip(results) {
        y.push(Tensor { storage: Storage::Cuda(buffer), layout: Layout::contiguous(spec.shape), dtype: spec.dtype });
    }
}

impl Gpu {
    /// Memory for the results of an operation: that of a donor, or new.
    fn results(
        &'static self,
        known: &Known,
        op: &dyn Op,
        x: &[&Tensor],
        donors: &mut [Option<Storage>],
        out: &Specs,
    ) -> Result<Results> {
        let mut results = Results::new();
        for (output, spec) in out.iter().enumerate() {
            // The promise behind aliases is that of a kernel for the CPU; here only pointwise ones keep it.
            let donor = (0..donors.len()).filter(|_| known.is_pointwise).find(|&input| {
                op.aliases().allow(input, output) && donors[input].is_some() && x[input].spec() == *spec
            });
            results.push(match donor.and_then(|input| donors[input].take()) {
                Some(Storage::Cuda(buffer)) => buffer,
                _ => Arc::new(Buffer::new(self, spec.shape.count().saturating_mul(spec.dtype.size()))?),
            });
        }
        Ok(results)
    }

    /// Puts what is known of a call into the stream, for these operands and results.
    fn execute(&'static self, known: &Known, x: &[&Tensor], results: &[Arc<Buffer>]) -> Result<()> {
        let mut rooms: SmallVec<[Buffer; 4]> = SmallVec::new();
        for room in &known.rooms {
            let buffer = Buffer::new(self, room.bytes)?;
            buffer.write(&room.content)?;
            rooms.push(buffer);
        }
        let address = |place: Place| -> sys::CUdeviceptr {
            match place {
                Place::Input(i) => {
                    let start = x[i].storage.cuda().map_or(0, |buffer| buffer.address());
                    start + (x[i].layout.offset * x[i].dtype.size()) as sys::CUdeviceptr
                }
                Place::Output(i) => results[i].address(),
                Place::Room(i) => rooms[i].address(),
            }
        };
        // Held until the launches are in the stream: whoever looks for reports waits for what came before.
        let mut reports = known.tell.as_ref().map(|tell| (self.faults(), tell));
        let faults = match &mut reports {
            Some((faults, tell)) => faults.of(tell.clone(), self.stream)?,
            None => [0; 2],
        };
        known.ready.iter().try_for_each(|ready| self.start(self.stream, ready, &address, &faults))
    }
}

/// What can be started: its kernels are compiled.
pub(super) enum Ready {
    Kernel(Function, Launch),
    Calls(Function, Joined),
    /// With its kernel where there is no library.
    Product(Option<Function>, Product, Launch),
    /// By the library.
    Convolution(Box<ReadyConvolution>),
}

pub(super) struct ReadyConvolution {
    library: &'static Convolutions,
    way: Arc<Way>,
    /// The kernel that turns the weights.
    turn: Function,
    work: Box<ConvolutionWork>,
}

impl Ready {
    /// How many kernels it starts.
    pub(super) fn launches(&self) -> usize {
        match self {
            Ready::Convolution(_) => 2,
            _ => 1,
        }
    }
}

impl Gpu {
    /// What is to be started for a list of work, its kernels compiled.
    pub(super) fn ready(&'static self, work: Vec<Work>) -> Result<Vec<Ready>> {
        let mut ready = Vec::with_capacity(work.len());
        for task in work.into_iter().flat_map(|work| tasks(work, self.most_arguments)) {
            match task {
                Task::Kernel(launch) => ready.push(self.ready_kernel(launch)?),
                Task::Calls(joined) => {
                    let function = self.kernels.function(&joined.launch)?;
                    ready.push(Ready::Calls(function, joined.without_source()));
                }
                Task::Product(product, launch) => {
                    let function = match self.products() {
                        Some(_) => None,
                        None => Some(self.kernels.function(&launch)?),
                    };
                    ready.push(Ready::Product(function, product, launch));
                }
                Task::Convolution(work) => match self.library_for(&work) {
                    Some((library, way)) => {
                        let turn = self.kernels.function(&work.turn)?;
                        ready.push(Ready::Convolution(Box::new(ReadyConvolution { library, way, turn, work })));
                    }
                    None => {
                        for kernel in work.kernels {
                            ready.push(self.ready_kernel(kernel)?);
                        }
                    }
                },
            }
        }
        Ok(ready)
    }

    fn ready_kernel(&self, launch: Launch) -> Result<Ready> {
        Ok(Ready::Kernel(self.kernels.function(&launch)?, launch.without_source()))
    }

    /// The library that computes a convolution, and how.
    fn library_for(&'static self, work: &ConvolutionWork) -> Option<(&'static Convolutions, Arc<Way>)> {
        let library = self.convolutions()?;
        Some((library, library.way(&work.convolution)?))
    }

    /// Puts what is ready into a stream of the device, which is the thread's.
    pub(super) fn start(
        &self,
        stream: sys::CUstream,
        ready: &Ready,
        address: &dyn Fn(Place) -> sys::CUdeviceptr,
        faults: &[u64; 2],
    ) -> Result<()> {
        match ready {
            Ready::Kernel(function, launch) => start(stream, *function, launch, address, faults),
            Ready::Calls(function, joined) => {
                let mut table = joined.table(address, faults);
                start_with(stream, *function, &joined.launch, &mut [table.as_mut_ptr().cast()])
            }
            Ready::Product(function, product, launch) => {
                let addresses = [product.a.pointer, product.b.pointer, product.y].map(|pointer| address(pointer.0));
                if let Some(products) = self.products()
                    && products.start(stream, product, addresses)?
                {
                    return Ok(());
                }
                // A library that has no way to do it leaves it to the kernel.
                let function = function.map_or_else(|| self.kernels.function(launch), Ok)?;
                start(stream, function, launch, address, faults)
            }
            Ready::Convolution(convolution) => self.start_convolution(stream, convolution, address),
        }
    }

    fn start_convolution(
        &self,
        stream: sys::CUstream,
        ReadyConvolution { library, way, turn, work }: &ReadyConvolution,
        address: &dyn Fn(Place) -> sys::CUdeviceptr,
    ) -> Result<()> {
        let turn = || start(stream, *turn, &work.turn, address, &[0; 2]);
        let gives_weights = work.convolution.pass == ConvolutionPass::WeightGrad;
        if !gives_weights {
            turn()?;
        }
        if library.start(stream, way, work.places.map(|pointer| address(pointer.0))) {
            return if gives_weights { turn() } else { Ok(()) };
        }
        for kernel in &work.kernels {
            start(stream, self.kernels.function(kernel)?, kernel, address, &[0; 2])?;
        }
        Ok(())
    }
}

/// Puts a launch of a kernel into a stream of the thread's device.
fn start(
    stream: sys::CUstream,
    function: Function,
    launch: &Launch,
    address: &dyn Fn(Place) -> sys::CUdeviceptr,
    faults: &[u64; 2],
) -> Result<()> {
    // The driver copies what these point to before it returns.
    let mut pointers: SmallVec<[sys::CUdeviceptr; 16]> = SmallVec::new();
    for argument in &launch.arguments {
        pointers.push(match argument {
            LaunchArgument::Pointer(pointer) => address(pointer.0),
            LaunchArgument::Bytes(_) | LaunchArgument::Faults => 0,
        });
    }
    let mut arguments: SmallVec<[*mut c_void; 16]> = SmallVec::new();
    for (argument, pointer) in launch.arguments.iter().zip(&mut pointers) {
        arguments.push(match argument {
            LaunchArgument::Pointer(_) => (&raw mut *pointer).cast(),
            LaunchArgument::Bytes(bytes) => bytes.as_ptr().cast_mut().cast(),
            LaunchArgument::Faults => faults.as_ptr().cast_mut().cast(),
        });
    }
    start_with(stream, function, launch, &mut arguments)
}

/// Puts a launch of a kernel with these arguments into a stream of the thread's device.
fn start_with(stream: sys::CUstream, function: Function, launch: &Launch, arguments: &mut [*mut c_void]) -> Result<()> {
    let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
    // SAFETY: the arguments are those that the operation has for this kernel, or a table of them with the layout that it
    // has there, each alive until the call returns; the pointers are blocks of this device that live until later work in the
    // stream reuses them.
    let result = unsafe {
        sys::cuLaunchKernel(
            function.0,
            gx,
            gy,
            gz,
            bx,
            by,
            bz,
            launch.shared,
            stream,
            arguments.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    check(result, &format!("the kernel {} cannot be started", launch.entry))
}

/// A dense tensor of the CPU, which begins where its memory does, copied to a device.
pub(crate) fn upload(number: usize, x: &Tensor) -> Result<Tensor> {
    let bytes = x.count() * x.dtype.size();
    let buffer = Buffer::new(gpu(number)?, bytes)?;
    // SAFETY: a dense tensor has so many bytes from the start of its memory, and nobody writes to them.
    buffer.write(unsafe { std::slice::from_raw_parts(x.storage.as_ptr(), bytes) })?;
    Ok(Tensor { storage: Storage::Cuda(Arc::new(buffer)), layout: Layout::contiguous(*x.shape()), dtype: x.dtype })
}

/// The memory behind a tensor of a device, copied to another.
pub(crate) fn across(number: usize, x: &Tensor, from: &Buffer) -> Result<Tensor> {
    let buffer = Buffer::new(gpu(number)?, from.bytes())?;
    buffer.copy_from(from)?;
    Ok(Tensor { storage: Storage::Cuda(Arc::new(buffer)), ..*x })
}

/// A tensor of a device whose memory this is, copied to the CPU as far as its elements reach.
pub(crate) fn download(buffer: &Buffer, x: &Tensor) -> Result<Tensor> {
    let ([first, end], size) = (x.layout.extent(), x.dtype.size());
    let storage = Storage::cpu(end - first, x.dtype).ok_or_else(|| no_memory("to_device", x.spec()))?;
    // SAFETY: the new memory has room for these elements, and nobody else knows it. What a kernel has stored is of the
    // tensor's type.
    unsafe { buffer.read(first * size, (end - first) * size, storage.as_ptr().cast_mut())? };
    let layout = Layout { offset: x.layout.offset - first, ..x.layout };
    Ok(Tensor { storage, layout, dtype: x.dtype })
}

/// The device of a buffer.
pub(crate) fn device(buffer: &Buffer) -> Device {
    Device::Cuda(buffer.number())
}
