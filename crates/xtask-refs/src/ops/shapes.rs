//! Views, joining and splitting, diagonals and triangles, padding, creation.

use super::Row;
use super::call::{Call, one, positions};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Shape, Tensor, Var};

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
        "movedim" => |c| {
            let x = c.x()?;
            let (from, to) = (c.ints("source")?, c.ints("destination")?);
            let mut order = vec![usize::MAX; x.shape().rank()];
            from.iter().zip(&to).for_each(|(&f, &t)| order[axis(&x, t)] = axis(&x, f));
            let mut rest =
                (0..order.len()).filter(|a| !from.iter().any(|&f| axis(&x, f) == *a)).collect::<Vec<_>>().into_iter();
            let order: Vec<isize> = order
                .into_iter()
                .map(|o| if o == usize::MAX { rest.next().unwrap_or(0) as isize } else { o as isize })
                .collect();
            one(x.permute(&order))
        },
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
            let (x, dims) = (c.x()?, c.ints("dims")?);
            match c.int_or("k", 1)?.rem_euclid(4) {
                0 => Ok(vec![x]),
                1 => one(x.transpose(dims[0], dims[1])?.flip(&dims[..1])),
                2 => one(x.flip(&dims)),
                _ => one(x.transpose(dims[0], dims[1])?.flip(&dims[1..])),
            }
        },
        "select" => |c| one(c.x()?.index(c.int("dim")?, c.int("index")?)),
        "narrow" => |c| {
            let (x, dim) = (c.x()?, c.int("dim")?);
            let length = x.shape()[axis(&x, dim)] as isize;
            // A number, or a tensor of one.
            let start = c.int("start").or_else(|_| Ok::<_, Stop>(c.var("start")?.tensor().item()? as isize))?;
            one(x.stride(
                dim,
                Stride { start: start.rem_euclid(length.max(1)) as usize, length: c.int("length")? as usize, step: 1 },
            ))
        },
        "slice" => |c| {
            let (x, dim) = (c.x()?, c.int_or("dim", 0)?);
            let bounds =
                [c.get("start").map(|_| c.int("start")).transpose()?, c.get("end").map(|_| c.int("end")).transpose()?];
            let length = x.shape()[axis(&x, dim)];
            one(x.stride(dim, range(bounds[0], bounds[1], c.int_or("step", 1)?, length)))
        },
        _ => return None,
    })
}

/// Python's slice of a dimension.
pub(super) fn range(start: Option<isize>, end: Option<isize>, step: isize, length: usize) -> Stride {
    let bound = |i: isize| (if i < 0 { i + length as isize } else { i }).clamp(0, length as isize);
    let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(isize::MAX)));
    Stride { start: start as usize, length: ((end - start).max(0) as usize).div_ceil(step as usize), step }
}

