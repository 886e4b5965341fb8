//! Normalization on a CPU. Where each group lies in a row of its own, it is normalized while the row is in the cache. Else
//! blocks of fixed size are folded into moments of their own, which are joined in order: neither the number of threads nor
//! the instruction set changes a bit.

use super::op::{Form, Normalize, Weights};
use crate::cpu::lanes::{by_halves, totals};
use crate::cpu::scratch::Scratch;
use crate::cpu::{parallel, simd};
use crate::scalar::Real;
use crate::{Element, Result, View, ViewMut};

/// Elements that a thread takes at a time.
const CHUNK: usize = 8192;
/// Rows of a block at least, where groups lie side by side.
const ROWS: usize = 16;
/// Parts that the gradients of weights of places are summed in, at most.
const PARTS: usize = 64;
/// Additions that an element costs.
const COST: usize = 4;

/// A weight or a bias in the type that is computed in.
fn loaded<T: Element, C: Real>(x: Option<&View<'_>>, count: usize, default: f64) -> Result<Scratch<C>> {
    Ok(match x {
        Some(x) => x.contiguous::<T>()?.iter().map(|&x| C::load(x)).collect(),
        None => Scratch::filled(count, C::lit(default)),
    })
}

/// One over the deviation.
#[inline(always)]
fn scale<C: Real>(variance: C, eps: f64) -> C {
    C::lit(1.0) / (variance + C::lit(eps)).sqrt()
}

