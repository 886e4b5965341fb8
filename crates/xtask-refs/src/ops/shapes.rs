//! Views, joining and splitting, diagonals and triangles, padding, creation.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Tensor, Var};
use std::ops::Bound;

pub(super) fn row(op: &str) -> Option<Row> {
    views(op)
        .or_else(|| repeats(op))
        .or_else(|| pieces(op))
        .or_else(|| diagonals(op))
        .or_else(|| blocks(op))
        .or_else(|| creation(op))
}

/// A dimension counted from the front.
pub(super) fn axis(x: &Var, dim: isize) -> usize {
    let rank = x.shape().rank().max(1) as isize;
    dim.rem_euclid(rank) as usize
}

fn views(op: &str) -> Option<Row> {
    Some(match op {
        "reshape" | "view" | "reshape_as" | "view_as" => |c| {
            let x = c.x()?;
            if let Some(other) = c.maybe("other")? {
                return one(x.reshape(other.shape()));
            }
            let name = if c.get("shape").is_some() { "shape" } else { "size" };
            one(x.reshape(c.shape(name, x.tensor().count())?))
        },
        "permute" => |c| one(c.x()?.permute(&c.ints("dims")?)),
        "transpose" | "swapaxes" => |c| {
            let name = if c.get("dim0").is_some() { ["dim0", "dim1"] } else { ["axis0", "axis1"] };
            one(c.x()?.transpose(c.int(name[0])?, c.int(name[1])?))
        },
        "movedim" | "moveaxis" => |c| one(c.x()?.movedim(&c.ints("source")?, &c.ints("destination")?)),
        "t" => |c| one(c.x()?.t()),
        "flatten" | "ravel" => |c| one(c.x()?.flatten(c.int_or("start_dim", 0)?, c.int_or("end_dim", -1)?)),
        "unflatten" => |c| {
            let (x, dim) = (c.x()?, c.int("dim")?);
            let length = x.shape()[axis(&x, dim)];
            one(x.unflatten(dim, &c.shape("sizes", length)?))
        },
        "squeeze" | "squeeze.multiple" => |c| {
            let x = c.x()?;
            // PyTorch leaves a dimension of another length alone.
            let dims: Vec<isize> =
                c.ints("dim")?.into_iter().filter(|&d| x.shape().get(axis(&x, d)) == Some(&1)).collect();
            if c.get("dim").is_some() { one(x.squeeze(&dims)) } else { one(x.squeeze(..)) }
        },
        "unsqueeze" => |c| one(c.x()?.unsqueeze(c.int("dim")?)),
        "expand" | "broadcast_to" => |c| {
            let x = c.x()?;
            let size = c.ints("size")?;
            let lead = size.len() - x.shape().rank();
            let length = |(i, &d): (usize, &isize)| if d == -1 { x.shape()[i - lead] } else { d as usize };
            one(x.expand(size.iter().enumerate().map(length).collect::<Vec<_>>()))
        },
        "expand_as" => |c| one(c.x()?.expand(c.var("other")?.shape())),
        "flip" => |c| one(c.x()?.flip(&c.ints("dims")?)),
        "fliplr" => |c| one(c.x()?.flip(1)),
        "flipud" => |c| one(c.x()?.flip(0)),
        "rot90" => |c| {
            let dims = c.ints("dims")?;
            one(c.x()?.rot90(c.int_or("k", 1)?, [dims[0], dims[1]]))
        },
        "select" => |c| one(c.x()?.index(c.int("dim")?, c.int("index")?)),
        "narrow" => |c| {
            // A number, or a tensor of one.
            let start = c.int("start").or_else(|_| Ok::<_, Stop>(c.var("start")?.tensor().item()? as isize))?;
            one(c.x()?.narrow(c.int("dim")?, start, c.int("length")? as usize))
        },
        "slice" => |c| one(c.x()?.slice_by(c.int_or("dim", 0)?, range(c)?, c.int_or("step", 1)?)),
        _ => return None,
    })
}

/// The bounds of a slice.
pub(super) fn range(c: &Call) -> Result<(Bound<isize>, Bound<isize>), Stop> {
    let start = c.get("start").map(|_| c.int("start")).transpose()?;
    let end = c.get("end").map(|_| c.int("end")).transpose()?;
    Ok((start.map_or(Bound::Unbounded, Bound::Included), end.map_or(Bound::Unbounded, Bound::Excluded)))
}

