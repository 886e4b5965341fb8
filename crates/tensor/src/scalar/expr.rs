//! A scalar function as data: built by running the function on [`Expr`]s, and kept as a [`Program`], a list of
//! instructions without repetitions, that can be run on blocks of numbers, derived again, and printed.

use super::{Mask, Real, Scalar};
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// A formula.
#[derive(Clone, Debug)]
pub struct Expr(Arc<Node>);

#[derive(Debug)]
enum Node {
    Input(usize),
    Literal(f64),
    Unary(Unary, Expr),
    Binary(Binary, Expr, Expr),
    Select(Expr, Expr, Expr),
}

/// Pairs each variant with the method of [`Scalar`] that it stands for.
macro_rules! unary_functions {
    ($($variant:ident $name:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        enum Unary { Neg, Not, $($variant),* }

        impl Unary {
            #[inline(always)]
            fn call<S: Scalar>(self, x: S) -> S {
                match self {
                    Unary::Neg => -x,
                    // Masks are numbers here, 1 or 0.
                    Unary::Not => S::lit(1.0) - x,
                    $(Unary::$variant => x.$name()),*
                }
            }
        }

        macro_rules! unary_methods {
            () => {$(
                fn $name(self) -> Expr { Expr::unary(Unary::$variant, self) }
            )*};
        }
    };
}

unary_functions! {
    Abs abs Sign sign Floor floor Ceil ceil Round round Trunc trunc Sqrt sqrt Exp exp Exp2 exp2 ExpM1 exp_m1 Ln ln
    Log2 log2 Log10 log10 Ln1p ln_1p Sin sin Cos cos Tan tan Asin asin Acos acos Atan atan Sinh sinh Cosh cosh
    Tanh tanh Asinh asinh Acosh acosh Atanh atanh Erf erf Sigmoid sigmoid Softplus softplus
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Binary {
    Add,
    Sub,
    Mul,
    TimesTangent,
    Div,
    Pow,
    Hypot,
    Atan2,
    Fmod,
    Max,
    Min,
    Lt,
    Le,
    Equals,
    And,
    Or,
}

impl Binary {
    #[inline(always)]
    fn call<S: Scalar>(self, a: S, b: S) -> S {
        let number = |mask: S::Mask| S::select(mask, S::lit(1.0), S::lit(0.0));
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul | Binary::And => a * b,
            Binary::TimesTangent => a.times_tangent(b),
            Binary::Hypot => a.hypot(b),
            Binary::Div => a / b,
            Binary::Pow => a.pow(b),
            Binary::Atan2 => a.atan2(b),
            Binary::Fmod => a.fmod(b),
            Binary::Max | Binary::Or => a.max(b),
            Binary::Min => a.min(b),
            Binary::Lt => number(a.lt(b)),
            Binary::Le => number(a.le(b)),
            Binary::Equals => number(a.equals(b)),
        }
    }
}

impl Expr {
    /// Argument number `i`.
    pub(crate) fn input(i: usize) -> Expr {
        Expr(Arc::new(Node::Input(i)))
    }

    fn unary(f: Unary, x: Expr) -> Expr {
        Expr(Arc::new(Node::Unary(f, x)))
    }

    fn binary(f: Binary, a: Expr, b: Expr) -> Expr {
        Expr(Arc::new(Node::Binary(f, a, b)))
    }

    fn literal(&self) -> Option<f64> {
        if let Node::Literal(value) = *self.0 { Some(value) } else { None }
    }
}

// Derivatives are full of structural zeros and ones; they vanish here, where they arise.
impl Add for Expr {
    type Output = Expr;
    fn add(self, o: Expr) -> Expr {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) => o,
            (_, Some(0.0)) => self,
            _ => Expr::binary(Binary::Add, self, o),
        }
    }
}

impl Sub for Expr {
    type Output = Expr;
    fn sub(self, o: Expr) -> Expr {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) => -o,
            (_, Some(0.0)) => self,
            _ => Expr::binary(Binary::Sub, self, o),
        }
    }
}

impl Mul for Expr {
    type Output = Expr;
    fn mul(self, o: Expr) -> Expr {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) | (_, Some(1.0)) => self,
            (_, Some(0.0)) | (Some(1.0), _) => o,
            _ => Expr::binary(Binary::Mul, self, o),
        }
    }
}

impl Div for Expr {
    type Output = Expr;
    fn div(self, o: Expr) -> Expr {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) | (_, Some(1.0)) => self,
            _ => Expr::binary(Binary::Div, self, o),
        }
    }
}

impl Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        match self.literal() {
            Some(value) => Expr::lit(if value == 0.0 { 0.0 } else { -value }),
            None => Expr::unary(Unary::Neg, self),
        }
    }
}

impl Mask for Expr {
    fn and(self, other: Expr) -> Expr {
        Expr::binary(Binary::And, self, other)
    }
    fn or(self, other: Expr) -> Expr {
        Expr::binary(Binary::Or, self, other)
    }
    fn not(self) -> Expr {
        Expr::unary(Unary::Not, self)
    }
}

