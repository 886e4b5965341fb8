//! The gated recurrent unit, with the reset gate after the product, and its gradient.

#![expect(clippy::needless_range_loop, reason = "the same lane of several pieces")]

use super::cpu::{LANES, Packed, Piece, Rows, Source, add, copy_previous, for_rows, kernel_gradient, load, store};
use super::cuda::{Layer, Steps};
use super::{Sizes, fill_with_zeros};
use crate::cpu::load::prefetch_line;
use crate::cpu::parallel::Shared;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd;
use crate::cpu::single::Number;
use crate::scalar::Scalar;
use crate::{Aliases, Arity, CpuCall, CudaCall, DType, Op, Result, Shape, Spec, Specs, View, ViewMut};
use std::ops::Range;

/// A gated recurrent unit over sequences, from gates `[batch, time, 3 · units]`, a recurrent kernel `[units, 3 · units]`
/// and its bias `[3 · units]`, the first state `h`, `[batch, units]`, and perhaps a mask `[batch, time]`.
///
/// Gives all `h`, and what the gradient reads: the gates as they open, `[batch, time, 3 · units]`, and the part of the
/// product that the reset gate stands before, `[batch, time, units]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gru {
    /// Whether there is a mask.
    pub masked: bool,
}

/// The gradient of [`Gru`] with respect to gates, recurrent kernel, its bias and the first state, from the opened gates,
/// the part of the product before the reset gate, all `h`, the recurrent kernel, the first `h`, the gradients of all `h`,
/// and perhaps the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GruGrad {
    /// Whether there is a mask.
    pub masked: bool,
}

impl Op for Gru {
    fn name(&self) -> &str {
        "gru"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(4 + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (sizes, dtype) = (Sizes::new("gru", 3, x[0], x[1])?, x[0].dtype);
        sizes.check("gru", "the recurrent bias", x[2], &[sizes.width()], dtype)?;
        sizes.check_state("gru", "the first h", x[3], dtype)?;
        sizes.check_mask("gru", self.masked, x)?;
        let states = sizes.steps(sizes.units, dtype)?;
        Ok([states, sizes.steps(sizes.width(), dtype)?, states].into())
    }

    /// A gate is read and then opened in its place.
    fn aliases(&self) -> Aliases {
        Aliases::Pairs(&[(0, 1)])
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        let sizes = Sizes::new("gru", 3, x[0].spec(), x[1].spec())?;
        if sizes.is_nothing() {
            return Ok(());
        }
        match x[0].dtype() {
            DType::F64 => self.forward::<f64>(&sizes, x, y),
            _ => self.forward::<f32>(&sizes, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs = [0, 1].map(|i| call.inputs()[i].spec());
        let sizes = Sizes::new("gru", 3, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Gru, masked: self.masked, cell: false };
        steps.forward(3, None, Some(2));
        Ok(())
    }
}

impl Gru {
    fn forward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let [h, gates, inner] = y else { unreachable!("a GRU has three results") };
        let source = Source::<T>::new(&x[0])?;
        let (kernel, bias, first) = (T::read(&x[1])?, T::read(&x[2])?, T::read(&x[3])?);
        let mask = if self.masked { Some(x[4].contiguous::<bool>()?) } else { None };
        let kernel = Packed::new(&kernel, [sizes.units, sizes.width()], false);
        let write = |h: &mut [T], gates: &mut [T], inner: &mut [T]| {
            let places =
                Places { x: source.shared(), h: Shared::new(h), gates: Shared::new(gates), inner: Shared::new(inner) };
            for_rows(sizes, |rows| {
                let mut h = Rows::of(Some(&first), &rows, sizes.units);
                let mut z = Rows::zeros(rows.len(), sizes.width());
                for t in 0..sizes.time {
                    kernel.multiply(&h, T::zero(), &mut z);
                    let (z, h, bias) = (&mut z, &mut h, &*bias);
                    let (rows, mask) = (rows.clone(), mask.as_deref());
                    simd::dispatch_for::<T, _>(Step { sizes, t, rows, mask, bias, places, z, h });
                }
            });
        };
        T::write(h, |h| {
            T::write(gates, |gates| {
                T::write(inner, |inner| {
                    write(h, gates, inner);
                    Ok(())
                })
            })
        })
    }
}

/// Where a forward pass reads and writes. The gates may lie where it reads.
#[derive(Clone, Copy)]
struct Places<T> {
    x: Shared<T>,
    h: Shared<T>,
    gates: Shared<T>,
    inner: Shared<T>,
}

/// What follows the product of a step, for some rows.
struct Step<'a, T> {
    sizes: &'a Sizes,
    t: usize,
    rows: Range<usize>,
    mask: Option<&'a [bool]>,
    bias: &'a [T],
    places: Places<T>,
    z: &'a mut Rows<T>,
    h: &'a mut Rows<T>,
}

impl<T: Number> simd::Kernel for Step<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let (units, width) = (self.sizes.units, self.sizes.width());
        for row in 0..self.rows.len() {
            let step = (self.rows.start + row) * self.sizes.time + self.t;
            let counts = self.mask.is_none_or(|mask| mask[step]);
            let (product, state) = (self.z.row(row).cast_const(), self.h.row(row));
            let mut unit = 0;
            while unit < units {
                let (n, at) = (LANES.min(units - unit), step * width + unit);
                // SAFETY: rows are of one task, steps and units of one row lie inside; the three gates of a piece are read
                // before they are written, in case they lie there.
                unsafe {
                    let (mut gates, mut inner) = ([[T::zero(); LANES]; 3], [[T::zero(); LANES]; 3]);
                    for gate in 0..3 {
                        // The next step's come and go while this one is multiplied on.
                        prefetch_line(self.places.x.get().wrapping_add(at + width + gate * units));
                        prefetch_line(self.places.gates.get().wrapping_add(at + width + gate * units));
                        inner[gate] = load(product.add(gate * units + unit), n);
                        add(&mut inner[gate], &load(self.bias[gate * units + unit..].as_ptr(), n));
                        gates[gate] = load(self.places.x.get().add(at + gate * units), n);
                    }
                    let mut h = load(state.add(unit), n);
                    if counts {
                        advance(&mut gates, &inner, &mut h);
                    } else {
                        gates = [[T::zero(); LANES]; 3];
                        inner[2] = gates[2];
                    }
                    for gate in 0..3 {
                        store(&gates[gate], self.places.gates.get().add(at + gate * units), n);
                    }
                    store(&inner[2], self.places.inner.get().add(step * units + unit), n);
                    store(&h, self.places.h.get().add(step * units + unit), n);
                    store(&h, state.add(unit), n);
                }
                unit += LANES;
            }
        }
    }
}

