//! Aligned memory blocks, recycled: a training step asks for the same sizes again and again, and handing a block back
//! is far cheaper than letting the system unmap and fault it in anew.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Alignment of every block in bytes: a cache line, and the widest SIMD register.
pub const ALIGNMENT: usize = 64;

/// The most memory that waits for reuse. Beyond it a released block goes back to the system.
const CACHE_BYTES: usize = 64 << 20;

/// A block of memory that is always initialised (fresh blocks are zero, recycled ones hold old bytes).
pub struct Buffer {
    start: NonNull<u8>,
    /// The size of the block, a multiple of [`ALIGNMENT`].
    block: usize,
    bytes: usize,
}

// SAFETY: a `Buffer` owns its block alone, like a `Box<[u8]>`; the raw pointer is never shared outside borrows of it.
unsafe impl Send for Buffer {}
// SAFETY: `&Buffer` gives out a pointer that is only read through while the buffer is shared; see `Storage`.
unsafe impl Sync for Buffer {}

#[derive(Default)]
struct Cache {
    blocks: HashMap<usize, Vec<SendPtr>>,
    bytes: usize,
}

struct SendPtr(NonNull<u8>);
// SAFETY: a cached block belongs to the cache alone.
unsafe impl Send for SendPtr {}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

fn cache() -> MutexGuard<'static, Cache> {
    // A panic while the lock is held cannot leave the map half-changed in a way that matters: at worst a block leaks.
    CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `bytes` is a block's: `Buffer::new` has made the same layout of it.
fn system_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGNMENT).expect("a block has a size that a layout can have")
}

impl Buffer {
    /// A block of `bytes` bytes; `None` where the system has no such memory.
    pub fn new(bytes: usize) -> Option<Buffer> {
        let block = bytes.max(1).checked_next_multiple_of(ALIGNMENT)?;
        let layout = Layout::from_size_align(block, ALIGNMENT).ok()?;
        let mut cache = cache();
        if let Some(SendPtr(start)) = cache.blocks.get_mut(&block).and_then(Vec::pop) {
            cache.bytes -= block;
            return Some(Buffer { start, block, bytes });
        }
        drop(cache);
        // SAFETY: the layout has a size of at least 64.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Buffer { start, block, bytes })
    }

    /// First byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Size in bytes, as it was asked for: what lies behind is nobody's, and may be of another type.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut cache = cache();
        if cache.bytes + self.block <= CACHE_BYTES {
            cache.bytes += self.block;
            cache.blocks.entry(self.block).or_default().push(SendPtr(self.start));
        } else {
            drop(cache);
            // SAFETY: the block was allocated with this layout, and nobody else owns it.
            unsafe { dealloc(self.start.as_ptr(), system_layout(self.block)) }
        }
    }
}

/// Gives the memory that waits for reuse back to the system.
pub fn release_cached() {
    let blocks = std::mem::take(&mut *cache()).blocks;
    for (bytes, list) in blocks {
        for SendPtr(start) in list {
            // SAFETY: cached blocks were allocated with this layout and are owned by the cache alone.
            unsafe { dealloc(start.as_ptr(), system_layout(bytes)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_size_wraps() {
        for bytes in [usize::MAX, usize::MAX - 62, isize::MAX as usize, 1 << 62] {
            assert!(Buffer::new(bytes).is_none(), "{bytes}");
        }
        assert_eq!(Buffer::new(65).map(|buffer| buffer.bytes()), Some(65));
    }
}
