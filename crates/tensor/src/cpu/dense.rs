//! Strided elements brought into row-major order, whatever their type: as fast as memory where they lie in rows, and by tiles
//! of cache lines where they lie in columns, which one by one would read a line for each element.

use crate::Layout;
use crate::cpu::parallel::{self, Shared};
use crate::layout::Cursor;

/// Bytes that memory is read and written by.
const LINE: usize = 64;

/// Fewer elements than this lie in a near cache, in whatever order.
const FEW: usize = 1 << 11;

/// Copies the elements of `layout`, `size` bytes each and counted from `from`, to `to`, where they lie densely.
///
/// # Safety
/// The elements are there; `to` has room for as many, is aligned for them, and lies apart from them; nobody else uses it.
pub unsafe fn gather(size: usize, layout: &Layout, from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise. Integers of a size stand for all types of it.
    unsafe {
        match size {
            1 => copy::<u8, LINE>(layout, from, to),
            2 => copy::<u16, { LINE / 2 }>(layout, from.cast(), to.cast()),
            4 => copy::<u32, { LINE / 4 }>(layout, from.cast(), to.cast()),
            8 => copy::<u64, { LINE / 8 }>(layout, from.cast(), to.cast()),
            _ => unreachable!("no element has {size} bytes"),
        }
    }
}

/// Whether [`gather`] goes through the elements of `layout` by tiles, so that a copy of them is worth its while before
/// anything else is done with them.
pub fn lies_in_columns(layout: &Layout) -> bool {
    // Nearly all operands are rows, and small ones are many: they are told first.
    let is_row = matches!(layout.strides().last(), None | Some(1));
    !is_row && layout.shape.count() >= FEW && !layout.strides().contains(&0) && columns(&layout.coalesced()).is_some()
}

/// The dimension along which neighbours lie beside each other, if it is not the last.
fn columns(layout: &Layout) -> Option<usize> {
    let (last, others) = layout.strides().split_last()?;
    if matches!(last, 0 | 1) {
        return None;
    }
    others.iter().rposition(|&stride| stride == 1)
}

unsafe fn copy<U: Copy + Default + Send, const EDGE: usize>(layout: &Layout, from: *const U, to: *mut U) {
    let layout = layout.coalesced();
    let to = Shared::from_ptr(to);
    let from = From(from);
    match columns(&layout) {
        // SAFETY: the caller's promise.
        Some(axis) if layout.shape.count() >= FEW => unsafe { by_tiles::<U, EDGE>(&layout, axis, from, to) },
        // SAFETY: as above.
        _ => parallel::for_ranges(layout.shape.count(), EDGE, 1, |range| unsafe {
            by_rows(&layout, from, to, range.start, range.end);
        }),
    }
}

/// Where elements are read.
#[derive(Clone, Copy)]
struct From<U>(*const U);

// SAFETY: nobody writes there meanwhile.
unsafe impl<U> Sync for From<U> {}

impl<U> From<U> {
    fn get(self) -> *const U {
        self.0
    }
}

/// The elements from `start` to `end`, in the order of the result.
unsafe fn by_rows<U: Copy>(layout: &Layout, from: From<U>, to: Shared<U>, start: usize, end: usize) {
    let mut cursor = Cursor::new(layout, start);
    let stride = layout.strides().last().copied().unwrap_or(1);
    let mut at = start;
    while at < end {
        let run = cursor.run(layout).min(end - at);
        // SAFETY: the caller's promise: the cursor stays within the layout, and `at + run` within the result.
        unsafe {
            let (from, to) = (from.get().offset(cursor.offset), to.get().add(at));
            match stride {
                1 => from.copy_to_nonoverlapping(to, run),
                0 => std::slice::from_raw_parts_mut(to, run).fill(*from),
                _ => (0..run).for_each(|i| *to.add(i) = *from.offset(i as isize * stride)),
            }
        }
        cursor.advance(layout, run);
        at += run;
    }
}

