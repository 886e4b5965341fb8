//! Reading and writing at indices and masks.

use super::{Call, Called, Same, one};
use kiln::tensor::Result;
use kiln::tensor::ops::*;

pub fn run<V: Ops>(call: &mut Call<'_>, [x, a, _]: &[V; 3]) -> Called<V> {
    let (name, same, results) = match call.choose.below(4) {
        0 => along(call, x),
        1 => masks(call, x, a),
        2 => expression(call, x),
        _ => tables(call, x),
    };
    Called { name, same, results }
}

type Named<V> = (&'static str, Same, Result<Vec<V>>);

/// The axis's length, or 1 where there is none.
fn length(dims: &[usize], axis: isize) -> usize {
    let axis = if axis < 0 { axis.wrapping_add(dims.len() as isize) } else { axis };
    usize::try_from(axis).ok().and_then(|axis| dims.get(axis)).copied().unwrap_or(1)
}

fn along<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let dims = x.shape().to_vec();
    let axis = call.choose.axis(dims.len());
    let length = length(&dims, axis);
    let at = axis.rem_euclid(dims.len().max(1) as isize) as usize;
    let count = call.choose.below(6);
    let mut of_index = dims.clone();
    if let Some(d) = of_index.get_mut(at) {
        *d = count;
    }
    let named = |call: &mut Call<'_>| -> Result<(&'static str, Same, V)> {
        use Same::{Bits, Sums};
        let which = call.choose.below(13);
        let index_dims = if (3..=6).contains(&which) { vec![count] } else { of_index.clone() };
        let index = call.indices::<V>(&index_dims, length)?;
        let source: V = call.operand(&of_index, x.dtype());
        Ok(match which {
            0 => ("gather", Bits, x.gather(axis, &index)?),
            1 => ("scatter_add", Sums, x.scatter_add(axis, &index, &source)?),
            2 => ("scatter", Bits, x.scatter(axis, &index, &source)?),
            3 => ("index_select", Bits, x.index_select(axis, &index)?),
            4 => ("index_copy", Bits, x.index_copy(axis, &index, &source)?),
            5 => ("index_add", Sums, x.index_add(axis, &index, &source)?),
            6 => ("index_fill", Bits, x.index_fill(axis, &index, call.choose.number())?),
            7 | 8 => {
                let by = call.choose.of(&[
                    ScatterReduce::Sum,
                    ScatterReduce::Prod,
                    ScatterReduce::Mean,
                    ScatterReduce::Amax,
                    ScatterReduce::Amin,
                ]);
                ("scatter_reduce", Sums, x.scatter_reduce(axis, &index, &source, by, call.choose.flag())?)
            }
            9 => ("take_along_dim", Bits, x.take_along_dim(&index, axis)?),
            10 => ("take", Bits, x.take(&index)?),
            11 => ("rows", Bits, x.rows(&index)?),
            _ => ("gather with any index", Bits, x.gather(call.choose.axis(dims.len()), &index)?),
        })
    };
    match named(call) {
        Ok((name, same, y)) => (name, same, Ok(vec![y])),
        Err(error) => ("along", Same::Specs, Err(error)),
    }
}

fn masks<V: Ops>(call: &mut Call<'_>, x: &V, a: &V) -> Named<V> {
    let dims = x.shape().to_vec();
    let mask: V = call.mask(&dims);
    let row: V = call.operand(&dims[dims.len().min(1)..], x.dtype());
    let axis = call.choose.axis(dims.len());
    let place = call.choose.place(4);
    let y = match call.choose.below(9) {
        0 => ("masked_fill", one(x.masked_fill(&mask, call.choose.number()))),
        1 => ("masked_select", one(x.masked_select(&mask))),
        2 => ("masked_scatter", one(x.masked_scatter(&mask, a))),
        3 => ("nonzero", one(x.nonzero())),
        4 => ("nonzero_each", x.nonzero_each()),
        5 => ("select_scatter", one(x.select_scatter(&row, 0, place))),
        6 => {
            ("slice_scatter", one(x.slice_scatter(&row.unsqueeze(0).unwrap_or(row), 0, place.., call.choose.place(3))))
        }
        7 => ("masked_fill with a value", one(x.masked_fill(&mask, &row))),
        _ => ("index", one(x.index(axis, place))),
    };
    (y.0, Same::Bits, y.1)
}

