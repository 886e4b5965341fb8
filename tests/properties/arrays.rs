//! Views of views, joining, reading and writing at indices: exactly; sums where several are written to one place within 16
//! units of the type's precision.

use super::{NUMBERS, agrees, axis_of, check, laid};
use crate::cases::Array;
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Transpose(usize, usize),
    Slice { axis: usize, start: isize, end: isize, step: isize },
    Flip(usize),
    Merge(usize),
    Unsqueeze(usize),
    Expand(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let axis = || 0usize..8;
    prop_oneof![
        (axis(), axis()).prop_map(|(a, b)| Step::Transpose(a, b)),
        (axis(), -7isize..8, -7isize..8, prop_oneof![-3isize..=-1, 1isize..=3])
            .prop_map(|(axis, start, end, step)| Step::Slice { axis, start, end, step }),
        axis().prop_map(Step::Flip),
        axis().prop_map(Step::Merge),
        axis().prop_map(Step::Unsqueeze),
        (1usize..4).prop_map(Step::Expand),
    ]
}

/// Python's slice of a length.
fn slice(start: isize, end: isize, step: isize, length: usize) -> Vec<usize> {
    let d = length as isize;
    let (low, high) = if step > 0 { (0, d) } else { (-1, d - 1) };
    let bound = |i: isize| if i < 0 { (i + d).clamp(low, high) } else { i.clamp(low, high) };
    let (mut i, end) = (bound(start), bound(end));
    let mut list = Vec::new();
    while (step > 0 && i < end) || (step < 0 && i > end) {
        list.push(i as usize);
        i += step;
    }
    list
}

/// The view, and what it holds.
fn viewed(x: &Tensor, a: &Array, step: Step) -> kiln_autograd::Result<(Tensor, Array)> {
    let rank = a.dims.len();
    // The element at `index` of the result is that at `source` of what is viewed.
    let taken = |dims: &[usize], source: &dyn Fn(&[usize]) -> Vec<usize>| Array::build(dims, |i| a.at(&source(i)));
    Ok(match step {
        Step::Transpose(p, q) if rank > 0 => {
            let (p, q) = (p % rank, q % rank);
            let swapped = |list: &[usize]| {
                let mut list = list.to_vec();
                list.swap(p, q);
                list
            };
            (x.transpose(p as isize, q as isize)?, taken(&swapped(&a.dims), &swapped))
        }
        Step::Slice { axis, start, end, step } if rank > 0 => {
            let axis = axis % rank;
            let places = slice(start, end, step, a.dims[axis]);
            let mut dims = a.dims.clone();
            dims[axis] = places.len();
            let source = |i: &[usize]| {
                let mut i = i.to_vec();
                i[axis] = places[i[axis]];
                i
            };
            (x.slice_by(axis as isize, start..end, step)?, taken(&dims, &source))
        }
        Step::Flip(axis) if rank > 0 => {
            let axis = axis % rank;
            let source = |i: &[usize]| {
                let mut i = i.to_vec();
                i[axis] = a.dims[axis] - 1 - i[axis];
                i
            };
            (x.flip(axis as isize)?, taken(&a.dims, &source))
        }
        Step::Merge(axis) if rank > 1 => {
            let axis = axis % (rank - 1);
            let mut dims = a.dims.clone();
            let last = dims.remove(axis + 1);
            dims[axis] *= last;
            (x.reshape(&dims[..])?, Array { dims, values: a.values.clone() })
        }
        Step::Unsqueeze(axis) if rank < 6 => {
            let axis = axis % (rank + 1);
            let mut dims = a.dims.clone();
            dims.insert(axis, 1);
            (x.unsqueeze(axis as isize)?, Array { dims, values: a.values.clone() })
        }
        Step::Expand(times) if rank < 6 && a.values.len() < 2000 => {
            let mut dims = a.dims.clone();
            dims.insert(0, times);
            (x.expand(&dims[..])?, taken(&dims, &|i| i[1..].to_vec()))
        }
        _ => (x.clone(), a.clone()),
    })
}

#[test]
fn views_of_views() {
    check((laid(0..=4, NUMBERS), prop::collection::vec(step(), 0..6)), |(x, steps)| {
        let mut x = x.build();
        let mut a = Array::of(&x);
        for step in steps {
            (x, a) = viewed(&x, &a, step).map_err(|e| format!("{step:?}: {e}"))?;
        }
        agrees("view", &x, x.dtype(), &a, 0.0)?;
        // What is computed of it reads the same elements.
        agrees("cast", &x.cast(DType::F64).map_err(|e| e.to_string())?, DType::F64, &a, 0.0)
    });
}