/// [`Normalize`]: `x`, weight and bias to `y`, means and variances.
pub(super) fn normalize<T: Element, C: Real + Element>(
    op: &Normalize,
    x: &[View<'_>],
    y: &mut [ViewMut<'_>],
) -> Result<()> {
    let (form, weights) = op.form(x[0].shape(), x.get(1).map(View::shape));
    let [y, means, variances] = y else { unreachable!("an operation of three results") };
    let (means, variances) = (means.slice::<C>()?, variances.slice::<C>()?);
    let count = C::lit(form.count() as f64);
    if x[0].shape().count() == 0 {
        [means, variances].into_iter().for_each(|of| of.fill(C::lit(f64::NAN)));
        return Ok(());
    }
    let per = if weights == Some(Weights::Places) { form.near } else { form.groups() };
    let (weight, bias) = (loaded::<T, C>(x.get(1), per, 1.0)?, loaded::<T, C>(x.get(2), per, 0.0)?);
    let (x, y) = (x[0].contiguous::<T>()?, parallel::Shared::new(y.slice::<T>()?));
    if form.is_rows() {
        let (means, variances) = (parallel::Shared::new(means), parallel::Shared::new(variances));
        parallel::for_chunks(form.groups(), (CHUNK / form.near).max(1), COST * form.near, |start, end| {
            // SAFETY: chunks are disjoint rows, each of which has its own moments.
            let (y, [means, variances]) = unsafe {
                (y.slice(start * form.near, end * form.near), [means, variances].map(|of| of.slice(start, end)))
            };
            let x = &x[start * form.near..end * form.near];
            let (buffer, of) = (&mut Scratch::arbitrary(form.near), Affine::of(weights, &weight, &bias, start));
            simd::dispatch_for::<T, _>(Rows { op, x, y, means, variances, of, buffer });
        });
        return Ok(());
    }
    let blocks = Blocks::of(form);
    let parts = blocks.fold([C::lit(0.0); 2], COST, |block, parts| {
        let x = &x[blocks.elements(block)];
        simd::dispatch_for::<T, _>(Moments { centered: op.centered, form, x, parts });
    });
    for group in 0..form.groups() {
        let parts = blocks.of_group(group).map(|(block, part)| (parts[part], blocks.rows(block).len() * form.near));
        let Some(([mean, squares], _)) = by_halves(parts, join) else { unreachable!("a group has elements") };
        (means[group], variances[group]) = (mean, squares / count);
    }
    let (means, variances) = (&*means, &*variances);
    let factors: Scratch<C> = (0..form.groups()).map(|g| scale(variances[g], op.eps) * weight[g]).collect();
    blocks.for_each(COST, |block| {
        let range = blocks.elements(block);
        let groups = blocks.groups(block);
        // SAFETY: blocks are disjoint.
        let y = unsafe { y.slice(range.start, range.end) };
        let [means, factors, bias] = [means, &factors, &bias].map(|of| &of[groups.clone()]);
        simd::dispatch_for::<T, _>(Apply { form, x: &x[range], means, factors, bias, y });
    });
    Ok(())
}

/// Means and sums of squares around them, of so many elements.
type Part<C> = ([C; 2], usize);

/// The moments of the elements of both (Chan et al. 1979).
#[inline(always)]
fn join<C: Real>(([mean, squares], seen): Part<C>, ([m, s], more): Part<C>) -> Part<C> {
    if seen == 0 {
        return ([m, s], more);
    }
    let share = more as f64 / (seen + more) as f64;
    let apart = m - mean;
    let squares = squares + s + apart * apart * C::lit(share * seen as f64);
    // The distance from what is infinite says nothing.
    let far = mean * C::lit(1.0 - share) + m * C::lit(share);
    let mean = C::select(apart.abs().lt(C::lit(f64::INFINITY)), mean + apart * C::lit(share), far);
    ([mean, squares], seen + more)
}

/// Blocks of neighbouring rows `[inner, near]` with the same `outer`: how a tensor is shared out where its groups do not lie
/// one after the other.
#[derive(Clone, Copy)]
struct Blocks {
    form: Form,
    /// Rows of a block.
    rows: usize,
    /// Blocks with the same `outer`.
    count: usize,
}

impl Blocks {
    fn of(form: Form) -> Blocks {
        let least = if form.near == 1 { ROWS } else { 1 };
        let rows = (CHUNK / (form.inner * form.near)).max(least).min(form.far);
        Blocks { form, rows, count: form.far.div_ceil(rows) }
    }

    /// Of its `far` rows those of a block.
    fn rows(self, block: usize) -> std::ops::Range<usize> {
        let first = block % self.count * self.rows;
        first..(first + self.rows).min(self.form.far)
    }

    fn elements(self, block: usize) -> std::ops::Range<usize> {
        let (row, first) = (self.form.inner * self.form.near, block / self.count * self.form.far);
        let rows = self.rows(block);
        (first + rows.start) * row..(first + rows.end) * row
    }

    fn groups(self, block: usize) -> std::ops::Range<usize> {
        let first = block / self.count * self.form.inner;
        first..first + self.form.inner
    }

    /// The blocks that hold elements of a group, and where what was folded of it lies.
    fn of_group(self, group: usize) -> impl Iterator<Item = (usize, usize)> {
        let (outer, inner) = (group / self.form.inner, group % self.form.inner);
        (outer * self.count..(outer + 1) * self.count).map(move |block| (block, block * self.form.inner + inner))
    }

    fn for_each(self, cost: usize, task: impl Fn(usize) + Sync) {
        let elements = self.rows * self.form.inner * self.form.near;
        parallel::for_chunks(self.form.outer * self.count, 1, cost * elements, |start, end| {
            (start..end).for_each(&task)
        });
    }

    /// What `task` makes of each block, in order.
    fn fold<S: Copy + Send>(self, empty: S, cost: usize, task: impl Fn(usize, &mut [S]) + Sync) -> Scratch<S> {
        let inner = self.form.inner;
        let mut parts = Scratch::filled(self.form.outer * self.count * inner, empty);
        let shared = parallel::Shared::new(&mut parts);
        // SAFETY: blocks have parts of their own.
        self.for_each(cost, |block| task(block, unsafe { shared.slice(block * inner, (block + 1) * inner) }));
        parts
    }
}

/// Weights and biases.
#[derive(Clone, Copy)]
enum Affine<'a, C> {
    /// Of each row.
    Rows(&'a [C], &'a [C]),
    /// Of each place in a row.
    Places(&'a [C], &'a [C]),
}

impl<'a, C> Affine<'a, C> {
    /// For rows from `start` on.
    fn of(weights: Option<Weights>, weight: &'a [C], bias: &'a [C], start: usize) -> Affine<'a, C> {
        match weights {
            Some(Weights::Places) => Affine::Places(weight, bias),
            _ => Affine::Rows(&weight[start..], &bias[start..]),
        }
    }
}

