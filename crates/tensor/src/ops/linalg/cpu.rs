//! Factorizations on a CPU, in double precision for every element type: row by row, one matrix of a batch a task. Plain
//! textbook algorithms (Golub and Van Loan, Matrix Computations), chosen for accuracy and length: those by rotations cost
//! some ten times a product of the size.

use super::Triangle;
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::{Result, View, ViewMut, with_element};
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// `y += factor · x`.
#[inline(always)]
fn add(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// Sums by eight, in an order that no instruction set changes.
#[inline(always)]
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Two rows of a matrix of rows of this length.
fn rows(a: &mut [f64], length: usize, first: usize, second: usize) -> (&mut [f64], &mut [f64]) {
    let (head, tail) = a.split_at_mut(second * length);
    (&mut head[first * length..][..length], &mut tail[..length])
}

/// `x, y = c · x - s · y, s · x + c · y`.
#[inline(always)]
fn rotate((x, y): (&mut [f64], &mut [f64]), c: f64, s: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// Elimination with exchanges of rows, in place: the multipliers below the diagonal, what is left on it and above. Returns
/// the order of the rows, and whether it is an odd one.
fn eliminate(n: usize, a: &mut [f64]) -> (Vec<usize>, bool) {
    let (mut order, mut odd): (Vec<usize>, bool) = ((0..n).collect(), false);
    for k in 0..n {
        let size = |i: &usize| a[i * n + k].abs();
        let pivot = (k..n).reduce(|best, i| if size(&i) > size(&best) { i } else { best }).unwrap_or(k);
        if pivot != k {
            let (x, y) = rows(a, n, k, pivot);
            x.swap_with_slice(y);
            order.swap(k, pivot);
            odd = !odd;
        }
        let (above, below) = a.split_at_mut((k + 1) * n);
        let (row, pivot) = (&above[k * n + k + 1..], above[k * n + k]);
        if pivot != 0.0 {
            for other in below.chunks_exact_mut(n) {
                other[k] /= pivot;
                let factor = -other[k];
                add(&mut other[k + 1..], factor, row);
            }
        }
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
    for step in 0..n {
        let (i, known) = match triangle {
            Triangle::Lower => (step, 0..step),
            Triangle::Upper => (n - 1 - step, n - step..n),
        };
        let row = &a[i * n..][..n];
        if !unit_diagonal && row[i] == 0.0 {
            return false;
        }
        for j in known {
            match i < j {
                true => {
                    let (y, x) = rows(y, width, i, j);
                    add(y, -row[j], x);
                }
                false => {
                    let (x, y) = rows(y, width, j, i);
                    add(y, -row[j], x);
                }
            }
        }
        if !unit_diagonal {
            y[i * width..][..width].iter_mut().for_each(|y| *y /= row[i]);
        }
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
    for i in 0..n {
        let (above, row) = l.split_at_mut(i * n);
        for j in 0..i {
            let other = &above[j * n..][..n];
            row[j] = (a[i * n + j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let left = a[i * n + i] - dot(&row[..i], &row[..i]);
        // NaN is passed on; only a number can tell.
        if left <= 0.0 {
            return false;
        }
        row[i] = left.sqrt();
    }
    true
}

/// Householder's reflections, with LAPACK's signs.
pub(super) fn qr([m, n]: [usize; 2], a: &[f64], q: &mut [f64], r: &mut [f64]) -> bool {
    let (mut a, k) = (a.to_vec(), m.min(n));
    let mut scales = vec![0.0; k];
    for j in 0..k {
        let below = (j + 1..m).fold(0.0f64, |norm, i| norm.hypot(a[i * n + j]));
        if below == 0.0 {
            continue;
        }
        let first = a[j * n + j];
        let length = -first.hypot(below).copysign(first);
        scales[j] = (length - first) / length;
        let mut vector = vec![1.0; m - j];
        for i in j + 1..m {
            vector[i - j] = a[i * n + j] / (first - length);
        }
        reflect(&vector, scales[j], &mut a[j * n..], n, j + 1);
        a[j * n + j] = length;
        for i in j + 1..m {
            a[i * n + j] = vector[i - j];
        }
    }
    for i in 0..k {
        r[i * n + i..(i + 1) * n].copy_from_slice(&a[i * n + i..(i + 1) * n]);
        q[i * k + i] = 1.0;
    }
    for j in (0..k).rev() {
        let vector: Vec<f64> = (j..m).map(|i| if i == j { 1.0 } else { a[i * n + j] }).collect();
        reflect(&vector, scales[j], &mut q[j * k..], k, j);
    }
    true
}

/// `a -= scale · v · vᵀ · a` for the columns from `start` on of a matrix of rows of length `width`.
fn reflect(v: &[f64], scale: f64, a: &mut [f64], width: usize, start: usize) {
    if scale == 0.0 || start >= width {
        return;
    }
    let mut product = vec![0.0; width - start];
    for (row, &v) in a.chunks_exact(width).zip(v) {
        add(&mut product, v, &row[start..]);
    }
    for (row, &v) in a.chunks_exact_mut(width).zip(v) {
        add(&mut row[start..], -scale * v, &product);
    }
}

/// Rotations come to an end in fewer rounds over all pairs, always.
const ROUNDS: usize = 60;

/// The rotation that makes the off-diagonal `g` of `[[a, g], [g, b]]` vanish: `(c, s)`.
fn rotation(a: f64, g: f64, b: f64) -> (f64, f64) {
    let zeta = (b - a) / (2.0 * g);
    let t = 1f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    (c, c * t)
}

/// Jacobi's rotations: accurate to the last places, and short.
pub(super) fn eigh(n: usize, a: &[f64], w: &mut [f64], v: &mut [f64]) -> bool {
    let mut a: Vec<f64> = (0..n * n).map(|i| a[(i / n).max(i % n) * n + (i / n).min(i % n)]).collect();
    let size = a.iter().fold(0f64, |size, x| size.hypot(*x));
    if !size.is_finite() {
        w.fill(f64::NAN);
        v.fill(f64::NAN);
        return true;
    }
    // The vectors are rows while they are turned.
    let mut turned = identity(n);
    for _ in 0..ROUNDS {
        let mut done = true;
        for p in 0..n {
            for q in p + 1..n {
                let g = a[p * n + q];
                if g.abs() <= 1e-18 * size {
                    continue;
                }
                done = false;
                let (c, s) = rotation(a[p * n + p], g, a[q * n + q]);
                rotate(rows(&mut a, n, p, q), c, s);
                for row in a.chunks_exact_mut(n) {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
                rotate(rows(&mut turned, n, p, q), c, s);
            }
        }
        if done {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i * n + i].total_cmp(&a[j * n + j]));
    for (column, i) in order.into_iter().enumerate() {
        w[column] = a[i * n + i];
        let vector = &turned[i * n..][..n];
        let sign = sign_of_largest(vector);
        vector.iter().enumerate().for_each(|(row, x)| v[row * n + column] = sign * x);
    }
    true
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect()
}

/// The sign of the first of the largest elements, give or take roundings: vectors are known but for a sign, and so it does
/// not depend on how they were found.
fn sign_of_largest(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0f64, |most, x| most.max(x.abs()));
    x.iter().find(|x| x.abs() >= largest * (1.0 - 1e-9)).map_or(1.0, |x| 1f64.copysign(*x))
}

/// One-sided rotations (Hestenes 1958), which are accurate for small singular values too.
pub(super) fn svd([m, n]: [usize; 2], a: &[f64], u: &mut [f64], s: &mut [f64], v: &mut [f64]) -> bool {
    let k = m.min(n);
    // Of tall matrices the columns, of wide ones the rows, are turned until they are at right angles.
    let (tall, long) = (m >= n, m.max(n));
    let largest = a.iter().fold(0f64, |most, x| if x.is_nan() { f64::NAN } else { most.max(x.abs()) });
    if !largest.is_finite() || a.iter().any(|x| x.is_nan()) {
        [u, s, v].into_iter().for_each(|x| x.fill(f64::NAN));
        return true;
    }
    let scale = if largest == 0.0 { 1.0 } else { largest };
    let element = |i: usize, j: usize| if tall { a[j * n + i] } else { a[i * n + j] };
    let mut vectors: Vec<f64> = (0..k * long).map(|at| element(at / long, at % long) / scale).collect();
    let mut turned = identity(k);
    orthogonalize(k, long, &mut vectors, &mut turned);

    let lengths: Vec<f64> = vectors.chunks_exact(long.max(1)).map(|x| dot(x, x).sqrt()).collect();
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&i, &j| lengths[j].total_cmp(&lengths[i]));
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(k);
    for (at, &i) in order.iter().enumerate() {
        s[at] = lengths[i] * scale;
        let vector = &vectors[i * long..][..long];
        found.push(match lengths[i] {
            0.0 => beside(&found, long),
            length => vector.iter().map(|x| x / length).collect(),
        });
        let other = &turned[i * k..][..k];
        let (left, right) = if tall { (&found[at][..], other) } else { (other, &found[at][..]) };
        let sign = sign_of_largest(right);
        left.iter().enumerate().for_each(|(row, x)| u[row * k + at] = sign * x);
        right.iter().zip(&mut v[at * n..][..n]).for_each(|(x, v)| *v = sign * x);
    }
    true
}

/// Turns rows of length `long` until each pair is at right angles, and the rows of `turned` with them.
fn orthogonalize(k: usize, long: usize, vectors: &mut [f64], turned: &mut [f64]) {
    for _ in 0..ROUNDS {
        let mut done = true;
        for p in 0..k {
            for q in p + 1..k {
                let (x, y) = rows(vectors, long, p, q);
                let (xx, xy, yy) = (dot(x, x), dot(x, y), dot(y, y));
                if xy.abs() <= 1e-16 * (xx * yy).sqrt() || xy == 0.0 {
                    continue;
                }
                done &= xy.abs() <= 1e-15 * (xx * yy).sqrt();
                let (c, s) = rotation(xx, xy, yy);
                rotate((x, y), c, s);
                rotate(rows(turned, k, p, q), c, s);
            }
        }
        if done {
            break;
        }
    }
}

/// A vector of length 1 at right angles to others: what is left of the axis that has least of them.
fn beside(others: &[Vec<f64>], long: usize) -> Vec<f64> {
    let share = |axis: usize| others.iter().map(|x| x[axis] * x[axis]).sum::<f64>();
    let axis = (0..long).min_by(|&i, &j| share(i).total_cmp(&share(j))).unwrap_or(0);
    let mut vector = vec![0.0; long];
    vector[axis] = 1.0;
    for _ in 0..2 {
        for other in others {
            let part = dot(&vector, other);
            add(&mut vector, -part, other);
        }
    }
    let length = dot(&vector, &vector).sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

pub(super) fn pinv([m, n]: [usize; 2], a: &[f64], rcond: f64, y: &mut [f64]) -> bool {
    let k = m.min(n);
    let (mut u, mut s, mut v) = (vec![0.0; m * k], vec![0.0; k], vec![0.0; k * n]);
    svd([m, n], a, &mut u, &mut s, &mut v);
    let least = s.first().map_or(0.0, |largest| rcond * largest);
    for at in 0..k {
        // What is no number counts, so that it is seen.
        if s[at] <= least {
            break;
        }
        for (row, y) in y.chunks_exact_mut(m.max(1)).enumerate() {
            for (column, y) in y.iter_mut().enumerate() {
                *y += v[at * n + row] / s[at] * u[column * k + at];
            }
        }
    }
    true
}