fn repeats(op: &str) -> Option<Row> {
    Some(match op {
        "repeat" | "tile" => |c| {
            let name = if c.get("repeats").is_some() { "repeats" } else { "dims" };
            let x = c.x()?;
            let mut times: Vec<usize> = c.ints(name)?.into_iter().map(|t| t as usize).collect();
            let rank = x.shape().rank().max(times.len());
            times.splice(0..0, vec![1; rank - times.len()]);
            let dims = [vec![1; rank - x.shape().rank()], x.shape().to_vec()].concat();
            let between: Vec<usize> = dims.iter().flat_map(|&d| [1, d]).collect();
            let wide: Vec<usize> = dims.iter().zip(&times).flat_map(|(&d, &t)| [t, d]).collect();
            if wide.len() > kiln::autograd::MAX_RANK {
                return Stop::unsupported("repeat of more than four dimensions");
            }
            let whole: Vec<usize> = dims.iter().zip(&times).map(|(d, t)| d * t).collect();
            one(x.reshape(between)?.expand(wide)?.reshape(whole))
        },
        "repeat_interleave" => |c| {
            let x = c.x()?;
            let (x, dim) = if c.get("dim").is_some() { (x, c.int("dim")?) } else { (x.flatten(0, -1)?, 0) };
            let length = x.shape()[axis(&x, dim)];
            let times: Vec<usize> = match c.maybe("repeats")? {
                Some(times) => times.tensor().to_vec_as::<i64>().into_iter().map(|t| t as usize).collect(),
                None => vec![c.int("repeats")? as usize],
            };
            let times = (0..length).map(|i| times[if times.len() == 1 { 0 } else { i }]);
            one(x.index_select(dim, &positions(times.enumerate().flat_map(|(i, t)| vec![i; t]))?))
        },
        "roll" => |c| {
            let (mut x, shifts, dims) = (c.x()?, c.ints("shifts")?, c.ints("dims")?);
            let shape = *x.shape();
            if dims.is_empty() {
                x = x.flatten(0, -1)?;
            }
            for (i, &shift) in shifts.iter().enumerate() {
                let dim = dims.get(i).copied().unwrap_or(0);
                let length = x.shape()[axis(&x, dim)];
                let from = |i: usize| (i as isize - shift).rem_euclid(length as isize) as usize;
                x = x.index_select(dim, &positions((0..length).map(from))?)?;
            }
            one(x.reshape(shape))
        },
        "meshgrid.variadic_tensors" | "meshgrid" | "meshgrid.list_of_tensors" => |c| {
            let all = c.vars("tensors")?;
            let mut dims: Vec<usize> = all.iter().map(|x| x.tensor().count()).collect();
            let swap = c.word("indexing") == "xy" && dims.len() > 1;
            if swap {
                dims.swap(0, 1);
            }
            let place = |i: usize| if swap && i < 2 { 1 - i } else { i };
            let grid = |(i, x): (usize, &Var)| -> Result<Var, Stop> {
                let own: Vec<usize> = (0..dims.len()).map(|a| if a == place(i) { dims[a] } else { 1 }).collect();
                Ok(x.reshape(own)?.expand(&dims)?)
            };
            all.iter().enumerate().map(grid).collect()
        },
        _ => return None,
    })
}

fn join(all: &[Var], dim: isize) -> Result<Vec<Var>, Stop> {
    // An empty vector joins anything, a relic that PyTorch keeps.
    let some: Vec<&Var> = all.iter().filter(|x| x.shape().to_vec() != [0]).collect();
    if some.is_empty() { one(concat(&all.iter().collect::<Vec<_>>(), dim)) } else { one(concat(&some, dim)) }
}

fn pieces(op: &str) -> Option<Row> {
    Some(match op {
        "cat" | "concat" | "concatenate" => |c| join(&c.vars("tensors")?, c.int_or("dim", 0)?),
        "stack" => |c| one(stack(&c.vars("tensors")?.iter().collect::<Vec<_>>(), c.int_or("dim", 0)?)),
        "hstack" => |c| {
            let all = raised(c, 1)?;
            join(&all, isize::from(all[0].shape().rank() > 1))
        },
        "vstack" => |c| join(&raised(c, 2)?, 0),
        "dstack" => |c| join(&raised(c, 3)?, 2),
        "split" | "split.list_args" | "split_with_sizes" => |c| {
            let (x, dim) = (c.x()?, c.int_or("dim", 0)?);
            let length = x.shape()[axis(&x, dim)];
            let name = if c.get("split_size").is_some() { "split_size" } else { "split_sizes" };
            let sizes: Vec<usize> = c.ints(name)?.into_iter().map(|s| s as usize).collect();
            let sizes = match (sizes[..].first(), c.get(name).is_some_and(serde_json::Value::is_array)) {
                (Some(&size), false) => {
                    (0..length.div_ceil(size.max(1))).map(|i| size.min(length - i * size)).collect()
                }
                _ => sizes,
            };
            Ok(x.split(&sizes, dim)?)
        },
        "chunk" => |c| Ok(c.x()?.chunk(c.int("chunks")? as usize, c.int_or("dim", 0)?)?),
        "unbind" => |c| {
            let (x, dim) = (c.x()?, c.int_or("dim", 0)?);
            (0..x.shape()[axis(&x, dim)] as isize).map(|i| Ok(x.index(dim, i)?)).collect()
        },
        "tensor_split" => |c| {
            let (x, dim) = (c.x()?, c.int_or("dim", 0)?);
            let length = x.shape()[axis(&x, dim)];
            let mut sections = c.get("sections").map(|_| c.int("sections")).transpose()?;
            let mut cuts = c.ints("indices")?;
            if let Some(given) = c.maybe("tensor_indices_or_sections")? {
                let numbers: Vec<isize> = given.tensor().to_vec_as::<i64>().into_iter().map(|i| i as isize).collect();
                if given.shape().rank() == 0 { sections = numbers.first().copied() } else { cuts = numbers }
            }
            let sizes: Vec<usize> = match sections {
                Some(n) => {
                    (0..n as usize).map(|i| length / n as usize + usize::from(i < length % n as usize)).collect()
                }
                None => {
                    let bound =
                        |i: isize| (if i < 0 { i + length as isize } else { i }).clamp(0, length as isize) as usize;
                    let ends: Vec<usize> = cuts.into_iter().map(bound).chain([length]).collect();
                    ends.iter().scan(0, |start, &end| Some(end - std::mem::replace(start, end))).collect()
                }
            };
            Ok(x.split(&sizes, dim)?)
        },
        _ => return None,
    })
}