/// The mean of a row and the sum of the squares around it.
#[inline(always)]
fn moments<C: Real>(row: &[C], centered: bool) -> [C; 2] {
    let mut mean = C::lit(0.0);
    if centered {
        let from = near(row[0]);
        mean = from + totals(row, row, |x, _| [x - from])[0] / C::lit(row.len() as f64);
    }
    let [squares] = totals(row, row, |x, _| [(x - mean) * (x - mean)]);
    [mean, squares]
}

/// Where the mean of numbers of which this is one is sought from: what rounding takes from a sum of distances is as small as they are.
/// A constant has no distances, and so it is its own mean.
#[inline(always)]
fn near<C: Real>(x: C) -> C {
    C::select(x.abs().lt(C::lit(f64::INFINITY)), x, C::lit(0.0))
}

#[inline(always)]
fn load_row<T: Element, C: Real>(row: &[T], to: &mut [C]) {
    for i in 0..to.len().min(row.len()) {
        to[i] = C::load(row[i]);
    }
}

/// Rows that are normalized each by itself.
struct Rows<'a, T, C> {
    op: &'a Normalize,
    x: &'a [T],
    y: &'a mut [T],
    means: &'a mut [C],
    variances: &'a mut [C],
    of: Affine<'a, C>,
    /// For one row.
    buffer: &'a mut [C],
}

impl<T: Element, C: Real> simd::Kernel for Rows<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Rows { op, x, y, means, variances, of, buffer } = self;
        let n = buffer.len();
        for row in 0..means.len() {
            load_row(&x[row * n..][..n], buffer);
            let [mean, squares] = moments(buffer, op.centered);
            let variance = squares / C::lit(n as f64);
            (means[row], variances[row]) = (mean, variance);
            let (y, factor) = (&mut y[row * n..][..n], scale(variance, op.eps));
            match of {
                Affine::Rows(weight, bias) => {
                    let (factor, bias) = (factor * weight[row], bias[row]);
                    for i in 0..n {
                        y[i] = ((buffer[i] - mean) * factor + bias).store();
                    }
                }
                Affine::Places(weight, bias) => {
                    let (weight, bias) = (&weight[..n], &bias[..n]);
                    for i in 0..n {
                        y[i] = ((buffer[i] - mean) * factor * weight[i] + bias[i]).store();
                    }
                }
            }
        }
    }
}

/// The means of a block's groups and the sums of the squares around them.
struct Moments<'a, T, C> {
    centered: bool,
    form: Form,
    x: &'a [T],
    parts: &'a mut [[C; 2]],
}

impl<T: Element, C: Real> simd::Kernel for Moments<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Moments { centered, form: Form { inner, near, .. }, x, parts } = self;
        if near > 1 {
            let mut buffer = Scratch::arbitrary(near);
            for (row, x) in x.chunks_exact(inner * near).enumerate() {
                for group in 0..inner {
                    load_row(&x[group * near..][..near], &mut buffer);
                    let part = (moments(&buffer, centered), near);
                    (parts[group], _) = join((parts[group], row * near), part);
                }
            }
            return;
        }
        let mut at = 0;
        while at < inner {
            match inner - at {
                64.. => at += columns::<_, _, 64>(x, inner, at, centered, parts),
                32.. => at += columns::<_, _, 32>(x, inner, at, centered, parts),
                8.. => at += columns::<_, _, 8>(x, inner, at, centered, parts),
                _ => at += columns::<_, _, 1>(x, inner, at, centered, parts),
            }
        }
    }
}

/// The moments of `W` columns from `at` on, whose sums stay in registers; gives how many they are.
#[inline(always)]
fn columns<T: Element, C: Real, const W: usize>(
    x: &[T],
    inner: usize,
    at: usize,
    centered: bool,
    parts: &mut [[C; 2]],
) -> usize {
    let rows = C::lit((x.len() / inner) as f64);
    let (mut from, mut sums, mut means) = ([C::lit(0.0); W], [C::lit(0.0); W], [C::lit(0.0); W]);
    if centered {
        for i in 0..W {
            from[i] = near(C::load(x[at + i]));
        }
    }
    for x in x.chunks_exact(inner).take(if centered { usize::MAX } else { 0 }) {
        let x = &x[at..at + W];
        for i in 0..W {
            sums[i] = sums[i] + (C::load(x[i]) - from[i]);
        }
    }
    for i in 0..W {
        means[i] = from[i] + sums[i] / rows;
    }
    let mut squares = [C::lit(0.0); W];
    for x in x.chunks_exact(inner) {
        let x = &x[at..at + W];
        for i in 0..W {
            let apart = C::load(x[i]) - means[i];
            squares[i] = squares[i] + apart * apart;
        }
    }
    for (i, part) in parts[at..at + W].iter_mut().enumerate() {
        *part = [means[i], squares[i]];
    }
    W
}

