//! Factorizations on a CPU, in double precision for every element type: row by row, one matrix of a batch a task. Plain
//! textbook algorithms (Golub and Van Loan, Matrix Computations), whose time goes to products of rows.

mod rows;
mod spectrum;

pub(super) use spectrum::{eigh, svd};

use self::rows::{add_rows, add_to_rows, dot};
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

/// Elimination with exchanges of rows, in place: the multipliers below the diagonal, what is left on it and above. Returns
/// the order of the rows, and whether it is an odd one.
fn eliminate(n: usize, a: &mut [f64]) -> (Vec<usize>, bool) {
    let (mut order, mut odd, mut factors): (Vec<usize>, bool, Vec<f64>) = ((0..n).collect(), false, Vec::new());
    for k in 0..n {
        let size = |i: &usize| a[i * n + k].abs();
        let pivot = (k..n).reduce(|best, i| if size(&i) > size(&best) { i } else { best }).unwrap_or(k);
        if pivot != k {
            let (above, below) = a.split_at_mut(pivot * n);
            above[k * n..][..n].swap_with_slice(&mut below[..n]);
            order.swap(k, pivot);
            odd = !odd;
        }
        let (above, below) = a.split_at_mut((k + 1) * n);
        let (row, pivot) = (&above[k * n + k + 1..], above[k * n + k]);
        if pivot != 0.0 {
            below.iter_mut().skip(k).step_by(n).for_each(|x| *x /= pivot);
            factors.clear();
            factors.extend(below.iter().skip(k).step_by(n));
            if !row.is_empty() && !factors.is_empty() {
                add_to_rows(&mut below[k + 1..], n, -1.0, &factors, row);
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
        let (above, rest) = y.split_at_mut(i * width);
        let (y, below) = rest.split_at_mut(width);
        let x = if triangle == Triangle::Lower { above } else { below };
        if width > 0 {
            add_rows(y, -1.0, &row[known], x, width);
        }
        if !unit_diagonal {
            y.iter_mut().for_each(|y| *y /= row[i]);
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
        let mut vector: Vec<f64> = (j..m).map(|i| a[i * n + j]).collect();
        let length;
        (length, scales[j]) = reflection(&mut vector);
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

/// `a -= scale · v · vᵀ · a` for the columns from `start` on of a matrix of rows of length `width`.
fn reflect(v: &[f64], scale: f64, a: &mut [f64], width: usize, start: usize) {
    if scale == 0.0 || start >= width {
        return;
    }
    let mut product = vec![0.0; width - start];
    add_rows(&mut product, 1.0, v, &a[start..], width);
    add_to_rows(&mut a[start..], width, -scale, v, &product);
}

pub(super) fn pinv([m, n]: [usize; 2], a: &[f64], rcond: f64, y: &mut [f64]) -> bool {
    let k = m.min(n);
    let (mut u, mut s, mut v) = (vec![0.0; m * k], vec![0.0; k], vec![0.0; k * n]);
    let found = svd([m, n], a, &mut u, &mut s, &mut v);
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
    found
}
