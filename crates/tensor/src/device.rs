//! Where a tensor lives.

use crate::{Result, cuda};
use std::fmt;
use std::panic::Location;

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
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::ensure_available(number).map_err(|e| e.at(Location::caller())),
        }
    }

    /// The memory that tensors hold on a GPU. Nothing is counted on the processor.
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn memory(self) -> Result<DeviceMemory> {
        match self {
            Device::Cpu => Ok(DeviceMemory::default()),
            Device::Cuda(number) => cuda::memory(number).map_err(|e| e.at(Location::caller())),
        }
    }

    /// Forgets the peak of [`Device::memory`].
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn reset_peak_memory(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::reset_peak(number).map_err(|e| e.at(Location::caller())),
        }
    }

    /// Gives memory that waits for reuse back to the system.
    ///
    /// # Errors
    /// As [`Device::synchronize`].
    #[track_caller]
    pub fn release_cached(self) -> Result<()> {
        match self {
            Device::Cpu => {
                crate::release_cached();
                Ok(())
            }
            Device::Cuda(number) => cuda::release(number).map_err(|e| e.at(Location::caller())),
        }
    }

    /// Waits until all that was asked of the device is done: what a clock has to do before it is read. Reading a tensor
    /// waits by itself.
    ///
    /// # Errors
    /// As [`Device::ensure_available`]; a kernel that has failed.
    #[track_caller]
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => cuda::synchronize(number).map_err(|e| e.at(Location::caller())),
        }
    }

    /// What the device calls itself.
    ///
    /// # Errors
    /// As [`Device::ensure_available`].
    #[track_caller]
    pub fn description(self) -> Result<String> {
        match self {
            Device::Cpu => Ok("processor".to_owned()),
            Device::Cuda(number) => cuda::describe(number).map_err(|e| e.at(Location::caller())),
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

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn an_absent_device_says_what_is_missing() {
        assert!(Device::Cpu.ensure_available().is_ok());
        assert_eq!((Device::best(), Device::cuda_count()), (Device::Cpu, 0));
        let error = Device::cuda(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        let text = error.to_string();
        assert!(text.starts_with("cuda:1: ") && text.contains("enable the feature `cuda`"), "{text}");
    }
}
