//! Random numbers as operations: their key is an operand, and so are their bounds.
//!
//! # The bits
//! They are the same on every instruction set, number of threads and device, and stay so. Block `b` of a key is Philox4x32-10
//! of the counter `[b, b >> 32, stream, stream >> 32]` under the seed, four words of 32 bits ([`Key::bits`]).
//! - A draw of 32 bits (all types but `f64`, and dropout) serves one element: word `i % 4` of block `i / 4` is element `i`'s.
//!   A draw of 64 bits (`f64`) is two words, the first one high: element `i` has half `i % 2` of block `i / 2`.
//! - Uniform: `low + (high - low) · u`, where `u` is the top 24 bits of the draw over 2²⁴ (53 bits over 2⁵³), in `f32` for
//!   narrow types. What rounds to the upper bound becomes the number below it.
//! - Normal: elements `2j` and `2j + 1` are `r · cos πa` and `r · sin πa` (Box and Muller 1958) with `r = √(-2 ln u)`, where
//!   `u = (draw + 1) / 2³²` (or 2⁶⁴) of the first, and `a` the draw of the second as a signed fraction of 2³¹ (2⁶³).
//! - Truncated normal: the quantile of `p = Φ(-2) + u · (Φ(2) - Φ(-2))`, `u = (draw + ½) / 2³²` (top 53 bits over 2⁵³), by
//!   the rational functions of AS 241 (Wichura 1988), in `f64`.
//! - Bernoulli and dropout: true, or kept, where the draw is below `p · 2³²`.
//!
//! Logarithm, sine and cosine are the polynomials of `polynomials.rs`.

mod cpu;
mod polynomials;

use super::elementwise::typed;
use super::{Apply, Operand, Value};
use crate::random::Philox;
use crate::run::infer;
use crate::scalar::Program;
use crate::{
    Argument, Arity, CpuCall, CudaCall, DType, Device, Error, Expr, Key, Launch, Op, Pointwise, Result, Scalar, Shape,
    Spec, Specs, Tensor,
};
use std::borrow::Borrow;

/// What is drawn, and what the two parameters beside the key mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly spread from the first parameter up to the second.
    Uniform,
    /// Normal, of this mean and deviation.
    Normal,
    /// Normal of this mean and deviation, cut off at two deviations.
    TruncatedNormal,
    /// `true` with the first parameter for a probability.
    Bernoulli,
}

impl Distribution {
    /// The name in error texts and listings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Normal => "normal",
            Distribution::TruncatedNormal => "truncated_normal",
            Distribution::Bernoulli => "bernoulli",
        }
    }

    /// How many parameters say which one it is.
    pub(crate) fn parameters(self) -> usize {
        if self == Distribution::Bernoulli { 1 } else { 2 }
    }
}

/// A tensor of independent random numbers, from the two halves of a key and two parameters of type `f64`, all of rank 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Random {
    /// What is drawn.
    pub distribution: Distribution,
    /// The shape of the result.
    pub shape: Shape,
    /// The type of the result: floating point, or `bool` of [`Distribution::Bernoulli`].
    pub dtype: DType,
    /// Where it is created.
    pub device: Device,
}

impl Op for Random {
    fn name(&self) -> &str {
        self.distribution.name()
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(4)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_key(self.name(), &x[..2])?;
        check_parameters(self.name(), &x[2..])?;
        if (self.distribution == Distribution::Bernoulli) != (self.dtype == DType::Bool) || self.dtype.is_integer() {
            return Err(Error::dtype(self.name(), format!("draws no {}", self.dtype))
                .help("draw floating-point numbers and cast them"));
        }
        Ok(Spec::new(self.shape, self.dtype).into())
    }

    fn device(&self) -> Option<Device> {
        Some(self.device)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        cpu::draw(self.distribution, key(x)?, parameter(&x[2])?, parameter(&x[3])?, &mut y[0])
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        let outputs = infer(self, x).ok()?;
        let mut pointwise = typed(&[], self.dtype, Program::new::<false>(1, &[Expr::input(0)]), &outputs);
        pointwise.arguments.push(Argument::Random { distribution: self.distribution, dtype: self.dtype, key: 0 });
        Some(pointwise)
    }
}

/// `x` with each element times a number where its random draw keeps it, else 0. Operands are `x`, the two halves of a key,
/// the share that is kept, and the number, 1 / share.
///
/// Its gradient is the same operation with the same key, so that no mask has to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropout;

