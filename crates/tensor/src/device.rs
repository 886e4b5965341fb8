//! Where a tensor lives.

use crate::{Error, ErrorKind, Result};
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

    /// Succeeds when this build and this machine can use the device.
    ///
    /// # Errors
    /// Says what is missing: the build has no such backend, or the machine no such device.
    #[track_caller]
    pub fn ensure_available(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(_) => {
                let (problem, help) = if cfg!(feature = "cuda") {
                    ("the CUDA backend is not there yet: the feature `cuda` prepares for it", "use Device::Cpu")
                } else {
                    ("this build of Kiln has no CUDA backend", "enable the feature `cuda` of kiln, or use Device::Cpu")
                };
                Err(Error::new(ErrorKind::Device, self.to_string(), problem).help(help).at(Location::caller()))
            }
        }
    }
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
    fn an_absent_device_says_what_is_missing() {
        assert!(Device::Cpu.ensure_available().is_ok());
        let error = Device::cuda(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        let missing = if cfg!(feature = "cuda") { "is not there yet" } else { "enable the feature `cuda`" };
        let text = error.to_string();
        assert!(text.starts_with("cuda:1: ") && text.contains(missing), "{text}");
    }
}
