//! Reading and writing at indices and masks.

use super::Row;
use super::call::{Call, one, positions};
use super::shapes::{axis, range};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Shape, Tensor, Var};
use serde_json::Value as Json;

pub(super) fn row(op: &str) -> Option<Row> {
    reading(op).or_else(|| writing(op)).or_else(|| counting(op))
}

fn reading(op: &str) -> Option<Row> {
    Some(match op {
        "index_select" => |c| {
            one(raised(&c.x()?)?.index_select(c.int("dim")?, &c.var("index")?.flatten(0, -1)?)?.reshape_like(&c.x()?))
        },
        "gather" => |c| {
            let (x, index) = (c.x()?, c.var("index")?);
            one(raised(&x)?.gather(c.int("dim")?, &raised(&index)?)?.reshape(index.shape()))
        },
        "take_along_dim" => {
            |c| one(take_along(&c.x()?, &c.var("indices")?, c.get("dim").map(|_| c.int("dim")).transpose()?))
        }
        "take" => |c| {
            let x = c.x()?.flatten(0, -1)?;
            one(x.rows(&wrapped(&c.var("index")?, x.tensor().count())?))
        },
        "__getitem__" => |c| Ok(vec![get_item(c)?]),
        "nn.functional.embedding" => |c| {
            let (at, table) = (c.x()?, c.var("weight")?);
            let Some(_) = c.get("padding_idx") else { return one(table.rows(&at)) };
            // The padding's row gets no gradient.
            let n = table.shape()[0];
            let padding = c.int("padding_idx")?.rem_euclid(n as isize) as usize;
            let mask = Tensor::from_vec((0..n).map(|i| i == padding).collect(), [n, 1])?;
            one(Var::new(mask).select(&table.detach(), &table)?.rows(&at))
        },
        "nn.functional.embedding_bag" => |c| Ok(vec![embedding_bag(c)?]),
        "masked_fill" => |c| one(c.var("mask")?.select(&c.operand("value", c.x()?.dtype())?, &c.x()?)),
        "masked_scatter" => |c| {
            let (x, mask, source) = (c.x()?, c.var("mask")?, c.var("source")?.flatten(0, -1)?);
            let shape = x.shape().broadcast(mask.shape())?;
            let mask = mask.expand(shape)?;
            let mut next = 0i64;
            let at: Vec<i64> = mask
                .tensor()
                .to_vec::<bool>()?
                .into_iter()
                .map(|chosen| {
                    next += i64::from(chosen);
                    (next - i64::from(chosen)).min(source.tensor().count() as i64 - 1)
                })
                .collect();
            one(mask.select(&source.rows(&Var::new(Tensor::from_vec(at, shape)?))?, &x))
        },
        "masked_select" => |c| {
            let (x, mask) = (c.x()?, c.var("mask")?);
            let shape = x.shape().broadcast(mask.shape())?;
            let at = places(&mask.expand(shape)?)?;
            one(x.expand(shape)?.flatten(0, -1)?.index_select(0, &positions(at)?))
        },
        _ => return None,
    })
}

trait Like: Sized {
    fn reshape_like(&self, x: &Var) -> kiln::autograd::Result<Var>;
}

impl Like for Var {
    /// A scalar stays one where a vector of one was needed.
    fn reshape_like(&self, x: &Var) -> kiln::autograd::Result<Var> {
        if x.shape().rank() == 0 { self.reshape(()) } else { Ok(self.clone()) }
    }
}

/// A scalar as a vector of one.
fn raised(x: &Var) -> Result<Var, Stop> {
    Ok(if x.shape().rank() == 0 { x.reshape([1])? } else { x.clone() })
}

/// What indices choose along an axis, where the other dimensions broadcast; without an axis, of all elements.
fn take_along(x: &Var, indices: &Var, dim: Option<isize>) -> Result<Var, kiln::tensor::Error> {
    let Some(dim) = dim else { return x.flatten(0, -1)?.gather(0, &indices.flatten(0, -1)?) };
    let (x_shape, shape, at) = (*x.shape(), *indices.shape(), axis(x, dim));
    let joined = x_shape.with(at, 1).broadcast(&shape.with(at, 1))?;
    x.expand(joined.with(at, x_shape[at]))?.gather(dim, &indices.expand(joined.with(at, shape[at]))?)
}

/// Indices with the negative ones counted from the end.
fn wrapped(index: &Var, length: usize) -> Result<Var, Stop> {
    let values =
        index.tensor().to_vec_as::<i64>().into_iter().map(|i| if i < 0 { i + length as i64 } else { i }).collect();
    Ok(Var::new(Tensor::from_vec(values, index.shape())?))
}

/// Where a mask holds, in row-major order.
fn places(mask: &Var) -> Result<Vec<usize>, Stop> {
    Ok(mask.tensor().to_vec::<bool>()?.into_iter().enumerate().filter(|(_, chosen)| *chosen).map(|(i, _)| i).collect())
}

