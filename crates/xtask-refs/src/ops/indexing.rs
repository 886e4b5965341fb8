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
            let (table, at) = (shortened(c)?, c.x()?);
            one(table.embedding(&at, c.get("padding_idx").map(|_| c.int("padding_idx")).transpose()?))
        },
        "nn.functional.embedding_bag" => embedding_bag,
        "masked_fill" => |c| one(c.x()?.masked_fill(&c.var("mask")?, &c.operand("value", c.x()?.dtype())?)),
        "masked_scatter" => |c| one(c.x()?.masked_scatter(&c.var("mask")?, &c.var("source")?)),
        "masked_select" => |c| one(c.x()?.masked_select(&c.var("mask")?)),
        _ => return None,
    })
}

/// The table of a lookup, whose rows PyTorch shortens first where `max_norm` says so.
fn shortened(c: &Call) -> Result<Var, Stop> {
    let table = c.var("weight")?;
    if c.get("max_norm").is_none() {
        return Ok(table);
    }
    c.takes("rows shortened to `max_norm`");
    let table = table.renorm_rows(&c.x()?, c.number("max_norm")?, c.number_or("norm_type", 2.0)?)?;
    c.mutate("weight", &table);
    Ok(table)
}

fn embedding_bag(c: &Call) -> Result<Vec<Var>, Stop> {
    let bag = match c.word("mode") {
        "sum" => Bag::Sum,
        "max" => Bag::Max,
        _ => Bag::Mean,
    };
    let mut offsets = c.maybe("offsets")?;
    if let (Some(given), true) = (&offsets, c.flag("include_last_offset")) {
        c.takes("offsets without the last");
        offsets = Some(given.slice_by(0, ..-1, 1)?);
    }
    let padding = c.get("padding_idx").map(|_| c.int("padding_idx")).transpose()?;
    let weights = c.maybe("per_sample_weights")?;
    one(shortened(c)?.embedding_bag(&c.x()?, offsets.as_ref(), bag, weights.as_ref(), padding))
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
            let source = c.times_alpha(c.var("source")?)?;
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
            let classes = usize::try_from(c.int_or("num_classes", -1)?).ok();
            one(one_hot(c.x()?.tensor(), classes, DType::I64).map(Var::new))
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
                Some(order) => {
                    c.takes("the `sorter`'s order");
                    sorted.gather(-1, &order)?
                }
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
    if !c.flag("out_int32") {
        return Ok(vec![at]);
    }
    c.takes("a cast of positions");
    one(at.cast(DType::I32))
}