/// The tensors with at least so many dimensions, added as NumPy does.
fn raised(c: &Call, rank: usize) -> Result<Vec<Var>, Stop> {
    let raise = |mut x: Var| -> Result<Var, Stop> {
        while x.shape().rank() < rank {
            x = if x.shape().rank() < 2 && rank > 1 && x.shape().rank() == 1 {
                x.unsqueeze(0)?
            } else {
                x.unsqueeze(-1)?
            };
        }
        Ok(x)
    };
    c.vars("tensors")?.into_iter().map(raise).collect()
}

/// The elements with equal coordinates in two dimensions, up to an offset, as the last dimension.
fn diagonal(x: &Var, offset: isize, dim1: isize, dim2: isize) -> Result<Var, Stop> {
    let (a, b) = (axis(x, dim1), axis(x, dim2));
    let order: Vec<isize> =
        (0..x.shape().rank()).filter(|d| ![a, b].contains(d)).chain([a, b]).map(|d| d as isize).collect();
    let x = x.permute(&order)?;
    let dims = x.shape().to_vec();
    let (lead, [rows, columns]) = (&dims[..dims.len() - 2], [dims[dims.len() - 2], dims[dims.len() - 1]]);
    let flat = x.reshape([lead, &[rows * columns]].concat())?;
    Ok(flat.stride(-1, diagonal_of(rows, columns, offset))?)
}

