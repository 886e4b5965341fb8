//! The product of all other elements: the gradient of a product, right also where elements are 0 or the product is too
//! large to be divided.

use crate::cpu::parallel;
use crate::layout::for_each_row;
use crate::{
    CpuCall, CudaCall, DType, Element, Error, Launch, Layout, MAX_RANK, Op, Result, Spec, Specs, with_element,
};

/// For each element the product of all others that a [`Prod`](super::Prod) over the same axes would fold it with.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductOfOthers {
    /// The axes of the product.
    pub axes: [bool; MAX_RANK],
}

impl Op for ProductOfOthers {
    fn name(&self) -> &str {
        "product_of_others"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        match x[0].dtype.is_float() {
            true => Ok(x[0].into()),
            false => Err(Error::dtype(self.name(), format!("needs floating-point numbers, found {}", x[0].dtype))),
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        if x[0].shape().count() == 0 {
            return Ok(());
        }
        // Where the elements that belong together lie, in an operand and a result that are both dense.
        let dense = Layout::contiguous(*x[0].shape());
        let (folded, kept) = super::run::partition([&dense], &self.axes);
        let offsets = |part: &super::run::Part<1>| {
            let mut all = Vec::new();
            for_each_row(&part.layout(0), |offset, length, stride| {
                all.extend((0..length as isize).map(|i| (offset + i * stride) as usize));
            });
            all
        };
        let (within, bases) = (offsets(&folded), offsets(&kept));
        debug_assert_ne!(x[0].dtype(), DType::Bool);
        with_element!(x[0].dtype(), T => {
            let x = x[0].contiguous::<T>()?;
            let y = parallel::Shared::new(y[0].slice::<T>()?);
            parallel::for_chunks(bases.len(), 1, 4 * within.len(), |start, end| {
                for &base in &bases[start..end] {
                    // In double: a product may leave single precision on the way and come back.
                    let at = |i: usize| x[base + within[i]].to_f64();
                    let mut before = vec![1.0; within.len()];
                    (1..within.len()).for_each(|i| before[i] = before[i - 1] * at(i - 1));
                    let mut after = 1.0;
                    for i in (0..within.len()).rev() {
                        // SAFETY: an offset inside the result, which belongs to this group of elements alone.
                        unsafe { *y.get().add(base + within[i]) = <T as Element>::from_f64(before[i] * after) };
                        after *= at(i);
                    }
                }
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (shape, dtype) = (*call.inputs()[0].shape(), call.inputs()[0].dtype());
        if shape.count() == 0 {
            return Ok(());
        }
        // Groups one after the other: the axes of the product come last.
        let (within, across): (Vec<usize>, Vec<usize>) = (0..shape.rank()).partition(|&axis| self.axes[axis]);
        let order = [across, within.clone()].concat();
        let dense = Layout::contiguous(shape);
        let dims: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let strides: Vec<isize> = order.iter().map(|&axis| dense.strides()[axis]).collect();
        let grouped = Layout::new(crate::Shape::from_slice(&dims), &strides, 0);
        let each: usize = within.iter().map(|&axis| shape[axis]).product();
        let groups = shape.count() / each;
        let before = call.room(shape.count() * size_of::<f64>());
        let launch = Launch::new(include_str!("others.cu"), "others").define_type("T", dtype).over(groups);
        let launch = launch.arg(groups).arg(each).walk(grouped.shape, &[grouped]);
        let (x, y) = (call.dense(0), call.output(0));
        call.launch(launch.arg(x).arg(before).arg(y));
        Ok(())
    }
}
