//! Reading at indices and adding at indices are each other's reverse; of what is joined otherwise, gradients go where
//! the results came from.

use super::only;
use crate::ops::{
    Apply, ArithmeticOps, CastOps, ComparisonOps, Embed, Gather, IndexAdd, IndexSelect, Joining, MathOps, ScatterAdd,
    ScatterJoin, SelectOps, Slice, Stride, Value, ViewOps,
};
use crate::{DType, Differentiable, Keep, Result, Spec, Tensor, Var};

fn zeros(x: &Var) -> Var {
    Var::new(Tensor::filled(x.tensor().spec(), 0.0))
}

/// The indices, the only operand that a rule here reads.
const INDICES: Keep = Keep::only(&[1], &[]);

impl Differentiable for Gather {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dx = Var::apply_one(ScatterAdd { axis: self.axis }, &[&zeros(&x[0]), &x[1], &only(dy)])?;
        Ok(vec![Some(dx), None])
    }
}

impl Differentiable for ScatterAdd {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dy = only(dy);
        let source = match need[2] {
            false => None,
            true => Some(uncut(&Var::apply_one(Gather { axis: self.axis }, &[&dy, &x[1]])?, &x[2])?),
        };
        Ok(vec![Some(dy), None, source])
    }
}

/// All of an index tensor's dimensions.
fn corner(index: &Var) -> Vec<Stride> {
    Value::shape(index).iter().map(|&d| Stride::full(d)).collect()
}

/// The gradient of a source from that of the part of it that the indices cover: the rest was never read.
fn uncut(read: &Var, source: &Var) -> Result<Var> {
    let embed = Embed { shape: *Value::shape(source), ranges: corner(read), fill: 0.0 };
    if Value::shape(read) == Value::shape(source) { Ok(read.clone()) } else { Var::apply_one(embed, &[read]) }
}

impl Differentiable for ScatterJoin {
    fn keeps(&self) -> Keep {
        if self.joining == Joining::Last { INDICES } else { Keep::ALL }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (own, source) = match self.joining {
            Joining::Last => self.of_last(&x[0], &x[1], &only(dy))?,
            Joining::Prod => self.of_factors(x, &y[0], &only(dy))?,
            Joining::Max | Joining::Min => self.of_extremes(x, &y[0], &only(dy))?,
        };
        Ok(vec![Some(own), None, Some(uncut(&source, &x[2])?)])
    }
}

/// The gradients of what was joined to, and of the part of the source that the indices cover.
trait Joined {
    fn read(&self, x: &Var, index: &Var) -> Result<Var>;
    fn of_last(&self, x: &Var, index: &Var, dy: &Var) -> Result<(Var, Var)>;
    fn of_factors(&self, x: &[Var], y: &Var, dy: &Var) -> Result<(Var, Var)>;
    fn of_extremes(&self, x: &[Var], y: &Var, dy: &Var) -> Result<(Var, Var)>;
}

impl Joined for ScatterJoin {
    fn read(&self, x: &Var, index: &Var) -> Result<Var> {
        Var::apply_one(Gather { axis: self.axis }, &[x, index])
    }

    /// Each place has its gradient from the last that was written there; so the writers' numbers are written once more.
    fn of_last(&self, x: &Var, index: &Var, dy: &Var) -> Result<(Var, Var)> {
        let count = Value::shape(index).count() as i64;
        let numbers = dy.beside(Tensor::arange(0i64, count, 1)?)?.reshape(Value::shape(index))?;
        let nobody = Var::new(Tensor::filled(Spec::new(*Value::shape(x), DType::I64), -1.0));
        let last = Var::apply_one(self.clone(), &[&nobody, index, &numbers])?;
        let chosen = ComparisonOps::eq(&self.read(&last, index)?, &numbers)?;
        Ok((last.lt(0)?.select(dy, 0.0)?, chosen.select(&self.read(dy, index)?, 0.0)?))
    }

    /// The product of the other factors: the whole over this one, or what the whole is without the only one that is 0.
    fn of_factors(&self, x: &[Var], y: &Var, dy: &Var) -> Result<(Var, Var)> {
        let (index, ones) = (&x[1], Var::new(Tensor::filled(x[0].tensor().spec(), 1.0)));
        let source = Var::apply_one(Slice { ranges: corner(index) }, &[&x[2]])?;
        let joined = |x: &Var, source: &Var| Var::apply_one(self.clone(), &[x, index, source]);
        let zero = ComparisonOps::eq(&source.detach(), 0.0)?;
        let counted = zero.cast(Value::dtype(dy))?;
        let zeros = Var::apply_one(ScatterAdd { axis: self.axis }, &[&zeros(&x[0]), index, &counted])?;
        let alone = zero.logical_and(&ComparisonOps::eq(&self.read(&zeros, index)?, 1.0)?)?;
        let without = joined(&x[0], &alone.select(1.0, &source)?)?;
        let quotient = self.read(&dy.mul(y)?, index)?.div(&zero.select(1.0, &source)?)?;
        let others = alone.select(&self.read(&dy.mul(&without)?, index)?, &quotient)?;
        Ok((dy.mul(&joined(&ones, &source)?)?, others))
    }

    /// In equal parts to all that equal the result.
    fn of_extremes(&self, x: &[Var], y: &Var, dy: &Var) -> Result<(Var, Var)> {
        let (index, y) = (&x[1], y.detach());
        let source = Var::apply_one(Slice { ranges: corner(index) }, &[&x[2].detach()])?;
        let same = |a: &Var, y: &Var| ComparisonOps::eq(a, y)?.logical_or(&a.is_nan()?.logical_and(&y.is_nan()?)?);
        let (own, chosen) = (same(&x[0].detach(), &y)?, same(&source, &self.read(&y, index)?)?);
        // Half precision counts to 2048.
        let wide = Value::dtype(dy).promote(DType::F32);
        let parts = [&own.cast(wide)?, index, &chosen.cast(wide)?];
        let parts = Var::apply_one(ScatterAdd { axis: self.axis }, &parts)?;
        let share = dy.div(&parts)?.cast(Value::dtype(dy))?;
        Ok((own.select(&share, 0.0)?, chosen.select(&self.read(&share, index)?, 0.0)?))
    }
}

impl Differentiable for IndexSelect {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dx = Var::apply_one(IndexAdd { axis: self.axis }, &[&zeros(&x[0]), &x[1], &only(dy)])?;
        Ok(vec![Some(dx), None])
    }
}

impl Differentiable for IndexAdd {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dy = only(dy);
        let source = match need[2] {
            true => Some(Var::apply_one(IndexSelect { axis: self.axis }, &[&dy, &x[1]])?),
            false => None,
        };
        Ok(vec![Some(dy), None, source])
    }
}
