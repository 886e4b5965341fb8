//! Memory of GPUs. Blocks that are given back are kept and given out again: work is in one stream, so whoever gets a
//! block writes to it after the one before has read it.

use super::driver::{check, failure};
use super::gpu::Gpu;
use crate::{DeviceMemory, Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUdeviceptr, CUresult};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A block of a device's memory.
pub(crate) struct Buffer {
    gpu: &'static Gpu,
    start: CUdeviceptr,
    /// As they were asked for.
    bytes: usize,
    /// Of the block.
    size: usize,
}

/// The memory of a device that Kiln has.
#[derive(Default)]
pub(super) struct Pool {
    /// Blocks that wait, by their size.
    free: BTreeMap<usize, Vec<CUdeviceptr>>,
    waiting: usize,
    live: usize,
    peak: usize,
}

/// Sizes of blocks: few enough for a block that was given back to fit what comes next.
fn block_size(bytes: usize) -> Option<usize> {
    const SMALLEST: usize = 512;
    // An eighth of the power of two below, so that no more than an eighth is lost.
    let step = (bytes.max(1).checked_next_power_of_two()? / 16).max(SMALLEST);
    bytes.max(1).checked_next_multiple_of(step)
}

/// Whether blocks have the sizes that are asked for, so that who watches over memory sees every access beyond one.
static EXACT: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KILN_CUDA_EXACT").is_some_and(|value| value == "1"));

impl Buffer {
    /// A block on a device.
    pub(super) fn new(gpu: &'static Gpu, bytes: usize) -> Result<Buffer> {
        let too_large =
            || Error::new(ErrorKind::Memory, "cuda", format!("{bytes} bytes are more than a device can hold"));
        let size = if *EXACT { Some(bytes.max(1)) } else { block_size(bytes) }.ok_or_else(too_large)?;
        let mut pool = gpu.pool();
        let start = match pool.take(size) {
            Some(start) => start,
            None => pool.allocate(gpu, size)?,
        };
        pool.live += size;
        pool.peak = pool.peak.max(pool.live);
        Ok(Buffer { gpu, start, bytes, size })
    }

    pub(crate) fn number(&self) -> usize {
        self.gpu.number
    }

    /// Size in bytes, as it was asked for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn address(&self) -> CUdeviceptr {
        self.start
    }

    /// Copies from the host.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= self.bytes, "a copy stays inside of the buffer");
        if bytes.is_empty() {
            return Ok(());
        }
        self.gpu.enter()?;
        if self.gpu.staging().write(bytes, self.start, self.gpu.stream)? {
            return Ok(());
        }
        // SAFETY: the block is at least as large. The source is pageable memory, of which the driver has a copy when the
        // call returns.
        let result =
            unsafe { sys::cuMemcpyHtoDAsync_v2(self.start, bytes.as_ptr().cast(), bytes.len(), self.gpu.stream) };
        check(result, "the elements cannot be copied to the device")
    }

    /// Copies so many bytes from an offset on to the host, when all that was asked of the device is done.
    ///
    /// # Safety
    /// `to` has room for them.
    pub(super) unsafe fn read(&self, offset: usize, bytes: usize, to: *mut u8) -> Result<()> {
        assert!(offset + bytes <= self.bytes, "a copy stays inside of the buffer");
        if bytes == 0 {
            return Ok(());
        }
        self.gpu.enter()?;
        // SAFETY: the bytes are inside of the block, and the caller has room for them until the copy has been waited for.
        let result =
            unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), self.start + offset as CUdeviceptr, bytes, self.gpu.stream) };
        let outcome = check(result, "the elements cannot be copied from the device");
        // In any case: a copy that goes on would write into memory that is the caller's again.
        self.gpu.wait()?;
        outcome
    }

    /// Copies a whole block of another device, or of this one.
    pub(super) fn copy_from(&self, other: &Buffer) -> Result<()> {
        assert!(other.bytes <= self.bytes, "a copy stays inside of the buffer");
        // What is copied has to be there, and the other block must not be given out again meanwhile.
        other.gpu.wait()?;
        self.gpu.enter()?;
        // SAFETY: both blocks have so many bytes, and live longer than the copy, which is waited for.
        let result = unsafe {
            match self.gpu.number == other.gpu.number {
                true => sys::cuMemcpyDtoDAsync_v2(self.start, other.start, other.bytes, self.gpu.stream),
                false => {
                    let (to, from) = (self.gpu.context, other.gpu.context);
                    sys::cuMemcpyPeerAsync(self.start, to, other.start, from, other.bytes, self.gpu.stream)
                }
            }
        };
        check(result, "the elements cannot be copied between devices")?;
        self.gpu.wait()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = self.gpu.pool();
        pool.live -= self.size;
        pool.waiting += self.size;
        pool.free.entry(self.size).or_default().push(self.start);
    }
}

