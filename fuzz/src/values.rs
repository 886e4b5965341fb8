//! Tensors of any shape, type and layout, made of choices.

use crate::Choices;
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Element, Key, Shape, Spec, Tensor, with_element};

const TYPES: [DType; 8] =
    [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::Bool];

/// Elements that a tensor has at most before it is broadcast, and after.
const MOST: usize = 3000;

/// A tensor of any kind: often small, of rank 0 to 8, empty, a number, repeated without memory, permuted, sliced with any
/// step, broadcast.
pub fn tensor(choose: &mut Choices<'_>) -> Tensor {
    let dtype = choose.of(&TYPES);
    tensor_of(choose, dtype)
}

/// The same of one type.
pub fn tensor_of(choose: &mut Choices<'_>, dtype: DType) -> Tensor {
    let dims = dims(choose);
    let x = match choose.below(12) {
        0 if dims.is_empty() => Tensor::number(choose.number()),
        1 => Tensor::filled(Spec::new(Shape::new(&dims).unwrap(), dtype), choose.number()),
        _ => elements(choose, &dims, dtype),
    };
    let mut x = x;
    while choose.below(3) == 2 {
        x = view(choose, &x);
    }
    x
}

fn dims(choose: &mut Choices<'_>) -> Vec<usize> {
    let rank = choose.of(&[2, 1, 3, 4, 2, 0, 5, 1, 3, 4, 8, 6]);
    let mut dims = Vec::new();
    let mut count = 1usize;
    for _ in 0..rank {
        let d = match choose.below(8) {
            0..=4 => 1 + choose.below(5),
            5 => choose.of(&[1, 0, 7, 8, 9, 16, 17]),
            6 => choose.of(&[3, 2, 31, 33, 64, 65, 129]),
            _ => 1,
        };
        let d = if count * d > MOST { 1 } else { d };
        count *= d;
        dims.push(d);
    }
    dims
}

/// Small integers, small numbers, or anything.
fn elements(choose: &mut Choices<'_>, dims: &[usize], dtype: DType) -> Tensor {
    let count: usize = dims.iter().product();
    let values: Vec<f64> = match choose.below(8) {
        0..=2 => {
            let bits = Key::new(choose.any::<u8>().into());
            let random = bits.uniform_as([count], -2.0, 2.0, DType::F64).unwrap();
            // Halves would round them anyway; sums of few are then exact in all types.
            random.mul(16.0).unwrap().round().unwrap().div(16.0).unwrap().to_vec_as()
        }
        3 | 4 => {
            let (first, step, modulus) = (choose.below(7), choose.below(7), 1 + choose.below(9));
            (0..count).map(|i| ((first + i * step) % modulus) as f64).collect()
        }
        5 if count <= 32 => (0..count).map(|_| choose.number()).collect(),
        5 | 6 => {
            let few: Vec<f64> = (0..4).map(|_| choose.number()).collect();
            (0..count).map(|i| few[(i * 7 + i / 5) % 4]).collect()
        }
        _ => {
            let wide: Vec<i64> = (0..4).map(|_| choose.any()).collect();
            let integers: Vec<i64> = (0..count).map(|i| wide[i % 4]).collect();
            return Tensor::from_vec(integers, dims).unwrap().cast(dtype).unwrap();
        }
    };
    Tensor::from_vec(values, dims).unwrap().cast(dtype).unwrap()
}

/// A view of a tensor, or the tensor where that view is none.
fn view(choose: &mut Choices<'_>, x: &Tensor) -> Tensor {
    let rank = x.rank();
    let axis = choose.below(rank);
    let viewed = match choose.below(7) {
        0 if rank > 0 => x.transpose(axis as isize, choose.below(rank) as isize),
        1 if rank > 0 => x.flip(axis as isize),
        2 | 3 if rank > 0 => {
            let step = choose.of(&[2, -1, -2, 3, -3, 1]);
            x.slice_by(axis as isize, .., step)
        }
        4 if rank > 0 => x.slice(axis as isize, choose.below(x.shape()[axis].min(250) + 1) as isize..),
        5 if rank < 8 => {
            let times = 1 + choose.below(4);
            let mut dims = x.shape().to_vec();
            let at = choose.below(rank + 1);
            dims.insert(at, if x.count() * times > MOST { 1 } else { times });
            x.unsqueeze(at as isize).and_then(|x| x.expand(dims))
        }
        _ if rank > 1 => {
            let mut order: Vec<isize> = (0..rank as isize).collect();
            order.rotate_left(axis);
            x.permute(&order)
        }
        _ => Ok(x.clone()),
    };
    viewed.unwrap_or_else(|_| x.clone())
}

/// The same elements in memory of their own, densely. A number stays one.
pub fn compact(x: &Tensor) -> Tensor {
    if x.rank() == 0 {
        return x.clone();
    }
    with_element!(x.dtype(), T => Tensor::from_vec(x.to_vec::<T>().unwrap(), *x.shape()).unwrap())
}

/// A tensor of these dimensions in a layout of its own: permuted, with steps, backwards, broadcast.
pub fn tensor_with(choose: &mut Choices<'_>, dims: &[usize], dtype: DType) -> Tensor {
    let count = dims.iter().try_fold(1usize, |count, &d| count.checked_mul(d));
    if dims.len() > 8 || count.is_none_or(|count| count > 4 * MOST) {
        return Tensor::filled(Spec::new(Shape::new(&[1]).unwrap(), dtype), choose.number());
    }
    let rank = dims.len();
    let (turn, layout) = (choose.below(rank), choose.below(6));
    if rank == 0 || layout == 0 {
        return elements(choose, dims, dtype);
    }
    let mut base = dims.to_vec();
    base.rotate_left(turn);
    let axis = choose.below(rank);
    let whole = base.clone();
    match layout {
        1 | 2 => base[axis] *= 2,
        3 => base[axis] = base[axis].min(1),
        _ => {}
    }
    let mut x = elements(choose, &base, dtype);
    x = match layout {
        1 => x.slice_by(axis as isize, .., 2).unwrap(),
        2 => x.slice_by(axis as isize, .., -2).unwrap(),
        3 => x.expand(&whole[..]).unwrap(),
        4 => x.flip(axis as isize).unwrap(),
        _ => x,
    };
    let mut back: Vec<isize> = (0..rank as isize).collect();
    back.rotate_right(turn);
    x.permute(&back).unwrap()
}

/// Whether two tensors of one type have the same bits, but for those of a NaN.
pub fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    with_element!(a.dtype(), T => {
        let (a, b) = (a.to_vec::<T>().unwrap(), b.to_vec::<T>().unwrap());
        a.iter().zip(&b).all(|(a, b)| a.to_raw_bits() == b.to_raw_bits() || (a.to_f64().is_nan() && b.to_f64().is_nan()))
    })
}