impl Op for Dropout {
    fn name(&self) -> &str {
        "dropout"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(5)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_key("dropout", &x[1..3])?;
        check_parameters("dropout", &x[3..])?;
        match x[0].dtype.is_float() {
            true => Ok(x[0].into()),
            false => Err(Error::dtype("dropout", format!("needs floating-point numbers, found {}", x[0].dtype))),
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        cpu::dropout(key(&x[1..])?, parameter(&x[3])?, parameter(&x[4])?, &x[0], &mut y[0])
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        let outputs = infer(self, x).ok()?;
        let [element, kept, scale] = [0, 1, 2].map(Expr::<false>::input);
        let y = Scalar::select(kept.equals(Scalar::lit(0.0)), Scalar::lit(0.0), element * scale);
        let mut pointwise = typed(&x[..1], x[0].dtype, Program::new(3, &[y]), &outputs);
        let kept = Argument::Random { distribution: Distribution::Bernoulli, dtype: DType::Bool, key: 1 };
        pointwise.arguments.extend([kept, Argument::Number(DType::F64)]);
        Some(pointwise)
    }
}

fn check_key(op: &str, x: &[Spec]) -> Result<()> {
    match x.iter().all(|x| x.shape.rank() == 0 && x.dtype == DType::I64) {
        true => Ok(()),
        false => {
            Err(Error::argument(op, format!("a key is two i64 of rank 0, found {x:?}")).help("use Key::operands()"))
        }
    }
}

fn check_parameters(op: &str, x: &[Spec]) -> Result<()> {
    match x.iter().all(|x| x.shape.rank() == 0 && x.dtype == DType::F64) {
        true => Ok(()),
        false => Err(Error::argument(op, format!("its parameters are f64 of rank 0, found {x:?}"))),
    }
}

fn key(x: &[crate::View<'_>]) -> Result<Philox> {
    let half = |x: &crate::View<'_>| Ok(x.contiguous::<i64>()?[0] as u64);
    Ok(Philox::new(half(&x[0])?, half(&x[1])?))
}

fn parameter(x: &crate::View<'_>) -> Result<f64> {
    Ok(x.contiguous::<f64>()?[0])
}

/// The key for a purpose, as [`Key::fold`]: the halves of one as those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FoldKey {
    n: u64,
}

impl Op for FoldKey {
    fn name(&self) -> &str {
        "fold_key"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_key("fold_key", x)?;
        Ok([Spec::new(Shape::default(), DType::I64); 2].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        for (y, half) in y.iter_mut().zip(key(x)?.fold(self.n).halves()) {
            y.slice::<i64>()?[0] = half;
        }
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (seed, stream) = (call.dense(0), call.dense(1));
        let launch = Launch::new(include_str!("fold.cu"), "fold").block(32, 1, 1);
        let [y0, y1] = [call.output(0), call.output(1)];
        call.launch(launch.arg(seed).arg(stream).arg(self.n).arg(y0).arg(y1));
        Ok(())
    }
}

/// The halves of a folded key from those of a key.
pub(crate) fn fold([seed, stream]: &[Tensor; 2], n: u64) -> [Tensor; 2] {
    let halves = Tensor::apply(&FoldKey { n }, &[seed, stream]);
    // Halves are of the right types, and sixteen bytes are there.
    halves.ok().and_then(|halves| halves.into_array()).expect("the halves of a key make those of another")
}

/// Random silence.
pub trait DropoutOps: Value + Apply<Dropout> {
    /// Each element at random 0 with probability `rate`, else divided by `1 - rate`, which keeps the mean (Srivastava et
    /// al. 2014). At rate 1 all are 0.
    ///
    /// # Errors
    /// Elements that are no floating-point numbers; a rate that is no number, or outside of 0 to 1.
    #[track_caller]
    fn dropout(&self, key: impl Borrow<Key>, rate: impl Operand<Self>) -> Result<Self> {
        let rate = rate.operand();
        let rate = rate.tensor();
        let is_number = rate.spec() == Spec::new(Shape::default(), DType::F64);
        let dropped = if is_number { rate.item()? } else { f64::NAN };
        if !(0.0..=1.0).contains(&dropped) {
            let text = format!("the rate {rate} is no number from 0 to 1");
            return Err(Error::argument("dropout", text).at(std::panic::Location::caller()));
        }
        let share = 1.0 - dropped;
        let scale = if share > 0.0 { 1.0 / share } else { 0.0 };
        let [seed, stream] = key.borrow().operands();
        let [seed, stream, share, scale] =
            [seed, stream, Tensor::number(share), Tensor::number(scale)].map(Self::constant);
        Self::apply_one(Dropout, &[self, &seed, &stream, &share, &scale])
    }
}
impl<V: Value + Apply<Dropout>> DropoutOps for V {}

/// Draws from a distribution; the callers are the methods of [`Key`].
#[track_caller]
pub(crate) fn draw(key: &Key, op: Random, a: f64, b: f64) -> Result<Tensor> {
    let [seed, stream] = key.operands();
    Tensor::apply_one(op, &[&seed, &stream, &Tensor::number(a), &Tensor::number(b)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::CastOps;

    /// What a listing gives for each element, by its arguments as they say, in the type that it computes in.
    fn listed(pointwise: &Pointwise, shape: Shape, operands: &[&Tensor]) -> Vec<f64> {
        let columns = pointwise.arguments.iter().enumerate().map(|(i, argument)| match *argument {
            Argument::Element(_) => operands[i].to_vec_as::<f64>(),
            // In a listing of dropout: after the element and the four operands of the draw.
            Argument::Number(_) => vec![operands[4].item().unwrap(); shape.count()],
            Argument::Index => (0..shape.count()).map(|i| i as f64).collect(),
            Argument::Random { distribution, dtype, key } => {
                let op = Random { distribution, shape, dtype, device: Device::Cpu };
                let unused = Tensor::number(0.0);
                let mut of_draw = operands[key..key + 2 + distribution.parameters()].to_vec();
                of_draw.resize(4, &unused);
                Tensor::apply_one(op, &of_draw).unwrap().to_vec_as::<f64>()
            }
        });
        let columns: Vec<Vec<f64>> = columns.collect();
        let element = |i: usize| match pointwise.compute {
            DType::F64 => pointwise.program.call(&columns.iter().map(|x| x[i]).collect::<Vec<f64>>())[0],
            _ => f64::from(pointwise.program.call(&columns.iter().map(|x| x[i] as f32).collect::<Vec<f32>>())[0]),
        };
        (0..shape.count()).map(element).collect()
    }

    /// Whether the listing of `op` gives the bits of its kernel.
    fn agrees(op: &dyn Op, shape: Shape, operands: &[&Tensor]) {
        let specs: Vec<Spec> = operands.iter().map(|x| x.spec()).collect();
        let pointwise = op.pointwise(&specs).unwrap();
        let kernel = Tensor::apply(op, operands).unwrap().one().unwrap();
        let listing = Tensor::from_vec(listed(&pointwise, shape, operands), shape).unwrap();
        let listing = listing.cast(pointwise.outputs[0]).unwrap();
        assert!(kernel.same_bits(&listing), "{op:?} by\n{pointwise}");
    }

    #[test]
    fn a_listing_draws_what_the_kernel_does() {
        let shape = Shape::from_slice(&[203]);
        let [seed, stream] = Key::new(3).fold(1).operands();
        let [a, b] = [0.25, 1.5].map(Tensor::number);
        for distribution in
            [Distribution::Uniform, Distribution::Normal, Distribution::TruncatedNormal, Distribution::Bernoulli]
        {
            let wanted = |dtype: &DType| dtype.is_float() != (distribution == Distribution::Bernoulli);
            for dtype in DType::ALL.into_iter().filter(wanted).filter(|dtype| !dtype.is_integer()) {
                let op = Random { distribution, shape, dtype, device: Device::Cpu };
                agrees(&op, shape, &[&seed, &stream, &a, &b]);
            }
        }
        for (dtype, rate) in
            [(DType::F32, 0.3), (DType::F64, 0.3), (DType::F32, 0.0), (DType::F32, 1.0), (DType::F16, 0.7)]
        {
            let x = Key::new(1).normal_as([203], 0.0, 1.0, dtype).unwrap();
            let share = 1.0 - rate;
            let scale = if share > 0.0 { 1.0 / share } else { 0.0 };
            let [share, scale] = [share, scale].map(Tensor::number);
            agrees(&Dropout, shape, &[&x, &seed, &stream, &share, &scale]);
        }
        let op = Random { distribution: Distribution::Normal, shape, dtype: DType::F16, device: Device::Cpu };
        let pointwise = op.pointwise(&[&seed, &stream, &a, &b].map(Tensor::spec)).unwrap();
        assert_eq!(pointwise.to_string(), "a = normal f16 of operands 0 to 3\nf16 a");
    }
}