/// `(x - mean) · factor + bias` of a block.
struct Apply<'a, T, C> {
    form: Form,
    x: &'a [T],
    means: &'a [C],
    factors: &'a [C],
    bias: &'a [C],
    y: &'a mut [T],
}

impl<T: Element, C: Real> simd::Kernel for Apply<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Apply { form: Form { inner, near, .. }, x, means, factors, bias, y } = self;
        let (means, factors, bias) = (&means[..inner], &factors[..inner], &bias[..inner]);
        if near == 1 {
            for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
                for i in 0..inner {
                    y[i] = ((C::load(x[i]) - means[i]) * factors[i] + bias[i]).store();
                }
            }
            return;
        }
        for (row, (x, y)) in x.chunks_exact(near).zip(y.chunks_exact_mut(near)).enumerate() {
            let group = row % inner;
            let (mean, factor, bias) = (means[group], factors[group], bias[group]);
            for i in 0..near {
                y[i] = ((C::load(x[i]) - mean) * factor + bias).store();
            }
        }
    }
}

/// [`NormalizeGrad`](super::NormalizeGrad): `x`, means, variances, `dy` and the weight to the gradients of `x`, weight and bias.
///
/// With `z` the normalized `x` and `w·dy` in place of `dy`: `dx = (dy - mean of dy - z · mean of dy·z) / deviation`.
pub(super) fn gradients<T: Element, C: Real + Element>(
    op: &Normalize,
    x: &[View<'_>],
    y: &mut [ViewMut<'_>],
) -> Result<()> {
    let (form, weights) = op.form(x[0].shape(), x.get(4).map(View::shape));
    let [dx, of_weights @ ..] = y else { unreachable!("one result at least") };
    let mut store = |i: usize, sums: &mut dyn Iterator<Item = C>| -> Result<()> {
        if let Some(of) = of_weights.get_mut(i) {
            of.slice::<T>()?.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.store());
        }
        Ok(())
    };
    if x[0].shape().count() == 0 {
        let zeros = || std::iter::repeat(C::lit(0.0));
        store(0, &mut zeros())?;
        return store(1, &mut zeros());
    }
    let per = if weights == Some(Weights::Places) { form.near } else { form.groups() };
    let weight = loaded::<T, C>(x.get(4), per, 1.0)?;
    let (means, variances) = (x[1].contiguous::<C>()?, x[2].contiguous::<C>()?);
    let factors: Scratch<C> = variances.iter().map(|&variance| scale(variance, op.eps)).collect();
    let (x, dy) = (x[0].contiguous::<T>()?, x[3].contiguous::<T>()?);
    let dx = parallel::Shared::new(dx.slice::<T>()?);
    let back = Back { op, form, means: &means, factors: &factors, weight: &weight };
    if form.is_rows() {
        let n = form.near;
        let places = weights == Some(Weights::Places);
        let least = if places { form.groups().div_ceil(PARTS).max(ROWS / 4) } else { 1 };
        let chunk = least.max(CHUNK / n);
        // Of each group its sums, or of each chunk those of the places: all of `dy`, then all of `dy · z`.
        let parts = if places { form.groups().div_ceil(chunk) * n } else { form.groups() };
        let mut sums = Scratch::filled(parts, [C::lit(0.0); 2]);
        let shared = parallel::Shared::new(&mut sums);
        parallel::for_chunks(form.groups(), chunk, 2 * COST * n, |start, end| {
            let (from, to) = if places { (start / chunk * n, (start / chunk + 1) * n) } else { (start, end) };
            // SAFETY: chunks are disjoint, and so is what they sum.
            let (dx, sums) = unsafe { (dx.slice(start * n, end * n), shared.slice(from, to)) };
            let [x, dy] = [&x, &dy].map(|of| &of[start * n..end * n]);
            let buffers = &mut Scratch::filled(n, [C::lit(0.0); 2]);
            simd::dispatch_for::<T, _>(RowsBack { back, places, first: start, x, dy, dx, sums, buffers });
        });
        let total = |which: usize, i: usize| match places {
            true => {
                let parts = sums.as_flattened().iter().skip(which * n + i).step_by(2 * n);
                by_halves(parts.copied(), |a, b| a + b).unwrap_or(C::lit(0.0))
            }
            false => sums[i][which],
        };
        store(0, &mut (0..per).map(|i| total(1, i)))?;
        return store(1, &mut (0..per).map(|i| total(0, i)));
    }
    let blocks = Blocks::of(form);
    let parts = blocks.fold([C::lit(0.0); 2], COST, |block, sums| {
        let [x, dy] = [&x, &dy].map(|of| &of[blocks.elements(block)]);
        simd::dispatch_for::<T, _>(Sums { back: back.of(blocks.groups(block)), x, dy, sums });
    });
    let sums: Scratch<[C; 2]> = (0..form.groups())
        .map(|group| {
            let of_group = blocks.of_group(group).map(|(_, part)| parts[part]);
            by_halves(of_group, |a, b| [a[0] + b[0], a[1] + b[1]]).unwrap_or([C::lit(0.0); 2])
        })
        .collect();
    store(0, &mut sums.iter().map(|sums| sums[1]))?;
    store(1, &mut sums.iter().map(|sums| sums[0]))?;
    blocks.for_each(COST, |block| {
        let (range, groups) = (blocks.elements(block), blocks.groups(block));
        let [x, dy] = [&x, &dy].map(|of| &of[range.clone()]);
        // SAFETY: blocks are disjoint.
        let dx = unsafe { dx.slice(range.start, range.end) };
        simd::dispatch_for::<T, _>(ApplyBack { back: back.of(groups.clone()), sums: &sums[groups], x, dy, dx });
    });
    Ok(())
}

/// What a gradient needs of the groups.
#[derive(Clone, Copy)]
struct Back<'a, C> {
    op: &'a Normalize,
    form: Form,
    means: &'a [C],
    /// One over the deviations.
    factors: &'a [C],
    weight: &'a [C],
}