/// The coordinates where a mask holds, a vector for each dimension.
fn coordinates(mask: &Var) -> Result<Vec<Var>, Stop> {
    let found = places(mask)?;
    let dims = mask.shape().to_vec();
    (0..dims.len())
        .map(|a| positions(found.iter().map(|i| i / dims[a + 1..].iter().product::<usize>() % dims[a])))
        .collect()
}

/// The embeddings of each bag, weighted and added by one product of matrices.
fn embedding_bag(c: &Call) -> Result<Var, Stop> {
    let (at, table) = (c.x()?, c.var("weight")?);
    let starts: Vec<usize> = match c.maybe("offsets")? {
        Some(offsets) => offsets.tensor().to_vec_as::<i64>().into_iter().map(|i| i as usize).collect(),
        None => (0..at.shape()[0]).map(|i| i * at.shape()[1]).collect(),
    };
    if !matches!(c.word("mode"), "sum" | "mean") || c.flag("include_last_offset") {
        return Stop::unsupported("embedding_bag of the largest");
    }
    let indices = at.tensor().to_vec_as::<i64>();
    let padding = c
        .get("padding_idx")
        .map(|_| c.int("padding_idx"))
        .transpose()?
        .map(|p| p.rem_euclid(table.shape()[0] as isize) as i64);
    let (bags, n) = (starts.len(), indices.len());
    let mut membership = vec![0.0; bags * n];
    for bag in 0..bags {
        let members = starts[bag]..starts.get(bag + 1).copied().unwrap_or(n);
        let counted: Vec<usize> = members.filter(|&i| Some(indices[i]) != padding).collect();
        let share = if c.word("mode") == "mean" { 1.0 / counted.len() as f64 } else { 1.0 };
        counted.into_iter().for_each(|i| membership[bag * n + i] = share);
    }
    let membership = super::call::filled(membership, &[bags, n], &table)?;
    let mut rows = table.rows(&at.flatten(0, -1)?)?;
    if let Some(weights) = c.maybe("per_sample_weights")? {
        rows = rows.mul(&weights.reshape([n, 1])?)?;
    }
    Ok(membership.matmul(&rows)?)
}

/// `x[…]` with Python's rules: slices and numbers are views; tensors are read at, together.
fn get_item(c: &Call) -> Result<Var, Stop> {
    let mut x = c.x()?;
    let items = c.get("index").and_then(Json::as_array).cloned().unwrap_or_default();
    let tensor = |item: &Json| item.get("tensor").and_then(Json::as_str).map(|key| c.input(key)).transpose();
    let mut used = 0;
    for item in &items {
        used += match tensor(item)? {
            Some(mask) if mask.dtype() == DType::Bool => mask.shape().rank(),
            _ => usize::from(!item.is_null() && item.get("ellipsis").is_none()),
        };
    }
    let (mut dim, mut tensors, mut dims) = (0usize, Vec::new(), Vec::new());
    for item in &items {
        match tensor(item)? {
            Some(mask) if mask.dtype() == DType::Bool => {
                for index in coordinates(&mask)? {
                    tensors.push(index);
                    dims.push(dim);
                    dim += 1;
                }
            }
            Some(index) => {
                tensors.push(wrapped(&index, x.shape()[dim])?);
                dims.push(dim);
                dim += 1;
            }
            None if item.get("ellipsis").is_some() => dim += c.x()?.shape().rank() - used,
            None if item.is_null() => {
                x = x.unsqueeze(dim as isize)?;
                dim += 1;
            }
            None => match (item.as_i64(), item.get("slice").and_then(Json::as_array)) {
                (Some(i), _) => x = x.index(dim as isize, i as isize)?,
                (None, Some(parts)) => {
                    let part = |i: usize| parts.get(i).and_then(Json::as_i64).map(|v| v as isize);
                    x = x.stride(dim as isize, range(part(0), part(1), part(2).unwrap_or(1), x.shape()[dim]))?;
                    dim += 1;
                }
                _ => return Stop::unsupported("an index of another kind"),
            },
        }
    }
    if tensors.is_empty() { Ok(x) } else { read_at(&x, &dims, &tensors) }
}

