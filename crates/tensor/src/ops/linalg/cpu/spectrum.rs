//! Eigenvalues and singular values: reflections make a matrix tridiagonal or bidiagonal, rotations with shifts make that
//! diagonal, and what turned it is gathered in a [`Basis`].

use super::rows::{Matrix, add, add_to_rows, dot, dots, multiply, subtract_products, symmetric_product};
use super::{qr, reflect, reflection};
use crate::cpu::{parallel, simd};
use std::mem::take;

/// Rows of a basis that are turned together.
const LANES: usize = 16;

/// So many rotations are gathered until they are done.
const PENDING: usize = 1 << 15;

/// Rounds for each value, of which it takes two as a rule.
const ROUNDS: usize = 60;

/// `x, y = c · x + s · y, c · y - s · x` for the vectors `at` and `at + 1`.
#[derive(Clone, Copy)]
struct Rotation {
    at: usize,
    c: f64,
    s: f64,
}

/// The rotation that turns `(a, b)` to `(r, 0)`, as `(c, s, r)`.
fn rotation(a: f64, b: f64) -> (f64, f64, f64) {
    match a.hypot(b) {
        0.0 => (1.0, 0.0, 0.0),
        r => (a / r, b / r, r),
    }
}

/// Reflections, each by a vector from one element on.
struct Reflections {
    n: usize,
    /// A row for each, whose elements before its first are not used.
    vectors: Vec<f64>,
    /// Where each begins, and its scale.
    each: Vec<(usize, f64)>,
}

impl Reflections {
    fn new(n: usize) -> Reflections {
        Reflections { n, vectors: Vec::with_capacity(n * n), each: Vec::with_capacity(n) }
    }

    fn push(&mut self, first: usize, vector: &[f64], scale: f64) {
        self.vectors.resize(self.vectors.len() + first, 0.0);
        self.vectors.extend_from_slice(vector);
        self.each.push((first, scale));
    }
}

/// Orthonormal vectors: the columns of a product of reflections and rotations. A block has [`LANES`] elements of every vector
/// beside each other, and is turned by itself.
struct Basis {
    n: usize,
    blocks: Vec<[f64; LANES]>,
    pending: Vec<Rotation>,
}

impl Basis {
    /// The columns of the product of reflections, from the first to the last.
    fn of(reflections: &Reflections) -> Basis {
        let n = reflections.n;
        let mut blocks = vec![[0.0; LANES]; n.div_ceil(LANES) * n];
        for i in 0..n {
            blocks[i / LANES * n + i][i % LANES] = 1.0;
        }
        let mut basis = Basis { n, blocks, pending: Vec::new() };
        basis.each_block(4 * n * n * LANES, |block| simd::dispatch_up_to_avx2(Reflect(reflections, block)));
        basis
    }

    fn each_block(&mut self, cost: usize, task: impl Fn(&mut [[f64; LANES]]) + Sync) {
        let (n, blocks) = (self.n, parallel::Shared::new(&mut self.blocks));
        parallel::for_chunks(n.div_ceil(LANES), 1, cost, |block, _| {
            // SAFETY: blocks are disjoint ranges.
            task(unsafe { blocks.slice(block * n, (block + 1) * n) });
        });
    }

    fn turn(&mut self, at: usize, c: f64, s: f64) {
        self.pending.push(Rotation { at, c, s });
        if self.pending.len() == PENDING {
            self.finish();
        }
    }

    /// Does the rotations that were gathered.
    fn finish(&mut self) {
        let pending = take(&mut self.pending);
        self.each_block(6 * pending.len() * LANES, |block| simd::dispatch_up_to_avx2(Rotate(&pending, block)));
        self.pending = pending;
        self.pending.clear();
    }

    /// Element `row` of a vector.
    fn at(&self, vector: usize, row: usize) -> f64 {
        self.blocks[row / LANES * self.n + vector][row % LANES]
    }

    fn vector(&self, number: usize) -> Vec<f64> {
        (0..self.n).map(|row| self.at(number, row)).collect()
    }
}

struct Reflect<'a>(&'a Reflections, &'a mut [[f64; LANES]]);

impl simd::Kernel for Reflect<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Reflect(Reflections { n, vectors, each }, block) = self;
        for (vector, &(first, scale)) in vectors.chunks(*n).zip(each) {
            let (vector, block) = (&vector[first..], &mut block[first..]);
            let mut product = [0.0; LANES];
            for (row, v) in block.iter().zip(vector) {
                (0..LANES).for_each(|i| product[i] += v * row[i]);
            }
            product.iter_mut().for_each(|x| *x *= scale);
            for (row, v) in block.iter_mut().zip(vector) {
                (0..LANES).for_each(|i| row[i] -= v * product[i]);
            }
        }
    }
}

