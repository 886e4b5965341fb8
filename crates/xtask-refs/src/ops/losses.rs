//! Losses as PyTorch has them; those of this library follow Keras and are compared elsewhere.

use super::Row;
use super::call::{Call, constant, one};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Tensor, Var};

pub(super) fn row(op: &str) -> Option<Row> {
    let op = op.strip_prefix("nn.functional.")?;
    classes(op)
        .or_else(|| distances(op))
        .or_else(|| margins(op))
        .or_else(|| probabilities(op))
        .or_else(|| similarities(op))
}

/// The mean, the sum, or each loss.
fn reduced(c: &Call, loss: Var) -> Result<Vec<Var>, Stop> {
    match c.word("reduction") {
        "none" => Ok(vec![loss]),
        "sum" => one(loss.sum(..)),
        _ => one(loss.mean(..)),
    }
}

fn classes(op: &str) -> Option<Row> {
    Some(match op {
        "cross_entropy" => |c| {
            let (logits, target) = (c.x()?, c.var("target")?);
            let log = logits.log_softmax(if logits.shape().rank() == 1 { 0 } else { 1 })?;
            match target.dtype().is_float() {
                true => soft_labels(c, &log, &target),
                false => hard_labels(c, &log, &target, c.number_or("label_smoothing", 0.0)?),
            }
        },
        "nll_loss" => |c| hard_labels(c, &c.x()?, &c.var("target")?, 0.0),
        "kl_div" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let loss = if c.flag("log_target") { y.exp()?.mul(&y.sub(&x)?)? } else { y.xlogy(&y)?.sub(&y.mul(&x)?)? };
            if c.word("reduction") == "batchmean" {
                return one(loss.sum(..)?.mul(1.0 / x.shape()[0] as f64));
            }
            reduced(c, loss)
        },
        "multi_margin_loss" => |c| {
            let (x, p) = (c.x()?, c.number_or("p", 1.0)?);
            let x = if x.shape().rank() < 2 { x.reshape([1, x.tensor().count()])? } else { x };
            let target = c.var("target")?;
            let labels = target.reshape([x.shape()[0], 1])?;
            let classes = x.shape()[1];
            let gap = x.sub(&x.gather(1, &labels)?)?.add(c.number_or("margin", 1.0)?)?;
            let mut loss = gap.gt(0.0)?.select(&gap, &constant(0.0, &x))?.pow(p)?;
            if let Some(weight) = c.maybe("weight")? {
                loss = loss.mul(&weight.rows(&labels)?)?;
            }
            let others = Var::new(one_hot(labels.squeeze(1)?.tensor(), classes, DType::Bool)?).logical_not()?;
            let loss = others.select(&loss, &constant(0.0, &x))?.sum(1)?.mul(1.0 / classes as f64)?;
            reduced(c, loss.reshape(target.shape())?)
        },
        _ => return None,
    })
}

/// The classes' dimension last.
fn classes_last(x: &Var) -> Result<Var, Stop> {
    let rank = x.shape().rank() as isize;
    if rank < 3 {
        return Ok(x.clone());
    }
    let order: Vec<isize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    Ok(x.permute(&order)?)
}

fn hard_labels(c: &Call, log: &Var, target: &Var, smoothing: f64) -> Result<Vec<Var>, Stop> {
    let log = classes_last(log)?;
    let classes = log.shape()[log.shape().rank() - 1];
    let ignored = c.number_or("ignore_index", -100.0)? as i64;
    let kept = target.ne(ignored)?;
    let labels = kept.select(target, &Var::new(Tensor::scalar(0.0, target.dtype())))?;
    let weight = match c.maybe("weight")? {
        Some(weight) => weight,
        None => Var::new(Tensor::filled(
            kiln::autograd::Spec::new(kiln::autograd::Shape::new(&[classes])?, log.dtype()),
            1.0,
        )),
    };
    let zero = constant(0.0, &log);
    let own = kept.select(&weight.rows(&labels)?, &zero)?;
    let chosen = log.gather(-1, &labels.unsqueeze(-1)?)?.squeeze(-1)?;
    let mut loss = MathOps::neg(&kept.select(&chosen.mul(&own)?, &zero)?)?;
    if smoothing > 0.0 {
        let all = kept.select(&MathOps::neg(&log.mul(&weight)?.sum(-1)?)?, &zero)?;
        loss = loss.mul(1.0 - smoothing)?.add(&all.mul(smoothing / classes as f64)?)?;
    }
    match c.word("reduction") {
        "none" => Ok(vec![loss]),
        "sum" => one(loss.sum(..)),
        _ => one(loss.sum(..)?.div(&own.sum(..)?)),
    }
}