impl<C: Real> Back<'_, C> {
    /// Some groups, with weights of groups.
    fn of(&self, groups: std::ops::Range<usize>) -> Self {
        let [means, factors, weight] = [self.means, self.factors, self.weight].map(|of| &of[groups.clone()]);
        Back { means, factors, weight, ..*self }
    }

    /// Of the sums of `dy` and of `dy · z` of a group: what `dx` needs, so that `dx = (dy - a - (x - mean) · b) · factor`.
    #[inline(always)]
    fn slopes(&self, [plain, along]: [C; 2], factor: C) -> [C; 2] {
        let count = C::lit(self.form.count() as f64);
        [if self.op.centered { plain / count } else { C::lit(0.0) }, along / count * factor]
    }
}

/// The gradients of rows, and the sums of `dy` and `dy · z` for those of the weights.
struct RowsBack<'a, T, C> {
    back: Back<'a, C>,
    /// Whether weights belong to places.
    places: bool,
    /// The first row.
    first: usize,
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    sums: &'a mut [[C; 2]],
    /// For a row, and its gradient.
    buffers: &'a mut [[C; 2]],
}

impl<T: Element, C: Real> simd::Kernel for RowsBack<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let RowsBack { back, places, first, x, dy, dx, sums, buffers } = self;
        let n = back.form.near;
        let (from_mean, slope) = buffers.as_flattened_mut().split_at_mut(n);
        let (from_mean, slope) = (&mut from_mean[..n], &mut slope[..n]);
        for row in 0..x.len() / n {
            let (mean, factor) = (back.means[first + row], back.factors[first + row]);
            let [x, dy] = [x, dy].map(|of| &of[row * n..][..n]);
            let dx = &mut dx[row * n..][..n];
            let mut scale = factor;
            if places {
                let weight = &back.weight[..n];
                let (plain, along) = sums.as_flattened_mut().split_at_mut(n);
                let (plain, along) = (&mut plain[..n], &mut along[..n]);
                for i in 0..n {
                    let (apart, dy) = (C::load(x[i]) - mean, C::load(dy[i]));
                    plain[i] = plain[i] + dy;
                    along[i] = along[i] + dy * (apart * factor);
                    (from_mean[i], slope[i]) = (apart, dy * weight[i]);
                }
            } else {
                for i in 0..n {
                    (from_mean[i], slope[i]) = (C::load(x[i]) - mean, C::load(dy[i]));
                }
                scale = factor * back.weight[first + row];
            }
            let [plain, along] = totals(slope, from_mean, |slope, apart| [slope, slope * apart]);
            let of_row = [plain, along * factor];
            if !places {
                sums[row] = of_row;
            }
            let [a, b] = back.slopes(of_row, factor);
            for i in 0..n {
                dx[i] = ((slope[i] - a - from_mean[i] * b) * scale).store();
            }
        }
    }
}