struct Rotate<'a>(&'a [Rotation], &'a mut [[f64; LANES]]);

impl simd::Kernel for Rotate<'_> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Rotate(rotations, block) = self;
        for &Rotation { at, c, s } in rotations {
            let [x, y] = &mut block[at..at + 2] else { continue };
            for (x, y) in x.iter_mut().zip(y) {
                (*x, *y) = (c * *x + s * *y, c * *y - s * *x);
            }
        }
    }
}

/// The sign of the first of the largest elements, give or take roundings: vectors are known but for a sign, and so it does
/// not depend on how they were found.
fn sign_of_largest(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0f64, |most, x| most.max(x.abs()));
    x.iter().find(|x| x.abs() >= largest * (1.0 - 1e-9)).map_or(1.0, |x| 1f64.copysign(*x))
}

/// A power of two by which numbers come near 1, so that their squares are numbers too; `None` where one is not finite.
fn scale_of(mut x: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let largest = x.clone().fold(0f64, |most, x| most.max(x.abs()));
    let scale = if largest == 0.0 { 1.0 } else { largest.log2().floor().clamp(-1020.0, 1020.0).exp2() };
    x.all(f64::is_finite).then_some(scale)
}

/// Whether an element beside the diagonal no longer counts.
fn is_gone(x: f64, diagonal: &[f64]) -> bool {
    x.abs() <= f64::EPSILON * (diagonal[0].abs() + diagonal[1].abs()) || x.abs() < 1e-290
}

/// The last block of a band matrix that does not fall apart, as its first and last row; `None` when all are apart.
fn block(d: &[f64], e: &mut [f64]) -> Option<(usize, usize)> {
    (0..e.len()).for_each(|i| e[i] = if is_gone(e[i], &d[i..i + 2]) { 0.0 } else { e[i] });
    let last = e.iter().rposition(|e| *e != 0.0)? + 1;
    Some((e[..last].iter().rposition(|e| *e == 0.0).map_or(0, |gap| gap + 1), last))
}

/// How rotations of rows in the opposite order are those of the rows.
#[derive(Clone, Copy)]
struct Turned {
    /// The last row's number, where the order is the opposite one.
    last: Option<usize>,
}

impl Turned {
    fn at(self, at: usize) -> usize {
        self.last.map_or(at, |last| last - 1 - at)
    }

    fn sine(self, s: f64) -> f64 {
        if self.last.is_some() { -s } else { s }
    }
}

/// Shows a band matrix from its larger end on: steps from there find small values without losing them beside large ones.
fn falling(d: &mut [f64], e: &mut [f64], step: impl FnOnce(&mut [f64], &mut [f64], Turned)) {
    let rises = d[0].abs() < d[d.len() - 1].abs();
    let turn = |d: &mut [f64], e: &mut [f64]| {
        if rises {
            d.reverse();
            e.reverse();
        }
    };
    turn(d, e);
    step(d, e, Turned { last: rises.then_some(e.len()) });
    turn(d, e);
}

/// False where the values were not found.
pub(in super::super) fn eigh(n: usize, a: &[f64], w: &mut [f64], v: &mut [f64]) -> bool {
    let lower = (0..n).flat_map(|i| a[i * n..=i * n + i].iter().copied());
    let Some(scale) = scale_of(lower) else {
        w.fill(f64::NAN);
        v.fill(f64::NAN);
        return true;
    };
    let mut a: Vec<f64> = a.iter().map(|x| x / scale).collect();
    let (mut d, mut e, reflections) = tridiagonal(n, &mut a);
    let mut basis = Basis::of(&reflections);
    for _ in 0..ROUNDS * n {
        let Some((first, last)) = block(&d, &mut e) else { break };
        falling(&mut d[first..=last], &mut e[first..last], |d, e, turned| {
            turn_symmetric(d, e, |at, c, s| basis.turn(first + turned.at(at), c, turned.sine(s)));
        });
    }
    basis.finish();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| d[i].total_cmp(&d[j]));
    for (column, i) in order.into_iter().enumerate() {
        w[column] = d[i] * scale;
        let vector = basis.vector(i);
        let sign = sign_of_largest(&vector);
        vector.iter().enumerate().for_each(|(row, x)| v[row * n + column] = sign * x);
    }
    block(&d, &mut e).is_none()
}

