//! The fully connected recurrent layer and its gradient.

#![expect(clippy::needless_range_loop, reason = "the same lane of several pieces")]

use super::cpu::{LANES, Packed, Rows, add, copy_previous, for_rows, kernel_gradient, load, store};
use super::cuda::{Layer, Steps};
use super::{Sizes, fill_with_zeros};
use crate::cpu::load::prefetch_line;
use crate::cpu::parallel::Shared;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd;
use crate::cpu::single::Number;
use crate::scalar::Scalar;
use crate::{Arity, CpuCall, CudaCall, DType, Op, Result, Spec, Specs, View, ViewMut};
use std::ops::Range;

/// The fully connected recurrent layer over sequences, from gates `[batch, time, units]`, a recurrent kernel
/// `[units, units]`, the first state `h`, `[batch, units]`, and perhaps a mask `[batch, time]`. Gives all `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleRnn {
    /// Whether there is a mask.
    pub masked: bool,
}

/// The gradient of [`SimpleRnn`] with respect to gates, recurrent kernel and first state, from all `h`, the recurrent
/// kernel, the first `h`, the gradients of all `h`, and perhaps the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleRnnGrad {
    /// Whether there is a mask.
    pub masked: bool,
}

impl Op for SimpleRnn {
    fn name(&self) -> &str {
        "simple_rnn"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3 + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (sizes, dtype) = (Sizes::new("simple_rnn", 1, x[0], x[1])?, x[0].dtype);
        sizes.check_state("simple_rnn", "the first h", x[2], dtype)?;
        sizes.check_mask("simple_rnn", self.masked, x)?;
        Ok(sizes.steps(sizes.units, dtype)?.into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let sizes = Sizes::new("simple_rnn", 1, x[0].spec(), x[1].spec())?;
        if sizes.is_nothing() {
            return Ok(());
        }
        match x[0].dtype() {
            DType::F64 => self.forward::<f64>(&sizes, x, &mut y[0]),
            _ => self.forward::<f32>(&sizes, x, &mut y[0]),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs = [0, 1].map(|i| call.inputs()[i].spec());
        let sizes = Sizes::new("simple_rnn", 1, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Simple, masked: self.masked, cell: false };
        steps.forward(2, None, None);
        Ok(())
    }
}

impl SimpleRnn {
    fn forward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], h: &mut ViewMut<'_>) -> Result<()> {
        let (gates, kernel, first) = (T::read(&x[0])?, T::read(&x[1])?, T::read(&x[2])?);
        let mask = if self.masked { Some(x[3].contiguous::<bool>()?) } else { None };
        let kernel = Packed::new(&kernel, [sizes.units, sizes.units], false);
        T::write(h, |h| {
            let all_h = Shared::new(h);
            for_rows(sizes, |rows| {
                let mut h = Rows::of(Some(&first), &rows, sizes.units);
                let mut z = Rows::zeros(rows.len(), sizes.units);
                for t in 0..sizes.time {
                    kernel.multiply(&h, T::zero(), &mut z);
                    let (z, h, gates) = (&mut z, &mut h, &*gates);
                    let (rows, mask) = (rows.clone(), mask.as_deref());
                    simd::dispatch_for::<T, _>(Step { sizes, t, rows, mask, gates, z, h, all_h });
                }
            });
            Ok(())
        })
    }
}

/// What follows the product of a step, for some rows.
struct Step<'a, T> {
    sizes: &'a Sizes,
    t: usize,
    rows: Range<usize>,
    mask: Option<&'a [bool]>,
    gates: &'a [T],
    z: &'a mut Rows<T>,
    h: &'a mut Rows<T>,
    all_h: Shared<T>,
}

impl<T: Number> simd::Kernel for Step<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let units = self.sizes.units;
        for row in 0..self.rows.len() {
            let step = (self.rows.start + row) * self.sizes.time + self.t;
            let counts = self.mask.is_none_or(|mask| mask[step]);
            let (product, state) = (self.z.row(row).cast_const(), self.h.row(row));
            let mut unit = 0;
            while unit < units {
                let (n, at) = (LANES.min(units - unit), step * units + unit);
                // SAFETY: rows are of one task, steps and units of one row lie inside.
                unsafe {
                    let mut h = load(state.add(unit), n);
                    if counts {
                        // The next step's come and go while this one is multiplied on.
                        prefetch_line(self.gates.as_ptr().wrapping_add(at + units));
                        prefetch_line(self.all_h.get().wrapping_add(at + units));
                        h = load(product.add(unit), n);
                        add(&mut h, &load(self.gates[at..].as_ptr(), n));
                        for lane in 0..LANES {
                            h[lane] = Scalar::tanh(h[lane]);
                        }
                    }
                    store(&h, self.all_h.get().add(at), n);
                    store(&h, state.add(unit), n);
                }
                unit += LANES;
            }
        }
    }
}

