//! Reading and writing at indices and masks.

use super::Row;
use super::call::{Call, one};
use super::shapes::range;
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Spec, Tensor, Var};
use serde_json::Value as Json;

pub(super) fn row(op: &str) -> Option<Row> {
    reading(op).or_else(|| writing(op)).or_else(|| counting(op))
}

fn reading(op: &str) -> Option<Row> {
    Some(match op {
        "index_select" => |c| one(c.x()?.index_select(c.int("dim")?, &c.var("index")?)),
        "gather" => |c| one(c.x()?.gather(c.int("dim")?, &c.var("index")?)),
        "take_along_dim" => |c| match c.get("dim") {
            Some(_) => one(c.x()?.take_along_dim(&c.var("indices")?, c.int("dim")?)),
            None => one(c.x()?.take_along_dim(&c.var("indices")?, ..)),
        },
        "take" => |c| one(c.x()?.take(&c.var("index")?)),
        "__getitem__" => |c| one(c.x()?.at(&items(c)?)),
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
        "masked_fill" => |c| one(c.x()?.masked_fill(&c.var("mask")?, &c.operand("value", c.x()?.dtype())?)),
        "masked_scatter" => |c| one(c.x()?.masked_scatter(&c.var("mask")?, &c.var("source")?)),
        "masked_select" => |c| one(c.x()?.masked_select(&c.var("mask")?)),
        _ => return None,
    })
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

/// What Python writes in brackets.
fn items(c: &Call) -> Result<Vec<Index<Var>>, Stop> {
    let item = |item: &Json| -> Result<Index<Var>, Stop> {
        if let Some(key) = item.get("tensor").and_then(Json::as_str) {
            return Ok(Index::Tensor(c.input(key)?));
        }
        let number = |item: &Json| item.as_i64().map(|i| i as isize);
        match (number(item), item.get("slice").and_then(Json::as_array)) {
            _ if item.is_null() => Ok(Index::NewAxis),
            _ if item.get("ellipsis").is_some() => Ok(Index::Ellipsis),
            (Some(i), _) => Ok(Index::At(i)),
            (None, Some(parts)) => {
                let part = |i: usize| parts.get(i).and_then(number);
                Ok(Index::Slice { start: part(0), end: part(1), step: part(2).unwrap_or(1) })
            }
            _ => Stop::unsupported("an index of another kind"),
        }
    };
    c.get("index").and_then(Json::as_array).into_iter().flatten().map(item).collect()
}

/// The source of a scatter: a tensor, or a number for every index.
fn source(c: &Call, index: &Var) -> Result<Var, Stop> {
    match c.maybe("src")? {
        Some(src) => Ok(src),
        None => Ok(Var::new(Tensor::filled(Spec::new(*index.shape(), c.x()?.dtype()), c.number("value")?))),
    }
}

fn reduced(c: &Call) -> Result<Vec<Var>, Stop> {
    let by = match c.word("reduce") {
        "prod" => ScatterReduce::Prod,
        "mean" => ScatterReduce::Mean,
        "amax" => ScatterReduce::Amax,
        "amin" => ScatterReduce::Amin,
        _ => ScatterReduce::Sum,
    };
    let include_self = c.get("include_self").is_none_or(|flag| flag == true);
    one(c.x()?.scatter_reduce(c.int("dim")?, &c.var("index")?, &c.var("src")?, by, include_self))
}

fn writing(op: &str) -> Option<Row> {
    Some(match op {
        "scatter_add" => |c| one(c.x()?.scatter_add(c.int("dim")?, &c.var("index")?, &c.var("src")?)),
        "scatter" => |c| {
            let index = c.var("index")?;
            one(c.x()?.scatter(c.int("dim")?, &index, &source(c, &index)?))
        },
        "scatter_reduce.sum"
        | "scatter_reduce.prod"
        | "scatter_reduce.mean"
        | "scatter_reduce.amax"
        | "scatter_reduce.amin" => reduced,
        "index_add" => |c| {
            let source = c.var("source")?.mul(c.number_or("alpha", 1.0)?)?;
            one(c.x()?.index_add(c.int("dim")?, &c.var("index")?, &source))
        },
        "index_copy" => |c| one(c.x()?.index_copy(c.int("dim")?, &c.var("index")?, &c.var("source")?)),
        "index_fill" => {
            |c| one(c.x()?.index_fill(c.int("dim")?, &c.var("index")?, &c.operand("value", c.x()?.dtype())?))
        }
        "index_put" => |c| {
            let index: Vec<Index<Var>> = c.vars("indices")?.into_iter().map(Index::Tensor).collect();
            match c.flag("accumulate") {
                true => one(c.x()?.add_at(&index, &c.var("values")?)),
                false => one(c.x()?.set_at(&index, &c.var("values")?)),
            }
        },
        "select_scatter" => |c| one(c.x()?.select_scatter(&c.var("src")?, c.int("dim")?, c.int("index")?)),
        "slice_scatter" => {
            |c| one(c.x()?.slice_scatter(&c.var("src")?, c.int_or("dim", 0)?, range(c)?, c.int_or("step", 1)?))
        }
        _ => return None,
    })
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
        "bincount" => |c| one(c.x()?.bincount(c.maybe("weights")?.as_ref(), c.int_or("minlength", 0)? as usize)),
        "isin" => |c| one(c.var("elements")?.isin(&c.var("test_elements")?, c.flag("invert"))),
        "bucketize" => |c| {
            let boundaries = c.var("boundaries")?;
            let x = c.operand("input", boundaries.dtype())?;
            in_type(c, x.bucketize(&boundaries, c.flag("right"))?)
        },
        "searchsorted" => |c| {
            let sorted = c.var("sorted_sequence")?;
            let sorted = match c.maybe("sorter")? {
                Some(order) => sorted.gather(-1, &order)?,
                None => sorted,
            };
            let right = c.flag("right") || c.word("side") == "right";
            in_type(c, sorted.searchsorted(&c.operand("input", sorted.dtype())?, right)?)
        },
        "nonzero" => |c| if c.flag("as_tuple") { Ok(c.x()?.nonzero_each()?) } else { one(c.x()?.nonzero()) },
        _ => return None,
    })
}

/// Positions in the type that the call asks for.
fn in_type(c: &Call, at: Var) -> Result<Vec<Var>, Stop> {
    if c.flag("out_int32") { one(at.cast(DType::I32)) } else { Ok(vec![at]) }
}
