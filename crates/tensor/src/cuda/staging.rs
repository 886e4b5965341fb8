//! The way of a batch to a device. The driver copies from memory that is pinned while the host goes on; from other memory it
//! waits for all that was asked of the device before. So a batch is copied into a pinned block, and from there by the stream.

use super::driver::check;
use crate::Result;
use cudarc::driver::sys::{self, CUdeviceptr, CUevent, CUresult, CUstream};

/// A copy of so many bytes the driver takes along by itself.
const SMALL: usize = 64 << 10;
/// Larger ones are those of whole models: they come once.
const LARGE: usize = 64 << 20;
/// So many blocks there are at most. Whoever wants one more waits: a host does not run ahead of its device by more.
const MOST: usize = 4;

/// The pinned blocks of a device.
#[derive(Default)]
pub(super) struct Staging {
    blocks: Vec<Block>,
    /// The block that has been used longest ago.
    next: usize,
}

struct Block {
    start: *mut u8,
    size: usize,
    /// When the stream has read what was last put there.
    read: CUevent,
}

// SAFETY: pinned memory and events may be used from any thread that has made the context current.
unsafe impl Send for Staging {}

impl Staging {
    /// Puts a copy of `bytes` to an address of the thread's device into its stream. Whether it has: else the driver is to copy from
    /// where they lie.
    pub(super) fn write(&mut self, bytes: &[u8], to: CUdeviceptr, stream: CUstream) -> Result<bool> {
        if bytes.len() <= SMALL || bytes.len() > LARGE {
            return Ok(false);
        }
        let Some(block) = self.block(bytes.len())? else { return Ok(false) };
        // SAFETY: the block is as large, and nobody reads it any more; the address is that of a block of the device which the
        // caller has made large enough.
        unsafe {
            block.start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            let result = sys::cuMemcpyHtoDAsync_v2(to, block.start.cast(), bytes.len(), stream);
            check(result, "the elements cannot be copied to the device")?;
            check(sys::cuEventRecord(block.read, stream), "a copy to the device cannot be followed")?;
        }
        Ok(true)
    }

    /// A block that can be written; none where there is no memory for it.
    fn block(&mut self, bytes: usize) -> Result<Option<&Block>> {
        let count = self.blocks.len();
        let is_free = |&i: &usize| self.blocks[i].size >= bytes && self.blocks[i].is_read();
        let index = match (0..count).map(|i| (self.next + i) % count).find(is_free) {
            Some(index) => index,
            None if count < MOST => match Block::new(bytes)? {
                Some(block) => {
                    self.blocks.push(block);
                    count
                }
                None => return Ok(None),
            },
            None => {
                // That which has been used longest ago, with more room if it is too small.
                let oldest = self.next % count;
                self.blocks[oldest].wait()?;
                if self.blocks[oldest].size < bytes {
                    let Some(block) = Block::new(bytes)? else { return Ok(None) };
                    self.blocks[oldest] = block;
                }
                oldest
            }
        };
        self.next = index + 1;
        Ok(Some(&self.blocks[index]))
    }

    /// Gives all blocks back, when what was asked of the device is done.
    pub(super) fn release(&mut self) {
        self.blocks.clear();
        self.next = 0;
    }
}

impl Block {
    /// Room for so many bytes, and for those of the batches that are a little larger; `None` where there is no such memory.
    fn new(bytes: usize) -> Result<Option<Block>> {
        let (size, mut start, mut read) = (bytes.next_power_of_two(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the targets are variables here. The memory is only written, and read by the device.
        unsafe {
            let timing = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
            check(sys::cuEventCreate(&mut read, timing), "a copy to the device cannot be followed")?;
            if sys::cuMemHostAlloc(&mut start, size, 0) != CUresult::CUDA_SUCCESS {
                _ = sys::cuEventDestroy_v2(read);
                return Ok(None);
            }
        }
        Ok(Some(Block { start: start.cast(), size, read }))
    }

    fn is_read(&self) -> bool {
        // SAFETY: the event is the block's.
        unsafe { sys::cuEventQuery(self.read) == CUresult::CUDA_SUCCESS }
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: as above.
        check(unsafe { sys::cuEventSynchronize(self.read) }, "a kernel has failed")
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: block and event are nobody else's; the driver waits for what reads it.
        unsafe {
            _ = sys::cuMemFreeHost(self.start.cast());
            _ = sys::cuEventDestroy_v2(self.read);
        }
    }
}