fn repeats(op: &str) -> Option<Row> {
    Some(match op {
        "repeat" => |c| one(c.x()?.tile(&c.counts("repeats")?)),
        "tile" => |c| one(c.x()?.tile(&c.counts("dims")?)),
        "repeat_interleave" => |c| {
            let times = match c.maybe("repeats")? {
                Some(times) => times.tensor().to_vec_as::<i64>().into_iter().map(|t| t as usize).collect(),
                None => c.counts("repeats")?,
            };
            match c.get("dim") {
                Some(_) => one(c.x()?.repeat_interleave(&times, c.int("dim")?)),
                None => one(c.x()?.repeat_interleave(&times, ..)),
            }
        },
        "roll" => |c| one(c.x()?.roll(&c.ints("shifts")?, &c.ints("dims")?)),
        "meshgrid.variadic_tensors" | "meshgrid" | "meshgrid.list_of_tensors" => |c| {
            let indexing = if c.word("indexing") == "xy" { Indexing::Xy } else { Indexing::Ij };
            Ok(meshgrid(&c.vars("tensors")?.iter().collect::<Vec<_>>(), indexing)?)
        },
        _ => return None,
    })
}

/// Joins by a function of the library.
fn join(c: &Call, f: impl Fn(&[&Var]) -> kiln::autograd::Result<Var>) -> Result<Vec<Var>, Stop> {
    let all = c.vars("tensors")?;
    // An empty vector joins anything, a relic that PyTorch keeps.
    let some: Vec<&Var> = all.iter().filter(|x| x.shape().to_vec() != [0]).collect();
    if some.is_empty() { one(f(&all.iter().collect::<Vec<_>>())) } else { one(f(&some)) }
}

fn pieces(op: &str) -> Option<Row> {
    Some(match op {
        "cat" | "concat" | "concatenate" => |c| join(c, |x| concat(x, c.int_or("dim", 0).unwrap_or(0))),
        "stack" => |c| one(stack(&c.vars("tensors")?.iter().collect::<Vec<_>>(), c.int_or("dim", 0)?)),
        "hstack" => |c| join(c, hstack),
        "vstack" => |c| join(c, vstack),
        "dstack" => |c| join(c, dstack),
        "split" | "split.list_args" | "split_with_sizes" => |c| {
            let dim = c.int_or("dim", 0)?;
            let name = if c.get("split_size").is_some() { "split_size" } else { "split_sizes" };
            let sizes = c.counts(name)?;
            match c.get(name).is_some_and(serde_json::Value::is_array) {
                true => Ok(c.x()?.split(&sizes, dim)?),
                false => Ok(c.x()?.split_every(sizes[0], dim)?),
            }
        },
        "chunk" => |c| Ok(c.x()?.chunk(c.int("chunks")? as usize, c.int_or("dim", 0)?)?),
        "unbind" => |c| Ok(c.x()?.unbind(c.int_or("dim", 0)?)?),
        "tensor_split" => |c| {
            let dim = c.int_or("dim", 0)?;
            if let Some(given) = c.maybe("tensor_indices_or_sections")? {
                let numbers: Vec<isize> = given.tensor().to_vec_as::<i64>().into_iter().map(|i| i as isize).collect();
                return match given.shape().rank() {
                    0 => Ok(c.x()?.tensor_split(numbers[0] as usize, dim)?),
                    _ => Ok(c.x()?.tensor_split_at(&numbers, dim)?),
                };
            }
            match c.get("sections") {
                Some(_) => Ok(c.x()?.tensor_split(c.int("sections")? as usize, dim)?),
                None => Ok(c.x()?.tensor_split_at(&c.ints("indices")?, dim)?),
            }
        },
        _ => return None,
    })
}

fn diagonals(op: &str) -> Option<Row> {
    Some(match op {
        "diagonal" => |c| one(c.x()?.diagonal(c.int_or("offset", 0)?, c.int_or("dim1", 0)?, c.int_or("dim2", 1)?)),
        "linalg.diagonal" => {
            |c| one(c.x()?.diagonal(c.int_or("offset", 0)?, c.int_or("dim1", -2)?, c.int_or("dim2", -1)?))
        }
        "diag" => |c| one(c.x()?.diag(c.int_or("diagonal", 0)?)),
        "diag_embed" => {
            |c| one(c.x()?.diag_embed(c.int_or("offset", 0)?, c.int_or("dim1", -2)?, c.int_or("dim2", -1)?))
        }
        "trace" => |c| one(c.x()?.trace()),
        "tril" => |c| one(c.x()?.tril(c.int_or("diagonal", 0)?)),
        "triu" => |c| one(c.x()?.triu(c.int_or("diagonal", 0)?)),
        "diff" => |c| {
            let ends = [c.maybe("prepend")?, c.maybe("append")?];
            one(c.x()?.diff(c.int_or("n", 1)? as usize, c.int_or("dim", -1)?, ends[0].as_ref(), ends[1].as_ref()))
        },
        _ => return None,
    })
}

