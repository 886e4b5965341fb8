//! Folds, running results, order, and functions of rows. Within 64 units of the type's precision, for sums are of up to a thousand.

use super::{FLOATS, Laid, NUMBERS, agrees, axis_of, check, laid};
use crate::cases::Array;
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor};
use proptest::prelude::*;

/// What `f` makes of the elements that differ in the axes named only; the axes stay, with length 1.
fn folded(x: &Array, axes: &[bool], f: impl Fn(&[f64]) -> f64) -> Array {
    let kept: Vec<usize> = x.dims.iter().zip(axes).map(|(&d, &folds)| if folds { 1 } else { d }).collect();
    let inner: Vec<usize> = x.dims.iter().zip(axes).map(|(&d, &folds)| if folds { d } else { 1 }).collect();
    Array::build(&kept, |outer| {
        let all = Array::build(&inner, |i| x.at(&outer.iter().zip(i).map(|(a, b)| a + b).collect::<Vec<_>>()));
        f(&all.values)
    })
}

/// What `f` makes of each row along an axis, in its place.
fn along(x: &Array, axis: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Array {
    let length = x.dims[axis];
    let mut lines = x.dims.clone();
    lines[axis] = 1;
    let mut y = x.clone();
    let place = |dims: &[usize], index: &[usize]| index.iter().zip(dims).fold(0, |at, (&i, &d)| at * d + i);
    for flat in 0..lines.iter().product() {
        let mut index = crate::cases::unravel(flat, &lines);
        let mut at = |i: usize| {
            index[axis] = i;
            place(&x.dims, &index)
        };
        let places: Vec<usize> = (0..length).map(&mut at).collect();
        let row: Vec<f64> = places.iter().map(|&place| x.values[place]).collect();
        places.iter().zip(f(&row)).for_each(|(&place, value)| y.values[place] = value);
    }
    y
}

fn sum(x: &[f64]) -> f64 {
    x.iter().sum()
}

fn mean(x: &[f64]) -> f64 {
    sum(x) / x.len() as f64
}

fn variance(x: &[f64], correction: f64) -> f64 {
    let mean = mean(x);
    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - correction).max(0.0)
}

fn largest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Which axes of a rank are folded, and whether they stay.
fn chosen(rank: usize, bits: u8, keep_dims: bool) -> (Vec<bool>, Axes) {
    let flags: Vec<bool> = (0..rank).map(|axis| bits >> axis & 1 == 1).collect();
    let list: Vec<isize> = (0..rank).filter(|&axis| flags[axis]).map(|axis| axis as isize).collect();
    (flags, Axes::of(&list[..]).keep_dims(keep_dims))
}

fn squeezed(mut x: Array, flags: &[bool], keep_dims: bool) -> Array {
    if !keep_dims {
        x.dims = x.dims.iter().zip(flags).filter(|(_, folds)| !**folds).map(|(&d, _)| d).collect();
    }
    x
}

