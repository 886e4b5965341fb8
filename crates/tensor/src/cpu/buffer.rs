//! Aligned memory blocks, recycled: a training step asks for the same sizes again and again, and handing a block back
//! is far cheaper than letting the system unmap and fault it in anew.

use crate::Element;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Alignment of every block in bytes: a cache line, and the widest SIMD register. Only a vector that was taken over keeps
/// its own.
pub const ALIGNMENT: usize = 64;

/// A vector of so many bytes is taken over as it lies; a smaller one is copied to where it is read fastest.
pub const LARGE: usize = 1 << 20;

/// The most memory that waits for reuse. Beyond it a released block goes back to the system.
const CACHE_BYTES: usize = 64 << 20;

/// A block of memory that is always initialised (fresh blocks are zero, recycled ones hold old bytes).
pub struct Buffer {
    start: NonNull<u8>,
    /// How the block was allocated.
    block: Layout,
    bytes: usize,
}

// SAFETY: a `Buffer` owns its block alone, like a `Box<[u8]>`; the raw pointer is never shared outside borrows of it.
unsafe impl Send for Buffer {}
// SAFETY: `&Buffer` gives out a pointer that is only read through while the buffer is shared; see `Storage`.
unsafe impl Sync for Buffer {}

#[derive(Default)]
struct Cache {
    blocks: HashMap<usize, Vec<SendPtr>, BuildHasherDefault<SizeHasher>>,
    bytes: usize,
}

/// Of a size of blocks, for which nobody chooses collisions: the default takes as long as a small operation's kernel.
#[derive(Default)]
struct SizeHasher(u64);

impl Hasher for SizeHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }
    fn write_usize(&mut self, size: usize) {
        // The golden ratio spreads sizes over the upper half, which the table looks for in the lower.
        self.0 = (self.0 ^ (size / ALIGNMENT) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
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
            return Some(Buffer { start, block: layout, bytes });
        }
        drop(cache);
        // SAFETY: the layout has a size of at least 64.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Buffer { start, block: layout, bytes })
    }

    /// The memory of a vector, which is not copied: a data set need not be in memory twice. `None` where there is none.
    pub fn take_over<T: Element>(values: Vec<T>) -> Option<Buffer> {
        let mut values = ManuallyDrop::new(values);
        let block = Layout::array::<T>(values.capacity()).ok().filter(|block| block.size() > 0)?;
        let start = NonNull::new(values.as_mut_ptr())?.cast();
        Some(Buffer { start, block, bytes: values.len() * size_of::<T>() })
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
        let size = self.block.size();
        let mut cache = cache();
        if self.block.align() == ALIGNMENT && cache.bytes + size <= CACHE_BYTES {
            cache.bytes += size;
            cache.blocks.entry(size).or_default().push(SendPtr(self.start));
        } else {
            drop(cache);
            // SAFETY: the block was allocated with this layout, as a vector's is by the global allocator, and nobody else
            // owns it.
            unsafe { dealloc(self.start.as_ptr(), self.block) }
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

    #[test]
    fn a_vector_stays_where_it_lies() {
        let mut values = Vec::with_capacity(7);
        values.extend([1.5f32, 2.5]);
        let address = values.as_ptr();
        let buffer = Buffer::take_over(values).unwrap();
        assert_eq!((buffer.as_ptr().cast_const().cast(), buffer.bytes()), (address, 8));
        assert!(Buffer::take_over(Vec::<i64>::new()).is_none());
    }
}
