//! Functions of each element.

use super::{Call, Called, Same, one};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result};

type Unary<V> = (&'static str, fn(&V) -> Result<V>);
type Binary<V> = (&'static str, fn(&V, &V) -> Result<V>);

macro_rules! unary {
    ($($name:ident)*) => { [$((stringify!($name), |x: &V| x.$name())),*] };
}

macro_rules! binary {
    ($($name:ident)*) => { [$((stringify!($name), |a: &V, b: &V| a.$name(b))),*] };
}

fn unary<V: Ops>() -> [Unary<V>; 66] {
    unary! {
        neg abs sign floor ceil round trunc square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan
        asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv logit is_nan is_inf is_finite relu relu6 sigmoid
        log_sigmoid silu mish gelu gelu_tanh selu softplus softsign hard_sigmoid hard_silu sparse_sigmoid sparse_plus
        tanhshrink logical_not frac deg2rad rad2deg lgamma digamma i0 sinc bitwise_not nonzero_as_mask exp_of_log
        ones_like_it zeros_like_it
    }
}

/// Three that take no form of the others, under names of their own.
trait Rest: Ops {
    fn nonzero_as_mask(&self) -> Result<Self> {
        self.ne(0)
    }
    fn exp_of_log(&self) -> Result<Self> {
        self.full_like(2.5).log()
    }
    fn ones_like_it(&self) -> Result<Self> {
        Ok(self.ones_like())
    }
    fn zeros_like_it(&self) -> Result<Self> {
        Ok(self.zeros_like())
    }
}
impl<V: Ops> Rest for V {}

fn binary<V: Ops>() -> [Binary<V>; 37] {
    binary! {
        add sub mul div floor_divide trunc_divide remainder fmod maximum minimum fmax fmin atan2 hypot xlogy xlog1py
        logaddexp logaddexp2 copysign eq ne lt le gt ge logical_and logical_or logical_xor pow ldexp heaviside nextafter
        bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift
    }
}

pub fn run<V: Ops>(call: &mut Call<'_>, [x, a, b]: &[V; 3]) -> Called<V> {
    let mut same = Same::Bits;
    let (name, y) = match call.choose.below(8) {
        0..=2 => {
            let (name, f) = call.choose.of(&unary());
            (name, f(x))
        }
        3..=5 => {
            let (name, f) = call.choose.of(&binary());
            // Mostly of shapes that go together.
            let y = match call.choose.below(4) {
                0 => f(x, a),
                1 => f(x, &call.number(x)),
                2 => f(&call.number(x), x),
                _ => {
                    let other = call.beside(x);
                    f(x, &other)
                }
            };
            (name, y)
        }
        6 => parametric(call, x),
        _ => ternary(call, x, a, b, &mut same),
    };
    Called { name, same, results: one(y) }
}

impl Call<'_> {
    /// A number without a type of its own.
    fn number<V: Ops>(&mut self, x: &V) -> V {
        let n = self.choose.number();
        let n = if self.choose.flag() { n.round() as i64 } else { i64::MIN };
        let number = match n {
            i64::MIN => kiln::tensor::Tensor::number(self.choose.number()),
            n => kiln::tensor::Tensor::number(n),
        };
        x.beside(number).unwrap()
    }

    /// An operand that broadcasts with another.
    pub(super) fn beside<V: Ops>(&mut self, x: &V) -> V {
        let mut dims = x.shape().to_vec();
        if !dims.is_empty() {
            dims.drain(..self.choose.below(dims.len()));
            let axis = self.choose.below(dims.len());
            if self.choose.flag() {
                dims[axis] = 1;
            }
        }
        let dtype = match self.choose.flag() {
            true => x.dtype(),
            false => self.choose.of(&[DType::F32, DType::I64, DType::U8, DType::F16, DType::Bool]),
        };
        self.operand(&dims, dtype)
    }
}

fn parametric<V: Ops>(call: &mut Call<'_>, x: &V) -> (&'static str, Result<V>) {
    let (p, q) = (call.choose.number(), call.choose.number());
    match call.choose.below(16) {
        0 => ("leaky_relu", x.leaky_relu(p)),
        1 => ("elu", x.elu(p)),
        2 => ("celu", x.celu(p)),
        3 => ("hard_tanh", x.hard_tanh(p, q)),
        4 => ("hard_shrink", x.hard_shrink(p)),
        5 => ("soft_shrink", x.soft_shrink(p)),
        6 => ("threshold", x.threshold(p, q)),
        7 => ("squareplus", x.squareplus(p)),
        8 => ("softplus_scaled", x.softplus_scaled(p, q)),
        9 => ("prelu", x.prelu(p)),
        10 => ("glu", x.glu(call.choose.axis(x.shape().rank()))),
        11 => ("clamp_min", x.clamp_min(p)),
        12 => ("clamp_max", x.clamp_max(q)),
        13 => ("nan_to_num", x.nan_to_num(p, q, None)),
        14 => ("logit_eps", x.logit_eps(p)),
        _ => (
            "cast",
            x.cast(call.choose.of(&[
                DType::U8,
                DType::I32,
                DType::I64,
                DType::Bool,
                DType::F16,
                DType::BF16,
                DType::F32,
                DType::F64,
            ])),
        ),
    }
}

fn ternary<V: Ops>(call: &mut Call<'_>, x: &V, a: &V, b: &V, same: &mut Same) -> (&'static str, Result<V>) {
    let near = call.beside(x);
    let (a, b) = if call.choose.flag() { (a, b) } else { (&near, x) };
    match call.choose.below(8) {
        0 => ("clamp", x.clamp(a, b)),
        1 => ("lerp", x.lerp(a, b)),
        2 => ("select", x.ne(0).and_then(|mask| mask.select(a, b))),
        3 => ("isclose", x.isclose(a, call.choose.amount(), call.choose.number(), call.choose.flag())),
        4 => ("addcmul", x.addcmul(a, b, call.choose.number())),
        5 => ("addcdiv", x.addcdiv(a, b, call.choose.number())),
        6 => {
            *same = Same::Specs;
            ("allclose", x.allclose(a, 1e-3, 1e-3, true).map(|_| x.clone()))
        }
        _ => {
            let key = kiln::tensor::Key::new(call.choose.any());
            ("dropout", x.dropout(key, call.choose.of(&[0.0, 0.5, 1.0, 0.9, -1.0, f64::NAN])))
        }
    }
}
