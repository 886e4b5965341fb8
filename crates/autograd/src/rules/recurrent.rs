//! Recurrent layers: the gradient of each is an operation of its own, which walks back through time. What that one's
//! gradient is follows from the same walk in ordinary operations, step by step.

use super::{derived_again, only};
use crate::ops::{
    Apply, ArithmeticOps, Gru, GruGrad, Lstm, LstmGrad, MatMulOps, MathOps, ReduceOps, SelectOps, SimpleRnn,
    SimpleRnnGrad, Value, ViewOps, concat, stack,
};
use crate::{Differentiable, Keep, Result, Tensor, Var};

impl Differentiable for Lstm {
    fn keeps(&self) -> Keep {
        Keep::only(&[1, 2, 3, 4], &[0, 1, 2])
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dh = dy[0].clone().unwrap_or_else(|| zeros(&y[0]));
        let mut operands = vec![&y[2], &y[0], &y[1], &x[1], &x[2], &x[3], &dh];
        operands.extend(&dy[1]);
        operands.extend(x.get(4));
        let op = LstmGrad { cell: dy[1].is_some(), masked: self.masked };
        let dx = match &dy[2] {
            None => Var::apply_op(op, &operands)?.into_iter().collect(),
            // Only the gradient of the gradient reads how far gates are open.
            gates => lstm_back(op, &operands, gates.as_ref())?,
        };
        Ok(dx.into_iter().map(Some).chain(x[4..].iter().map(|_| None)).collect())
    }
}

impl Differentiable for LstmGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| lstm_back(*self, &x.iter().collect::<Vec<_>>(), None))
    }
}

/// [`LstmGrad`] in ordinary operations, where the opened gates may have a gradient of their own.
fn lstm_back(op: LstmGrad, x: &[&Var], d_gates: Option<&Var>) -> Result<Vec<Var>> {
    let [gates, h, c, kernel, first_h, first_c, dh] = x[..7] else { unreachable!("its first operands are seven") };
    if Value::shape(h).count() == 0 {
        return Ok([gates, kernel, first_h, first_c].map(zeros).into());
    }
    let (dc, mask) = (op.cell.then(|| x[7]), op.masked.then(|| x[x.len() - 1]));
    let transposed = kernel.transpose(-1, -2)?;
    let (mut carried_h, mut carried_c, mut dz) = (zeros(first_h), zeros(first_c), Vec::new());
    for t in (0..Value::shape(h)[1] as isize).rev() {
        let dh = carried_h.add(&dh.index(1, t)?)?;
        let dc = match dc {
            Some(dc) => carried_c.add(&dc.index(1, t)?)?,
            None => carried_c,
        };
        let [i, f, g, o] = &gates.index(1, t)?.chunk(4, -1)?[..] else { unreachable!("there are four gates") };
        let before = if t == 0 { first_c.clone() } else { c.index(1, t - 1)? };
        let y = c.index(1, t)?.tanh()?;
        let to_c = dc.add(&dh.mul(o)?.mul(&one_less(&y.square()?)?)?)?;
        let mut to_gates = [to_c.mul(g)?, to_c.mul(&before)?, to_c.mul(i)?, dh.mul(&y)?];
        if let Some(d_gates) = d_gates {
            for (sum, more) in to_gates.iter_mut().zip(d_gates.index(1, t)?.chunk(4, -1)?) {
                *sum = sum.add(&more)?;
            }
        }
        let [to_i, to_f, to_g, to_o] = to_gates;
        let to_g = to_g.mul(&one_less(&g.square()?)?)?;
        let closed = [through_sigmoid(&to_i, i)?, through_sigmoid(&to_f, f)?, to_g, through_sigmoid(&to_o, o)?];
        let step = concat(&closed.each_ref(), -1)?;
        let counts = mask.map(|mask| mask.index(1, t)?.unsqueeze(-1)).transpose()?;
        carried_h = chosen(&counts, step.matmul(&transposed)?, dh)?;
        carried_c = chosen(&counts, to_c.mul(f)?, dc)?;
        dz.push(chosen(&counts, step.clone(), zeros(&step))?);
    }
    let dz = in_order(dz)?;
    let d_kernel = over_steps(h, first_h, &dz)?;
    Ok(vec![dz, d_kernel, carried_h, carried_c])
}

impl Differentiable for Gru {
    fn keeps(&self) -> Keep {
        Keep::only(&[1, 3, 4], &[0, 1, 2])
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dh = dy[0].clone().unwrap_or_else(|| zeros(&y[0]));
        let mut operands = vec![&y[1], &y[2], &y[0], &x[1], &x[3], &dh];
        operands.extend(x.get(4));
        let op = GruGrad { masked: self.masked };
        let dx = match (&dy[1], &dy[2]) {
            (None, None) => Var::apply_op(op, &operands)?.into_iter().collect(),
            // Only the gradient of the gradient reads how far gates are open.
            (gates, inner) => gru_back(op, &operands, [gates.as_ref(), inner.as_ref()])?,
        };
        Ok(dx.into_iter().map(Some).chain(x[4..].iter().map(|_| None)).collect())
    }
}

impl Differentiable for GruGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| gru_back(*self, &x.iter().collect::<Vec<_>>(), [None, None]))
    }
}