/// From what opens the gates to how far they are open, and from one state to the next.
#[inline(always)]
fn advance<T: Number>([z, r, g]: &mut [Piece<T>; 3], inner: &[Piece<T>; 3], h: &mut Piece<T>) {
    for lane in 0..LANES {
        z[lane] = Scalar::sigmoid(z[lane] + inner[0][lane]);
        r[lane] = Scalar::sigmoid(r[lane] + inner[1][lane]);
        g[lane] = Scalar::tanh(g[lane] + r[lane] * inner[2][lane]);
        h[lane] = z[lane] * h[lane] + (T::one() - z[lane]) * g[lane];
    }
}

impl Op for GruGrad {
    fn name(&self) -> &str {
        "gru_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(6 + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (name, dtype) = ("gru_grad", x[0].dtype);
        let sizes = Sizes::new(name, 3, x[0], x[3])?;
        for (what, spec) in [("what the reset gate stands before", x[1]), ("h", x[2]), ("the gradient of h", x[5])] {
            sizes.check_steps(name, what, spec, sizes.units, dtype)?;
        }
        sizes.check_state(name, "the first h", x[4], dtype)?;
        sizes.check_mask(name, self.masked, x)?;
        let gates = sizes.steps(sizes.width(), dtype)?;
        let bias = Spec::new(Shape::new(&[sizes.width()])?, dtype);
        Ok([gates, Spec::new(x[3].shape, dtype), bias, sizes.state(dtype)?].into_iter().collect())
    }

