//! Layers that make one value of several.

use super::settings::{described, settings};
use crate::layer::{AnyLayer, Weights, arity};
use crate::{Error, Pass, Result, Signal};
use kiln_autograd::ops::{
    ArithmeticOps, ComparisonOps, MatMulOps, MathOps, ReduceOps, SelectOps, Value, ViewOps, concat, keep,
};
use kiln_autograd::{Shape, Tensor, Var};

/// The shape that samples of two shapes broadcast to.
fn joined(class: &str, a: Shape, b: Shape) -> Result<Shape> {
    let (long, short) = if a.rank() >= b.rank() { (a, b) } else { (b, a) };
    let mut dims = long.to_vec();
    for (at, &d) in (long.rank() - short.rank()..).zip(short.iter()) {
        match (dims[at], d) {
            (have, d) if have == d || d == 1 => {}
            (1, d) => dims[at] = d,
            _ => {
                let text = format!("{class}: samples of {a} and of {b} do not go together");
                return Err(Error::config(text, "dimensions must be equal, or 1 in one of the two"));
            }
        }
    }
    Ok(Shape::new(&dims)?)
}

/// The shape of samples of all inputs together.
fn broadcast(class: &str, inputs: &[Shape], least: usize) -> Result<Vec<Shape>> {
    several(class, inputs.len(), least)?;
    let mut inputs = inputs.iter().copied();
    let first = inputs.next().unwrap_or_default();
    Ok(vec![inputs.try_fold(first, |a, b| joined(class, a, b))?])
}

fn several(class: &str, found: usize, least: usize) -> Result<()> {
    if found >= least {
        return Ok(());
    }
    let text = format!("{class} takes {least} values or more, found {found}");
    Err(Error::config(text, format!("call it on several: {class}::new().on([&a, &b])")))
}

/// A batch with as many dimensions as the widest; the new ones come after the batch.
fn aligned(x: &Var, rank: usize) -> Result<Var> {
    let mut x = x.clone();
    while Value::shape(&x).rank() < rank {
        x = x.unsqueeze(1)?;
    }
    Ok(x)
}

/// Folds batches with a function of two.
fn fold(x: &[Signal], f: impl Fn(&Var, &Var) -> Result<Var>) -> Result<Vec<Signal>> {
    let rank = x.iter().map(|x| x.shape().rank()).max().unwrap_or(0);
    let mut rest = x.iter();
    let mut y = match rest.next() {
        Some(first) => aligned(&first.value, rank)?,
        None => return Ok(Vec::new()),
    };
    for x in rest {
        y = f(&y, &aligned(&x.value, rank)?)?;
    }
    let mask = either(x, &y)?;
    Ok(vec![Signal::new(y).masked(mask)])
}

/// A step of the result counts where it counts in any of the inputs; everywhere, where one has no mask. This is Keras's rule.
fn either(x: &[Signal], y: &Var) -> Result<Option<Var>> {
    let mut any: Option<Var> = None;
    for signal in x {
        let Some(mask) = signal.mask_for(Value::shape(y)) else { return Ok(None) };
        any = Some(match any {
            None => mask,
            Some(any) => any.logical_or(&mask)?,
        });
    }
    Ok(any)
}

/// Where an input counts, as wide as `y`, if it has a mask that says so.
fn counted(x: &Signal, y: &Var) -> Result<Option<Var>> {
    let Some(mut mask) = x.mask_for(Value::shape(y)) else { return Ok(None) };
    while Value::shape(&mask).rank() < Value::shape(y).rank() {
        mask = mask.unsqueeze(-1)?;
    }
    Ok(Some(mask.expand(*Value::shape(y))?))
}

/// The product, to which an input gives 1 at steps where its mask is false; 0 at steps that count in none. This is Keras's rule.
fn product(x: &[Signal]) -> Result<Vec<Signal>> {
    let plain = fold(x, |a, b| Ok(a.mul(b)?))?;
    let Some(y) = plain.first().filter(|_| x.iter().any(|x| x.mask.is_some())) else { return Ok(plain) };
    let number = |value: f64| Var::new(Tensor::scalar(value, Value::dtype(&y.value)));
    let shown = x.iter().map(|x| {
        let value = aligned(&x.value, y.shape().rank())?.expand(*y.shape())?;
        Ok(Signal::new(match counted(x, &y.value)? {
            Some(mask) => mask.select(&value, &number(1.0))?,
            None => value,
        }))
    });
    let mut all = fold(&shown.collect::<Result<Vec<_>>>()?, |a, b| Ok(a.mul(b)?))?;
    if let Some(first) = all.first_mut() {
        first.mask = y.mask.clone();
        if let Some(mask) = counted(first, &first.value)? {
            first.value = mask.select(&first.value, &number(0.0))?;
        }
    }
    Ok(all)
}