#[test]
fn folds() {
    check((laid(0..=5, NUMBERS), any::<u8>(), any::<bool>(), 0usize..10), |(x, bits, keep_dims, which)| {
        let (flags, axes) = chosen(x.dims.len(), bits, keep_dims);
        let x = x.build();
        let count: usize = x.shape().iter().zip(&flags).filter(|(_, folds)| **folds).map(|(d, _)| *d).product();
        let whole = if x.dtype().is_float() { x.dtype() } else { DType::I64 };
        let float = if x.dtype().is_float() { x.dtype() } else { DType::F32 };
        type Fold = (&'static str, fn(&Tensor, Axes) -> kiln_autograd::Result<Tensor>, fn(&[f64]) -> f64);
        let list: [(Fold, DType); 10] = [
            (("sum", |x, axes| x.sum(axes), sum), whole),
            (("mean", |x, axes| x.mean(axes), mean), float),
            (("amax", |x, axes| x.amax(axes), largest), x.dtype()),
            (("amin", |x, axes| x.amin(axes), |x| -largest(&x.iter().map(|x| -x).collect::<Vec<_>>())), x.dtype()),
            (("var", |x, axes| x.var(axes, 1.0), |x| variance(x, 1.0)), float),
            (
                (
                    "logsumexp",
                    |x, axes| x.logsumexp(axes),
                    |x| sum(&x.iter().map(|x| x.exp()).collect::<Vec<_>>()).ln(),
                ),
                float,
            ),
            (
                ("norm", |x, axes| x.norm(2.0, axes), |x| sum(&x.iter().map(|x| x * x).collect::<Vec<_>>()).sqrt()),
                float,
            ),
            (("any", |x, axes| x.any(axes), |x| f64::from(u8::from(x.iter().any(|&x| x != 0.0)))), DType::Bool),
            (("all", |x, axes| x.all(axes), |x| f64::from(u8::from(x.iter().all(|&x| x != 0.0)))), DType::Bool),
            (
                ("count_nonzero", |x, axes| x.count_nonzero(axes), |x| x.iter().filter(|x| **x != 0.0).count() as f64),
                DType::I64,
            ),
        ];
        let ((name, f, reference), dtype) = list[which];
        let got = f(&x, axes);
        if count == 0 && matches!(name, "amax" | "amin") {
            // Nothing has no largest element, unless nobody asks for it.
            return Ok(());
        }
        let want = squeezed(folded(&Array::of(&x), &flags, reference), &flags, keep_dims);
        agrees(name, &got.map_err(|e| e.to_string())?, dtype, &want, 64.0)
    });
}

#[test]
fn rows() {
    check((laid(1..=4, FLOATS), any::<usize>(), 0usize..5), |(x, axis, which)| {
        let axis = axis_of(x.dims.len(), axis).unwrap();
        let x = x.build();
        let exp = |row: &[f64]| -> Vec<f64> { row.iter().map(|x| (x - largest(row)).exp()).collect() };
        let reference = |row: &[f64]| -> Vec<f64> {
            let total = sum(&exp(row));
            match which {
                0 => exp(row).iter().map(|x| x / total).collect(),
                1 => row.iter().map(|x| x - largest(row) - total.ln()).collect(),
                2 => row
                    .iter()
                    .map(|x| x / sum(&row.iter().map(|x| x * x).collect::<Vec<_>>()).sqrt().max(0.5))
                    .collect(),
                _ => row.iter().map(|x| (x - mean(row)) / (variance(row, 0.0) + 0.5).sqrt()).collect(),
            }
        };
        let at = axis as isize;
        let last = [x.shape()[x.rank() - 1]];
        let (name, got, axis) = match which {
            0 => ("softmax", x.softmax(at), axis),
            1 => ("log_softmax", x.log_softmax(at), axis),
            2 => ("normalize", x.normalize(2.0, at, 0.5), axis),
            _ => ("layer_norm", x.layer_norm(&last, None, None, 0.5), x.rank() - 1),
        };
        let want = along(&Array::of(&x), axis, reference);
        agrees(name, &got.map_err(|e| e.to_string())?, x.dtype(), &want, 64.0)
    });
}

#[test]
fn running() {
    check((laid(1..=4, NUMBERS), any::<usize>(), 0usize..3), |(x, axis, which)| {
        let axis = axis_of(x.dims.len(), axis).unwrap();
        let x = x.build();
        let at = axis as isize;
        let running = |row: &[f64], join: fn(f64, f64) -> f64| {
            row.iter()
                .scan(None, |state, &x| {
                    *state = Some(state.map_or(x, |state| join(state, x)));
                    *state
                })
                .collect::<Vec<f64>>()
        };
        let x_as_array = Array::of(&x);
        let (name, got, want, dtype) = match which {
            0 => {
                let dtype = if x.dtype().is_float() { x.dtype() } else { DType::I64 };
                ("cumsum", x.cumsum(at), along(&x_as_array, axis, |row| running(row, |a, b| a + b)), dtype)
            }
            1 => {
                ("cummax", x.cummax(at).map(|y| y.0), along(&x_as_array, axis, |row| running(row, f64::max)), x.dtype())
            }
            _ => {
                ("cummin", x.cummin(at).map(|y| y.0), along(&x_as_array, axis, |row| running(row, f64::min)), x.dtype())
            }
        };
        agrees(name, &got.map_err(|e| e.to_string())?, dtype, &want, 64.0)
    });
}

/// The places of a row in order; equal ones stay as they are.
fn order(row: &[f64], descending: bool) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|&a, &b| if descending { row[b].total_cmp(&row[a]) } else { row[a].total_cmp(&row[b]) });
    places
}

#[test]
fn sorted() {
    let operand = laid(1..=4, NUMBERS).prop_map(|x: Laid| {
        // One zero: which of two is first is another test's matter.
        let values = x.values.iter().map(|x| x + 0.0).collect();
        Laid { values, ..x }
    });
    check((operand, any::<usize>(), any::<bool>(), 0usize..40), |(x, axis, descending, k)| {
        let axis = axis_of(x.dims.len(), axis).unwrap();
        let x = x.build();
        let (at, all) = (axis as isize, Array::of(&x));
        let (values, places) = x.sort(at, descending).map_err(|e| e.to_string())?;
        let want = along(&all, axis, |row| order(row, descending).into_iter().map(|i| row[i]).collect());
        agrees("sort", &values, x.dtype(), &want, 0.0)?;
        let want_places = along(&all, axis, |row| order(row, descending).into_iter().map(|i| i as f64).collect());
        agrees("places", &places, DType::I64, &want_places, 0.0)?;
        let k = k % (x.shape()[axis] + 1);
        let (values, _) = x.top_k(k, at, descending).map_err(|e| e.to_string())?;
        let mut dims = all.dims.clone();
        dims[axis] = k;
        agrees("top_k", &values, x.dtype(), &Array::build(&dims, |i| want.at(i)), 0.0)
    });
}

#[test]
fn places_of_the_largest() {
    check((laid(1..=4, NUMBERS), any::<usize>(), any::<bool>()), |(x, axis, largest_first)| {
        let axis = axis_of(x.dims.len(), axis).unwrap();
        let x = x.build();
        if x.shape()[axis] == 0 {
            return Ok(());
        }
        let flags: Vec<bool> = (0..x.rank()).map(|i| i == axis).collect();
        let first = |row: &[f64]| {
            let better = |a: f64, b: f64| if largest_first { a > b } else { a < b };
            (1..row.len()).fold(0, |best, i| if better(row[i], row[best]) { i } else { best }) as f64
        };
        let want = squeezed(folded(&Array::of(&x), &flags, first), &flags, false);
        let got = if largest_first { x.argmax(axis as isize) } else { x.argmin(axis as isize) };
        agrees("argmax", &got.map_err(|e| e.to_string())?, DType::I64, &want, 0.0)
    });
}