/// Where a diagonal lies in a matrix in row-major order.
fn diagonal_of(rows: usize, columns: usize, offset: isize) -> Stride {
    let (down, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
    let length = rows.saturating_sub(down).min(columns.saturating_sub(right));
    let start = if length == 0 { 0 } else { down * columns + right };
    Stride { start, length, step: columns as isize + 1 }
}

/// Square matrices with a vector each on a diagonal, in two dimensions.
fn diagonal_matrix(x: &Var, offset: isize, dim1: isize, dim2: isize) -> Result<Var, Stop> {
    let dims = x.shape().to_vec();
    let (lead, length) = (&dims[..dims.len() - 1], dims[dims.len() - 1]);
    let n = length + offset.unsigned_abs();
    let mut ranges: Vec<Stride> = lead.iter().map(|&d| Stride::full(d)).collect();
    ranges.push(diagonal_of(n, n, offset));
    let shape = Shape::new(&[lead, &[n * n]].concat())?;
    let flat = Var::apply_one(Embed { shape, ranges, fill: 0.0 }, &[x])?;
    let y = flat.reshape([lead, &[n, n]].concat())?;
    let (a, b) = (axis(&y, dim1), axis(&y, dim2));
    let mut rest = 0..lead.len() as isize;
    let order: Vec<isize> = (0..dims.len() + 1)
        .map(|d| match () {
            () if d == a => lead.len() as isize,
            () if d == b => lead.len() as isize + 1,
            () => rest.next().unwrap_or(0),
        })
        .collect();
    Ok(y.permute(&order)?)
}

fn triangle(c: &Call, keep: fn(isize) -> bool) -> Result<Vec<Var>, Stop> {
    let (x, k) = (c.x()?, c.int_or("diagonal", 0)?);
    let dims = x.shape().to_vec();
    let [rows, columns] = [dims[dims.len() - 2], dims[dims.len() - 1]];
    let mask =
        (0..rows * columns).map(|i| keep((i % columns) as isize - (i / columns) as isize - k)).collect::<Vec<bool>>();
    let mask = Var::new(Tensor::from_vec(mask, [rows, columns])?);
    one(mask.select(&x, &super::call::constant(0.0, &x)))
}

fn diagonals(op: &str) -> Option<Row> {
    Some(match op {
        "diagonal" | "linalg.diagonal" => {
            |c| Ok(vec![diagonal(&c.x()?, c.int_or("offset", 0)?, c.int_or("dim1", 0)?, c.int_or("dim2", 1)?)?])
        }
        "diag" => |c| {
            let (x, k) = (c.x()?, c.int_or("diagonal", 0)?);
            Ok(vec![if x.shape().rank() == 1 { diagonal_matrix(&x, k, -2, -1)? } else { diagonal(&x, k, 0, 1)? }])
        },
        "diag_embed" => |c| {
            Ok(vec![diagonal_matrix(&c.x()?, c.int_or("offset", 0)?, c.int_or("dim1", -2)?, c.int_or("dim2", -1)?)?])
        },
        "trace" => |c| one(diagonal(&c.x()?, 0, 0, 1)?.sum(..)),
        "tril" => |c| triangle(c, |above| above <= 0),
        "triu" => |c| triangle(c, |above| above >= 0),
        "diff" => |c| {
            let (x, dim) = (c.x()?, c.int_or("dim", -1)?);
            if c.int_or("n", 1)? == 0 {
                return Ok(vec![x]);
            }
            let ends = [c.maybe("prepend")?, Some(x), c.maybe("append")?];
            let all: Vec<&Var> = ends.iter().flatten().collect();
            let mut x = concat(&all, dim)?;
            for _ in 0..c.int_or("n", 1)? {
                let length = x.shape()[axis(&x, dim)];
                if length == 0 {
                    break;
                }
                let part = |start: usize| x.stride(dim, Stride { start, length: length - 1, step: 1 });
                x = part(length.min(1))?.sub(&part(0)?)?;
            }
            Ok(vec![x])
        },
        _ => return None,
    })
}

/// One dimension as windows: `windows` of `size` positions, each `dilation` apart, in two dimensions in its place.
pub(super) fn windows(x: &Var, dim: usize, starts: &[usize], size: usize, dilation: usize) -> Result<Var, Stop> {
    let at = positions(starts.iter().flat_map(|s| (0..size).map(move |i| s + i * dilation)))?;
    Ok(x.index_select(dim as isize, &at)?.unflatten(dim as isize, &[starts.len(), size])?)
}

/// Each dimension read at the positions that `source` gives: how PyTorch pads by reflecting or wrapping.
fn padded(c: &Call, source: fn(isize, isize) -> isize, cut_first: bool) -> Result<Vec<Var>, Stop> {
    let mut x = c.x()?;
    let rank = x.shape().rank();
    for (i, pair) in c.ints("pad")?.chunks(2).enumerate() {
        let dim = rank - 1 - i;
        let mut pair = [pair[0], pair[1]];
        if cut_first {
            let cut = pair.map(|p| p.min(0));
            x = x.slice(dim as isize, -cut[0]..x.shape()[dim] as isize + cut[1])?;
            pair = pair.map(|p| p.max(0));
        }
        let length = x.shape()[dim] as isize;
        let at = (-pair[0]..length + pair[1]).map(|p| source(p, length) as usize);
        x = x.index_select(dim as isize, &positions(at)?)?;
    }
    Ok(vec![x])
}

fn blocks(op: &str) -> Option<Row> {
    Some(match op {
        "unfold" => |c| {
            let x = c.x()?;
            if x.shape().rank() == 0 {
                return one(x.reshape([1]));
            }
            let (dim, size, step) = (axis(&x, c.int("dimension")?), c.int("size")? as usize, c.int("step")? as usize);
            let starts: Vec<usize> = (0..=x.shape()[dim] - size).step_by(step).collect();
            let y = windows(&x, dim, &starts, size, 1)?;
            let rank = y.shape().rank();
            let order: Vec<isize> = (0..rank).filter(|&d| d != dim + 1).chain([dim + 1]).map(|d| d as isize).collect();
            one(y.permute(&order))
        },
        "nn.functional.pad.constant" => |c| {
            let x = c.x()?;
            let mut pairs = vec![(0, 0); x.shape().rank()];
            let rank = pairs.len();
            c.ints("pad")?.chunks(2).enumerate().for_each(|(i, p)| pairs[rank - 1 - i] = (p[0], p[1]));
            one(x.pad(&pairs, c.number_or("value", 0.0)?))
        },
        "nn.functional.pad.reflect" => |c| {
            padded(
                c,
                |p, n| {
                    if p < 0 {
                        -p
                    } else if p >= n {
                        2 * (n - 1) - p
                    } else {
                        p
                    }
                },
                false,
            )
        },
        "nn.functional.pad.replicate" => |c| padded(c, |p, n| p.clamp(0, n - 1), false),
        // What negative padding cuts off does not come round again.
        "nn.functional.pad.circular" => |c| padded(c, isize::rem_euclid, true),
        "nn.functional.pixel_shuffle" => |c| {
            let (x, r) = (c.x()?, c.int("upscale_factor")? as usize);
            let dims = x.shape().to_vec();
            let (lead, [ch, h, w]) =
                (&dims[..dims.len() - 3], [dims[dims.len() - 3], dims[dims.len() - 2], dims[dims.len() - 1]]);
            let y = x.reshape([lead, &[ch / (r * r), r, r, h, w]].concat())?;
            let n = lead.len() as isize;
            let order: Vec<isize> = (0..n).chain([n, n + 3, n + 1, n + 4, n + 2]).collect();
            one(y.permute(&order)?.reshape([lead, &[ch / (r * r), h * r, w * r]].concat()))
        },
        "nn.functional.pixel_unshuffle" => |c| {
            let (x, r) = (c.x()?, c.int("downscale_factor")? as usize);
            let dims = x.shape().to_vec();
            let (lead, [ch, h, w]) =
                (&dims[..dims.len() - 3], [dims[dims.len() - 3], dims[dims.len() - 2], dims[dims.len() - 1]]);
            let y = x.reshape([lead, &[ch, h / r, r, w / r, r]].concat())?;
            let n = lead.len() as isize;
            let order: Vec<isize> = (0..n).chain([n, n + 2, n + 4, n + 1, n + 3]).collect();
            one(y.permute(&order)?.reshape([lead, &[ch * r * r, h / r, w / r]].concat()))
        },
        "nn.functional.channel_shuffle" => |c| {
            let (x, groups) = (c.x()?, c.int("groups")? as usize);
            let channels = x.shape()[1];
            let y = x.unflatten(1, &[groups, channels / groups])?.transpose(1, 2)?;
            one(y.reshape(x.shape()))
        },
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
            one(Var::new(y).cast(c.dtype().unwrap_or(default)))
        },
        "linspace" => |c| {
            let y = Tensor::linspace(c.number("start")?, c.number("end")?, c.int("steps")? as usize)?;
            one(Var::new(y).cast(c.dtype().unwrap_or(DType::F32)))
        },
        "eye" => |c| {
            let n = c.int("n")? as usize;
            let y = Tensor::eye(n, c.int_or("m", n as isize)? as usize)?;
            one(Var::new(y).cast(c.dtype().unwrap_or(DType::F32)))
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

fn created(c: &Call, value: f64) -> Result<Vec<Var>, Stop> {
    let shape = c.shape("size", 0)?;
    one(Var::new(Tensor::full(shape, value)?).cast(c.dtype().unwrap_or(DType::F32)))
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