/// The diagonal, what is beside it, and the reflections that make the lower triangle of `a` so.
fn tridiagonal(n: usize, a: &mut [f64]) -> (Vec<f64>, Vec<f64>, Reflections) {
    let (mut e, mut reflections) = (Vec::with_capacity(n), Reflections::new(n));
    for k in 0..n.saturating_sub(1) {
        let below = k + 1;
        let mut vector: Vec<f64> = (below..n).map(|i| a[i * n + k]).collect();
        let (length, scale) = reflection(&mut vector);
        e.push(length);
        if scale != 0.0 {
            let rest = &mut a[below * n + below..];
            let mut product = vec![0.0; n - below];
            symmetric_product(&mut product, rest, n, &vector);
            product.iter_mut().for_each(|x| *x *= scale);
            let along = -scale / 2.0 * dot(&product, &vector);
            add(&mut product, along, &vector);
            subtract_products(rest, n, &vector, &product);
        }
        reflections.push(below, &vector, scale);
    }
    ((0..n).map(|i| a[i * n + i]).collect(), e, reflections)
}

/// One step of rotations, from the first row to the last, with Wilkinson's shift.
fn turn_symmetric(d: &mut [f64], e: &mut [f64], mut turn: impl FnMut(usize, f64, f64)) {
    let last = e.len();
    let half = (d[last - 1] - d[last]) / 2.0;
    let shift = d[last] - e[last - 1] / (half + half.hypot(e[last - 1]).copysign(half)) * e[last - 1];
    let (mut x, mut z) = (d[0] - shift, e[0]);
    for k in 0..last {
        let (c, s, r) = rotation(x, z);
        if k > 0 {
            e[k - 1] = r;
        }
        let (a, b, g) = (d[k], e[k], d[k + 1]);
        let moved = s * (s * (g - a) + 2.0 * c * b);
        (d[k], d[k + 1]) = (a + moved, g - moved);
        e[k] = c * s * (g - a) + (c - s) * (c + s) * b;
        if k + 1 < last {
            (x, z) = (e[k], s * e[k + 1]);
            e[k + 1] *= c;
        }
        turn(k, c, s);
    }
}

/// False where the values were not found.
pub(in super::super) fn svd([m, n]: [usize; 2], a: &[f64], u: &mut [f64], s: &mut [f64], v: &mut [f64]) -> bool {
    let k = m.min(n);
    let Some(scale) = scale_of(a.iter().copied()) else {
        [u, s, v].into_iter().for_each(|x| x.fill(f64::NAN));
        return true;
    };
    // Of a wide matrix the transposed, and of a tall one what is left of its columns at right angles.
    let tall: Vec<f64> = match m >= n {
        true => a.iter().map(|x| x / scale).collect(),
        false => (0..m * n).map(|at| a[at % m * n + at / m] / scale).collect(),
    };
    let long = m.max(n);
    let (columns, mut square) = if long > k {
        let (mut columns, mut rest) = (vec![0.0; long * k], vec![0.0; k * k]);
        qr([long, k], &tall, &mut columns, &mut rest);
        (Some(columns), rest)
    } else {
        (None, tall)
    };
    let (mut d, mut e, [left, right]) = bidiagonal(k, &mut square);
    let (mut left, mut right) = (Basis::of(&left), Basis::of(&right));
    for _ in 0..ROUNDS * k {
        let Some((first, last)) = block(&d, &mut e) else { break };
        falling(&mut d[first..=last], &mut e[first..last], |d, e, turned| {
            // The transposed matrix, where the order is turned, for it has to be an upper one.
            let [left, right] = if turned.last.is_none() { [&mut left, &mut right] } else { [&mut right, &mut left] };
            turn_bidiagonal(d, e, |at, [of_left, of_right]| {
                left.turn(first + turned.at(at), of_left.0, turned.sine(of_left.1));
                right.turn(first + turned.at(at), of_right.0, turned.sine(of_right.1));
            });
        });
    }
    left.finish();
    right.finish();
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by(|&i, &j| d[j].abs().total_cmp(&d[i].abs()));
    let mut of_long: Vec<f64> = order.iter().flat_map(|&i| left.vector(i)).collect();
    if let Some(columns) = &columns {
        let mut all = vec![0.0; k * long];
        let (left, columns) = (Matrix::rows(&of_long, k), Matrix::rows(columns, k).transposed());
        multiply([k, long, k], 1.0, left, columns, 0.0, &mut all, long);
        of_long = all;
    }
    for (at, i) in order.into_iter().enumerate() {
        s[at] = d[i].abs() * scale;
        let (of_long, of_short) = (&of_long[at * long..][..long], &right.vector(i)[..]);
        let (of_u, of_v) = if m >= n { (of_long, of_short) } else { (of_short, of_long) };
        // Of a negative value one vector is turned.
        let sign = sign_of_largest(of_v);
        let sign_of_u = sign * 1f64.copysign(d[i]);
        of_u.iter().enumerate().for_each(|(row, x)| u[row * k + at] = sign_of_u * x);
        of_v.iter().zip(&mut v[at * n..][..n]).for_each(|(x, v)| *v = sign * x);
    }
    block(&d, &mut e).is_none()
}

