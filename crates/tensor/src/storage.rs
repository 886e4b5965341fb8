//! The memory behind tensors: shared, typed only by the tensors that look at it.

use crate::cpu::buffer::Buffer;
use crate::cuda;
use crate::trace::Traced;
use crate::{DType, Device, Element, Result};
use std::fmt;
use std::sync::Arc;

/// Where the elements of a tensor are.
#[derive(Clone)]
pub(crate) enum Storage {
    /// One value that lives in no memory and on no device: kernels read it into a register.
    Uniform(Uniform),
    /// A reference-counted block of the CPU's memory.
    Cpu(Arc<Buffer>),
    /// A reference-counted block of a GPU's memory.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "there is no such memory"))]
    Cuda(Arc<cuda::Buffer>),
    /// One of these, whose use is followed.
    Traced(Arc<Traced>),
}

/// The bytes of one element.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Uniform {
    bytes: [u8; 8],
    role: Role,
}

/// What a uniform value is to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Elements like others.
    Elements,
    /// A number that adapts to the type of what it stands beside.
    Number,
    /// Nothing: the elements are elsewhere, and no operation may read these.
    Withheld,
}

impl Uniform {
    pub(crate) fn new<T: Element>(value: T, role: Role) -> Uniform {
        let mut bytes = [0; 8];
        const { assert!(size_of::<T>() <= 8 && align_of::<T>() <= align_of::<Uniform>()) };
        // SAFETY: `T` has at most eight bytes, all of them initialised: elements are primitive numbers and booleans.
        unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), bytes.as_mut_ptr(), size_of::<T>()) }
        Uniform { bytes, role }
    }

    /// All that it is.
    #[cfg(feature = "cuda")]
    pub(crate) fn parts(&self) -> ([u8; 8], Role) {
        (self.bytes, self.role)
    }
}

impl Uniform {
    /// The first `size` bytes, which are the element's where it has so many.
    pub(crate) fn bytes(&self, size: usize) -> &[u8] {
        &self.bytes[..size]
    }
}

impl fmt::Debug for Uniform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uniform({:?})", self.bytes)
    }
}

impl Storage {
    /// Room for `count` elements on the CPU; `None` where the system has no such memory.
    pub(crate) fn cpu(count: usize, dtype: DType) -> Option<Storage> {
        let buffer = Buffer::new(count.checked_mul(dtype.size())?)?;
        if dtype == DType::Bool {
            // A recycled byte that is neither 0 nor 1 would not be a valid `bool`.
            // SAFETY: the block has at least this many bytes and nobody else knows it yet.
            unsafe { std::ptr::write_bytes(buffer.as_ptr(), 0, count) }
        }
        Some(Storage::Cpu(Arc::new(buffer)))
    }

    /// Room for `count` elements on a device; `None` where the system has no such memory.
    ///
    /// # Errors
    /// A GPU has no such memory.
    pub(crate) fn on(device: Device, count: usize, dtype: DType) -> Result<Option<Storage>> {
        match device {
            Device::Cpu => Ok(Storage::cpu(count, dtype)),
            Device::Cuda(number) => cuda::room(number, count, dtype).map(Some),
        }
    }

    /// The memory of a vector; `None` where it has none.
    pub(crate) fn taken<T: Element>(values: Vec<T>) -> Option<Storage> {
        Buffer::take_over(values).map(|buffer| Storage::Cpu(Arc::new(buffer)))
    }

    /// Where it is; a uniform value, which is everywhere, counts as the CPU's.
    pub(crate) fn device(&self) -> Device {
        match self {
            Storage::Uniform(_) | Storage::Cpu(_) => Device::Cpu,
            Storage::Cuda(buffer) => cuda::device(buffer),
            Storage::Traced(traced) => traced.storage.device(),
        }
    }

    /// The block of a GPU's memory, if it is one.
    pub(crate) fn cuda(&self) -> Option<&Arc<cuda::Buffer>> {
        match self.untraced() {
            Storage::Cuda(buffer) => Some(buffer),
            _ => None,
        }
    }

    /// The one value, if it is one that lives in no memory.
    pub(crate) fn uniform(&self) -> Option<&Uniform> {
        match self.untraced() {
            Storage::Uniform(uniform) => Some(uniform),
            _ => None,
        }
    }

    pub(crate) fn is_uniform(&self) -> bool {
        matches!(self.untraced(), Storage::Uniform(_))
    }

    /// Whether it is a number that adapts to the type of what it stands beside.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self.untraced(), Storage::Uniform(Uniform { role: Role::Number, .. }))
    }

    /// Whether its elements are not here.
    pub(crate) fn is_withheld(&self) -> bool {
        matches!(self.untraced(), Storage::Uniform(Uniform { role: Role::Withheld, .. }))
    }

    /// Which value of a recording it is.
    #[inline]
    pub(crate) fn traced(&self) -> Option<&Arc<Traced>> {
        match self {
            Storage::Traced(traced) => Some(traced),
            _ => None,
        }
    }

    /// Where the elements are, whatever is recorded of them.
    #[inline]
    pub(crate) fn untraced(&self) -> &Storage {
        match self {
            Storage::Traced(traced) => &traced.storage,
            other => other,
        }
    }

    /// Whether it is the same memory, or the same value.
    pub(crate) fn is_same(&self, other: &Storage) -> bool {
        match (self.untraced(), other.untraced()) {
            (Storage::Uniform(a), Storage::Uniform(b)) => a.bytes == b.bytes,
            (Storage::Cpu(a), Storage::Cpu(b)) => Arc::ptr_eq(a, b),
            (Storage::Cuda(a), Storage::Cuda(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// First byte, where the host can read it: not of a GPU's memory. It is written through only where `run` or `build` has
    /// made the storage itself.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        match self {
            Storage::Uniform(uniform) => uniform.bytes.as_ptr(),
            Storage::Cpu(buffer) => buffer.as_ptr(),
            Storage::Cuda(_) => unreachable!("the host reads a copy of a GPU's memory"),
            Storage::Traced(traced) => traced.storage.as_ptr(),
        }
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Storage::Uniform(uniform) => uniform.bytes.len(),
            Storage::Cpu(buffer) => buffer.bytes(),
            Storage::Cuda(buffer) => buffer.bytes(),
            Storage::Traced(traced) => traced.storage.bytes(),
        }
    }

    /// Whether this is the only reference to memory that may be written.
    pub(crate) fn is_unique(&mut self) -> bool {
        match self {
            // What is recorded stays what it was while the recording goes on.
            Storage::Uniform(_) | Storage::Traced(_) => false,
            Storage::Cpu(buffer) => Arc::get_mut(buffer).is_some(),
            Storage::Cuda(buffer) => Arc::get_mut(buffer).is_some(),
        }
    }
}
