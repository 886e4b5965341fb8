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

/// So much memory may wait for reuse in any case. More may as long as the process then has no more than it once had in use at a
/// time; beyond that blocks go back to the system.
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
    blocks: HashMap<usize, Waiting, BuildHasherDefault<SizeHasher>>,
    /// That wait.
    bytes: usize,
    /// In use, and the most that ever was.
    live: usize,
    peak: usize,
    /// Counts what is asked for and given back.
    clock: u64,
}

/// Blocks of one size, and when one was last asked for or given back.
#[derive(Default)]
struct Waiting {
    blocks: Vec<SendPtr>,
    touched: u64,
}

impl Cache {
    fn of(&mut self, size: usize) -> &mut Waiting {
        self.clock += 1;
        let waiting = self.blocks.entry(size).or_default();
        waiting.touched = self.clock;
        waiting
    }

    /// A block of this size that waits. Where there is none, what waits makes room for a new one.
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        let found = self.of(size).blocks.pop();
        self.live += size;
        match found {
            Some(SendPtr(start)) => {
                self.bytes -= size;
                Some(start)
            }
            None => {
                self.peak = self.peak.max(self.live);
                self.shrink();
                None
            }
        }
    }

    /// A block that is not in use any more.
    fn put(&mut self, size: usize, start: NonNull<u8>) {
        self.live -= size;
        self.bytes += size;
        self.of(size).blocks.push(SendPtr(start));
        self.shrink();
    }

    /// Gives back what has waited longest, until no more waits than may.
    fn shrink(&mut self) {
        while self.bytes > CACHE_BYTES && self.live + self.bytes > self.peak {
            let waiting = self.blocks.iter_mut().filter(|(_, waiting)| !waiting.blocks.is_empty());
            let Some((&size, waiting)) = waiting.min_by_key(|(_, waiting)| waiting.touched) else { return };
            let Some(SendPtr(start)) = waiting.blocks.pop() else { return };
            self.bytes -= size;
            // SAFETY: cached blocks were allocated with this layout and are owned by the cache alone.
            unsafe { dealloc(start.as_ptr(), system_layout(size)) }
        }
    }
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
        if let Some(start) = cache().take(block) {
            return Some(Buffer { start, block: layout, bytes });
        }
        // SAFETY: the layout has a size of at least 64.
        match NonNull::new(unsafe { alloc_zeroed(layout) }) {
            Some(start) => Some(Buffer { start, block: layout, bytes }),
            None => {
                let mut cache = cache();
                cache.live -= block;
                cache.peak = cache.peak.min(cache.live.max(CACHE_BYTES));
                None
            }
        }
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
        if self.block.align() == ALIGNMENT {
            return cache().put(size, self.start);
        }
        // SAFETY: a vector's block was allocated with this layout by the global allocator, and nobody else owns it.
        unsafe { dealloc(self.start.as_ptr(), self.block) }
    }
}

/// Gives the memory that waits for reuse back to the system.
pub fn release_cached() {
    let mut cache = cache();
    let blocks = std::mem::take(&mut cache.blocks);
    cache.bytes = 0;
    cache.peak = cache.live;
    drop(cache);
    for (bytes, waiting) in blocks {
        for SendPtr(start) in waiting.blocks {
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