/// [`GruGrad`] in ordinary operations, where the opened gates and what is reset may have gradients of their own.
fn gru_back(op: GruGrad, x: &[&Var], [d_gates, d_inner]: [Option<&Var>; 2]) -> Result<Vec<Var>> {
    let [gates, inner, h, kernel, first, dh] = x[..6] else { unreachable!("its first operands are six") };
    if Value::shape(h).count() == 0 {
        let bias = zeros(&kernel.sum(0)?);
        return Ok(vec![zeros(gates), zeros(kernel), bias, zeros(first)]);
    }
    let mask = op.masked.then(|| x[6]);
    let transposed = kernel.transpose(-1, -2)?;
    let (mut carried, mut dz, mut products) = (zeros(first), Vec::new(), Vec::new());
    for t in (0..Value::shape(h)[1] as isize).rev() {
        let dh = carried.add(&dh.index(1, t)?)?;
        let [z, r, g] = &gates.index(1, t)?.chunk(3, -1)?[..] else { unreachable!("there are three gates") };
        let inner = inner.index(1, t)?;
        let before = if t == 0 { first.clone() } else { h.index(1, t - 1)? };
        let more = match d_gates {
            Some(d_gates) => d_gates.index(1, t)?.chunk(3, -1)?,
            None => vec![zeros(z), zeros(r), zeros(g)],
        };
        let to_g = dh.mul(&one_less(z)?)?.add(&more[2])?.mul(&one_less(&g.square()?)?)?;
        let to_z = through_sigmoid(&dh.mul(&before.sub(g)?)?.add(&more[0])?, z)?;
        let to_r = through_sigmoid(&to_g.mul(&inner)?.add(&more[1])?, r)?;
        let mut to_inner = to_g.mul(r)?;
        if let Some(d_inner) = d_inner {
            to_inner = to_inner.add(&d_inner.index(1, t)?)?;
        }
        let step = concat(&[&to_z, &to_r, &to_g], -1)?;
        let product = concat(&[&to_z, &to_r, &to_inner], -1)?;
        let counts = mask.map(|mask| mask.index(1, t)?.unsqueeze(-1)).transpose()?;
        carried = chosen(&counts, product.matmul(&transposed)?.add(&dh.mul(z)?)?, dh)?;
        dz.push(chosen(&counts, step.clone(), zeros(&step))?);
        products.push(chosen(&counts, product.clone(), zeros(&product))?);
    }
    let [dz, products] = [in_order(dz)?, in_order(products)?];
    let d_kernel = over_steps(h, first, &products)?;
    Ok(vec![dz, d_kernel, products.sum([0, 1])?, carried])
}

impl Differentiable for SimpleRnn {
    fn keeps(&self) -> Keep {
        Keep::only(&[1, 2, 3], &[0])
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dh = only(dy);
        let mut operands = vec![&y[0], &x[1], &x[2], &dh];
        operands.extend(x.get(3));
        let dx = Var::apply_op(SimpleRnnGrad { masked: self.masked }, &operands)?;
        Ok(dx.into_iter().map(Some).chain(x[3..].iter().map(|_| None)).collect())
    }
}

impl Differentiable for SimpleRnnGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| simple_back(*self, &x.iter().collect::<Vec<_>>()))
    }
}

/// [`SimpleRnnGrad`] in ordinary operations.
fn simple_back(op: SimpleRnnGrad, x: &[&Var]) -> Result<Vec<Var>> {
    let [h, kernel, first, dh] = x[..4] else { unreachable!("its first operands are four") };
    if Value::shape(h).count() == 0 {
        return Ok([h, kernel, first].map(zeros).into());
    }
    let mask = op.masked.then(|| x[4]);
    let transposed = kernel.transpose(-1, -2)?;
    let (mut carried, mut dz) = (zeros(first), Vec::new());
    for t in (0..Value::shape(h)[1] as isize).rev() {
        let dh = carried.add(&dh.index(1, t)?)?;
        let step = dh.mul(&one_less(&h.index(1, t)?.square()?)?)?;
        let counts = mask.map(|mask| mask.index(1, t)?.unsqueeze(-1)).transpose()?;
        carried = chosen(&counts, step.matmul(&transposed)?, dh)?;
        dz.push(chosen(&counts, step.clone(), zeros(&step))?);
    }
    let dz = in_order(dz)?;
    Ok(vec![dz.clone(), over_steps(h, first, &dz)?, carried])
}

fn zeros(like: &Var) -> Var {
    Var::new(Tensor::filled(like.tensor().spec(), 0.0))
}

fn one_less(x: &Var) -> Result<Var> {
    x.neg()?.add(1.0)
}

fn through_sigmoid(dy: &Var, y: &Var) -> Result<Var> {
    dy.mul(y)?.mul(&one_less(y)?)
}

/// What a step gives where it counts, else what was there.
fn chosen(counts: &Option<Var>, step: Var, else_: Var) -> Result<Var> {
    match counts {
        Some(counts) => counts.select(&step, &else_),
        None => Ok(step),
    }
}

/// What was found for each step from the last to the first, as one value.
fn in_order(mut steps: Vec<Var>) -> Result<Var> {
    steps.reverse();
    stack(&steps.iter().collect::<Vec<_>>(), 1)
}

/// The gradient of the recurrent kernel, over all steps: the states before each, transposed, times the gradients of what
/// they were multiplied into.
fn over_steps(h: &Var, first: &Var, dz: &Var) -> Result<Var> {
    let (units, width) = (Value::shape(h)[2], Value::shape(dz)[2]);
    let steps = Value::shape(h)[0] * Value::shape(h)[1];
    let before = concat(&[&first.unsqueeze(1)?, &h.slice(1, ..-1)?], 1)?;
    before.reshape([steps, units])?.transpose(-1, -2)?.matmul(&dz.reshape([steps, width])?)
}