/// PyTorch's pairs, which begin at the last dimension.
fn padding(c: &Call) -> Result<Vec<(isize, isize)>, Stop> {
    let mut pairs = vec![(0, 0); c.x()?.shape().rank()];
    pairs.iter_mut().rev().zip(c.ints("pad")?.chunks(2)).for_each(|(pair, given)| *pair = (given[0], given[1]));
    Ok(pairs)
}

fn blocks(op: &str) -> Option<Row> {
    Some(match op {
        "unfold" => |c| one(c.x()?.unfold(c.int("dimension")?, c.int("size")? as usize, c.int("step")? as usize)),
        "nn.functional.pad.constant" => |c| one(c.x()?.pad(&padding(c)?, c.number_or("value", 0.0)?)),
        "nn.functional.pad.reflect" => |c| one(c.x()?.pad_with(&padding(c)?, PadMode::Reflect)),
        "nn.functional.pad.replicate" => |c| one(c.x()?.pad_with(&padding(c)?, PadMode::Replicate)),
        "nn.functional.pad.circular" => |c| one(c.x()?.pad_with(&padding(c)?, PadMode::Circular)),
        "nn.functional.pixel_shuffle" => |c| one(c.x()?.pixel_shuffle(c.int("upscale_factor")? as usize)),
        "nn.functional.pixel_unshuffle" => |c| one(c.x()?.pixel_unshuffle(c.int("downscale_factor")? as usize)),
        "nn.functional.channel_shuffle" => |c| one(c.x()?.channel_shuffle(c.int("groups")? as usize)),
        _ => return None,
    })
}

fn creation(op: &str) -> Option<Row> {
    Some(match op {
        "arange" => |c| {
            // One bound is the end.
            let (start, end) = match (c.get("start").is_some(), c.get("end").is_some()) {
                (true, true) => (c.number("start")?, c.number("end")?),
                (false, true) => (0.0, c.number("end")?),
                _ if c.get("#1").is_some() => (c.number("#0")?, c.number("#1")?),
                _ => (0.0, c.number("#0")?),
            };
            let step = if c.get("#2").is_some() { c.number("#2")? } else { c.number_or("step", 1.0)? };
            let y = Tensor::arange(start, end, step)?;
            let whole =
                ["start", "end", "step", "#0", "#1", "#2"].iter().filter_map(|name| c.get(name)).all(|v| v.is_i64());
            let default = if whole { DType::I64 } else { DType::F32 };
            made(c, y, default)
        },
        "linspace" => |c| {
            let y = Tensor::linspace(c.number("start")?, c.number("end")?, c.int("steps")? as usize)?;
            made(c, y, DType::F32)
        },
        "eye" => |c| {
            let n = c.int("n")? as usize;
            let y = Tensor::eye(n, c.int_or("m", n as isize)? as usize)?;
            made(c, y, DType::F32)
        },
        "logspace" => |c| {
            let (start, end, steps) = (c.number("start")?, c.number("end")?, c.int("steps")? as usize);
            let y = Tensor::logspace::<f64>(start, end, steps, c.number_or("base", 10.0)?)?;
            made(c, y, DType::F32)
        },
        "tril_indices" => |c| {
            let (rows, columns) = (c.int("row")? as usize, c.int("col")? as usize);
            one(Tensor::tril_indices(rows, columns, c.int_or("offset", 0)?).map(Var::new))
        },
        "triu_indices" => |c| {
            let (rows, columns) = (c.int("row")? as usize, c.int("col")? as usize);
            one(Tensor::triu_indices(rows, columns, c.int_or("offset", 0)?).map(Var::new))
        },
        "zeros" => |c| created(c, 0.0),
        "ones" => |c| created(c, 1.0),
        "full" => |c| created(c, c.number("fill_value")?),
        "zeros_like" | "new_zeros" => |c| like(c, 0.0),
        "ones_like" | "new_ones" => |c| like(c, 1.0),
        "full_like" | "new_full" => |c| like(c, c.number("fill_value")?),
        _ => return None,
    })
}

/// What was created, in the type that the call asks for.
fn made(c: &Call, y: Tensor, default: DType) -> Result<Vec<Var>, Stop> {
    let dtype = c.dtype().unwrap_or(default);
    if dtype != y.dtype() {
        c.takes("a cast of what is created");
    }
    one(Var::new(y).cast(dtype))
}

fn created(c: &Call, value: f64) -> Result<Vec<Var>, Stop> {
    made(c, Tensor::full(c.shape("size", 0)?, value)?, DType::F32)
}

fn like(c: &Call, value: f64) -> Result<Vec<Var>, Stop> {
    let x = c.x()?;
    let mut spec = x.tensor().spec();
    if c.get("size").is_some() {
        spec.shape = c.shape("size", 0)?;
    }
    spec.dtype = c.dtype().unwrap_or(spec.dtype);
    Ok(vec![Var::new(Tensor::filled(spec, value))])
}