#[test]
fn joined() {
    let operands = prop::collection::vec((laid(1..=4, NUMBERS), 0usize..5), 1..4);
    check((operands, any::<usize>()), |(operands, axis)| {
        let dims = operands[0].0.dims.clone();
        let axis = axis_of(dims.len(), axis).unwrap();
        let mut parts = Vec::new();
        for (x, length) in &operands {
            let mut dims = dims.clone();
            dims[axis] = *length;
            parts.push(x.with_dims(&dims).build());
        }
        let dtype = parts.iter().fold(parts[0].dtype(), |t, x| t.promote(x.dtype()));
        let got = concat(&parts.iter().collect::<Vec<_>>(), axis as isize).map_err(|e| e.to_string())?;
        let arrays: Vec<Array> = parts.iter().map(Array::of).collect();
        let mut whole = dims.clone();
        whole[axis] = arrays.iter().map(|x| x.dims[axis]).sum();
        let want = Array::build(&whole, |i| {
            let mut i = i.to_vec();
            for part in &arrays {
                match i[axis].checked_sub(part.dims[axis]) {
                    Some(behind) => i[axis] = behind,
                    None => return part.at(&i),
                }
            }
            unreachable!("the lengths add up")
        });
        agrees("concat", &got, dtype, &want, 0.0)
    });
}

#[test]
fn indices() {
    let index = laid(1..=4, &[DType::I64, DType::I32, DType::U8]);
    let operands = (laid(1..=4, NUMBERS), index, laid(1..=4, NUMBERS));
    check((operands, any::<usize>(), 1usize..7, 0usize..4), |((x, index, source), axis, count, which)| {
        let axis = axis_of(x.dims.len(), axis).unwrap();
        let mut dims = x.dims.clone();
        dims[axis] = count;
        let source = source.with_dims(&dims).with_dtype(x.dtype).build();
        let x = x.build();
        let length = x.shape()[axis];
        let list = if which == 3 { vec![count] } else { dims.clone() };
        let index = index.with_dims(&list).build();
        // Bytes are positive; the others count from the end too.
        let index = index.cast(DType::I64).unwrap().remainder(length.max(1) as i64).unwrap();
        if length == 0 {
            return Ok(());
        }
        let (a, at, values) = (Array::of(&x), Array::of(&index), Array::of(&source));
        let aimed = |i: &[usize]| {
            let mut place = i.to_vec();
            place[axis] = at.at(if which == 3 { &i[axis..=axis] } else { i }) as usize;
            place
        };
        let axis_number = axis as isize;
        let text = |e: kiln_autograd::Error| e.to_string();
        match which {
            0 => agrees(
                "gather",
                &x.gather(axis_number, &index).map_err(text)?,
                x.dtype(),
                &Array::build(&dims, |i| a.at(&aimed(i))),
                0.0,
            ),
            1 => {
                let mut want = a.clone();
                (0..values.values.len()).for_each(|flat| {
                    let i = crate::cases::unravel(flat, &dims);
                    want.add(&aimed(&i), values.values[flat]);
                });
                let got = x.scatter_add(axis_number, &index, &source).map_err(text)?;
                match x.dtype() {
                    // Truths are no numbers that add up.
                    DType::Bool => Ok(()),
                    DType::U8 => agrees("scatter_add", &got, DType::U8, &want.map(|x| x.rem_euclid(256.0)), 0.0),
                    dtype => agrees("scatter_add", &got, dtype, &want, 16.0),
                }
            }
            2 => {
                let mut want = a.clone();
                for flat in 0..values.values.len() {
                    let place = aimed(&crate::cases::unravel(flat, &dims));
                    let old = want.at(&place);
                    want.add(&place, values.values[flat] - old);
                }
                agrees("scatter", &x.scatter(axis_number, &index, &source).map_err(text)?, x.dtype(), &want, 0.0)
            }
            _ => agrees(
                "index_select",
                &x.index_select(axis_number, &index).map_err(text)?,
                x.dtype(),
                &Array::build(&dims, |i| a.at(&aimed(i))),
                0.0,
            ),
        }
    });
}