/// The largest or smallest, in which a step takes no part where its mask is false: there the others decide. This is Keras's rule.
fn extreme(x: &[Signal], f: impl Fn(&Var, &Var) -> Result<Var>) -> Result<Vec<Signal>> {
    let plain = fold(x, &f)?;
    let Some(whole) = plain.first().filter(|_| x.iter().any(|x| x.mask.is_some())) else { return Ok(plain) };
    let wide = |x: &Signal| -> Result<Var> { Ok(aligned(&x.value, whole.shape().rank())?.expand(*whole.shape())?) };
    let (mut y, mut seen) = (wide(&x[0])?, counted(&x[0], &whole.value)?);
    for x in &x[1..] {
        let (mut next, mask) = (wide(x)?, counted(x, &whole.value)?);
        if let Some(mask) = &mask {
            next = mask.select(&next, &y)?;
        }
        if let Some(seen) = &seen {
            y = seen.select(&y, &next)?;
        }
        seen = match (seen, mask) {
            (Some(seen), Some(mask)) => Some(seen.logical_or(&mask)?),
            _ => None,
        };
        y = f(&y, &next)?;
    }
    Ok(vec![Signal::new(y).masked(whole.mask.clone())])
}

/// Layers that fold their inputs element by element.
macro_rules! merging {
    ($($(#[$doc:meta])* $name:ident($least:literal, $only:literal) |$x:ident| $merge:expr;)*) => {$(
        settings! {
            $(#[$doc])*
            ///
            /// # Shapes
            /// `[batch, …]`, equal or broadcast, to the same.
            $name {}
        }

        impl $name {
            /// The layer.
            pub fn new() -> $name {
                $name::default()
            }
        }

        impl AnyLayer for $name {
            described!(any);

            fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
                if $only && inputs.len() != $least {
                    arity::<_, $least>(stringify!($name), inputs)?;
                }
                broadcast(stringify!($name), inputs, $least)
            }

            fn run(&self, $x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
                $merge
            }
        }
    )*};
}

merging! {
    /// The sum of its inputs.
    Add(2, false) |x| fold(x, |a, b| Ok(a.add(b)?));
    /// The first input less the second.
    Subtract(2, true) |x| fold(x, |a, b| Ok(a.sub(b)?));
    /// The product of its inputs. Where one has a mask, steps that do not count in it are taken as 1.
    Multiply(2, false) |x| product(x);
    /// The mean of its inputs.
    Average(2, false) |x| {
        let mut all = fold(x, |a, b| Ok(a.add(b)?))?;
        if let Some(first) = all.first_mut() {
            first.value = first.value.div(x.len() as f64)?;
        }
        Ok(all)
    };
    /// The largest of its inputs; of equal ones the first, which has the whole gradient. Where one has a mask, steps that do not
    /// count in it take no part.
    Maximum(2, false) |x| extreme(x, |a, b| chosen(a, b, a.ge(b)?));
    /// The smallest of its inputs; of equal ones the first, which has the whole gradient. Where one has a mask, steps that do not
    /// count in it take no part.
    Minimum(2, false) |x| extreme(x, |a, b| chosen(a, b, a.le(b)?));
}

/// The first where it is chosen or NaN, else the second.
fn chosen(first: &Var, second: &Var, is_first: Var) -> Result<Var> {
    Ok(is_first.logical_or(&first.is_nan()?)?.select(first, second)?)
}

settings! {
    /// Its inputs one after the other.
    ///
    /// # Shapes
    /// `[batch, …, a_i, …]` to `[batch, …, Σ a_i, …]`; all dimensions but that of `axis` are equal.
    Concatenate {
        /// The axis, counted with the batch; from the last backwards where negative.
        axis: isize = -1;
    }
}

impl Concatenate {
    /// Along the last axis.
    pub fn new() -> Concatenate {
        Concatenate::default()
    }

    /// The axis of a sample of this rank.
    fn axis_of(&self, rank: usize) -> Result<usize> {
        sample_axis("Concatenate", self.axis, rank)
    }
}

/// An axis of a batch, 1 for the first of a sample or from the last backwards, as one of a sample of this rank.
///
/// # Errors
/// The batch's axis, or one that there is not.
pub(super) fn sample_axis(class: &str, axis: isize, rank: usize) -> Result<usize> {
    let at = if axis < 0 { axis + rank as isize } else { axis - 1 };
    match usize::try_from(at) {
        Ok(at) if at < rank => Ok(at),
        _ => {
            let text = format!("{class}: there is no axis {axis} in samples of {rank} dimensions");
            let help = format!("axis 0 is the batch; give 1 to {rank}, or -1 to -{rank} from the last");
            Err(Error::config(text, if rank == 0 { "give samples of at least one dimension".into() } else { help }))
        }
    }
}

impl AnyLayer for Concatenate {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        several("Concatenate", inputs.len(), 1)?;
        let axis = self.axis_of(inputs[0].rank())?;
        let mut dims = inputs[0].to_vec();
        for other in &inputs[1..] {
            let agrees = |(i, d): (usize, &usize)| i == axis || *d == inputs[0][i];
            if other.rank() != inputs[0].rank() || !other.iter().enumerate().all(agrees) {
                let text = format!("Concatenate: samples of {} and of {other} do not go together", inputs[0]);
                return Err(Error::config(text, "all dimensions but that of the axis must be equal"));
            }
            dims[axis] += other[axis];
        }
        Ok(vec![Shape::new(&dims)?])
    }

    fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
        let y = concat(&x.iter().map(|x| &x.value).collect::<Vec<_>>(), self.axis)?;
        // Along time, masks are joined like values.
        let masks: Option<Vec<&Var>> = x.iter().map(|x| x.mask.as_ref()).collect();
        let axis = self.axis_of(y.tensor().rank() - 1)? as isize + 1;
        let mask = match masks {
            Some(masks) if masks.iter().all(|mask| Value::shape(*mask).rank() as isize > axis) => {
                Some(concat(&masks, axis)?)
            }
            _ => either(x, &y)?,
        };
        Ok(vec![Signal::new(y).masked(mask)])
    }
}

