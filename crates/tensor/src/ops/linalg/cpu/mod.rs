//! Factorizations on a CPU, in double precision for every element type, one matrix of a batch a task. Textbook algorithms
//! (Golub and Van Loan, Matrix Computations), row by row within blocks of [`BLOCK`], beyond which they are products.

mod rows;
mod spectrum;

pub(super) use spectrum::{eigh, svd};

use self::rows::{Matrix, add_rows, add_to_rows, dot, multiply};
use super::Triangle;
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::{Result, View, ViewMut, with_element};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows or columns that are worked on one by one before the rest of a matrix hears of them, all at once.
const BLOCK: usize = 32;

/// The blocks of `n` rows or columns, from the first to the last.
fn blocks(n: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |first| first..n.min(first + BLOCK))
}

/// Some columns of a matrix of rows of length `n`.
fn columns(a: &[f64], n: usize, which: Range<usize>) -> Vec<f64> {
    a.chunks(n).flat_map(|row| &row[which.clone()]).copied().collect()
}

/// Calls `f` with the operands and results of each matrix of a batch, and says which one it first was false for.
pub(super) fn each<const IN: usize, const OUT: usize>(
    x: &[View<'_>],
    y: &mut [ViewMut<'_>],
    cost: usize,
    f: impl Fn([&[f64]; IN], [&mut [f64]; OUT]) -> bool + Sync,
) -> Result<Option<usize>> {
    let shape = x[0].shape();
    let count: usize = shape[..shape.rank() - 2].iter().product();
    if count == 0 {
        return Ok(None);
    }
    let inputs = x.iter().map(doubles).collect::<Result<Vec<_>>>()?;
    let mut outputs: Vec<Scratch<f64>> = y.iter().map(|y| Scratch::filled(y.shape().count(), 0.0)).collect();
    let lengths: [usize; OUT] = std::array::from_fn(|i| outputs[i].len() / count);
    let shared: Vec<_> = outputs.iter_mut().map(|y| parallel::Shared::new(y)).collect();
    let failed = AtomicUsize::new(usize::MAX);
    parallel::for_chunks(count, 1, cost.max(1), |number, _| {
        let part = |x: &Scratch<f64>| x.len() / count * number..x.len() / count * (number + 1);
        let inputs = std::array::from_fn(|i| &inputs[i][part(&inputs[i])]);
        let one = |i: usize| lengths[i] * number..lengths[i] * (number + 1);
        // SAFETY: each matrix has a part of its own of each result.
        let outputs = std::array::from_fn(|i| unsafe { shared[i].slice(one(i).start, one(i).end) });
        if !f(inputs, outputs) {
            failed.fetch_min(number, Ordering::Relaxed);
        }
    });
    for (y, from) in y.iter_mut().zip(&outputs) {
        with_element!(y.dtype(), T => {
            y.slice::<T>()?.iter_mut().zip(&**from).for_each(|(y, &x)| *y = <T as crate::Element>::from_f64(x));
        });
    }
    let failed = failed.into_inner();
    Ok((failed < count).then_some(failed))
}

fn doubles(x: &View<'_>) -> Result<Scratch<f64>> {
    with_element!(x.dtype(), T => Ok(x.contiguous::<T>()?.iter().map(|x| crate::Element::to_f64(*x)).collect()))
}

/// Elimination with exchanges of rows, in place: the multipliers below the diagonal, what is left on it and above. Returns
/// the order of the rows, and whether it is an odd one.
fn eliminate(n: usize, a: &mut [f64]) -> (Vec<usize>, bool) {
    let (mut order, mut odd, mut factors): (Vec<usize>, bool, Vec<f64>) = ((0..n).collect(), false, Vec::new());
    for block in blocks(n) {
        let end = block.end;
        for k in block.clone() {
            let size = |i: &usize| a[i * n + k].abs();
            let pivot = (k..n).reduce(|best, i| if size(&i) > size(&best) { i } else { best }).unwrap_or(k);
            if pivot != k {
                let (above, below) = a.split_at_mut(pivot * n);
                above[k * n..][..n].swap_with_slice(&mut below[..n]);
                order.swap(k, pivot);
                odd = !odd;
            }
            let (above, below) = a.split_at_mut((k + 1) * n);
            let (row, pivot) = (&above[k * n..][k + 1..end], above[k * n + k]);
            if pivot != 0.0 {
                below.iter_mut().skip(k).step_by(n).for_each(|x| *x /= pivot);
                factors.clear();
                factors.extend(below.iter().skip(k).step_by(n));
                if !row.is_empty() && !factors.is_empty() {
                    add_to_rows(&mut below[k + 1..], n, -1.0, &factors, row);
                }
            }
        }
        if end == n {
            break;
        }
        for i in block.clone() {
            let (above, row) = a.split_at_mut(i * n);
            let (known, rest) = row[..n].split_at_mut(end);
            add_rows(rest, -1.0, &known[block.start..i], above.get(block.start * n + end..).unwrap_or(&[]), n);
        }
        let (above, below) = a.split_at_mut(end * n);
        let multipliers = columns(below, n, block.clone());
        let (multipliers, rows) = (Matrix::rows(&multipliers, BLOCK), Matrix::rows(&above[block.start * n + end..], n));
        multiply([n - end, n - end, BLOCK], -1.0, multipliers, rows, 1.0, &mut below[end..], n);
    }
    (order, odd)
}

pub(super) fn solve(n: usize, a: &[f64], b: &[f64], y: &mut [f64]) -> bool {
    let mut a = a.to_vec();
    let (order, _) = eliminate(n, &mut a);
    let width = b.len().checked_div(n).unwrap_or(0);
    if width == 0 {
        return true;
    }
    for (y, from) in y.chunks_exact_mut(width).zip(order) {
        y.copy_from_slice(&b[from * width..][..width]);
    }
    substitute(n, &a, y, Triangle::Lower, true) && substitute(n, &a, y, Triangle::Upper, false)
}

/// Solves a triangular system in place. False where the diagonal has a 0.
pub(super) fn substitute(n: usize, a: &[f64], y: &mut [f64], triangle: Triangle, unit_diagonal: bool) -> bool {
    let width = y.len().checked_div(n).unwrap_or(0);
    if !unit_diagonal && (0..n).any(|i| a[i * n + i] == 0.0) {
        return false;
    }
    if width == 0 {
        return true;
    }
    let mut substitute = |block: Range<usize>| {
        // What is known, and what of the block's rows belongs to it.
        let (before, rest) = y.split_at_mut(block.start * width);
        let (y, after) = rest.split_at_mut(block.len() * width);
        let (x, known) = match triangle {
            Triangle::Lower => (&*before, 0..block.start),
            Triangle::Upper => (&*after, block.end..n),
        };
        if !known.is_empty() {
            let factors = Matrix::rows(&a[block.start * n + known.start..], n);
            multiply([block.len(), width, known.len()], -1.0, factors, Matrix::rows(x, width), 1.0, y, width);
        }
        for step in 0..block.len() {
            let (at, known) = match triangle {
                Triangle::Lower => (step, 0..step),
                Triangle::Upper => (block.len() - 1 - step, block.len() - step..block.len()),
            };
            let row = &a[(block.start + at) * n + block.start..][..block.len()];
            let (above, rest) = y.split_at_mut(at * width);
            let (y, below) = rest.split_at_mut(width);
            add_rows(y, -1.0, &row[known], if triangle == Triangle::Lower { above } else { below }, width);
            if !unit_diagonal {
                y.iter_mut().for_each(|y| *y /= row[at]);
            }
        }
    };
    match triangle {
        Triangle::Lower => blocks(n).for_each(&mut substitute),
        Triangle::Upper => blocks(n).rev().for_each(&mut substitute),
    }
    true
}

/// Calls `then` with numbers whose product is the determinant.
pub(super) fn determinant(n: usize, a: &[f64], then: impl FnOnce(&mut dyn Iterator<Item = f64>)) -> bool {
    let mut a = a.to_vec();
    let (_, odd) = eliminate(n, &mut a);
    then(&mut (0..n).map(|i| a[i * n + i]).chain(odd.then_some(-1.0)));
    true
}

/// False where the matrix is not positive definite.
pub(super) fn cholesky(n: usize, a: &[f64], l: &mut [f64]) -> bool {
    for (i, (row, a)) in l.chunks_mut(n.max(1)).zip(a.chunks(n.max(1))).enumerate() {
        row[..=i].copy_from_slice(&a[..=i]);
    }
    for block in blocks(n) {
        // By itself: a column of long rows lies in few sets of a cache.
        let (mut panel, width) = (columns(&l[block.start * n..], n, block.clone()), block.len());
        for j in 0..width {
            let (above, below) = panel.split_at_mut((j + 1) * width);
            let left = above[j * width + j];
            // NaN is passed on; only a number can tell.
            if left <= 0.0 {
                return false;
            }
            let root = left.sqrt();
            above[j * width + j] = root;
            below.iter_mut().skip(j).step_by(width).for_each(|x| *x /= root);
            let factors: Vec<f64> = below.iter().skip(j).step_by(width).copied().collect();
            if j + 1 < width {
                add_to_rows(&mut below[j + 1..], width, -1.0, &factors, &factors[..width - j - 1]);
            }
        }
        for (row, from) in l[block.start * n..].chunks_mut(n).zip(panel.chunks(width)) {
            row[block.clone()].copy_from_slice(from);
        }
        // Of the part above the diagonal as little as whole blocks have, and nothing counts there.
        let below = &mut l[block.end * n..];
        for rows in blocks(n - block.end) {
            let [factors, others] = [rows.start, 0].map(|first| Matrix::rows(&panel[(width + first) * width..], width));
            let y = &mut below[rows.start * n + block.end..];
            multiply([rows.len(), rows.end, width], -1.0, factors, others.transposed(), 1.0, y, n);
        }
    }
    for (i, row) in l.chunks_mut(n.max(1)).enumerate() {
        row[i + 1..].fill(0.0);
    }
    true
}

/// Householder's reflections, with LAPACK's signs, those of a block as one (Schreiber and Van Loan 1989).
pub(super) fn qr([m, n]: [usize; 2], a: &[f64], q: &mut [f64], r: &mut [f64]) -> bool {
    let (mut a, k) = (a.to_vec(), m.min(n));
    let mut reflections = Vec::with_capacity(k.div_ceil(BLOCK));
    for block in blocks(k) {
        let (first, width, height) = (block.start, block.len(), m - block.start);
        let (mut vectors, mut scales) = (vec![0.0; height * width], [0.0; BLOCK]);
        for j in block.clone() {
            let mut vector: Vec<f64> = (j..m).map(|i| a[i * n + j]).collect();
            let (length, scale) = reflection(&mut vector);
            reflect(&vector, scale, &mut a[j * n..], n, j + 1..block.end);
            a[j * n + j] = length;
            let own = vectors.iter_mut().skip((j - first) * width + j - first).step_by(width);
            own.zip(&vector).for_each(|(to, from)| *to = *from);
            scales[j - first] = scale;
        }
        let together = Together::new(vectors, width, &scales);
        together.reflect(&mut a[first * n..], n, block.end..n, true);
        reflections.push((first, together));
    }
    for i in 0..k {
        r[i * n + i..(i + 1) * n].copy_from_slice(&a[i * n + i..(i + 1) * n]);
        q[i * k + i] = 1.0;
    }
    for (first, together) in reflections.iter().rev() {
        together.reflect(&mut q[first * k..], k, *first..k, false);
    }
    true
}

/// The product of a block's reflections, `1 - v · t · vᵀ`.
struct Together {
    /// The vectors in columns.
    v: Vec<f64>,
    width: usize,
    /// `[width, width]`, upper triangular.
    t: Vec<f64>,
}

impl Together {
    fn new(v: Vec<f64>, width: usize, scales: &[f64]) -> Together {
        let (mut products, mut t) = (vec![0.0; width * width], vec![0.0; width * width]);
        let vectors = Matrix::rows(&v, width);
        multiply([width, width, v.len() / width], 1.0, vectors.transposed(), vectors, 0.0, &mut products, width);
        for j in 0..width {
            for i in 0..j {
                let sum: f64 = (i..j).map(|l| t[i * width + l] * products[l * width + j]).sum();
                t[i * width + j] = -scales[j] * sum;
            }
            t[j * width + j] = scales[j];
        }
        Together { v, width, t }
    }

    /// The product, or that in the opposite order, times the columns of a matrix whose rows are `stride` long.
    fn reflect(&self, a: &mut [f64], stride: usize, columns: Range<usize>, opposite: bool) {
        let (width, count) = (self.width, columns.len());
        if count == 0 {
            return;
        }
        let (v, t) = (Matrix::rows(&self.v, width), Matrix::rows(&self.t, width));
        let height = self.v.len() / width;
        let (mut along, mut turned) = (vec![0.0; width * count], vec![0.0; width * count]);
        let a = &mut a[columns.start..];
        multiply([width, count, height], 1.0, v.transposed(), Matrix::rows(a, stride), 0.0, &mut along, count);
        let t = if opposite { t.transposed() } else { t };
        multiply([width, count, width], 1.0, t, Matrix::rows(&along, count), 0.0, &mut turned, count);
        multiply([height, count, width], -1.0, v, Matrix::rows(&turned, count), 1.0, a, stride);
    }
}

/// Makes of a vector the one, from 1 on, whose reflection leaves nothing of it but the first element. Returns that, and the
/// reflection's scale.
fn reflection(x: &mut [f64]) -> (f64, f64) {
    // So small that quotients would be rounded, numbers are made larger for it.
    let largest = x.iter().fold(0f64, |most, x| most.max(x.abs()));
    if largest > 0.0 && largest < 1e-280 {
        const LARGER: f64 = f64::from_bits((1023 + 600) << 52);
        x.iter_mut().for_each(|x| *x *= LARGER);
        let (length, scale) = reflection(x);
        return (length / LARGER, scale);
    }
    let (first, below) = (x[0], length(&x[1..]));
    x[0] = 1.0;
    if below == 0.0 {
        return (first, 0.0);
    }
    let length = -first.hypot(below).copysign(first);
    x[1..].iter_mut().for_each(|x| *x /= first - length);
    (length, (length - first) / length)
}

/// The square root of the sum of squares, also where a square is no number.
fn length(x: &[f64]) -> f64 {
    match dot(x, x) {
        squares if (1e-280..1e280).contains(&squares) => squares.sqrt(),
        _ => x.iter().fold(0.0, |length: f64, x| length.hypot(*x)),
    }
}

/// `a -= scale · v · vᵀ · a` for these columns of a matrix of rows of length `width`.
fn reflect(v: &[f64], scale: f64, a: &mut [f64], width: usize, columns: Range<usize>) {
    if scale == 0.0 || columns.is_empty() {
        return;
    }
    let mut product = vec![0.0; columns.len()];
    add_rows(&mut product, 1.0, v, &a[columns.start..], width);
    add_to_rows(&mut a[columns.start..], width, -scale, v, &product);
}

pub(super) fn pinv([m, n]: [usize; 2], a: &[f64], rcond: f64, y: &mut [f64]) -> bool {
    let k = m.min(n);
    let (mut u, mut s, mut v) = (vec![0.0; m * k], vec![0.0; k], vec![0.0; k * n]);
    let found = svd([m, n], a, &mut u, &mut s, &mut v);
    let least = s.first().map_or(0.0, |largest| rcond * largest);
    // What is no number counts, so that it is seen.
    let rank = s.iter().position(|s| *s <= least).unwrap_or(k);
    for (row, s) in v.chunks_mut(n.max(1)).zip(&s[..rank]) {
        row.iter_mut().for_each(|v| *v /= s);
    }
    let (v, u) = (Matrix::rows(&v, n).transposed(), Matrix::rows(&u, k).transposed());
    multiply([n, m, rank], 1.0, v, u, 0.0, y, m);
    found
}
