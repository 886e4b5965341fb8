//! The long short-term memory and its gradient.

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
use crate::{Aliases, Arity, CpuCall, CudaCall, DType, Op, Result, Spec, Specs, View, ViewMut};
use std::ops::Range;

/// A long short-term memory over sequences, from gates `[batch, time, 4 · units]`, a recurrent kernel
/// `[units, 4 · units]`, the first states `h` and `c`, `[batch, units]`, and perhaps a mask `[batch, time]`.
///
/// Gives all `h`, all `c`, and the gates as they open, `[batch, time, 4 · units]`, which the gradient reads: to compute
/// them again would cost a third of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lstm {
    /// Whether there is a mask.
    pub masked: bool,
}

/// The gradient of [`Lstm`] with respect to gates, recurrent kernel and first states, from the opened gates, all `h`, all
/// `c`, the recurrent kernel, the first `h` and `c`, the gradients of all `h`, perhaps those of all `c`, and perhaps the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LstmGrad {
    /// Whether all `c` have a gradient.
    pub cell: bool,
    /// Whether there is a mask.
    pub masked: bool,
}

impl Op for Lstm {
    fn name(&self) -> &str {
        "lstm"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(4 + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (sizes, dtype) = (Sizes::new("lstm", 4, x[0], x[1])?, x[0].dtype);
        sizes.check_state("lstm", "the first h", x[2], dtype)?;
        sizes.check_state("lstm", "the first c", x[3], dtype)?;
        sizes.check_mask("lstm", self.masked, x)?;
        let states = sizes.steps(sizes.units, dtype)?;
        Ok([states, states, sizes.steps(sizes.width(), dtype)?].into())
    }

    /// A gate is read and then opened in its place.
    fn aliases(&self) -> Aliases {
        Aliases::Pairs(&[(0, 2)])
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        let sizes = Sizes::new("lstm", 4, x[0].spec(), x[1].spec())?;
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
        let sizes = Sizes::new("lstm", 4, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Lstm, masked: self.masked, cell: false };
        steps.forward(2, Some(3), None);
        Ok(())
    }
}

impl Lstm {
    fn forward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let [h, c, gates] = y else { unreachable!("an LSTM has three results") };
        let source = Source::<T>::new(&x[0])?;
        let (kernel, first_h, first_c) = (T::read(&x[1])?, T::read(&x[2])?, T::read(&x[3])?);
        let mask = if self.masked { Some(x[4].contiguous::<bool>()?) } else { None };
        let kernel = Packed::new(&kernel, [sizes.units, sizes.width()], false);
        T::write(h, |h| {
            T::write(c, |c| {
                T::write(gates, |gates| {
                    let places =
                        Places { x: source.shared(), h: Shared::new(h), c: Shared::new(c), gates: Shared::new(gates) };
                    for_rows(sizes, |rows| {
                        let mut h = Rows::of(Some(&first_h), &rows, sizes.units);
                        let mut c = Rows::of(Some(&first_c), &rows, sizes.units);
                        let mut z = Rows::zeros(rows.len(), sizes.width());
                        for t in 0..sizes.time {
                            kernel.multiply(&h, T::zero(), &mut z);
                            let (z, h, c) = (&mut z, &mut h, &mut c);
                            let (rows, mask) = (rows.clone(), mask.as_deref());
                            simd::dispatch_for::<T, _>(Step { sizes, t, rows, mask, places, z, h, c });
                        }
                    });
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
    c: Shared<T>,
    gates: Shared<T>,
}

/// What follows the product of a step, for some rows.
struct Step<'a, T> {
    sizes: &'a Sizes,
    t: usize,
    rows: Range<usize>,
    mask: Option<&'a [bool]>,
    places: Places<T>,
    z: &'a mut Rows<T>,
    h: &'a mut Rows<T>,
    c: &'a mut Rows<T>,
}

impl<T: Number> simd::Kernel for Step<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(mut self) {
        let units = self.sizes.units;
        for row in 0..self.rows.len() {
            let mut unit = 0;
            while unit + LANES <= units {
                // SAFETY: the row and the units are there.
                unsafe { self.piece(row, unit, LANES) }
                unit += LANES;
            }
            if unit < units {
                // SAFETY: the row and the units are there.
                unsafe { self.piece(row, unit, units - unit) }
            }
        }
    }
}

impl<T: Number> Step<'_, T> {
    /// The `n` units from `unit` on of a row.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn piece(&mut self, row: usize, unit: usize, n: usize) {
        let (units, width) = (self.sizes.units, self.sizes.width());
        let step = (self.rows.start + row) * self.sizes.time + self.t;
        let counts = self.mask.is_none_or(|mask| mask[step]);
        // SAFETY: rows are of one task, steps and units of one row lie inside; the four gates of a piece are read before
        // they are written, in case they lie there.
        unsafe {
            let (z, h, c) = (self.z.row(row).add(unit), self.h.row(row).add(unit), self.c.row(row).add(unit));
            let (x, gates) = (self.places.x.get().add(step * width + unit), self.places.gates.get());
            let gates = gates.add(step * width + unit);
            let (all_h, all_c) = (self.places.h.get(), self.places.c.get());
            let (all_h, all_c) = (all_h.add(step * units + unit), all_c.add(step * units + unit));
            let mut opened = [[T::zero(); LANES]; 4];
            for gate in 0..4 {
                opened[gate] = load(x.add(gate * units), n);
                add(&mut opened[gate], &load(z.add(gate * units), n));
                // The next step's come and go while this one is multiplied on.
                prefetch_line(x.wrapping_add(gate * units + width));
                prefetch_line(gates.wrapping_add(gate * units + width));
            }
            prefetch_line(all_h.wrapping_add(units));
            prefetch_line(all_c.wrapping_add(units));
            let (mut next_h, mut next_c) = (load(h, n), load(c, n));
            if counts {
                advance(&mut opened, &mut next_h, &mut next_c);
            } else {
                opened = [[T::zero(); LANES]; 4];
            }
            for gate in 0..4 {
                store(&opened[gate], gates.add(gate * units), n);
            }
            store(&next_h, h, n);
            store(&next_c, c, n);
            store(&next_h, all_h, n);
            store(&next_c, all_c, n);
        }
    }
}

/// From what opens the gates to how far they are open, and from one state to the next.
#[inline(always)]
fn advance<T: Number>([i, f, g, o]: &mut [Piece<T>; 4], h: &mut Piece<T>, c: &mut Piece<T>) {
    for lane in 0..LANES {
        i[lane] = Scalar::sigmoid(i[lane]);
        f[lane] = Scalar::sigmoid(f[lane]);
        g[lane] = Scalar::tanh(g[lane]);
        o[lane] = Scalar::sigmoid(o[lane]);
        c[lane] = f[lane] * c[lane] + i[lane] * g[lane];
        h[lane] = o[lane] * Scalar::tanh(c[lane]);
    }
}

impl Op for LstmGrad {
    fn name(&self) -> &str {
        "lstm_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(7 + usize::from(self.cell) + usize::from(self.masked))
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (name, dtype) = ("lstm_grad", x[0].dtype);
        let sizes = Sizes::new(name, 4, x[0], x[3])?;
        let all = [("h", x[1]), ("c", x[2]), ("the gradient of h", x[6])];
        for (what, spec) in all.into_iter().chain(self.cell.then(|| ("the gradient of c", x[7]))) {
            sizes.check_steps(name, what, spec, sizes.units, dtype)?;
        }
        sizes.check_state(name, "the first h", x[4], dtype)?;
        sizes.check_state(name, "the first c", x[5], dtype)?;
        sizes.check_mask(name, self.masked, x)?;
        let state = sizes.state(dtype)?;
        Ok([sizes.steps(sizes.width(), dtype)?, Spec::new(x[3].shape, dtype), state, state].into_iter().collect())
    }

    /// A gate is read, and then its gradient written in its place.
    fn aliases(&self) -> Aliases {
        Aliases::Pairs(&[(0, 0)])
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts_in_place();
        let sizes = Sizes::new("lstm_grad", 4, x[0].spec(), x[3].spec())?;
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
        let sizes = Sizes::new("lstm_grad", 4, specs[0], specs[1])?;
        let mut steps = Steps { call, sizes, layer: Layer::Lstm, masked: self.masked, cell: self.cell };
        steps.backward([3, 1, 4, 6], &[0, 2, 5], self.cell.then_some(7));
        Ok(())
    }
}

impl LstmGrad {
    fn backward<T: Number>(&self, sizes: &Sizes, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let [dz, du, dh0, dc0] = y else { unreachable!("the gradient of an LSTM has four results") };
        let gates = Source::<T>::new(&x[0])?;
        let (h, c, kernel) = (T::read(&x[1])?, T::read(&x[2])?, T::read(&x[3])?);
        let (first_h, first_c, dh) = (T::read(&x[4])?, T::read(&x[5])?, T::read(&x[6])?);
        let dc = if self.cell { Some(T::read(&x[7])?) } else { None };
        let mask = if self.masked { Some(x[x.len() - 1].contiguous::<bool>()?) } else { None };
        let kernel = Packed::new(&kernel, [sizes.width(), sizes.units], true);
        let mut previous = Scratch::arbitrary(sizes.batch * sizes.time * sizes.units);
        let shared_previous = Shared::new(&mut previous);
        let write = |dz: &mut [T], du: &mut [T], dh0: &mut [T], dc0: &mut [T]| {
            let (gates, shared) = (gates.shared(), Shared::new(dz));
            let (dh0, dc0) = (Shared::new(dh0), Shared::new(dc0));
            for_rows(sizes, |rows| {
                copy_previous(sizes, &rows, &h, &first_h, shared_previous);
                let mut carried_h = Rows::zeros(rows.len(), sizes.units);
                let mut carried_c = Rows::zeros(rows.len(), sizes.units);
                let mut step_dz = Rows::zeros(rows.len(), sizes.width());
                for t in (0..sizes.time).rev() {
                    simd::dispatch_for::<T, _>(StepBack {
                        sizes,
                        t,
                        rows: rows.clone(),
                        mask: mask.as_deref(),
                        gates,
                        c: &c,
                        first_c: &first_c,
                        dh: &dh,
                        dc: dc.as_deref(),
                        carried_h: &mut carried_h,
                        carried_c: &mut carried_c,
                        step_dz: &mut step_dz,
                        dz: shared,
                    });
                    kernel.multiply(&step_dz, T::one(), &mut carried_h);
                }
                carried_h.store(dh0, &rows, sizes.units);
                carried_c.store(dc0, &rows, sizes.units);
            });
            kernel_gradient(sizes, &previous, (dz, sizes.width()), [0, sizes.width()], du);
        };
        T::write(dz, |dz| {
            T::write(du, |du| {
                T::write(dh0, |dh0| {
                    T::write(dc0, |dc0| {
                        write(dz, du, dh0, dc0);
                        Ok(())
                    })
                })
            })
        })
    }
}

/// A step back for some rows, up to the product of the gates' gradients with the transposed kernel: `carried_h` is then
/// what the state before has besides.
struct StepBack<'a, T> {
    sizes: &'a Sizes,
    t: usize,
    rows: Range<usize>,
    mask: Option<&'a [bool]>,
    /// May lie where `dz` does.
    gates: Shared<T>,
    c: &'a [T],
    first_c: &'a [T],
    dh: &'a [T],
    dc: Option<&'a [T]>,
    carried_h: &'a mut Rows<T>,
    carried_c: &'a mut Rows<T>,
    step_dz: &'a mut Rows<T>,
    dz: Shared<T>,
}

impl<T: Number> simd::Kernel for StepBack<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(mut self) {
        let units = self.sizes.units;
        for row in 0..self.rows.len() {
            let mut unit = 0;
            while unit + LANES <= units {
                // SAFETY: the row and the units are there.
                unsafe { self.piece(row, unit, LANES) }
                unit += LANES;
            }
            if unit < units {
                // SAFETY: the row and the units are there.
                unsafe { self.piece(row, unit, units - unit) }
            }
        }
    }
}

impl<T: Number> StepBack<'_, T> {
    /// The `n` units from `unit` on of a row.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn piece(&mut self, row: usize, unit: usize, n: usize) {
        let (units, width) = (self.sizes.units, self.sizes.width());
        let sequence = self.rows.start + row;
        let step = sequence * self.sizes.time + self.t;
        let at = step * units + unit;
        let counts = self.mask.is_none_or(|mask| mask[step]);
        let before = match self.t {
            0 => &self.first_c[sequence * units + unit..],
            _ => &self.c[at - units..],
        };
        // SAFETY: rows are of one task, steps and units of one row lie inside; the four gates of a piece are read before
        // their gradients are written, in case they lie there.
        unsafe {
            let (carried_h, carried_c) = (self.carried_h.row(row).add(unit), self.carried_c.row(row).add(unit));
            let step_dz = self.step_dz.row(row).add(unit);
            let [from, to] = [self.gates, self.dz].map(|all| all.get().add(step * width + unit));
            let (mut dh, mut dc) = (load(carried_h, n), load(carried_c, n));
            add(&mut dh, &load(self.dh[at..].as_ptr(), n));
            if let Some(more) = self.dc {
                add(&mut dc, &load(more[at..].as_ptr(), n));
            }
            // The step before comes and goes while this one is multiplied on.
            for gate in 0..4 {
                prefetch_line(from.wrapping_add(gate * units).wrapping_sub(width));
                prefetch_line(to.wrapping_add(gate * units).wrapping_sub(width));
            }
            prefetch_line(self.dh.as_ptr().wrapping_add(at).wrapping_sub(units));
            prefetch_line(self.c.as_ptr().wrapping_add(at).wrapping_sub(2 * units));
            let mut gates = [[T::zero(); LANES]; 4];
            if counts {
                for gate in 0..4 {
                    gates[gate] = load(from.add(gate * units), n);
                }
                let c = load(self.c[at..].as_ptr(), n);
                retreat(&mut gates, &c, &load(before.as_ptr(), n), &mut dh, &mut dc);
            }
            for gate in 0..4 {
                store(&gates[gate], step_dz.add(gate * units), n);
                store(&gates[gate], to.add(gate * units), n);
            }
            store(&dh, carried_h, n);
            store(&dc, carried_c, n);
        }
    }
}

/// From opened gates to the gradients of what opened them; `dh` and `dc` become those of the states before, as far as they
/// do not pass the gates.
#[inline(always)]
fn retreat<T: Number>(
    [i, f, g, o]: &mut [Piece<T>; 4],
    c: &Piece<T>,
    before: &Piece<T>,
    dh: &mut Piece<T>,
    dc: &mut Piece<T>,
) {
    let one = T::one();
    for lane in 0..LANES {
        let y = Scalar::tanh(c[lane]);
        let to_c = dc[lane] + dh[lane] * o[lane] * (one - y * y);
        let (to_i, to_f) = (to_c * g[lane], to_c * before[lane]);
        let (to_g, to_o) = (to_c * i[lane], dh[lane] * y);
        dc[lane] = to_c * f[lane];
        dh[lane] = T::zero();
        i[lane] = to_i * i[lane] * (one - i[lane]);
        f[lane] = to_f * f[lane] * (one - f[lane]);
        g[lane] = to_g * (one - g[lane] * g[lane]);
        o[lane] = to_o * o[lane] * (one - o[lane]);
    }
}