impl Scalar for Expr {
    type Mask = Expr;
    fn lit(value: f64) -> Expr {
        Expr(Arc::new(Node::Literal(value)))
    }
    unary_methods!();
    fn times_tangent(self, tangent: Expr) -> Expr {
        match (self.literal(), tangent.literal()) {
            (Some(_), _) | (_, Some(0.0 | 1.0)) => self * tangent,
            _ => Expr::binary(Binary::TimesTangent, self, tangent),
        }
    }
    fn hypot(self, other: Expr) -> Expr {
        Expr::binary(Binary::Hypot, self, other)
    }
    fn pow(self, exponent: Expr) -> Expr {
        Expr::binary(Binary::Pow, self, exponent)
    }
    fn atan2(self, x: Expr) -> Expr {
        Expr::binary(Binary::Atan2, self, x)
    }
    fn fmod(self, divisor: Expr) -> Expr {
        Expr::binary(Binary::Fmod, self, divisor)
    }
    fn max(self, other: Expr) -> Expr {
        Expr::binary(Binary::Max, self, other)
    }
    fn min(self, other: Expr) -> Expr {
        Expr::binary(Binary::Min, self, other)
    }
    fn lt(self, other: Expr) -> Expr {
        Expr::binary(Binary::Lt, self, other)
    }
    fn le(self, other: Expr) -> Expr {
        Expr::binary(Binary::Le, self, other)
    }
    fn equals(self, other: Expr) -> Expr {
        Expr::binary(Binary::Equals, self, other)
    }
    fn select(mask: Expr, a: Expr, b: Expr) -> Expr {
        match (a.literal(), b.literal()) {
            (Some(x), Some(y)) if x.to_bits() == y.to_bits() => a,
            _ => Expr(Arc::new(Node::Select(mask, a, b))),
        }
    }
}

/// A function as a list of instructions, each naming earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    inputs: usize,
    steps: Vec<Step>,
    outputs: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Input(usize),
    /// The bits of a double, so that equal literals compare equal.
    Literal(u64),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Select(usize, usize, usize),
}

#[derive(Default)]
struct Lowering {
    steps: Vec<Step>,
    numbers: HashMap<Step, usize>,
    seen: HashMap<*const Node, usize>,
}

impl Lowering {
    fn lower(&mut self, e: &Expr) -> usize {
        if let Some(&done) = self.seen.get(&Arc::as_ptr(&e.0)) {
            return done;
        }
        let step = match &*e.0 {
            Node::Input(i) => Step::Input(*i),
            Node::Literal(value) => Step::Literal(value.to_bits()),
            Node::Unary(f, x) => Step::Unary(*f, self.lower(x)),
            Node::Binary(f, a, b) => Step::Binary(*f, self.lower(a), self.lower(b)),
            Node::Select(m, a, b) => Step::Select(self.lower(m), self.lower(a), self.lower(b)),
        };
        let next = self.steps.len();
        let number = *self.numbers.entry(step).or_insert(next);
        if number == next {
            self.steps.push(step);
        }
        self.seen.insert(Arc::as_ptr(&e.0), number);
        number
    }
}

impl Program {
    /// The program that computes `outputs` from `inputs` arguments.
    pub(crate) fn new(inputs: usize, outputs: &[Expr]) -> Program {
        let mut lowering = Lowering::default();
        let outputs = outputs.iter().map(|e| lowering.lower(e)).collect();
        Program { inputs, steps: lowering.steps, outputs }
    }

    /// Number of arguments.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of results.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Runs it in any reading of [`Scalar`].
    pub(crate) fn call<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let mut values: Vec<S> = Vec::with_capacity(self.steps.len());
        for &step in &self.steps {
            let value = match step {
                Step::Input(i) => x[i].clone(),
                Step::Literal(bits) => S::lit(f64::from_bits(bits)),
                Step::Unary(f, a) => f.call(values[a].clone()),
                Step::Binary(f, a, b) => f.call(values[a].clone(), values[b].clone()),
                Step::Select(m, a, b) => {
                    let mask = values[m].clone().equals(S::lit(0.0)).not();
                    S::select(mask, values[a].clone(), values[b].clone())
                }
            };
            values.push(value);
        }
        self.outputs.iter().map(|&o| values[o].clone()).collect()
    }

    /// Runs it on blocks of numbers, one instruction at a time over the whole block.
    pub(crate) fn call_blocks<C: Real>(&self, x: &[&[C]], length: usize) -> Vec<Vec<C>> {
        let mut values: Vec<Vec<C>> = Vec::with_capacity(self.steps.len());
        for &step in &self.steps {
            let value = match step {
                Step::Input(i) => x[i][..length].to_vec(),
                Step::Literal(bits) => vec![C::lit(f64::from_bits(bits)); length],
                Step::Unary(f, a) => values[a].iter().map(|&a| f.call(a)).collect(),
                Step::Binary(f, a, b) => values[a].iter().zip(&values[b]).map(|(&a, &b)| f.call(a, b)).collect(),
                Step::Select(m, a, b) => (0..length)
                    .map(|i| C::select(!values[m][i].equals(C::lit(0.0)), values[a][i], values[b][i]))
                    .collect(),
            };
            values.push(value);
        }
        self.outputs.iter().map(|&o| values[o].clone()).collect()
    }
}