settings! {
    /// Products of two inputs along one axis of each.
    ///
    /// # Shapes
    /// `[batch, …]` and `[batch, …]` to `[batch, rest of the first…, rest of the second…]`, `[batch, 1]` where nothing is left.
    Dot {
        axes: [isize; 2] = [-1, -1], new;
        /// Whether vectors along the axes are brought to length 1 first: cosines.
        normalize: bool = false;
    }
}

impl Dot {
    /// Along these axes of the two inputs, counted with the batch.
    pub fn new(axes: [isize; 2]) -> Dot {
        Dot { axes, ..Dot::default() }
    }

    fn axes_of(&self, a: usize, b: usize) -> Result<[usize; 2]> {
        Ok([sample_axis("Dot", self.axes[0], a)?, sample_axis("Dot", self.axes[1], b)?])
    }
}

impl AnyLayer for Dot {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [a, b] = arity("Dot", inputs)?;
        let [i, j] = self.axes_of(a.rank(), b.rank())?;
        if a[i] != b[j] {
            let text =
                format!("Dot: axis {} of {a} has {}, axis {} of {b} has {}", self.axes[0], a[i], self.axes[1], b[j]);
            return Err(Error::config(text, "the two axes must be of one length"));
        }
        let rest = |s: &Shape, at: usize| [&s[..at], &s[at + 1..]].concat();
        let dims = [rest(a, i), rest(b, j)].concat();
        Ok(vec![Shape::new(if dims.is_empty() { &[1] } else { &dims })?])
    }

    fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
        let [a, b] = arity("Dot", x)?;
        let [i, j] = self.axes_of(a.shape().rank() - 1, b.shape().rank() - 1)?;
        let unit = |x: &Signal, axis: usize| -> Result<Var> {
            let axis = axis as isize + 1;
            if !self.normalize {
                return Ok(x.value.clone());
            }
            let square = x.value.square()?.sum(keep(axis))?;
            Ok(x.value.mul(&square.maximum(1e-12)?.rsqrt()?)?)
        };
        let (a, b) = (unit(a, i)?, unit(b, j)?);
        let out = self.infer(&[sample(&a)?, sample(&b)?])?;
        // The axis last in the first and first in the second; the rest as one dimension.
        let batch = Value::shape(&a)[0];
        let length = Value::shape(&a)[i + 1];
        let matrix = |x: &Var, at: usize, last: bool| -> Result<Var> {
            let rank = Value::shape(x).rank() as isize;
            let rest = (1..rank).filter(|axis| *axis != at as isize + 1);
            let order: Vec<isize> = match last {
                true => [0].into_iter().chain(rest).chain([at as isize + 1]).collect(),
                false => [0, at as isize + 1].into_iter().chain(rest).collect(),
            };
            let count: usize = Value::shape(x)[1..].iter().product::<usize>() / length.max(1);
            let shape = if last { [batch, count, length] } else { [batch, length, count] };
            Ok(x.permute(&order)?.reshape(shape)?)
        };
        let y = matrix(&a, i, true)?.matmul(&matrix(&b, j, false)?)?;
        Ok(vec![Signal::new(y.reshape([&[batch], &out[0][..]].concat())?)])
    }
}

