//! Views, rearrangements, padding, diagonals, joining.

use super::{Call, Called, Same, one};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result, Tensor};

pub fn run<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Called<V> {
    let (name, results) = match call.choose.below(4) {
        0 => view(call, x),
        1 => slice(call, x),
        2 => rearrange(call, x),
        _ => pieces(call, x),
    };
    Called { name, same: Same::Bits, results }
}

type Named<V> = (&'static str, Result<Vec<V>>);

fn view<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let rank = x.shape().rank();
    let (a, b) = (call.choose.axis(rank), call.choose.axis(rank));
    match call.choose.below(10) {
        0 => {
            let mut dims = x.shape().to_vec();
            for _ in 0..call.choose.below(4) {
                if dims.len() > 1 {
                    let last = dims.pop().unwrap_or(1);
                    *dims.last_mut().unwrap() *= last;
                }
            }
            if call.choose.flag() {
                dims.push(call.choose.size(3));
            }
            ("reshape", one(x.reshape(&dims[..])))
        }
        1 => ("flatten", one(x.flatten(a, b))),
        2 => {
            let sizes: Vec<usize> = (0..call.choose.below(4)).map(|_| call.choose.size(4)).collect();
            ("unflatten", one(x.unflatten(a, &sizes)))
        }
        3 => {
            let order: Vec<isize> = (0..rank + call.choose.below(2)).map(|_| call.choose.axis(rank)).collect();
            ("permute", one(x.permute(&order)))
        }
        4 => ("transpose", one(x.transpose(a, b))),
        5 => ("t", one(x.t())),
        6 => {
            let mut dims = x.shape().to_vec();
            if let Some(d) = dims.first_mut().filter(|d| **d == 1) {
                *d = call.choose.below(4);
            }
            dims.insert(0, call.choose.below(4));
            ("expand", one(x.expand(&dims[..])))
        }
        7 => ("squeeze", one(if call.choose.flag() { x.squeeze(..) } else { x.squeeze(a) })),
        8 => ("unsqueeze", one(x.unsqueeze(a))),
        _ => {
            let (from, to) = ([a, b], [call.choose.axis(rank), call.choose.axis(rank)]);
            let n = call.choose.below(3);
            ("movedim", one(x.movedim(&from[..n], &to[..n])))
        }
    }
}

fn slice<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let rank = x.shape().rank();
    let axis = call.choose.axis(rank);
    let length = x.shape().dims().first().copied().unwrap_or(3);
    let (start, end) = (call.choose.place(length), call.choose.place(length));
    let step = call.choose.of(&[1, 2, -1, -2, 3, 0, isize::MIN, isize::MAX, -7]);
    match call.choose.below(8) {
        0 => ("slice", one(x.slice(axis, start..end))),
        1 => ("slice from", one(x.slice(axis, start..))),
        2 => ("slice to", one(x.slice(axis, ..=end))),
        3 => {
            let stride = Stride { start: call.choose.size(length), length: call.choose.size(5), step };
            ("stride", one(x.stride(axis, stride)))
        }
        4 => ("index", one(x.index(axis, start))),
        5 => ("flip", one(x.flip(call.axes(rank)))),
        6 => ("narrow", one(x.narrow(axis, start, call.choose.size(4)))),
        _ => ("slice_by", one(x.slice_by(axis, start..end, step))),
    }
}

fn rearrange<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let rank = x.shape().rank();
    let (a, b) = (call.choose.axis(rank), call.choose.axis(rank));
    let offset = call.choose.place(4);
    match call.choose.below(14) {
        0 => ("rot90", one(x.rot90(call.choose.place(4), [a, b]))),
        1 => {
            let times: Vec<usize> = (0..call.choose.below(4)).map(|_| call.choose.size(3)).collect();
            ("tile", one(x.tile(&times)))
        }
        2 => {
            let repeats: Vec<usize> = (0..=call.choose.below(4)).map(|_| call.choose.size(3)).collect();
            ("repeat_interleave", one(x.repeat_interleave(&repeats, call.axes(rank))))
        }
        3 => {
            let n = call.choose.below(3);
            ("roll", one(x.roll(&[offset, call.choose.place(9)][..n], &[a, b][..n])))
        }
        4 => ("pixel_shuffle", one(x.pixel_shuffle(call.choose.size(3)))),
        5 => ("pixel_unshuffle", one(x.pixel_unshuffle(call.choose.size(3)))),
        6 => ("channel_shuffle", one(x.channel_shuffle(call.choose.size(4)))),
        7 => ("diagonal", one(x.diagonal(offset, a, b))),
        8 => ("diag_embed", one(x.diag_embed(offset, a, b))),
        9 => ("diag", one(x.diag(offset))),
        10 => ("tril", one(x.tril(offset))),
        11 => ("triu", one(x.triu(offset))),
        12 => {
            let padding = padding(call, rank);
            ("pad", one(x.pad(&padding, call.choose.number())))
        }
        _ => {
            let padding = padding(call, rank);
            let mode = call.choose.of(&[PadMode::Reflect, PadMode::Symmetric, PadMode::Replicate, PadMode::Circular]);
            ("pad_with", one(x.pad_with(&padding, mode)))
        }
    }
}