impl Op for SimpleRnnGrad {
    fn name(&self) -> &str {
        "simple_rnn_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(4 + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (name, dtype) = ("simple_rnn_grad", x[0].dtype);
        let sizes = Sizes::new(name, 1, x[0], x[1])?;
        sizes.check_state(name, "the first h", x[2], dtype)?;
        sizes.check_steps(name, "the gradient of h", x[3], sizes.units, dtype)?;
        sizes.check_mask(name, self.masked, x)?;
        let gates = sizes.steps(sizes.units, dtype)?;
        Ok([gates, Spec::new(x[1].shape, dtype), sizes.state(dtype)?].into_iter().collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let sizes = Sizes::new("simple_rnn_grad", 1, x[0].spec(), x[1].spec())?;
        if sizes.is_nothing() {
            return fill_with_zeros(y);
        }
        match x[0].dtype() {
            DType::F64 => self.backward::<f64>(&sizes, x, y),
            _ => self.backward::<f32>(&sizes, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs = [0, 1].map(|i| call.inputs()[i].spec());
        let sizes = Sizes::new("simple_rnn_grad", 1, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Simple, masked: self.masked, cell: false };
        steps.backward([1, 0, 2, 3], &[0], None);
        Ok(())
    }
}

impl SimpleRnnGrad {
    fn backward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let [dz, du, dh0] = y else { unreachable!("the gradient of a simple layer has three results") };
        let (h, kernel, first, dh) = (T::read(&x[0])?, T::read(&x[1])?, T::read(&x[2])?, T::read(&x[3])?);
        let mask = if self.masked { Some(x[4].contiguous::<bool>()?) } else { None };
        let units = sizes.units;
        let kernel = Packed::new(&kernel, [units, units], true);
        let mut previous = Scratch::arbitrary(sizes.batch * sizes.time * units);
        let shared_previous = Shared::new(&mut previous);
        let write = |dz: &mut [T], du: &mut [T], dh0: &mut [T]| {
            let (shared, dh0) = (Shared::new(dz), Shared::new(dh0));
            for_rows(sizes, |rows| {
                copy_previous(sizes, &rows, &h, &first, shared_previous);
                let (mut carried, mut step_dz) = (Rows::zeros(rows.len(), units), Rows::zeros(rows.len(), units));
                for t in (0..sizes.time).rev() {
                    let (rows, mask, h, dh) = (rows.clone(), mask.as_deref(), &*h, &*dh);
                    let (carried, step_dz) = (&mut carried, &mut step_dz);
                    let step = StepBack { sizes, t, rows, mask, h, dh, carried, step_dz, dz: shared };
                    simd::dispatch_for::<T, _>(step);
                    kernel.multiply(step_dz, T::one(), carried);
                }
                carried.store(dh0, &rows, units);
            });
            kernel_gradient(sizes, &previous, (dz, units), [0, units], du);
        };
        T::write(dz, |dz| {
            T::write(du, |du| {
                T::write(dh0, |dh0| {
                    write(dz, du, dh0);
                    Ok(())
                })
            })
        })
    }
}

/// A step back for some rows, up to the product of the gradients with the transposed kernel: `carried` is then what the
/// state before has besides.
struct StepBack<'a, T> {
    sizes: &'a Sizes,
    t: usize,
    rows: Range<usize>,
    mask: Option<&'a [bool]>,
    h: &'a [T],
    dh: &'a [T],
    carried: &'a mut Rows<T>,
    step_dz: &'a mut Rows<T>,
    dz: Shared<T>,
}

impl<T: Number> simd::Kernel for StepBack<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let units = self.sizes.units;
        for row in 0..self.rows.len() {
            let step = (self.rows.start + row) * self.sizes.time + self.t;
            let counts = self.mask.is_none_or(|mask| mask[step]);
            let (carried, step_dz) = (self.carried.row(row), self.step_dz.row(row));
            let mut unit = 0;
            while unit < units {
                let (n, at) = (LANES.min(units - unit), step * units + unit);
                prefetch_line(self.dh.as_ptr().wrapping_add(at).wrapping_sub(units));
                prefetch_line(self.h.as_ptr().wrapping_add(at).wrapping_sub(units));
                prefetch_line(self.dz.get().wrapping_add(at).wrapping_sub(units));
                // SAFETY: rows are of one task, steps and units of one row lie inside.
                unsafe {
                    let (mut dh, mut dz) = (load(carried.add(unit), n), [T::zero(); LANES]);
                    add(&mut dh, &load(self.dh[at..].as_ptr(), n));
                    if counts {
                        let h = load(self.h[at..].as_ptr(), n);
                        for lane in 0..LANES {
                            dz[lane] = dh[lane] * (T::one() - h[lane] * h[lane]);
                            dh[lane] = T::zero();
                        }
                    }
                    store(&dz, step_dz.add(unit), n);
                    store(&dz, self.dz.get().add(at), n);
                    store(&dh, carried.add(unit), n);
                }
                unit += LANES;
            }
        }
    }
}