impl Pool {
    fn take(&mut self, size: usize) -> Option<CUdeviceptr> {
        let blocks = self.free.get_mut(&size)?;
        let start = blocks.pop()?;
        self.waiting -= size;
        Some(start)
    }

    fn allocate(&mut self, gpu: &Gpu, size: usize) -> Result<CUdeviceptr> {
        gpu.enter()?;
        let allocate = || {
            let mut start = 0;
            // SAFETY: the target is a variable here, the size is not 0.
            match unsafe { sys::cuMemAlloc_v2(&mut start, size) } {
                CUresult::CUDA_SUCCESS => Ok(start),
                error => Err(error),
            }
        };
        let error = match allocate() {
            Ok(start) => return Ok(start),
            Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
                self.release(gpu)?;
                match allocate() {
                    Ok(start) => return Ok(start),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if error != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(failure(error, "there is no memory"));
        }
        let memory = self.memory(gpu);
        let gigabytes = |bytes: usize| bytes as f64 / 1e9;
        let text = format!(
            "there is no memory for {:.3} GB on {}: of {:.1} GB, {:.3} are free and {:.3} are held by tensors",
            gigabytes(size),
            gpu.name,
            gigabytes(memory.total),
            gigabytes(memory.free),
            gigabytes(memory.live),
        );
        Err(Error::new(ErrorKind::Memory, "cuda", text)
            .help("use a smaller batch, accumulate gradients, or recompute layers; drop tensors that are not needed"))
    }

    /// Gives the blocks that wait back to the driver.
    pub(super) fn release(&mut self, gpu: &Gpu) -> Result<()> {
        gpu.wait()?;
        gpu.staging().release();
        for (_, blocks) in std::mem::take(&mut self.free) {
            for start in blocks {
                // SAFETY: a block that waits is nobody's, and what used it is done.
                check(unsafe { sys::cuMemFree_v2(start) }, "memory cannot be given back")?;
            }
        }
        self.waiting = 0;
        Ok(())
    }

    pub(super) fn memory(&self, gpu: &Gpu) -> DeviceMemory {
        let (mut free, mut total) = (0, 0);
        if gpu.enter().is_ok() {
            // SAFETY: the targets are variables here. Where the driver does not say, they stay 0.
            _ = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        }
        DeviceMemory { live: self.live, peak: self.peak, waiting: self.waiting, free, total }
    }

    pub(super) fn reset_peak(&mut self) {
        self.peak = self.live;
    }
}

#[cfg(test)]
mod tests {
    use super::block_size;

    #[test]
    fn blocks_lose_an_eighth_at_most() {
        assert_eq!((block_size(0), block_size(513), block_size(1 << 20)), (Some(512), Some(1024), Some(1 << 20)));
        for bytes in [5_000, 70_000, 1_000_001, (1 << 30) + 1] {
            let size = block_size(bytes).unwrap();
            assert!(size >= bytes && size - bytes <= 512.max(bytes / 8), "{bytes} {size}");
        }
        assert_eq!(block_size(usize::MAX), None);
    }
}
