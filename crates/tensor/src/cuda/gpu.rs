//! A GPU: its context, its stream, its memory and its kernels. All work of a device is in one stream, in the order in which
//! it was asked for, so that memory which is given back can be given out again at once.

use super::compile::{Compiler, Kernels};
use super::convolution::Convolutions;
use super::driver::check;
use super::faults::Faults;
use super::known::Calls;
use super::library::DRIVER;
use super::memory::Pool;
use super::product::Products;
use super::staging::Staging;
use crate::{Device, Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The oldest driver: that of CUDA 12.0.
const OLDEST_DRIVER: i32 = 12_000;

/// The driver and the compiler that know more than 4 KiB of arguments: those of CUDA 12.1.
const LARGE_ARGUMENTS: i32 = 12_010;

/// A device that is in use.
pub(super) struct Gpu {
    pub(super) number: usize,
    pub(super) name: String,
    /// As in `sm_90`.
    pub(super) architecture: i32,
    /// Bytes of arguments that a kernel takes which is one for several calls.
    pub(super) most_arguments: usize,
    pub(super) context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    pool: Mutex<Pool>,
    staging: Mutex<Staging>,
    pub(super) kernels: Kernels,
    pub(super) calls: Calls,
    faults: Mutex<Faults>,
    products: OnceLock<Option<Products>>,
    convolutions: OnceLock<Option<Convolutions>>,
}

// SAFETY: handles of the driver may be used from any thread that has made the context current.
unsafe impl Send for Gpu {}
// SAFETY: as above; what changes is behind locks.
unsafe impl Sync for Gpu {}

/// What the driver says once it is there: how many devices it has.
fn driver() -> Result<usize> {
    static DEVICES: OnceLock<Result<usize>> = OnceLock::new();
    DEVICES.get_or_init(start).as_ref().copied().map_err(Error::again)
}

fn start() -> Result<usize> {
    DRIVER.open()?;
    let (mut version, mut count) = (0, 0);
    // SAFETY: the driver is there, and the targets are numbers of this function.
    unsafe {
        match sys::cuInit(0) {
            CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
            result => check(result, "the driver does not start")?,
        }
        check(sys::cuDriverGetVersion(&mut version), "the driver's version is not known")?;
        check(sys::cuDeviceGetCount(&mut count), "the devices cannot be counted")?;
    }
    if version < OLDEST_DRIVER {
        let text = format!("the driver is for CUDA {}, the oldest that works is 12.0", decimal(version));
        return Err(Error::new(ErrorKind::Device, "cuda", text).help("update NVIDIA's driver to version 525 or newer"));
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// 13000 as 13.0.
fn decimal(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// How many devices there are; 0 also where there is no driver.
pub(crate) fn count() -> usize {
    driver().unwrap_or(0)
}

/// The device of this number, made ready when it is first asked for.
pub(super) fn gpu(number: usize) -> Result<&'static Gpu> {
    const MOST: usize = 64;
    static GPUS: [OnceLock<Result<Gpu>>; MOST] = [const { OnceLock::new() }; MOST];
    let devices = driver().map_err(|error| error.renamed("cuda", &Device::Cuda(number).to_string()))?;
    match GPUS.get(number).filter(|_| number < devices) {
        Some(gpu) => gpu.get_or_init(|| Gpu::new(number)).as_ref().map_err(Error::again),
        None => {
            let text = match devices {
                0 => "the driver finds no GPU".to_owned(),
                1 => "the only GPU is number 0".to_owned(),
                n => format!("there are {n} GPUs, numbered from 0"),
            };
            Err(Error::new(ErrorKind::Device, Device::Cuda(number).to_string(), text)
                .help("look at `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES, or use Device::best()"))
        }
    }
}

impl Gpu {
    fn new(number: usize) -> Result<Gpu> {
        let (mut device, mut name) = (0, [0; 256]);
        let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        let ordinal = i32::try_from(number).unwrap_or(i32::MAX);
        // SAFETY: the targets are variables of this function, as large as the driver is told. The context is kept for the
        // rest of the process.
        let architecture = unsafe {
            check(sys::cuDeviceGet(&mut device, ordinal), "the device is not there")?;
            check(sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device), "the device has no name")?;
            check(sys::cuDevicePrimaryCtxRetain(&mut context, device), "the device cannot be used")?;
            check(sys::cuCtxSetCurrent(context), "the device cannot be used")?;
            let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
            check(sys::cuStreamCreate(&mut stream, flags), "there is no stream")?;
            let attribute = |which| {
                let mut value = 0;
                check(sys::cuDeviceGetAttribute(&mut value, which, device), "the device does not say what it is")?;
                Ok::<i32, Error>(value)
            };
            10 * attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
                + attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?
        };
        // Before anything is put there: without the compiler nothing can be computed.
        let compiler = Compiler::new(architecture)?;
        let mut version = 0;
        // SAFETY: the target is a variable here.
        check(unsafe { sys::cuDriverGetVersion(&mut version) }, "the driver's version is not known")?;
        let most_arguments = match architecture {
            // A table among the arguments would be copied by every thread.
            ..70 => 0,
            _ if version >= LARGE_ARGUMENTS && compiler.version() >= LARGE_ARGUMENTS => 32_764,
            _ => 4_096,
        };
        let bytes: Vec<u8> = name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
        Ok(Gpu {
            number,
            name: String::from_utf8_lossy(&bytes).into_owned(),
            architecture,
            most_arguments,
            context,
            stream,
            pool: Mutex::default(),
            staging: Mutex::default(),
            kernels: Kernels::new(compiler),
            calls: Calls::default(),
            faults: Mutex::new(Faults::new(stream)?),
            products: OnceLock::new(),
            convolutions: OnceLock::new(),
        })
    }

    /// Makes this the device of the calling thread.
    pub(super) fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as the process.
        check(unsafe { sys::cuCtxSetCurrent(self.context) }, "the device cannot be used")
    }

    /// Waits for all that was asked of the device.
    pub(super) fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream is this device's.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, "a kernel has failed")
    }

    /// [`Gpu::wait`], and what kernels have found wrong with values.
    pub(super) fn finish(&self) -> Result<()> {
        self.wait()?;
        let mut faults = self.faults();
        if faults.is_pending() { faults.look(self.stream) } else { Ok(()) }
    }

    /// NVIDIA's library for products of matrices, looked for when the first is computed.
    pub(super) fn products(&self) -> Option<&Products> {
        self.products.get_or_init(|| self.enter().ok().and_then(|()| Products::new())).as_ref()
    }

    /// NVIDIA's library for convolutions, looked for when the first is computed.
    pub(super) fn convolutions(&'static self) -> Option<&'static Convolutions> {
        self.convolutions.get_or_init(|| self.enter().ok().and_then(|()| Convolutions::new(self))).as_ref()
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        // A panic while it is held leaves a block unused at worst.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
