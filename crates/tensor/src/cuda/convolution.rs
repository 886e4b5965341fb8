//! Convolutions by cuDNN, where the machine has it. How one is computed is chosen once for its sizes.
//!
//! The functions are called through a table of Kiln's own, in which a status is a number: each version of the library has codes that
//! a list of them would not have.

use super::gpu::Gpu;
use super::launch::{Convolution, ConvolutionPass, LIBRARY_ALIGNMENT};
use super::library::{CONVOLUTIONS, PRODUCTS};
use super::memory::Buffer;
use crate::DType;
use cudarc::driver::sys::{CUdeviceptr, CUstream};
use libloading::Library;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory that a convolution may use while it runs. All work of a device is in one stream, so one room serves all.
const WORKSPACE: usize = 64 << 20;

/// Versions whose functions are those of the table.
const VERSIONS: std::ops::Range<usize> = 90_000..100_000;

/// A variable that switches the library off.
const SWITCH: &str = "KILN_CUDNN";

type Handle = *mut c_void;
type Descriptor = *mut c_void;
type Create = unsafe extern "C" fn(*mut Descriptor) -> c_int;
type Destroy = unsafe extern "C" fn(Descriptor) -> c_int;
/// Four sizes, after the two numbers of an order and a type.
type SetSizes = unsafe extern "C" fn(Descriptor, c_int, c_int, c_int, c_int, c_int, c_int) -> c_int;
/// Padding, strides, dilation, the kind of product, and the type of sums.
type SetConvolution = unsafe extern "C" fn(Descriptor, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int) -> c_int;
type SetNumber = unsafe extern "C" fn(Descriptor, c_int) -> c_int;
/// How many bytes an algorithm needs: for both operands, the convolution and the result.
type RoomOf = unsafe extern "C" fn(Handle, Descriptor, Descriptor, Descriptor, Descriptor, c_int, *mut usize) -> c_int;
/// A factor, both operands with their addresses, the convolution, the algorithm, the room, a factor of what was there, the result.
type Start = unsafe extern "C" fn(
    Handle,
    *const c_void,
    Descriptor,
    *const c_void,
    Descriptor,
    *const c_void,
    Descriptor,
    c_int,
    *mut c_void,
    usize,
    *const c_void,
    Descriptor,
    *mut c_void,
) -> c_int;

macro_rules! functions {
    ($($name:ident $symbol:literal: $type:ty;)*) => {
        /// The library's functions.
        struct Functions { $($name: $type,)* }

        /// Their names.
        pub(super) const FUNCTIONS: &[&str] = &[$($symbol),*];

        impl Functions {
            fn of(library: &'static Library) -> Option<Functions> {
                // SAFETY: the types are those of the library's header, and it stays open.
                unsafe { Some(Functions { $($name: *library.get::<$type>($symbol.as_bytes()).ok()?,)* }) }
            }
        }
    };
}

functions! {
    version "cudnnGetVersion": unsafe extern "C" fn() -> usize;
    create "cudnnCreate": unsafe extern "C" fn(*mut Handle) -> c_int;
    set_stream "cudnnSetStream": unsafe extern "C" fn(Handle, CUstream) -> c_int;
    create_tensor "cudnnCreateTensorDescriptor": Create;
    destroy_tensor "cudnnDestroyTensorDescriptor": Destroy;
    set_tensor "cudnnSetTensor4dDescriptor": SetSizes;
    create_filter "cudnnCreateFilterDescriptor": Create;
    destroy_filter "cudnnDestroyFilterDescriptor": Destroy;
    set_filter "cudnnSetFilter4dDescriptor": SetSizes;
    create_convolution "cudnnCreateConvolutionDescriptor": Create;
    destroy_convolution "cudnnDestroyConvolutionDescriptor": Destroy;
    set_convolution "cudnnSetConvolution2dDescriptor": SetConvolution;
    set_groups "cudnnSetConvolutionGroupCount": SetNumber;
    set_math "cudnnSetConvolutionMathType": SetNumber;
    forward_room "cudnnGetConvolutionForwardWorkspaceSize": RoomOf;
    input_room "cudnnGetConvolutionBackwardDataWorkspaceSize": RoomOf;
    weight_room "cudnnGetConvolutionBackwardFilterWorkspaceSize": RoomOf;
    forward "cudnnConvolutionForward": Start;
    input_grad "cudnnConvolutionBackwardData": Start;
    weight_grad "cudnnConvolutionBackwardFilter": Start;
}

/// `CUDNN_STATUS_SUCCESS`.
const SUCCESS: c_int = 0;
/// `CUDNN_TENSOR_NHWC`; weights have the filters first.
const CHANNELS_LAST: c_int = 1;
/// `CUDNN_CROSS_CORRELATION`.
const CORRELATION: c_int = 1;
/// `CUDNN_DATA_FLOAT`.
const FLOAT: c_int = 0;