fn soft_labels(c: &Call, log: &Var, target: &Var) -> Result<Vec<Var>, Stop> {
    let (log, mut target) = (classes_last(log)?, classes_last(target)?);
    let classes = log.shape()[log.shape().rank() - 1];
    let smoothing = c.number_or("label_smoothing", 0.0)?;
    if smoothing > 0.0 {
        target = target.mul(1.0 - smoothing)?.add(smoothing / classes as f64)?;
    }
    let weighted = match c.maybe("weight")? {
        Some(weight) => log.mul(&weight)?,
        None => log,
    };
    let loss = MathOps::neg(&weighted.mul(&target)?.sum(-1)?)?;
    reduced(c, loss)
}

fn distances(op: &str) -> Option<Row> {
    Some(match op {
        "mse_loss" => |c| reduced(c, c.x()?.sub(&c.var("target")?)?.square()?),
        "l1_loss" => |c| reduced(c, c.x()?.sub(&c.var("target")?)?.abs()?),
        "smooth_l1_loss" => |c| {
            let (d, beta) = (c.x()?.sub(&c.var("target")?)?.abs()?, c.number_or("beta", 1.0)?);
            if beta == 0.0 {
                return reduced(c, d);
            }
            reduced(c, d.lt(beta)?.select(&d.square()?.mul(0.5 / beta)?, &d.sub(0.5 * beta)?)?)
        },
        "huber_loss" => |c| {
            let (d, delta) = (c.x()?.sub(&c.var("target")?)?.abs()?, c.number_or("delta", 1.0)?);
            reduced(c, d.le(delta)?.select(&d.square()?.mul(0.5)?, &d.sub(0.5 * delta)?.mul(delta)?)?)
        },
        "pairwise_distance" => |c| {
            let d = c.var("x1")?.sub(&c.var("x2")?)?.add(c.number_or("eps", 1e-6)?)?;
            one(d.norm(c.number_or("p", 2.0)?, Axes::of(-1).keep_dims(c.flag("keepdim"))))
        },
        _ => return None,
    })
}

/// `max(x, 0)`, with slope 1 at 0 as PyTorch's `clamp_min` has in losses.
fn positive(x: &Var) -> Result<Var, Stop> {
    Ok(x.clamp(0.0, f64::INFINITY)?)
}

fn margins(op: &str) -> Option<Row> {
    Some(match op {
        "hinge_embedding_loss" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let zero = constant(0.0, &x);
            let apart = positive(&constant(c.number_or("margin", 1.0)?, &x).sub(&x)?)?;
            let loss = y.eq(1.0)?.select(&zero, &apart)?.add(&y.eq(-1.0)?.select(&zero, &x)?)?;
            reduced(c, loss)
        },
        "margin_ranking_loss" => |c| {
            let gap = MathOps::neg(&c.var("target")?)?.mul(&c.var("input1")?.sub(&c.var("input2")?)?)?;
            reduced(c, positive(&gap.add(c.number_or("margin", 0.0)?)?)?)
        },
        "soft_margin_loss" => |c| reduced(c, MathOps::neg(&c.var("target")?.mul(&c.x()?)?)?.softplus()?),
        "multilabel_soft_margin_loss" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let no = constant(1.0, &x).sub(&y)?;
            let mut loss = MathOps::neg(&y.mul(&x.log_sigmoid()?)?.add(&no.mul(&MathOps::neg(&x)?.log_sigmoid()?)?)?)?;
            if let Some(weight) = c.maybe("weight")? {
                loss = loss.mul(&weight)?;
            }
            reduced(c, loss.mean(-1)?)
        },
        "triplet_margin_loss" => |c| {
            let (p, eps) = (c.number_or("p", 2.0)?, c.number_or("eps", 1e-6)?);
            let distance = |a: &Var, b: &Var| -> Result<Var, Stop> { Ok(a.sub(b)?.add(eps)?.norm(p, -1)?) };
            let (a, near, far) = (c.var("anchor")?, c.var("positive")?, c.var("negative")?);
            let mut other = distance(&a, &far)?;
            if c.flag("swap") {
                other = other.minimum(&distance(&near, &far)?)?;
            }
            reduced(c, positive(&distance(&a, &near)?.sub(&other)?.add(c.number_or("margin", 1.0)?)?)?)
        },
        _ => return None,
    })
}

