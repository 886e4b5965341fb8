//! Running operations on a GPU, and moving tensors there and back.

use super::compile::Function;
use super::driver::check;
use super::gpu::{Gpu, gpu};
use super::joined::{Task, tasks};
use super::known::Known;
use super::launch::{CudaOperand, Launch, LaunchArgument, Place, Work};
use super::memory::Buffer;
use crate::op::{Outputs, Specs};
use crate::run::{FEW, no_memory};
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

/// The name of a device, its architecture, and what multiplies matrices there.
pub(crate) fn describe(number: usize) -> Result<String> {
    gpu(number).map(|gpu| format!("{} (sm_{}), products by {}", gpu.name, gpu.architecture, gpu.products_by()))
}

/// Memory for so many elements of a device.
pub(crate) fn room(number: usize, count: usize, dtype: DType) -> Result<Storage> {
    let bytes = count.saturating_mul(dtype.size());
    Ok(Storage::Cuda(Arc::new(Buffer::new(gpu(number)?, bytes)?)))
}

/// Runs an operation whose operands, if they lie in memory, are on this device.
pub(crate) fn run(number: usize, op: &dyn Op, x: &[&Tensor], out: &Specs, y: &mut Outputs) -> Result<()> {
    let gpu = gpu(number)?;
    let operands: SmallVec<[CudaOperand<'_>; FEW]> =
        x.iter().map(|x| CudaOperand::new(x.spec(), &x.layout, x.storage.uniform().copied())).collect();
    gpu.enter()?;
    let known = gpu.known(op, &operands, out).map_err(|error| error.renamed("cuda", op.name()))?;
    let Known { rooms: asked, ready, tell } = &*known;
    let mut results: SmallVec<[Arc<Buffer>; 4]> = SmallVec::new();
    for spec in out.iter() {
        let bytes = spec.shape.count().saturating_mul(spec.dtype.size());
        results.push(Arc::new(Buffer::new(gpu, bytes).map_err(|error| error.renamed("cuda", op.name()))?));
    }
    let mut rooms: SmallVec<[Buffer; 4]> = SmallVec::new();
    for room in asked {
        let buffer = Buffer::new(gpu, room.bytes).map_err(|error| error.renamed("cuda", op.name()))?;
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
    let mut reports = tell.as_ref().map(|tell| (gpu.faults(), tell));
    let faults = match &mut reports {
        Some((faults, tell)) => faults.of(tell.clone(), gpu.stream)?,
        None => [0; 2],
    };
    for ready in ready {
        let outcome = gpu.start(gpu.stream, ready, &address, &faults);
        outcome.map_err(|error| error.renamed("cuda", op.name()))?;
    }
    for (spec, buffer) in out.iter().zip(results) {
        y.push(Tensor { storage: Storage::Cuda(buffer), layout: Layout::contiguous(spec.shape), dtype: spec.dtype });
    }
    Ok(())
}

/// A task with its kernel; with `None` where a library does it.
pub(super) struct Ready {
    function: Option<Function>,
    task: Task,
}

impl Gpu {
    /// What is to be started for a list of work, its kernels compiled.
    pub(super) fn ready(&self, work: Vec<Work>) -> Result<Vec<Ready>> {
        let mut ready = Vec::with_capacity(work.len());
        for task in work.into_iter().flat_map(|work| tasks(work, self.most_arguments)) {
            let function = match &task {
                Task::Product(..) if self.products().is_some() => None,
                Task::Kernel(launch) | Task::Product(_, launch) => Some(self.kernels.function(launch)?),
                Task::Calls(joined) => Some(self.kernels.function(&joined.launch)?),
            };
            ready.push(Ready { function, task: task.without_source() });
        }
        Ok(ready)
    }

    /// Puts what is ready into a stream of the device, which is the thread's.
    pub(super) fn start(
        &self,
        stream: sys::CUstream,
        Ready { function, task }: &Ready,
        address: &dyn Fn(Place) -> sys::CUdeviceptr,
        faults: &[u64; 2],
    ) -> Result<()> {
        let launch = match task {
            Task::Kernel(launch) => launch,
            Task::Calls(joined) => {
                let (mut table, launch) = (joined.table(address, faults), &joined.launch);
                let function = function.map_or_else(|| self.kernels.function(launch), Ok)?;
                return start_with(stream, function, launch, &mut [table.as_mut_ptr().cast()]);
            }
            Task::Product(product, launch) => {
                let addresses = [product.a.pointer, product.b.pointer, product.y].map(|pointer| address(pointer.0));
                match self.products() {
                    Some(products) if products.start(stream, product, addresses)? => return Ok(()),
                    _ => launch,
                }
            }
        };
        // A library that has no way to do it leaves it to the kernel.
        let function = function.map_or_else(|| self.kernels.function(launch), Ok)?;
        start(stream, function, launch, address, faults)
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