/// `CUDNN_DEFAULT_MATH`, which multiplies single precision in TF32.
const ANY_MATH: c_int = 0;
/// `CUDNN_TENSOR_OP_MATH`.
const TENSOR_CORES: c_int = 1;
/// `CUDNN_FMA_MATH`.
const SINGLE_PRECISION: c_int = 3;

/// Algorithms of the forward pass, the best first: `IMPLICIT_PRECOMP_GEMM`, then `IMPLICIT_GEMM`. The others are not made for channels
/// that come last, or transform the images (FFT, Winograd), which costs digits.
const FORWARD: &[c_int] = &[1, 0];
/// `BWD_DATA_ALGO_1` and `BWD_FILTER_ALGO_1`, of which every run gives the same bits; those of number 0 and 3 add in any order.
const GRADIENT: &[c_int] = &[1];

/// The library, for one device.
pub(super) struct Convolutions {
    functions: Functions,
    handle: Mutex<Shared>,
    workspace: Buffer,
    /// How convolutions of these sizes are computed; `None` where the library has no way.
    ways: Mutex<HashMap<Convolution, Option<Arc<Way>>>>,
}

struct Shared(Handle);

// SAFETY: a handle of the library's may be used by any thread, by one at a time.
unsafe impl Send for Shared {}

/// How a convolution of known sizes is computed.
pub(super) struct Way {
    start: Start,
    /// Of both operands in the library's order, and of the result.
    operands: [Described; 3],
    convolution: Described,
    algorithm: c_int,
    /// Whether the library could not start it: then it is not asked again.
    has_failed: AtomicBool,
}

/// A descriptor, with the function that gives it back.
struct Described(Descriptor, Destroy);

// SAFETY: a descriptor is not changed once its convolution is known.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: it was made by the function that belongs to this one, and nobody uses it any more.
        _ = unsafe { (self.1)(self.0) };
    }
}

impl Convolutions {
    /// The library for the thread's device, if the machine has it and the user lets it be used.
    pub(super) fn new(gpu: &'static Gpu) -> Option<Convolutions> {
        if std::env::var_os(SWITCH).is_some_and(|value| value == "0") {
            return None;
        }
        // It may call this one.
        _ = PRODUCTS.open();
        let functions = Functions::of(CONVOLUTIONS.open().ok()?)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the version takes nothing, and the target is a variable here.
        let is_ready =
            unsafe { VERSIONS.contains(&(functions.version)()) && (functions.create)(&mut handle) == SUCCESS };
        let workspace = is_ready.then(|| Buffer::new(gpu, WORKSPACE).ok())??;
        Some(Convolutions { functions, handle: Mutex::new(Shared(handle)), workspace, ways: Mutex::default() })
    }

    /// The version, as in `9.19`.
    pub(super) fn version(&self) -> String {
        // SAFETY: it takes nothing.
        let version = unsafe { (self.functions.version)() };
        format!("{}.{}", version / 10_000, version % 10_000 / 100)
    }

    fn handle(&self) -> MutexGuard<'_, Shared> {
        // A panic while it is held leaves the stream of a call, which each call sets.
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a convolution is computed, if the library has a way.
    pub(super) fn way(&self, of: &Convolution) -> Option<Arc<Way>> {
        // A panic while it is held leaves a convolution to be looked for again.
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get(of) {
            return way.clone();
        }
        let way = self.find(of).map(Arc::new);
        ways.insert(of.clone(), way.clone());
        way
    }

    fn find(&self, of: &Convolution) -> Option<Way> {
        let f = &self.functions;
        let dtype = number_of(of.dtype)?;
        let tensor =
            |sizes| described((f.create_tensor, f.destroy_tensor, f.set_tensor), [CHANNELS_LAST, dtype], sizes);
        let filter =
            |sizes| described((f.create_filter, f.destroy_filter, f.set_filter), [dtype, CHANNELS_LAST], sizes);
        let (images, weights, results) = (tensor(of.images)?, filter(of.weights)?, tensor(of.results)?);
        let convolution = self.describe(of)?;
        let (operands, start, room_of, algorithms) = match of.pass {
            ConvolutionPass::Forward => ([images, weights, results], f.forward, f.forward_room, FORWARD),
            ConvolutionPass::InputGrad => ([weights, results, images], f.input_grad, f.input_room, GRADIENT),
            ConvolutionPass::WeightGrad => ([images, results, weights], f.weight_grad, f.weight_room, GRADIENT),
        };
        let handle = self.handle();
        let algorithm = algorithms.iter().copied().find(|&algorithm| {
            let ([Described(a, _), Described(b, _), Described(y, _)], mut bytes) = (&operands, 0);
            // SAFETY: the descriptors were made above, and the target is a variable here.
            let status = unsafe { room_of(handle.0, *a, *b, convolution.0, *y, algorithm, &mut bytes) };
            status == SUCCESS && bytes <= WORKSPACE
        })?;
        Some(Way { start, operands, convolution, algorithm, has_failed: AtomicBool::new(false) })
    }