/// The sums of `dy` and `dy · z` of a block's groups.
struct Sums<'a, T, C> {
    back: Back<'a, C>,
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut [[C; 2]],
}

impl<T: Element, C: Real> simd::Kernel for Sums<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Sums { back: Back { form: Form { inner, near, .. }, means, factors, .. }, x, dy, sums } = self;
        let (means, factors, sums) = (&means[..inner], &factors[..inner], &mut sums[..inner]);
        if near > 1 {
            for (row, (x, dy)) in x.chunks_exact(near).zip(dy.chunks_exact(near)).enumerate() {
                let group = row % inner;
                let mean = means[group];
                let [plain, along] = totals(x, dy, |x, dy| [C::load(dy), C::load(dy) * (C::load(x) - mean)]);
                sums[group] = [sums[group][0] + plain, sums[group][1] + along];
            }
        } else {
            let (mut plain, mut along) = (Scratch::filled(inner, C::lit(0.0)), Scratch::filled(inner, C::lit(0.0)));
            let (plain, along) = (&mut plain[..inner], &mut along[..inner]);
            for (x, dy) in x.chunks_exact(inner).zip(dy.chunks_exact(inner)) {
                for i in 0..inner {
                    let dy = C::load(dy[i]);
                    plain[i] = plain[i] + dy;
                    along[i] = along[i] + dy * (C::load(x[i]) - means[i]);
                }
            }
            for i in 0..inner {
                sums[i] = [plain[i], along[i]];
            }
        }
        for i in 0..inner {
            sums[i][1] = sums[i][1] * factors[i];
        }
    }
}

/// The gradients of a block.
struct ApplyBack<'a, T, C> {
    back: Back<'a, C>,
    sums: &'a [[C; 2]],
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element, C: Real> simd::Kernel for ApplyBack<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let ApplyBack { back, sums, x, dy, dx } = self;
        let Back { form: Form { inner, near, .. }, means, factors, weight, .. } = back;
        let zeros = || Scratch::filled(inner, C::lit(0.0));
        let [mut a, mut b, mut scale] = [zeros(), zeros(), zeros()];
        let [a, b, scale] = [&mut a, &mut b, &mut scale].map(|of| &mut of[..inner]);
        for i in 0..inner {
            [a[i], b[i]] = back.slopes(sums[i], factors[i]);
            scale[i] = factors[i] * weight[i];
        }
        let means = &means[..inner];
        if near == 1 {
            let rows = x.chunks_exact(inner).zip(dy.chunks_exact(inner)).zip(dx.chunks_exact_mut(inner));
            for ((x, dy), dx) in rows {
                for i in 0..inner {
                    dx[i] = ((C::load(dy[i]) - a[i] - (C::load(x[i]) - means[i]) * b[i]) * scale[i]).store();
                }
            }
            return;
        }
        let rows = x.chunks_exact(near).zip(dy.chunks_exact(near)).zip(dx.chunks_exact_mut(near));
        for (row, ((x, dy), dx)) in rows.enumerate() {
            let group = row % inner;
            let (mean, a, b, scale) = (means[group], a[group], b[group], scale[group]);
            for i in 0..near {
                dx[i] = ((C::load(dy[i]) - a - (C::load(x[i]) - mean) * b) * scale).store();
            }
        }
    }
}