/// An index expression for what has these dimensions; the tensors in it broadcast with each other.
pub fn index<V: Ops>(call: &mut Call<'_>, dims: &[usize]) -> Result<Vec<Index<V>>> {
    let mut list = Vec::new();
    let mut at = 0;
    let together = call.choose.below(4);
    while at < dims.len() || call.choose.wild() {
        let d = dims.get(at).copied().unwrap_or(1);
        match call.choose.below(12) {
            0 | 1 => list.push(Index::At(call.choose.place(d.saturating_sub(1)))),
            2..=4 => {
                let (start, end) = (call.choose.place(d), call.choose.place(d));
                let step = call.choose.of(&[1, -1, 2, -2, 3, 1, -3, isize::MIN, isize::MAX, 0]);
                let start = call.choose.flag().then_some(start);
                list.push(Index::Slice { start, end: call.choose.flag().then_some(end), step });
            }
            5..=7 => {
                let size = if call.choose.flag() { together } else { 1 };
                let size = if call.choose.wild() { vec![] } else { vec![size] };
                list.push(Index::Tensor(call.indices::<V>(&size, d)?));
            }
            8 => {
                let covered = 1 + call.choose.below(2);
                let end = (at + covered).min(dims.len());
                list.push(Index::Tensor(call.mask(&dims[at.min(end)..end])));
                at += covered - 1;
            }
            9 => {
                list.push(Index::NewAxis);
                continue;
            }
            10 => {
                list.push(Index::Ellipsis);
                at += call.choose.below(3);
                continue;
            }
            _ => break,
        }
        at += 1;
    }
    Ok(list)
}

fn expression<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let list = match index::<V>(call, x.shape().dims()) {
        Ok(list) => list,
        Err(error) => return ("at", Same::Specs, Err(error)),
    };
    let read = x.at(&list);
    let values: V = match &read {
        Ok(y) => {
            let dims = y.shape().to_vec();
            let from = call.choose.below(dims.len() + 1);
            call.operand(&dims[from..], x.dtype())
        }
        Err(_) => call.operand(&[], x.dtype()),
    };
    match call.choose.below(4) {
        0 => ("set_at", Same::Bits, one(x.set_at(&list, &values))),
        1 => ("add_at", Same::Sums, one(x.add_at(&list, &values))),
        _ => ("at", Same::Bits, one(read)),
    }
}

fn tables<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    let (rows, columns) = (call.choose.below(6), 1 + call.choose.below(5));
    let table: V = match x.shape().rank() {
        2 => x.clone(),
        _ => call.operand(&[rows, columns], x.dtype()),
    };
    let rows = table.shape().dims().first().copied().unwrap_or(0);
    let dims = [call.choose.below(4), call.choose.below(5)];
    let padding = call.choose.flag().then(|| call.choose.place(rows));
    let named = |call: &mut Call<'_>| -> Result<(&'static str, Same, V)> {
        let flat = call.choose.flag();
        let index = call.indices::<V>(if flat { &dims[1..] } else { &dims }, rows)?;
        let weights: V = call.operand(index.shape().dims(), table.dtype());
        let weights = call.choose.flag().then_some(&weights);
        let offsets =
            V::constant(call.indices::<V>(&dims[..1], dims[1] + 1)?.sort(0, false)?.0.mul(1)?.tensor().clone());
        let offsets = match call.choose.flag() {
            true => offsets.sub(&offsets.amin(keep(..)).unwrap_or(offsets.clone()))?,
            false => offsets,
        };
        let bag = call.choose.of(&[Bag::Sum, Bag::Mean, Bag::Max]);
        Ok(match call.choose.below(4) {
            0 => ("embedding", Same::Bits, table.embedding(&index, padding)?),
            1 => ("renorm_rows", Same::Sums, table.renorm_rows(&index, call.choose.number(), call.choose.amount())?),
            _ => {
                let offsets = flat.then_some(&offsets);
                ("embedding_bag", Same::Sums, table.embedding_bag(&index, offsets, bag, weights, padding)?)
            }
        })
    };
    match named(call) {
        Ok((name, same, y)) => (name, same, Ok(vec![y])),
        Err(error) => ("tables", Same::Specs, Err(error)),
    }
}