/// The elements where several dimensions have the coordinates that tensors of indices give.
fn read_at(x: &Var, dims: &[usize], indices: &[Var]) -> Result<Var, Stop> {
    let shape = *x.shape();
    let rest: Vec<usize> = (0..shape.rank()).filter(|d| !dims.contains(d)).collect();
    let order: Vec<isize> = dims.iter().chain(&rest).map(|&d| d as isize).collect();
    let kept: Vec<usize> = rest.iter().map(|&d| shape[d]).collect();
    let rows: usize = dims.iter().map(|&d| shape[d]).product();
    let mut flat = indices[0].clone();
    for (index, &d) in indices.iter().zip(dims).skip(1) {
        flat = flat.mul(shape[d] as i64)?.add(index)?;
    }
    let y = x.permute(&order)?.reshape([&[rows], &kept[..]].concat())?.rows(&flat)?;
    // Neighbouring dimensions are replaced in their place; others come first.
    let together = dims.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let before = if together { rest.iter().filter(|&&d| d < dims[0]).count() } else { 0 };
    let n = flat.shape().rank();
    let order: Vec<isize> = (n..n + before).chain(0..n).chain(n + before..n + kept.len()).map(|d| d as isize).collect();
    Ok(y.permute(&order)?)
}

/// `x` with `source` where a scatter of ones arrives; the indices are each other's strangers.
fn overwritten(
    x: &Var,
    scatter: impl Fn(&Var, &Var) -> kiln::autograd::Result<Var>,
    source: &Var,
) -> Result<Var, Stop> {
    let zeros = Var::new(Tensor::filled(x.tensor().spec(), 0.0));
    let ones = Var::new(Tensor::filled(source.tensor().spec(), 1.0));
    let touched = scatter(&zeros, &ones)?.gt(0.0)?;
    Ok(touched.select(&scatter(&zeros, source)?, x)?)
}

/// The source of a scatter: a tensor, or a number for every index.
fn source(c: &Call, index: &Var) -> Result<Var, Stop> {
    match c.maybe("src")? {
        Some(src) => Ok(src),
        None => {
            Ok(Var::new(Tensor::filled(kiln::autograd::Spec::new(*index.shape(), c.x()?.dtype()), c.number("value")?)))
        }
    }
}

fn writing(op: &str) -> Option<Row> {
    Some(match op {
        "scatter_add" => |c| one(c.x()?.scatter_add(c.int("dim")?, &c.var("index")?, &c.var("src")?)),
        "scatter" => |c| {
            let (dim, index) = (c.int("dim")?, c.var("index")?);
            let source = source(c, &index)?;
            Ok(vec![overwritten(&c.x()?, |x, s| x.scatter_add(dim, &index, s), &source)?])
        },
        "scatter_reduce.sum" => |c| {
            let (x, dim, index, source) = (c.x()?, c.int("dim")?, c.var("index")?, c.var("src")?);
            if c.get("include_self").is_none_or(|flag| flag == true) {
                return one(x.scatter_add(dim, &index, &source));
            }
            Ok(vec![overwritten(&x, |x, s| x.scatter_add(dim, &index, s), &source)?])
        },
        "index_add" => |c| {
            let x = raised(&c.x()?)?;
            let (axis, index) = (axis(&x, c.int("dim")?), c.var("index")?.flatten(0, -1)?);
            let source = raised(&c.var("source")?)?.mul(c.number_or("alpha", 1.0)?)?;
            one(Var::apply_one(IndexAdd { axis }, &[&x, &index, &source])?.reshape_like(&c.x()?))
        },
        "index_copy" => |c| {
            let (x, source) = (raised(&c.x()?)?, raised(&c.var("source")?)?);
            let (axis, index) = (axis(&x, c.int("dim")?), c.var("index")?.flatten(0, -1)?);
            let add = |x: &Var, s: &Var| Var::apply_one(IndexAdd { axis }, &[x, &index, s]);
            one(overwritten(&x, add, &source)?.reshape_like(&c.x()?))
        },
        "index_fill" => |c| {
            let x = raised(&c.x()?)?;
            let (dim, index) = (axis(&x, c.int("dim")?), c.var("index")?.flatten(0, -1)?);
            let chosen = wrapped(&index, x.shape()[dim])?.tensor().to_vec::<i64>()?;
            let mut dims = vec![1; x.shape().rank()];
            dims[dim] = x.shape()[dim];
            let mask = (0..dims[dim] as i64).map(|i| chosen.contains(&i)).collect();
            let mask = Var::new(Tensor::from_vec(mask, dims)?);
            one(mask.select(&c.operand("value", x.dtype())?, &x)?.reshape_like(&c.x()?))
        },
        "index_put" => |c| {
            let (x, mut indices, values) = (c.x()?, c.vars("indices")?, c.var("values")?);
            let shape = *x.shape();
            if indices.iter().any(|index| index.dtype() == DType::Bool) {
                indices = indices.iter().map(coordinates).collect::<Result<Vec<_>, Stop>>()?.concat();
            }
            let mut flat = wrapped(&indices[0], shape[0])?;
            for (d, index) in indices.iter().enumerate().skip(1) {
                flat = flat.mul(shape[d] as i64)?.add(&wrapped(index, shape[d])?)?;
            }
            let n = indices.len();
            let rows: usize = shape[..n].iter().product();
            let wide = values.expand([flat.shape().dims(), &shape[n..]].concat())?;
            let wide = wide.reshape([&[flat.tensor().count()], &shape[n..]].concat())?;
            let (table, at) = (x.reshape([&[rows], &shape[n..]].concat())?, flat.flatten(0, -1)?);
            let add = |x: &Var, s: &Var| Var::apply_one(IndexAdd { axis: 0 }, &[x, &at, s]);
            let y = if c.flag("accumulate") { add(&table, &wide)? } else { overwritten(&table, add, &wide)? };
            one(y.reshape(shape))
        },
        "select_scatter" => |c| {
            let (x, dim) = (c.x()?, axis(&c.x()?, c.int("dim")?));
            let index = c.int("index")?.rem_euclid(x.shape()[dim] as isize) as usize;
            let source = c.var("src")?.unsqueeze(dim as isize)?;
            Ok(vec![placed(&x, dim, Stride { start: index, length: 1, step: 1 }, &source)?])
        },
        "slice_scatter" => |c| {
            let (x, dim) = (c.x()?, axis(&c.x()?, c.int_or("dim", 0)?));
            let bound = |name: &str| c.get(name).map(|_| c.int(name)).transpose();
            let stride = range(bound("start")?, bound("end")?, c.int_or("step", 1)?, x.shape()[dim]);
            Ok(vec![placed(&x, dim, stride, &c.var("src")?)?])
        },
        _ => return None,
    })
}