    /// The strides and the like of a convolution, and how exactly it multiplies.
    fn describe(&self, of: &Convolution) -> Option<Described> {
        let f = &self.functions;
        let math = match of.dtype {
            DType::F32 if of.tf32 => ANY_MATH,
            DType::F32 => SINGLE_PRECISION,
            _ => TENSOR_CORES,
        };
        let described = created(f.create_convolution, f.destroy_convolution)?;
        let [[down, right], [step_down, step_right], [apart_down, apart_right]] =
            [numbers(of.padding)?, numbers(of.stride)?, numbers(of.dilation)?];
        let groups = c_int::try_from(of.groups).ok()?;
        // SAFETY: the descriptor was made above.
        let is_set = unsafe {
            let to = described.0;
            let sums = FLOAT;
            (f.set_convolution)(to, down, right, step_down, step_right, apart_down, apart_right, CORRELATION, sums)
                == SUCCESS
                && (f.set_groups)(to, groups) == SUCCESS
                && (f.set_math)(to, math) == SUCCESS
        };
        is_set.then_some(described)
    }

    /// Puts a convolution into a stream, for operands in the library's order and a result at these addresses; `false` where the
    /// library cannot, which it is then not asked again.
    pub(super) fn start(&self, stream: CUstream, way: &Way, addresses: [CUdeviceptr; 3]) -> bool {
        let is_aligned = addresses.iter().all(|address| address.is_multiple_of(LIBRARY_ALIGNMENT as CUdeviceptr));
        if !is_aligned || way.has_failed.load(Ordering::Relaxed) {
            return false;
        }
        let [a, b, y] = addresses.map(|address| address as *mut c_void);
        let [Described(of_a, _), Described(of_b, _), Described(of_y, _)] = &way.operands;
        let (one, zero) = (1.0f32, 0.0f32);
        let handle = self.handle();
        // SAFETY: the operation has its operands and its result at these addresses, as large as they are described; the numbers are
        // read before the call returns, and the workspace is used by this stream alone.
        let is_started = unsafe {
            (self.functions.set_stream)(handle.0, stream) == SUCCESS
                && (way.start)(
                    handle.0,
                    (&raw const one).cast(),
                    *of_a,
                    a,
                    *of_b,
                    b,
                    way.convolution.0,
                    way.algorithm,
                    self.workspace.address() as *mut c_void,
                    WORKSPACE,
                    (&raw const zero).cast(),
                    *of_y,
                    y,
                ) == SUCCESS
        };
        if !is_started {
            way.has_failed.store(true, Ordering::Relaxed);
        }
        is_started
    }
}

/// `CUDNN_DATA_FLOAT` and its like, where sums of it are single precision.
fn number_of(dtype: DType) -> Option<c_int> {
    match dtype {
        DType::F32 => Some(FLOAT),
        DType::F16 => Some(2),
        DType::BF16 => Some(9),
        _ => None,
    }
}

/// Sizes as the library takes them.
fn numbers<const N: usize>(sizes: [usize; N]) -> Option<[c_int; N]> {
    let mut numbers = [0; N];
    for (number, size) in numbers.iter_mut().zip(sizes) {
        *number = c_int::try_from(size).ok()?;
    }
    Some(numbers)
}

fn created(create: Create, destroy: Destroy) -> Option<Described> {
    let mut descriptor = std::ptr::null_mut();
    // SAFETY: the target is a variable here.
    (unsafe { create(&mut descriptor) } == SUCCESS).then(|| Described(descriptor, destroy))
}

/// A descriptor of four sizes.
fn described(
    (create, destroy, set): (Create, Destroy, SetSizes),
    [first, second]: [c_int; 2],
    sizes: [usize; 4],
) -> Option<Described> {
    let ([n, c, h, w], described) = (numbers(sizes)?, created(create, destroy)?);
    // SAFETY: the descriptor was made above.
    (unsafe { set(described.0, first, second, n, c, h, w) } == SUCCESS).then_some(described)
}

impl Gpu {
    /// What computes convolutions here, in words.
    pub(super) fn convolutions_by(&'static self) -> String {
        match self.convolutions() {
            Some(convolutions) => format!("cuDNN {}", convolutions.version()),
            None => "kernels of Kiln (no cuDNN)".to_owned(),
        }
    }
}
