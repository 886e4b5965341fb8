//! Reading the elements of any view piece by piece. A view can be far larger than the memory behind it, and than all
//! memory: `expand` repeats one element 2⁴⁰ times. So nothing here copies a view whole.

use crate::{Element, Layout, Tensor};
use std::convert::Infallible;

/// The most elements of a strided view that are copied at a time.
pub(crate) const BLOCK: usize = 1 << 13;

impl Layout {
    /// The part of it from `start` on, `length` steps along `axis`.
    pub(crate) fn narrow(&self, axis: usize, start: usize, length: usize) -> Layout {
        let offset = self.offset as isize + start as isize * self.strides[axis];
        Layout { shape: self.shape.with(axis, length), strides: self.strides, offset: offset as usize }
    }
}

/// Calls `visit` with the parts, in row-major order and of at most [`BLOCK`] elements, of layouts of one shape.
fn try_for_each_part<const N: usize, E>(
    layouts: [Layout; N],
    visit: &mut dyn FnMut([Layout; N]) -> Result<(), E>,
) -> Result<(), E> {
    let shape = layouts[0].shape;
    let Some(axis) = shape.iter().position(|&length| length > 1).filter(|_| shape.count() > BLOCK) else {
        return if shape.count() == 0 { Ok(()) } else { visit(layouts) };
    };
    let length = (BLOCK / (shape.count() / shape[axis])).max(1);
    for start in (0..shape[axis]).step_by(length) {
        let length = length.min(shape[axis] - start);
        try_for_each_part(layouts.map(|layout| layout.narrow(axis, start, length)), visit)?;
    }
    Ok(())
}

impl Tensor {
    fn with_layout(&self, layout: Layout) -> Tensor {
        Tensor { layout, ..self.clone() }
    }

    /// Calls `visit` with all elements, whose type is `T`, in row-major order and piece by piece.
    #[track_caller]
    pub(crate) fn try_for_each_block<T: Element, E>(
        &self,
        mut visit: impl FnMut(&[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.escape();
        if self.storage.cuda().is_some() {
            return self.on_host().try_for_each_block(visit);
        }
        if let Some(all) = self.as_slice() {
            return visit(all);
        }
        try_for_each_part([self.layout], &mut |[layout]| {
            visit(&self.with_layout(layout).view().contiguous().expect("the element type is T"))
        })
    }

    /// As [`Tensor::try_for_each_block`], for what cannot fail.
    #[track_caller]
    pub(crate) fn for_each_block<T: Element>(&self, mut visit: impl FnMut(&[T])) {
        let Ok(()) = self.try_for_each_block(|block| {
            visit(block);
            Ok::<(), Infallible>(())
        });
    }

    /// Whether `holds` is true of each pair of elements, whose type is `T`, of two tensors of one shape.
    #[track_caller]
    pub(crate) fn all_pairs<T: Element>(&self, other: &Tensor, holds: impl Fn(T, T) -> bool) -> bool {
        self.escape();
        other.escape();
        if self.storage.cuda().is_some() || other.storage.cuda().is_some() {
            return self.on_host().all_pairs(&other.on_host(), holds);
        }
        let (mut a, mut b) = (self.layout, other.layout);
        for axis in 0..a.shape.rank() {
            // Where both stand still, the same pair comes again and again.
            if a.shape[axis] > 1 && a.strides[axis] == 0 && b.strides[axis] == 0 {
                (a, b) = (a.narrow(axis, 0, 1), b.narrow(axis, 0, 1));
            }
        }
        let all = try_for_each_part([a, b], &mut |[a, b]| {
            let (a, b) = (self.with_layout(a), other.with_layout(b));
            let (a, b) = (a.view().contiguous::<T>(), b.view().contiguous::<T>());
            let (a, b) = (a.expect("the element type is T"), b.expect("the element type is T"));
            if a.iter().zip(b.iter()).all(|(a, b)| holds(*a, *b)) { Ok(()) } else { Err(()) }
        });
        all.is_ok()
    }

    /// The elements, whose type is `T`, that an abbreviated print shows: `edge` at both ends of each longer dimension.
    pub(crate) fn edges<T: Element>(&self, edge: usize) -> Vec<T> {
        fn collect<T: Element>(tensor: &Tensor, axis: usize, edge: usize, out: &mut Vec<T>) {
            if axis == tensor.rank() {
                return out.extend(tensor.as_slice::<T>().into_iter().flatten());
            }
            let length = tensor.shape()[axis];
            for i in (0..length).take(edge).chain(length.saturating_sub(edge).max(edge)..length) {
                collect(&tensor.with_layout(tensor.layout.narrow(axis, i, 1)), axis + 1, edge, out);
            }
        }
        let mut out = Vec::new();
        collect(&self.on_host(), 0, edge, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ViewOps;

    #[test]
    fn blocks_are_the_elements_in_order() {
        let n = 3 * BLOCK as i64 + 5;
        let line = Tensor::arange(0, 2 * n, 1i64).unwrap();
        let odd = line.reshape([n as usize, 2]).unwrap().t().unwrap();
        let (mut seen, mut largest) = (Vec::new(), 0);
        odd.for_each_block(|block: &[i64]| {
            largest = largest.max(block.len());
            seen.extend_from_slice(block);
        });
        assert!(largest <= BLOCK);
        assert!(seen.iter().copied().eq((0..2).flat_map(|row| (0..n).map(move |i| 2 * i + row))));
        Tensor::zeros([0, 3]).unwrap().t().unwrap().for_each_block(|block: &[f32]| assert!(block.is_empty()));
    }

    #[test]
    fn pairs_of_huge_views() {
        let huge = |x: f32| Tensor::new([[x], [1.0]]).expand([2, 1 << 40]).unwrap();
        assert!(huge(1.0).all_pairs(&huge(1.0), |a: f32, b: f32| a == b));
        assert!(!huge(1.0).all_pairs(&huge(2.0), |a: f32, b: f32| a == b));
    }

    #[test]
    fn edges_of_each_dimension() {
        let x = Tensor::arange(0i64, 40, 1).unwrap().reshape([5, 8]).unwrap().flip(1).unwrap();
        assert_eq!(x.edges::<i64>(2), [7, 6, 1, 0, 15, 14, 9, 8, 31, 30, 25, 24, 39, 38, 33, 32]);
        assert_eq!(x.edges::<i64>(9), x.to_vec::<i64>().unwrap());
    }
}