/// `x` with `source` in the place of some indices of a dimension.
fn placed(x: &Var, dim: usize, stride: Stride, source: &Var) -> Result<Var, Stop> {
    let mut ranges: Vec<Stride> = x.shape().iter().map(|&d| Stride::full(d)).collect();
    ranges[dim] = stride;
    let shape: Shape = *x.shape();
    overwritten(x, |_, s| Var::apply_one(Embed { shape, ranges: ranges.clone(), fill: 0.0 }, &[s]), source)
}

fn counting(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.one_hot" => |c| {
            let labels = c.x()?;
            let most = labels.tensor().to_vec_as::<i64>().into_iter().max().unwrap_or(-1);
            let classes = match c.int_or("num_classes", -1)? {
                -1 => (most + 1) as usize,
                n => n as usize,
            };
            one(one_hot(labels.tensor(), classes, DType::I64).map(Var::new))
        },
        "bincount" => |c| {
            let x = c.x()?;
            let most = x.tensor().to_vec_as::<i64>().into_iter().max().map_or(0, |m| m + 1);
            let classes = most.max(c.int_or("minlength", 0)? as i64) as usize;
            let hot = Var::new(one_hot(x.tensor(), classes, DType::I64)?);
            match c.maybe("weights")? {
                Some(w) => one(hot.cast(w.dtype())?.mul(&w.unsqueeze(-1)?)?.sum(0)),
                None => one(hot.sum(0)),
            }
        },
        "isin" => |c| {
            let found = c.var("elements")?.unsqueeze(-1)?.eq(&c.var("test_elements")?.flatten(0, -1)?)?.any(-1)?;
            if c.flag("invert") { one(found.logical_not()) } else { Ok(vec![found]) }
        },
        "bucketize" => |c| between(c, &c.operand("input", DType::F64)?, &c.var("boundaries")?),
        "searchsorted" => |c| {
            let mut sorted = c.var("sorted_sequence")?;
            if let Some(order) = c.maybe("sorter")? {
                sorted = sorted.gather(-1, &order)?;
            }
            let values = c.operand("input", sorted.dtype())?;
            let sorted = if sorted.shape().rank() > 1 { sorted.unsqueeze(-2)? } else { sorted };
            between(c, &values, &sorted)
        },
        "nonzero" => |c| {
            let x = c.x()?;
            let mask = x.detach().ne(0.0)?;
            let columns = coordinates(&mask)?;
            if columns.is_empty() {
                let found = places(&mask)?;
                return Ok(vec![if c.flag("as_tuple") {
                    positions(found)?
                } else {
                    Var::new(Tensor::full([found.len(), 0], 0i64)?)
                }]);
            }
            if c.flag("as_tuple") {
                return Ok(columns);
            }
            one(stack(&columns.iter().collect::<Vec<_>>(), 1))
        },
        _ => return None,
    })
}

/// How many of the sorted numbers come before each value.
fn between(c: &Call, values: &Var, sorted: &Var) -> Result<Vec<Var>, Stop> {
    let values = values.detach().unsqueeze(-1)?;
    let right = c.flag("right") || c.word("side") == "right";
    let before = if right { sorted.le(&values)? } else { sorted.lt(&values)? };
    let dtype = if c.flag("out_int32") { DType::I32 } else { DType::I64 };
    one(before.sum(-1)?.cast(dtype))
}
