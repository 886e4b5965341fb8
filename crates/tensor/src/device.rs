//! Where a tensor lives.

use crate::{Error, Result, cuda};
use std::fmt;
use std::panic::Location;
use std::str::FromStr;

/// A compute device. A value, not a type parameter: the same program runs on any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor, with SIMD kernels and a thread pool.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

impl Device {
    /// The NVIDIA GPU of this number, if this build and this machine have it.
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn cuda(number: usize) -> Result<Device> {
        let device = Device::Cuda(number);
        device.ensure_available()?;
        Ok(device)
    }

    /// The first NVIDIA GPU, or the processor where there is none that can be used.
    pub fn best() -> Device {
        Device::cuda(0).unwrap_or_default()
    }

    /// How many NVIDIA GPUs this build and this machine have.
    pub fn cuda_count() -> usize {
        cuda::count()
    }

    /// Succeeds when this build and this machine can use the device.
    ///
    /// # Errors
    /// Says what is missing: the build has no such backend, the machine no driver, no compiler or no such device.
    #[track_caller]
    pub fn ensure_available(self) -> Result<()> {
        let at = Location::caller();
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::ensure_available(number).map_err(|e| e.at(at)),
        }
    }

    /// The memory that tensors hold on a GPU. Nothing is counted on the processor.
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn memory(self) -> Result<DeviceMemory> {
        let at = Location::caller();
        match self {
            Device::Cpu => Ok(DeviceMemory::default()),
            Device::Cuda(number) => cuda::memory(number).map_err(|e| e.at(at)),
        }
    }

    /// Forgets the peak of [`Device::memory`].
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn reset_peak_memory(self) -> Result<()> {
        let at = Location::caller();
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::reset_peak(number).map_err(|e| e.at(at)),
        }
    }

    /// Gives memory that waits for reuse back to the system.
    ///
    /// # Errors
    /// As [`Device::synchronize`].
    #[track_caller]
    pub fn release_cached(self) -> Result<()> {
        let at = Location::caller();
        match self {
            Device::Cpu => {
                crate::release_cached();
                Ok(())
            }
            Device::Cuda(number) => cuda::release(number).map_err(|e| e.at(at)),
        }
    }

    /// Waits until all that was asked of the device is done: what a clock has to do before it is read. Reading a tensor
    /// waits by itself.
    ///
    /// # Errors
    /// As [`Device::ensure_available`]; a kernel that has failed.
    #[track_caller]
    pub fn synchronize(self) -> Result<()> {
        let at = Location::caller();
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::synchronize(number).map_err(|e| e.at(at)),
        }
    }

    /// Whether NVIDIA GPUs may round the operands of f32 products to TF32, which has ten bits of mantissa, before they multiply: several
    /// times as fast, where cuBLASLt or cuDNN does it. It holds for products that are asked for and plans that are made from now on, on every
    /// GPU; without this call they are single precision.
    pub fn allow_tf32(allow: bool) {
        cuda::allow_tf32(allow);
    }

    /// What the device calls itself.
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn description(self) -> Result<String> {
        let at = Location::caller();
        match self {
            Device::Cpu => Ok("processor".to_owned()),
            Device::Cuda(number) => cuda::describe(number).map_err(|e| e.at(at)),
        }
    }
}

/// `cpu`, `cuda` for the first GPU, `cuda:1`, or `best` for [`Device::best`]: as an option of a program has it. Whether it is
/// there shows when it is used.
impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Device> {
        let number = name
            .strip_prefix("cuda")
            .map(|rest| rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "0" } else { "?" }));
        match (name, number.map(str::parse)) {
            ("cpu", _) => Ok(Device::Cpu),
            ("best", _) => Ok(Device::best()),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(Error::argument("device", format!("`{name}` is no device")).help("cpu, cuda, cuda:1 or best")),
        }
    }
}

/// The memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceMemory {
    /// Held by tensors now.
    pub live: usize,
    /// The most that was held by tensors at a time.
    pub peak: usize,
    /// Given back by tensors, and kept for those that come.
    pub waiting: usize,
    /// What the device has left, for all programs.
    pub free: usize,
    /// All that the device has.
    pub total: usize,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(12)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for odd in ["gpu", "cuda:", "cuda:-1", "cuda1", ""] {
            assert!(odd.parse::<Device>().unwrap_err().to_string().contains("is no device"), "{odd}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn an_absent_device_says_what_is_missing() {
        assert!(Device::Cpu.ensure_available().is_ok());
        assert_eq!((Device::best(), Device::cuda_count()), (Device::Cpu, 0));
        let error = Device::cuda(1).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Device);
        let text = error.to_string();
        assert!(text.starts_with("cuda:1: ") && text.contains("enable the feature `cuda`"), "{text}");
    }
}