fn probabilities(op: &str) -> Option<Row> {
    Some(match op {
        "binary_cross_entropy" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let unit = constant(1.0, &x);
            // Logarithms end at -100, so that a sure mistake costs a finite amount.
            let log = |x: &Var| x.log()?.clamp(-100.0, f64::INFINITY);
            let loss = y.mul(&log(&x)?)?.add(&unit.sub(&y)?.mul(&log(&unit.sub(&x)?)?)?)?;
            weighted(c, MathOps::neg(&loss)?)
        },
        "binary_cross_entropy_with_logits" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let no = constant(1.0, &x).sub(&y)?;
            let surely = MathOps::neg(&x)?.softplus()?;
            let loss = match c.maybe("pos_weight")? {
                Some(w) => no.mul(&x)?.add(&w.sub(1.0)?.mul(&y)?.add(1.0)?.mul(&surely)?)?,
                None => no.mul(&x)?.add(&surely)?,
            };
            weighted(c, loss)
        },
        "gaussian_nll_loss" => |c| {
            let (x, y, eps) = (c.x()?, c.var("target")?, c.number_or("eps", 1e-6)?);
            let mut var = c.var("var")?;
            if var.shape() != x.shape() && var.shape().rank() + 1 == x.shape().rank() {
                var = var.unsqueeze(-1)?;
            }
            // The bound is no part of the graph: below it the variance still gets a gradient.
            let bounded = var.add(&var.detach().clamp(eps, f64::INFINITY)?.sub(&var.detach())?)?;
            let mut loss = bounded.log()?.add(&x.sub(&y)?.square()?.div(&bounded)?)?.mul(0.5)?;
            if c.flag("full") {
                loss = loss.add(0.5 * std::f64::consts::TAU.ln())?;
            }
            reduced(c, loss)
        },
        "poisson_nll_loss" => |c| {
            let (x, y) = (c.x()?, c.var("target")?);
            let mut loss = match c.get("log_input").is_none_or(|flag| flag == true) {
                true => x.exp()?.sub(&y.mul(&x)?)?,
                false => x.sub(&y.mul(&x.add(c.number_or("eps", 1e-8)?)?.log()?)?)?,
            };
            if c.flag("full") {
                let stirling = y.mul(&y.log()?)?.sub(&y)?.add(&y.mul(std::f64::consts::TAU)?.log()?.mul(0.5)?)?;
                loss = loss.add(&y.gt(1.0)?.select(&stirling, &constant(0.0, &x))?)?;
            }
            reduced(c, loss)
        },
        _ => return None,
    })
}

fn weighted(c: &Call, loss: Var) -> Result<Vec<Var>, Stop> {
    match c.maybe("weight")? {
        Some(weight) => reduced(c, loss.mul(&weight)?),
        None => reduced(c, loss),
    }
}

fn similarities(op: &str) -> Option<Row> {
    Some(match op {
        "cosine_similarity" => |c| {
            let (a, b, dim) = (c.var("x1")?, c.var("x2")?, c.int_or("dim", 1)?);
            let shape = a.shape().broadcast(b.shape())?;
            let (a, b, eps) = (a.expand(shape)?, b.expand(shape)?, c.number_or("eps", 1e-8)?);
            let unit =
                |x: &Var| -> Result<Var, Stop> { Ok(x.div(&x.norm(2.0, keep(dim))?.clamp(eps, f64::INFINITY)?)?) };
            one(unit(&a)?.mul(&unit(&b)?)?.sum(dim))
        },
        "cosine_embedding_loss" => |c| {
            let (a, b, y) = (c.var("input1")?, c.var("input2")?, c.var("target")?);
            let squares = |x: &Var| x.square()?.sum(-1)?.add(1e-12);
            let cosine = a.mul(&b)?.sum(-1)?.div(&squares(&a)?.mul(&squares(&b)?)?.sqrt()?)?;
            let (unit, zero) = (constant(1.0, &a), constant(0.0, &a));
            let together = y.eq(1.0)?.select(&unit.sub(&cosine)?, &zero)?;
            let apart = positive(&cosine.sub(c.number_or("margin", 0.0)?)?)?;
            reduced(c, together.add(&y.eq(-1.0)?.select(&apart, &zero)?)?)
        },
        _ => return None,
    })
}