/// The shape of one sample of a batch.
fn sample(x: &Var) -> Result<Shape> {
    Ok(Shape::new(&Value::shape(x)[1..])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Built;
    use kiln_autograd::{DType, Key};

    /// What a layer makes of two sequences of three steps, of which the mask of each counts some.
    fn merged(layer: impl AnyLayer + 'static, masks: [Option<[bool; 3]>; 2]) -> (Vec<f64>, Option<Vec<bool>>) {
        let values = [[[[1.0], [2.0], [3.0]]], [[[4.0], [-5.0], [6.0]]]];
        let x: Vec<Signal> = values
            .into_iter()
            .zip(masks)
            .map(|(value, mask)| {
                Signal::from(Tensor::new(value)).masked(mask.map(|mask| Var::new(Tensor::new([mask]))))
            })
            .collect();
        let shapes = [Shape::new(&[3, 1]).unwrap(); 2];
        let built = Built::of(Box::new(layer), &shapes, Key::new(0), DType::F64).unwrap();
        let y = built.call(&x, &mut Pass::inference()).unwrap().swap_remove(0);
        (y.value.tensor().to_vec_as(), y.mask.map(|mask| mask.tensor().to_vec().unwrap()))
    }

    // Keras 3.15.1 on the same numbers.
    #[test]
    fn steps_that_do_not_count_take_no_part_in_products_and_extremes() {
        let both = [Some([true, false, false]), Some([true, true, false])];
        let first = [both[0], None];
        let mask = Some(vec![true, true, false]);
        assert_eq!(merged(Multiply::new(), both), (vec![4.0, -5.0, 0.0], mask.clone()));
        assert_eq!(merged(Multiply::new(), first), (vec![4.0, -5.0, 6.0], None));
        assert_eq!(merged(Maximum::new(), both), (vec![4.0, -5.0, 3.0], mask.clone()));
        assert_eq!(merged(Maximum::new(), first), (vec![4.0, -5.0, 6.0], None));
        assert_eq!(merged(Minimum::new(), both), (vec![1.0, -5.0, 3.0], mask.clone()));
        // Of equal ones the first has the whole gradient; what is no number stays.
        let tape = kiln_autograd::Tape::new();
        let [a, b] = [[2.0, f64::NAN, 1.0], [2.0, 1.0, f64::NAN]].map(|x| tape.watch(&Tensor::new([x])));
        for layer in [&Maximum::new() as &dyn AnyLayer, &Minimum::new()] {
            let both = [&a, &b].map(|x| Signal::new(x.clone()));
            let y = layer.run(&both, Weights::none(), &mut Pass::inference()).unwrap().swap_remove(0).value;
            assert_eq!(
                y.tensor().to_vec_as::<f64>().into_iter().map(f64::is_nan).collect::<Vec<_>>(),
                [false, true, true]
            );
            let gradients = y.slice(1, ..1).unwrap().sum(..).unwrap().backward().unwrap();
            assert_eq!([&a, &b].map(|x| gradients.get(x).unwrap().to_vec_as::<f64>()[0]), [1.0, 0.0]);
        }
        // Sums and means take what is there.
        assert_eq!(merged(Average::new(), both), (vec![2.5, -1.5, 4.5], mask.clone()));
        assert_eq!(merged(Add::new(), both), (vec![5.0, -3.0, 9.0], mask));
    }
}
