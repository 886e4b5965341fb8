//! Where a tensor lives.

use crate::{Error, ErrorKind, Result};
use std::fmt;

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
    /// Succeeds when this build and this machine can use the device.
    ///
    /// # Errors
    /// Says what is missing: the build has no such backend, or the machine no such device.
    pub fn ensure_available(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(_) => {
                Err(Error::new(ErrorKind::Device, self.to_string(), "this build of Kiln has no CUDA backend")
                    .help("use Device::Cpu"))
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
