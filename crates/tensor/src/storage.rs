//! The memory behind tensors: shared, typed only by the tensors that look at it.

use crate::cpu::buffer::Buffer;
use crate::{DType, Device};
use std::sync::Arc;

/// A reference-counted block of memory on a device.
#[derive(Clone)]
pub(crate) enum Storage {
    Cpu(Arc<Buffer>),
}

impl Storage {
    /// Room for `count` elements on the CPU; `None` where the system has no such memory.
    pub(crate) fn cpu(count: usize, dtype: DType) -> Option<Storage> {
        let buffer = Buffer::new(count * dtype.size())?;
        if dtype == DType::Bool {
            // A recycled byte that is neither 0 nor 1 would not be a valid `bool`.
            // SAFETY: the block has at least this many bytes and nobody else knows it yet.
            unsafe { std::ptr::write_bytes(buffer.as_ptr(), 0, count) }
        }
        Some(Storage::Cpu(Arc::new(buffer)))
    }

    pub(crate) fn device(&self) -> Device {
        match self {
            Storage::Cpu(_) => Device::Cpu,
        }
    }

    /// First byte of CPU memory.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        match self {
            Storage::Cpu(buffer) => buffer.as_ptr(),
        }
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Storage::Cpu(buffer) => buffer.bytes(),
        }
    }

    /// Whether this is the only reference to the memory.
    pub(crate) fn is_unique(&mut self) -> bool {
        match self {
            Storage::Cpu(buffer) => Arc::get_mut(buffer).is_some(),
        }
    }
}
