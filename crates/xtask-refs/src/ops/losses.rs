//! Losses as PyTorch has them; those for training follow Keras and are compared elsewhere.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::Value as _;
use kiln::autograd::ops::losses::*;

pub(super) fn row(op: &str) -> Option<Row> {
    let op = op.strip_prefix("nn.functional.")?;
    classes(op).or_else(|| distances(op)).or_else(|| margins(op)).or_else(|| probabilities(op))
}

fn reduction(c: &Call) -> Reduction {
    match c.word("reduction") {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "batchmean" => Reduction::BatchMean,
        _ => Reduction::Mean,
    }
}

fn classes(op: &str) -> Option<Row> {
    Some(match op {
        "cross_entropy" => |c| of_classes(c, cross_entropy),
        "nll_loss" => |c| of_classes(c, nll_loss),
        "kl_div" => |c| one(kl_div(&c.x()?, &c.var("target")?, c.flag("log_target"), reduction(c))),
        "multi_margin_loss" => |c| {
            let (p, margin, weight) = (c.int_or("p", 1)? as i32, c.number_or("margin", 1.0)?, c.maybe("weight")?);
            one(multi_margin_loss(&c.x()?, &c.var("target")?, p, margin, weight.as_ref(), reduction(c)))
        },
        "multilabel_margin_loss" => |c| one(multilabel_margin_loss(&c.x()?, &c.var("target")?, reduction(c))),
        "ctc_loss" => |c| {
            let (blank, zero_infinity) = (c.int_or("blank", 0)? as usize, c.flag("zero_infinity"));
            let options = CtcLoss { blank, reduction: reduction(c), zero_infinity };
            let (steps, counts) = (c.var("input_lengths")?, c.var("target_lengths")?);
            one(ctc_loss(&c.var("log_probs")?, &c.var("targets")?, &steps, &counts, &options))
        },
        _ => return None,
    })
}

fn of_classes(
    c: &Call,
    loss: fn(&Var, &Var, &ClassLoss<'_, Var>) -> kiln::autograd::Result<Var>,
) -> Result<Vec<Var>, Stop> {
    let weight = c.maybe("weight")?;
    let options = ClassLoss {
        weight: weight.as_ref(),
        ignore_index: c.number_or("ignore_index", -100.0)? as i64,
        label_smoothing: c.number_or("label_smoothing", 0.0)?,
        reduction: reduction(c),
    };
    one(loss(&c.x()?, &c.var("target")?, &options))
}

fn distances(op: &str) -> Option<Row> {
    Some(match op {
        "mse_loss" => |c| one(mse_loss(&c.x()?, &c.var("target")?, reduction(c))),
        "l1_loss" => |c| one(l1_loss(&c.x()?, &c.var("target")?, reduction(c))),
        "smooth_l1_loss" => {
            |c| one(smooth_l1_loss(&c.x()?, &c.var("target")?, c.number_or("beta", 1.0)?, reduction(c)))
        }
        "huber_loss" => |c| one(huber_loss(&c.x()?, &c.var("target")?, c.number_or("delta", 1.0)?, reduction(c))),
        "pairwise_distance" => |c| {
            let (p, eps) = (c.number_or("p", 2.0)?, c.number_or("eps", 1e-6)?);
            one(pairwise_distance(&c.var("x1")?, &c.var("x2")?, p, eps, c.flag("keepdim")))
        },
        "cosine_similarity" => {
            |c| one(cosine_similarity(&c.var("x1")?, &c.var("x2")?, c.int_or("dim", 1)?, c.number_or("eps", 1e-8)?))
        }
        "cosine_embedding_loss" => |c| {
            let (a, b, target) = (c.var("input1")?, c.var("input2")?, c.var("target")?);
            one(cosine_embedding_loss(&a, &b, &target, c.number_or("margin", 0.0)?, reduction(c)))
        },
        _ => return None,
    })
}

fn margins(op: &str) -> Option<Row> {
    Some(match op {
        "hinge_embedding_loss" => {
            |c| one(hinge_embedding_loss(&c.x()?, &c.var("target")?, c.number_or("margin", 1.0)?, reduction(c)))
        }
        "margin_ranking_loss" => |c| {
            let (a, b, target) = (c.var("input1")?, c.var("input2")?, c.var("target")?);
            one(margin_ranking_loss(&a, &b, &target, c.number_or("margin", 0.0)?, reduction(c)))
        },
        "soft_margin_loss" => |c| one(soft_margin_loss(&c.x()?, &c.var("target")?, reduction(c))),
        "multilabel_soft_margin_loss" => |c| {
            let weight = c.maybe("weight")?;
            one(multilabel_soft_margin_loss(&c.x()?, &c.var("target")?, weight.as_ref(), reduction(c)))
        },
        "triplet_margin_loss" => |c| {
            let (margin, p, eps) = (c.number_or("margin", 1.0)?, c.number_or("p", 2.0)?, c.number_or("eps", 1e-6)?);
            let options = Triplet { margin, p, eps, swap: c.flag("swap"), reduction: reduction(c) };
            one(triplet_margin_loss(&c.var("anchor")?, &c.var("positive")?, &c.var("negative")?, &options))
        },
        "triplet_margin_with_distance_loss" => |c| {
            let (margin, swap) = (c.number_or("margin", 1.0)?, c.flag("swap"));
            let options = Triplet { margin, swap, reduction: reduction(c), ..Triplet::default() };
            one(triplet_margin_loss(&c.var("anchor")?, &c.var("positive")?, &c.var("negative")?, &options))
        },
        _ => return None,
    })
}

fn probabilities(op: &str) -> Option<Row> {
    Some(match op {
        "binary_cross_entropy" => {
            |c| one(binary_cross_entropy(&c.x()?, &c.var("target")?, c.maybe("weight")?.as_ref(), reduction(c)))
        }
        "binary_cross_entropy_with_logits" => |c| {
            let (weight, positive) = (c.maybe("weight")?, c.maybe("pos_weight")?);
            let (x, target) = (c.x()?, c.var("target")?);
            one(binary_cross_entropy_with_logits(&x, &target, weight.as_ref(), positive.as_ref(), reduction(c)))
        },
        "gaussian_nll_loss" => |c| {
            let options = GaussianNll { full: c.flag("full"), eps: c.number_or("eps", 1e-6)?, reduction: reduction(c) };
            let x = c.x()?;
            one(gaussian_nll_loss(&x, &c.var("target")?, &c.operand("var", x.dtype())?, &options))
        },
        "poisson_nll_loss" => |c| {
            let log_input = c.get("log_input").is_none_or(|flag| flag == true);
            let (full, eps) = (c.flag("full"), c.number_or("eps", 1e-8)?);
            one(poisson_nll_loss(
                &c.x()?,
                &c.var("target")?,
                &PoissonNll { log_input, full, eps, reduction: reduction(c) },
            ))
        },
        _ => return None,
    })
}