/// The diagonal, what is above it, and the reflections from the left and the right that make a square matrix so.
fn bidiagonal(n: usize, a: &mut [f64]) -> (Vec<f64>, Vec<f64>, [Reflections; 2]) {
    let (mut d, mut e) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut left, mut right) = (Reflections::new(n), Reflections::new(n));
    for k in 0..n {
        let mut vector: Vec<f64> = (k..n).map(|i| a[i * n + k]).collect();
        let (length, scale) = reflection(&mut vector);
        d.push(length);
        reflect(&vector, scale, &mut a[k * n..], n, k + 1..n);
        left.push(k, &vector, scale);
        let next = k + 1;
        if next < n {
            let mut vector = a[k * n + next..next * n].to_vec();
            let (length, scale) = reflection(&mut vector);
            e.push(length);
            if scale != 0.0 {
                let rows = &mut a[next * n + next..];
                let mut product = vec![0.0; n - next];
                dots(&mut product, rows, n, &vector);
                add_to_rows(rows, n, -scale, &product, &vector);
            }
            right.push(next, &vector, scale);
        }
    }
    (d, e, [left, right])
}

/// One step of rotations from both sides, from the first row to the last (Golub and Kahan); without a shift where a value is
/// 0 or the shift is lost beside the others, which keeps small values accurate (Demmel and Kahan 1990).
fn turn_bidiagonal(d: &mut [f64], e: &mut [f64], mut turn: impl FnMut(usize, [(f64, f64); 2])) {
    let last = e.len();
    let shift = smallest(d[last - 1], e[last - 1], d[last]);
    if d.contains(&0.0) || (shift / d[0]).powi(2) < f64::EPSILON {
        let (mut right, mut left) = ((1.0, 0.0), (1.0, 0.0));
        for k in 0..last {
            let r;
            (right.0, right.1, r) = rotation(d[k] * right.0, e[k]);
            if k > 0 {
                e[k - 1] = left.1 * r;
            }
            (left.0, left.1, d[k]) = rotation(left.0 * r, d[k + 1] * right.1);
            turn(k, [left, right]);
        }
        let end = d[last] * right.0;
        (d[last], e[last - 1]) = (end * left.0, end * left.1);
        return;
    }
    let mut x = (d[0].abs() - shift) * (1f64.copysign(d[0]) + shift / d[0]);
    let mut z = e[0];
    for k in 0..last {
        let (c, s, r) = rotation(x, z);
        if k > 0 {
            e[k - 1] = r;
        }
        x = c * d[k] + s * e[k];
        e[k] = c * e[k] - s * d[k];
        z = s * d[k + 1];
        d[k + 1] *= c;
        let right = (c, s);
        let (c, s, r) = rotation(x, z);
        d[k] = r;
        x = c * e[k] + s * d[k + 1];
        d[k + 1] = c * d[k + 1] - s * e[k];
        if k + 1 < last {
            z = s * e[k + 1];
            e[k + 1] *= c;
        }
        turn(k, [(c, s), right]);
    }
    e[last - 1] = x;
}

/// The smaller singular value of `[[f, g], [0, h]]`.
fn smallest(f: f64, g: f64, h: f64) -> f64 {
    let (f, g, h) = (f.abs(), g.abs(), h.abs());
    // Their product over the larger one, which is half the sum of two lengths.
    let largest = ((f + h).hypot(g) + (f - h).hypot(g)) / 2.0;
    if largest == 0.0 { 0.0 } else { f.min(h) * (f.max(h) / largest) }
}