fn padding(call: &mut Call<'_>, rank: usize) -> Vec<(isize, isize)> {
    let axes = if call.choose.wild() { rank + 1 } else { rank };
    let mut side = || if call.choose.flag() { 0 } else { call.choose.place(4) };
    (0..axes).map(|_| (side(), side())).collect()
}

fn pieces<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let axis = call.choose.axis(x.shape().rank());
    let number = call.choose.size(6);
    match call.choose.below(7) {
        0 => {
            let sizes: Vec<usize> = (0..call.choose.below(4)).map(|_| call.choose.size(4)).collect();
            ("split", x.split(&sizes, axis))
        }
        // Millions of empty pieces are what was asked for.
        1 => ("chunk", x.chunk(number.min(1000), axis)),
        2 => ("unbind", x.unbind(axis)),
        3 => ("split_every", x.split_every(number, axis)),
        4 => ("tensor_split", x.tensor_split(number.min(1000), axis)),
        5 => {
            let cuts: Vec<isize> = (0..call.choose.below(4)).map(|_| call.choose.place(6)).collect();
            ("tensor_split_at", x.tensor_split_at(&cuts, axis))
        }
        _ => ("unfold", one(x.unfold(axis, number, call.choose.size(4)))),
    }
}

/// What takes several values: joining them, sums of products of them; and what takes none.
pub fn of_several<V: Ops>(call: &mut Call<'_>, [x, a, b]: &[V; 3]) -> Called<V> {
    let axis = call.choose.axis(x.shape().rank());
    let mut dims = x.shape().to_vec();
    if !dims.is_empty() && call.choose.flag() {
        let at = call.choose.below(dims.len());
        dims[at] = call.choose.below(4);
    }
    let dtype = if call.choose.flag() { x.dtype() } else { a.dtype() };
    let near: V = call.operand(&dims, dtype);
    let all = if call.choose.flag() { vec![x, a, b] } else { vec![x, &near, x] };
    let list = &all[..call.choose.below(4)];
    let (name, results) = match call.choose.below(8) {
        0 | 1 => ("concat", one(concat(list, axis))),
        2 => ("stack", one(stack(list, axis))),
        3 => ("hstack", one(hstack(list))),
        4 => ("vstack", one(vstack(list))),
        5 => ("dstack", one(dstack(list))),
        6 => ("meshgrid", grid(list, call.choose.of(&[Indexing::Ij, Indexing::Xy]))),
        _ => ("create", one(create(call).map(V::constant))),
    };
    Called { name, same: Same::Bits, results }
}

/// The results have as many elements as the product of those given.
fn grid<V: Ops>(list: &[&V], indexing: Indexing) -> Result<Vec<V>> {
    meshgrid(list, indexing)
}

fn create(call: &mut Call<'_>) -> Result<Tensor> {
    let (a, b, c) = (call.choose.number(), call.choose.number(), call.choose.number());
    let count = call.choose.size(20);
    // Steps that are tiny beside the range ask for memory that there is.
    let step = if ((b - a) / c).abs() < 1e5 || ((b - a) / c).abs() > 1e15 { c } else { b - a };
    match call.choose.below(10) {
        0 => Tensor::arange(a, b, step),
        1 => Tensor::arange(a as i64, (a as i64).saturating_add(b as i32 as i64 % 999), c as i64),
        2 => Tensor::arange(a as u8, b as u8, c as u8),
        3 => Tensor::linspace(a, b, count),
        4 => Tensor::linspace(a as i32, b as i32, count),
        5 => Tensor::logspace::<f32>(a, b, count, c),
        6 => Tensor::eye(count, call.choose.below(4)),
        7 => Tensor::tril_indices(count.min(1000), call.choose.below(9), call.choose.place(9)),
        8 => Tensor::triu_indices(count.min(1000), call.choose.below(9), call.choose.place(9)),
        _ => {
            let classes = call.choose.size(9);
            let labels = call.indices::<Tensor>(&[3], classes)?;
            one_hot(&labels, classes, call.choose.of(&[DType::F32, DType::Bool, DType::I64]))
        }
    }
}
