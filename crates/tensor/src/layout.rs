//! Where a tensor's elements lie in its storage: shape, strides in elements, and the offset of the first.

use crate::shape::{MAX_RANK, Shape};

/// A strided window on a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The dimensions.
    pub shape: Shape,
    pub(crate) strides: [isize; MAX_RANK],
    /// Index of the first element in the storage.
    pub offset: usize,
}

impl Layout {
    /// Row-major and dense, from the start of the storage.
    pub fn contiguous(shape: Shape) -> Layout {
        let mut strides = [0; MAX_RANK];
        let mut step = 1isize;
        for axis in (0..shape.rank()).rev() {
            strides[axis] = step;
            // Of a shape beyond all memory nothing is ever reached.
            step = step.saturating_mul(shape[axis].max(1) as isize);
        }
        Layout { shape, strides, offset: 0 }
    }

    /// A layout from its parts. Whoever uses it checks with [`Layout::fits`] that it stays
    /// inside.
    ///
    /// # Panics
    /// There are more strides than a shape can have dimensions.
    pub fn new(shape: Shape, strides: &[isize], offset: usize) -> Layout {
        let mut all = [0; MAX_RANK];
        all[..strides.len()].copy_from_slice(strides);
        Layout { shape, strides: all, offset }
    }

    /// The same elements in the same order with as few dimensions as can be: lengths of 1 dropped, neighbours joined that
    /// step evenly.
    pub(crate) fn coalesced(&self) -> Layout {
        let mut joined = Layout { shape: Shape::default(), strides: [0; MAX_RANK], offset: self.offset };
        let (mut dims, mut rank) = ([0; MAX_RANK], 0);
        for (&length, &stride) in self.shape.iter().zip(self.strides()) {
            if length == 1 {
                continue;
            }
            if rank > 0 && joined.strides[rank - 1] == stride * length as isize {
                dims[rank - 1] *= length;
                joined.strides[rank - 1] = stride;
            } else {
                (dims[rank], joined.strides[rank]) = (length, stride);
                rank += 1;
            }
        }
        joined.shape = Shape::from_slice(&dims[..rank]);
        joined
    }

    /// Step of each dimension, in elements.
    pub fn strides(&self) -> &[isize] {
        &self.strides[..self.shape.rank()]
    }

    /// Whether the elements lie dense in row-major order (dimensions of length 1 do not matter).
    pub fn is_contiguous(&self) -> bool {
        if self.shape.count() == 0 {
            return true;
        }
        let mut step = 1isize;
        for axis in (0..self.shape.rank()).rev() {
            let length = self.shape[axis];
            if length != 1 && self.strides[axis] != step {
                return false;
            }
            step = step.saturating_mul(length as isize);
        }
        true
    }

    /// Whether every index that an element has is one of the `elements` of a storage.
    pub fn fits(&self, elements: usize) -> bool {
        match self.reach() {
            Some([low, high]) => low >= 0 && high < elements as i128,
            None => self.offset <= elements,
        }
    }

    /// Whether every index that an element has lies between two that the elements of `other` have.
    pub(crate) fn lies_within(&self, other: &Layout) -> bool {
        match (self.reach(), other.reach()) {
            (Some([low, high]), Some([first, last])) => first <= low && high <= last,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// The least index that an element has and the one after the largest; of no element, where it would be.
    #[cfg(feature = "cuda")]
    pub(crate) fn extent(&self) -> [usize; 2] {
        match self.reach() {
            // A layout lies inside of its storage, whose indices are no larger.
            Some([low, high]) => [low as usize, high as usize + 1],
            None => [self.offset; 2],
        }
    }

    /// The least and the largest index that an element has; nothing where there is none.
    fn reach(&self) -> Option<[i128; 2]> {
        if self.shape.count() == 0 {
            return None;
        }
        let (mut low, mut high) = (self.offset as i128, self.offset as i128);
        for (&length, &stride) in self.shape.iter().zip(self.strides()) {
            // A dimension of at most 2^64 times a stride of at most 2^63 is a number of 128 bits; sums may saturate.
            let span = (length as i128 - 1).saturating_mul(stride as i128);
            if span < 0 { low = low.saturating_add(span) } else { high = high.saturating_add(span) }
        }
        Some([low, high])
    }

    /// The layout that repeats this one over `shape`, which it broadcasts to (stride 0 where it is stretched).
    pub(crate) fn broadcast_to(&self, shape: Shape) -> Layout {
        let mut strides = [0; MAX_RANK];
        let lead = shape.rank() - self.shape.rank();
        for axis in 0..self.shape.rank() {
            if self.shape[axis] == shape[lead + axis] {
                strides[lead + axis] = self.strides[axis];
            }
        }
        Layout { shape, strides, offset: self.offset }
    }

    /// The layout under another shape of as many elements, or `None` where that needs a copy.
    pub fn reshape(&self, shape: Shape) -> Option<Layout> {
        if shape.count() != self.shape.count() || shape.check("reshape").is_err() {
            return None;
        }
        if self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape) });
        }
        // Walk both shapes from the right in groups of equal element count; a group of old axes must itself be dense
        // for the new axes to step through it.
        let old: Vec<(usize, isize)> =
            self.shape.iter().zip(self.strides()).filter(|(d, _)| **d != 1).map(|(d, s)| (*d, *s)).collect();
        let mut strides = [0isize; MAX_RANK];
        let (mut i, mut j) = (old.len(), shape.rank());
        while i > 0 {
            let (mut old_count, mut new_count) = (old[i - 1].0, 1);
            let (mut low, mut group) = (i - 1, j);
            while old_count != new_count {
                if new_count < old_count {
                    group = group.checked_sub(1)?;
                    new_count *= shape[group];
                } else {
                    low = low.checked_sub(1)?;
                    old_count *= old[low].0;
                }
            }
            for k in low..i - 1 {
                if old[k].1 != old[k + 1].1 * old[k + 1].0 as isize {
                    return None;
                }
            }
            let mut step = old[i - 1].1;
            for k in (group..j).rev() {
                strides[k] = step;
                step *= shape[k] as isize;
            }
            (i, j) = (low, group);
        }
        Some(Layout { shape, strides, offset: self.offset })
    }
}