    /// A gate is read, and then its gradient written in its place.
    fn aliases(&self) -> Aliases {
        Aliases::Pairs(&[(0, 0)])
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        let sizes = Sizes::new("gru_grad", 3, x[0].spec(), x[3].spec())?;
        if sizes.is_nothing() {
            return fill_with_zeros(y);
        }
        match x[0].dtype() {
            DType::F64 => self.backward::<f64>(&sizes, x, y),
            _ => self.backward::<f32>(&sizes, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let specs = [0, 3].map(|i| call.inputs()[i].spec());
        let sizes = Sizes::new("gru_grad", 3, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Gru, masked: self.masked, cell: false };
        steps.backward([3, 2, 4, 5], &[0, 1, 2, 4], None);
        Ok(())
    }
}

impl GruGrad {
    fn backward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let [dz, du, db, dh0] = y else { unreachable!("the gradient of a GRU has four results") };
        let gates = Source::<T>::new(&x[0])?;
        let (inner, h, kernel) = (T::read(&x[1])?, T::read(&x[2])?, T::read(&x[3])?);
        let (first, dh) = (T::read(&x[4])?, T::read(&x[5])?);
        let mask = if self.masked { Some(x[6].contiguous::<bool>()?) } else { None };
        let kernel = Packed::new(&kernel, [sizes.width(), sizes.units], true);
        let (units, width) = (sizes.units, sizes.width());
        let mut previous = Scratch::arbitrary(sizes.batch * sizes.time * units);
        // Of what is reset, the gradient is another than that of the gates' own input.
        let mut d_inner = Scratch::arbitrary(sizes.batch * sizes.time * units);
        let mut sums = Scratch::filled(sizes.batch * width, T::zero());
        let [shared_previous, shared_inner] = [Shared::new(&mut previous), Shared::new(&mut d_inner)];
        let shared_sums = Shared::new(&mut sums);
        let write = |dz: &mut [T], du: &mut [T], db: &mut [T], dh0: &mut [T]| {
            let (gates, shared, dh0) = (gates.shared(), Shared::new(dz), Shared::new(dh0));
            for_rows(sizes, |rows| {
                copy_previous(sizes, &rows, &h, &first, shared_previous);
                let (mut carried, mut step_dz) = (Rows::zeros(rows.len(), units), Rows::zeros(rows.len(), width));
                for t in (0..sizes.time).rev() {
                    simd::dispatch_for::<T, _>(StepBack {
                        sizes,
                        t,
                        rows: rows.clone(),
                        mask: mask.as_deref(),
                        gates,
                        inner: &inner,
                        before: shared_previous,
                        dh: &dh,
                        carried: &mut carried,
                        step_dz: &mut step_dz,
                        dz: shared,
                        d_inner: shared_inner,
                        sums: shared_sums,
                    });
                    kernel.multiply(&step_dz, T::one(), &mut carried);
                }
                carried.store(dh0, &rows, units);
            });
            kernel_gradient(sizes, &previous, (dz, width), [0, 2 * units], du);
            kernel_gradient(sizes, &previous, (&d_inner, units), [2 * units, units], du);
            db.fill(T::zero());
            for row in sums.chunks_exact(width) {
                for i in 0..width {
                    db[i] += row[i];
                }
            }
        };
        T::write(dz, |dz| {
            T::write(du, |du| {
                T::write(db, |db| {
                    T::write(dh0, |dh0| {
                        write(dz, du, db, dh0);
                        Ok(())
                    })
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
    /// May lie where `dz` does.
    gates: Shared<T>,
    inner: &'a [T],
    /// The states before each step.
    before: Shared<T>,
    dh: &'a [T],
    carried: &'a mut Rows<T>,
    step_dz: &'a mut Rows<T>,
    dz: Shared<T>,
    d_inner: Shared<T>,
    /// Those of the bias, for each sequence.
    sums: Shared<T>,
}

impl<T: Number> simd::Kernel for StepBack<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let (units, width) = (self.sizes.units, self.sizes.width());
        for row in 0..self.rows.len() {
            let sequence = self.rows.start + row;
            let step = sequence * self.sizes.time + self.t;
            let counts = self.mask.is_none_or(|mask| mask[step]);
            let (carried, step_dz) = (self.carried.row(row), self.step_dz.row(row));
            let mut unit = 0;
            while unit < units {
                let (n, at) = (LANES.min(units - unit), step * units + unit);
                // SAFETY: rows are of one task, steps and units of one row lie inside; the three gates of a piece are read
                // before their gradients are written, in case they lie there.
                unsafe {
                    let mut dh = load(carried.add(unit), n);
                    add(&mut dh, &load(self.dh[at..].as_ptr(), n));
                    prefetch_line(self.dh.as_ptr().wrapping_add(at).wrapping_sub(units));
                    prefetch_line(self.inner.as_ptr().wrapping_add(at).wrapping_sub(units));
                    let (mut gates, mut inner) = ([[T::zero(); LANES]; 3], [T::zero(); LANES]);
                    for gate in 0..3 {
                        let to = step * width + gate * units + unit;
                        prefetch_line(self.gates.get().wrapping_add(to).wrapping_sub(width));
                        prefetch_line(self.dz.get().wrapping_add(to).wrapping_sub(width));
                        if counts {
                            gates[gate] = load(self.gates.get().add(to), n);
                        }
                    }
                    if counts {
                        inner = load(self.inner[at..].as_ptr(), n);
                        retreat(&mut gates, &mut inner, &load(self.before.get().add(at), n), &mut dh);
                    }
                    for gate in 0..3 {
                        store(&gates[gate], self.dz.get().add(step * width + gate * units + unit), n);
                        let into_kernel = if gate == 2 { &inner } else { &gates[gate] };
                        store(into_kernel, step_dz.add(gate * units + unit), n);
                        let sums = self.sums.get().add(sequence * width + gate * units + unit);
                        let mut sum = load(sums, n);
                        add(&mut sum, into_kernel);
                        store(&sum, sums, n);
                    }
                    store(&inner, self.d_inner.get().add(at), n);
                    store(&dh, carried.add(unit), n);
                }
                unit += LANES;
            }
        }
    }
}

/// From opened gates to the gradients of what opened them, and from what was reset to its gradient; `dh` becomes that of the
/// state before, as far as it does not pass the gates.
#[inline(always)]
fn retreat<T: Number>([z, r, g]: &mut [Piece<T>; 3], inner: &mut Piece<T>, before: &Piece<T>, dh: &mut Piece<T>) {
    let one = T::one();
    for lane in 0..LANES {
        let to_g = dh[lane] * (one - z[lane]) * (one - g[lane] * g[lane]);
        let to_z = dh[lane] * (before[lane] - g[lane]);
        let to_r = to_g * inner[lane];
        dh[lane] *= z[lane];
        inner[lane] = to_g * r[lane];
        z[lane] = to_z * z[lane] * (one - z[lane]);
        r[lane] = to_r * r[lane] * (one - r[lane]);
        g[lane] = to_g;
    }
}