/// Tiles of `EDGE` by `EDGE` elements: of each, as many lines are read as are written.
unsafe fn by_tiles<U: Copy + Default + Send, const EDGE: usize>(
    layout: &Layout,
    axis: usize,
    from: From<U>,
    to: Shared<U>,
) {
    let (shape, strides) = (layout.shape, layout.strides());
    let last = shape.rank() - 1;
    let (columns, rows) = (shape[axis], shape[last]);
    let step = strides[last];
    // What lies between two neighbours of the columns in the result.
    let apart: usize = shape[axis + 1..].iter().product();
    // The dimensions that are in neither, which strips of columns are counted in.
    let others = |i: &usize| *i != axis && *i != last;
    let strips = columns.div_ceil(EDGE);
    let count = (0..last).filter(others).map(|i| shape[i]).product::<usize>() * strips;
    parallel::for_chunks(count, 1, 2 * EDGE * rows, |start, end| {
        for strip in start..end {
            let first = strip % strips * EDGE;
            let (mut rest, mut read, mut written) = (strip / strips, first as isize, first * apart);
            for i in (0..last).rev().filter(others) {
                let index = rest % shape[i];
                rest /= shape[i];
                read += index as isize * strides[i];
                written += index * shape[i + 1..].iter().product::<usize>();
            }
            let width = EDGE.min(columns - first);
            // SAFETY: the strip's elements of the layout, and of the result, which no other strip has.
            let (from, to) = unsafe { (from.get().offset(layout.offset as isize + read), to.get().add(written)) };
            for row in (0..rows).step_by(EDGE) {
                let size = (EDGE.min(rows - row), width);
                // SAFETY: as above.
                unsafe { turn::<U, EDGE>(from.offset(row as isize * step), step, to.add(row), apart, size) }
            }
        }
    });
}

/// Writes `height` rows of `width` neighbours, `step` apart from each other, as columns, `apart` from each other.
#[inline(always)]
unsafe fn turn<U: Copy + Default, const EDGE: usize>(
    from: *const U,
    step: isize,
    to: *mut U,
    apart: usize,
    (height, width): (usize, usize),
) {
    let mut tile = [[U::default(); EDGE]; EDGE];
    // SAFETY: the caller's promise. A whole line is one copy.
    unsafe {
        if (height, width) == (EDGE, EDGE) {
            for (i, line) in tile.iter_mut().enumerate() {
                *line = from.offset(i as isize * step).cast::<[U; EDGE]>().read();
            }
            for i in 0..EDGE {
                let mut column = [U::default(); EDGE];
                column.iter_mut().zip(&tile).for_each(|(to, line)| *to = line[i]);
                to.add(i * apart).cast::<[U; EDGE]>().write(column);
            }
        } else {
            for (i, line) in tile[..height].iter_mut().enumerate() {
                from.offset(i as isize * step).copy_to_nonoverlapping(line.as_mut_ptr(), width);
            }
            for i in 0..width {
                let column = to.add(i * apart);
                tile[..height].iter().enumerate().for_each(|(j, line)| column.add(j).write(line[i]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    /// The same one by one.
    fn one_by_one(layout: &Layout, x: &[u64]) -> Vec<u64> {
        let mut cursor = Cursor::new(layout, 0);
        let mut next = || {
            let value = x[cursor.offset as usize];
            cursor.advance(layout, 1);
            value
        };
        (0..layout.shape.count()).map(|_| next()).collect()
    }

    #[test]
    fn any_layout_of_any_size_of_elements() {
        let layouts: [(&[usize], &[isize], usize); 12] = [
            (&[], &[], 3),
            (&[0, 5], &[5, 1], 0),
            (&[70, 90], &[1, 70], 0),
            (&[64, 64], &[1, 64], 0),
            (&[3, 5, 700], &[3500, 1, 5], 0),
            (&[6, 40, 50], &[1, 300, 6], 7),
            (&[5, 33, 2, 34], &[2244, 2, 1, 66], 0),
            (&[9, 31, 30], &[930, 1, -31], 899),
            (&[50, 60], &[-60, 1], 2940),
            (&[100, 30], &[90, 3], 1),
            (&[40, 0, 1], &[1, 1, 1], 0),
            (&[7, 300], &[0, 1], 2),
        ];
        for (dims, strides, offset) in layouts {
            let layout = Layout::new(Shape::new(dims).unwrap(), strides, offset);
            let x: Vec<u64> = (0..20_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            let want = one_by_one(&layout, &x);
            macro_rules! check {
                ($($type:ty),*) => {$({
                    let x: Vec<$type> = x.iter().map(|&x| x as $type).collect();
                    let mut y = vec![<$type>::default(); want.len()];
                    // SAFETY: the layout lies within x, and y is as long.
                    unsafe { gather(size_of::<$type>(), &layout, x.as_ptr().cast(), y.as_mut_ptr().cast()) };
                    assert!(y.iter().zip(&want).all(|(y, want)| *y == *want as $type), "{dims:?} {strides:?}");
                })*};
            }
            check!(u8, u16, u32, u64);
        }
    }
}