/// A position in a layout, moving in row-major order. Its offset counts that of the layout in.
pub(crate) struct Cursor {
    index: [usize; MAX_RANK],
    pub(crate) offset: isize,
}

impl Cursor {
    /// At the element of this number.
    pub(crate) fn new(layout: &Layout, mut flat: usize) -> Cursor {
        let mut cursor = Cursor { index: [0; MAX_RANK], offset: layout.offset as isize };
        for axis in (0..layout.shape.rank()).rev() {
            // Of an empty layout there is none.
            let length = layout.shape[axis].max(1);
            cursor.index[axis] = flat % length;
            flat /= length;
            cursor.offset += cursor.index[axis] as isize * layout.strides()[axis];
        }
        cursor
    }

    /// How many elements there are to the end of the innermost dimension; of a layout without dimensions the one.
    pub(crate) fn run(&self, layout: &Layout) -> usize {
        layout.shape.rank().checked_sub(1).map_or(1, |last| layout.shape[last] - self.index[last])
    }

    /// Goes on by no more than [`Cursor::run`] elements; after the last it is at the first.
    pub(crate) fn advance(&mut self, layout: &Layout, run: usize) {
        let (shape, strides) = (layout.shape, layout.strides());
        let Some(mut axis) = shape.rank().checked_sub(1) else { return };
        self.index[axis] += run;
        self.offset += run as isize * strides[axis];
        while self.index[axis] == shape[axis] {
            self.offset -= strides[axis] * shape[axis] as isize;
            self.index[axis] = 0;
            if axis == 0 {
                return;
            }
            axis -= 1;
            self.index[axis] += 1;
            self.offset += strides[axis];
        }
    }
}

/// Calls `run(offsets, length, strides)` for each innermost run of several layouts of one shape, in row-major order.
///
/// The walk is compiled once for each number of layouts and not for each `run`, of which there are a hundred.
pub(crate) fn for_each_run<const N: usize>(
    shape: Shape,
    strides: &[[isize; MAX_RANK]; N],
    run: &mut dyn FnMut([isize; N], usize, [isize; N]),
) {
    let Some(last) = shape.rank().checked_sub(1) else { return run([0; N], 1, [1; N]) };
    if shape.contains(&0) {
        return;
    }
    let (mut index, mut offsets) = ([0usize; MAX_RANK], [0isize; N]);
    loop {
        run(offsets, shape[last], strides.map(|strides| strides[last]));
        let mut axis = last;
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            let done = index[axis] == shape[axis];
            for (offset, strides) in offsets.iter_mut().zip(strides) {
                let back = if done { shape[axis] as isize - 1 } else { -1 };
                *offset -= strides[axis] * back;
            }
            if !done {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Calls `row(offset, length, stride)` for each innermost run of a layout, in row-major order. Offsets count from the
/// first element.
pub(crate) fn for_each_row(layout: &Layout, mut row: impl FnMut(isize, usize, isize)) {
    for_each_run(layout.shape, &[layout.strides], &mut |[offset], length, [stride]| row(offset, length, stride));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(d: &[usize]) -> Shape {
        Shape::new(d).unwrap()
    }

    #[test]
    fn reshape_of_views() {
        let base = Layout::contiguous(s(&[4, 6]));
        let columns = Layout::new(s(&[4, 3]), &[6, 1], 2);
        assert_eq!(base.reshape(s(&[2, 2, 6])).unwrap().strides(), [12, 6, 1]);
        assert_eq!(columns.reshape(s(&[2, 2, 3])).unwrap().strides(), [12, 6, 1]);
        assert!(columns.reshape(s(&[12])).is_none());
        let transposed = Layout::new(s(&[6, 4]), &[1, 6], 0);
        assert!(transposed.reshape(s(&[24])).is_none());
        assert_eq!(transposed.reshape(s(&[3, 2, 1, 4])).unwrap().strides()[1], 1);
    }

    #[test]
    fn contiguity_ignores_lengths_of_one() {
        assert!(Layout::new(s(&[1, 5]), &[99, 1], 3).is_contiguous());
        assert!(!Layout::new(s(&[2, 5]), &[6, 1], 0).is_contiguous());
        assert!(Layout::new(s(&[0, 5]), &[7, 7], 0).is_contiguous());
    }
}
