//! A scalar function as data: a list of instructions without repetitions, that can be run on blocks of numbers, derived
//! again, and printed; and with the types of what it reads and gives, all of a pointwise operation.

use super::expr::{Binary, Compare, Expr, Logic, Node, Unary};
use super::{Mask, Real, Scalar};
use crate::DType;
use crate::ops::Distribution;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A function as a list of instructions, each naming earlier ones. It says nothing of the type that it computes in.
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
    // These three are true or false.
    Compare(Compare, usize, usize),
    Logic(Logic, usize, usize),
    Not(usize),
    Select(usize, usize, usize),
}

#[derive(Default)]
struct Lowering {
    steps: Vec<Step>,
    numbers: HashMap<Step, usize>,
    seen: HashMap<*const Node, usize>,
}

impl Lowering {
    fn lower(&mut self, e: &Arc<Node>) -> usize {
        if let Some(&done) = self.seen.get(&Arc::as_ptr(e)) {
            return done;
        }
        let step = match &**e {
            Node::Input(i) => Step::Input(*i),
            Node::Literal(value) => Step::Literal(value.to_bits()),
            Node::Unary(f, x) => Step::Unary(*f, self.lower(x)),
            Node::Binary(f, a, b) => Step::Binary(*f, self.lower(a), self.lower(b)),
            Node::Compare(f, a, b) => Step::Compare(*f, self.lower(a), self.lower(b)),
            Node::Logic(f, a, b) => Step::Logic(*f, self.lower(a), self.lower(b)),
            Node::Not(x) => Step::Not(self.lower(x)),
            Node::Select(m, a, b) => Step::Select(self.lower(m), self.lower(a), self.lower(b)),
        };
        let next = self.steps.len();
        let number = *self.numbers.entry(step).or_insert(next);
        if number == next {
            self.steps.push(step);
        }
        self.seen.insert(Arc::as_ptr(e), number);
        number
    }
}

/// What an instruction gives.
enum Computed<S, M> {
    Number(S),
    Mask(M),
}

impl<S: Clone, M: Clone> Computed<S, M> {
    fn number(&self) -> S {
        match self {
            Computed::Number(number) => number.clone(),
            Computed::Mask(_) => unreachable!("a formula takes no mask for a number"),
        }
    }

    fn mask(&self) -> M {
        match self {
            Computed::Mask(mask) => mask.clone(),
            Computed::Number(_) => unreachable!("a formula takes no number for a mask"),
        }
    }
}

impl Program {
    /// The program that computes `outputs` from `inputs` arguments.
    pub(crate) fn new<const SIMPLIFIED: bool>(inputs: usize, outputs: &[Expr<SIMPLIFIED>]) -> Program {
        let mut lowering = Lowering::default();
        let outputs = outputs.iter().map(|e| lowering.lower(&e.0)).collect();
        Program { inputs, steps: lowering.steps, outputs }
    }

    /// Number of arguments.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of instructions.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Number of results.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Runs it in any reading of [`Scalar`].
    pub(crate) fn call<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        use Computed::{Mask, Number};
        let mut values: Vec<Computed<S, S::Mask>> = Vec::with_capacity(self.steps.len());
        for &step in &self.steps {
            values.push(match step {
                Step::Input(i) => Number(x[i].clone()),
                Step::Literal(bits) => Number(S::lit(f64::from_bits(bits))),
                Step::Unary(f, a) => Number(f.call(values[a].number())),
                Step::Binary(f, a, b) => Number(f.call(values[a].number(), values[b].number())),
                Step::Compare(f, a, b) => Mask(f.call(values[a].number(), values[b].number())),
                Step::Logic(f, a, b) => Mask(f.call(values[a].mask(), values[b].mask())),
                Step::Not(a) => Mask(values[a].mask().not()),
                Step::Select(m, a, b) => Number(S::select(values[m].mask(), values[a].number(), values[b].number())),
            });
        }
        self.outputs.iter().map(|&o| values[o].number()).collect()
    }

    /// One program for this and `other`, which differ in constants alone, where those are `value` here and `other_value` there:
    /// such a constant is one more argument, the last. `None` where they differ in anything else.
    pub(crate) fn generalized(&self, value: f64, other: &Program, other_value: f64) -> Option<Program> {
        if (self.steps.len(), &self.outputs, self.inputs) != (other.steps.len(), &other.outputs, other.inputs) {
            return None;
        }
        let mut steps = self.steps.clone();
        for (step, other) in steps.iter_mut().zip(&other.steps).filter(|(step, other)| step != other) {
            let differs = (Step::Literal(value.to_bits()), Step::Literal(other_value.to_bits()));
            if (*step, *other) != differs {
                return None;
            }
            *step = Step::Input(self.inputs);
        }
        Some(Program { inputs: self.inputs + 1, steps, outputs: self.outputs.clone() })
    }

    /// Writes it down in a language with functions of two or three arguments: `line` gets `name = value` of each instruction
    /// and whether that is true or false, `literal` writes a constant, and argument `i` is the variable `{input}{i}`. Gives
    /// the names of the results.
    pub(crate) fn print(
        &self,
        line: &mut dyn FnMut(&str, bool),
        literal: &dyn Fn(f64) -> String,
        input: &str,
    ) -> Vec<String> {
        for (i, &step) in self.steps.iter().enumerate() {
            let value = match step {
                Step::Input(argument) => format!("{input}{argument}"),
                Step::Literal(bits) => literal(f64::from_bits(bits)),
                Step::Unary(f, a) => format!("kiln::{}(t{a})", f.name()),
                Step::Binary(f, a, b) => format!("kiln::{}(t{a}, t{b})", f.name()),
                Step::Compare(f, a, b) => format!("kiln::{}(t{a}, t{b})", f.name()),
                Step::Logic(Logic::And, a, b) => format!("t{a} & t{b}"),
                Step::Logic(Logic::Or, a, b) => format!("t{a} | t{b}"),
                Step::Not(a) => format!("!t{a}"),
                Step::Select(m, a, b) => format!("kiln::select(t{m}, t{a}, t{b})"),
            };
            let is_mask = matches!(step, Step::Compare(..) | Step::Logic(..) | Step::Not(_));
            line(&format!("t{i} = {value}"), is_mask);
        }
        self.outputs.iter().map(|o| format!("t{o}")).collect()
    }

    /// Runs it on blocks of numbers, one instruction at a time over the whole block.
    pub(crate) fn call_blocks<C: Real>(&self, x: &[&[C]], length: usize) -> Vec<Vec<C>> {
        let mut blocks = Blocks { numbers: Vec::new(), masks: Vec::new() };
        for &step in &self.steps {
            let (number, mask) = blocks.step(step, x, length);
            blocks.numbers.push(number);
            blocks.masks.push(mask);
        }
        self.outputs.iter().map(|&o| blocks.numbers[o].clone()).collect()
    }
}

/// What the instructions so far have given: of each a block of numbers, or of masks, and an empty one of the other.
struct Blocks<C> {
    numbers: Vec<Vec<C>>,
    masks: Vec<Vec<bool>>,
}

impl<C: Real> Blocks<C> {
    fn step(&self, step: Step, x: &[&[C]], length: usize) -> (Vec<C>, Vec<bool>) {
        let (numbers, masks) = (&self.numbers, &self.masks);
        let pairs = |a: usize, b: usize| numbers[a].iter().zip(&numbers[b]);
        let numbers = match step {
            Step::Input(i) => x[i][..length].to_vec(),
            Step::Literal(bits) => vec![C::lit(f64::from_bits(bits)); length],
            Step::Unary(f, a) => numbers[a].iter().map(|&a| f.call(a)).collect(),
            Step::Binary(f, a, b) => pairs(a, b).map(|(&a, &b)| f.call(a, b)).collect(),
            Step::Select(m, a, b) => pairs(a, b).zip(&masks[m]).map(|((&a, &b), &m)| C::select(m, a, b)).collect(),
            Step::Compare(f, a, b) => return (Vec::new(), pairs(a, b).map(|(&a, &b)| f.call(a, b)).collect()),
            Step::Logic(f, a, b) => {
                return (Vec::new(), masks[a].iter().zip(&masks[b]).map(|(&a, &b)| f.call(a, b)).collect());
            }
            Step::Not(a) => return (Vec::new(), masks[a].iter().map(|&a| !a).collect()),
        };
        (numbers, Vec::new())
    }
}

/// What an argument of a [`Pointwise`] program is, converted to the type that it computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An operand's element, of this type.
    Element(DType),
    /// The one number that an operand of rank 0 holds, of this type: read once.
    Number(DType),
    /// The element's number in row-major order, from 0.
    Index,
    /// The element's random number, as [`Random`](crate::ops::Random) of this distribution and type draws it (`true` is
    /// 1). The key's two halves and the parameters are operands of rank 0, of which `key` is the first.
    Random {
        /// What is drawn.
        distribution: Distribution,
        /// The type that it is rounded to.
        dtype: DType,
        /// The number of the operand that holds the key's first half.
        key: usize,
    },
}

/// All that a pointwise operation does: what it reads, the type it computes in, its instructions, and the types that its
/// results are rounded to. Printed, it is a listing.
///
/// ```
/// use kiln_tensor::{DType, Op, Shape, Spec, ops::*};
/// let x = Spec::new(Shape::new(&[3])?, DType::F16);
/// let program = Elementwise::<_, 1, 1>(Sigmoid).pointwise(&[x]).expect("it is pointwise");
/// assert_eq!(program.to_string(), "a = element f16\nb = f32 sigmoid a\nf16 b");
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pointwise {
    pub(crate) arguments: Vec<Argument>,
    pub(crate) compute: DType,
    pub(crate) program: Arc<Program>,
    pub(crate) outputs: Vec<DType>,
}

impl fmt::Display for Pointwise {
    /// A line for each instruction, and one for the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compute = self.compute;
        for (i, step) in self.program.steps.iter().enumerate() {
            write!(f, "{} = ", Name(i))?;
            match *step {
                Step::Input(i) => match self.arguments[i] {
                    Argument::Element(dtype) => writeln!(f, "element {dtype}"),
                    Argument::Number(dtype) => writeln!(f, "number {dtype}"),
                    Argument::Index => writeln!(f, "index"),
                    Argument::Random { distribution, dtype, key } => {
                        let last = key + 1 + distribution.parameters();
                        writeln!(f, "{} {dtype} of operands {key} to {last}", distribution.name())
                    }
                },
                Step::Literal(bits) => writeln!(f, "{compute} {:?}", f64::from_bits(bits)),
                Step::Unary(op, a) => writeln!(f, "{compute} {} {}", op.name(), Name(a)),
                Step::Binary(op, a, b) => writeln!(f, "{compute} {} {} {}", op.name(), Name(a), Name(b)),
                Step::Compare(op, a, b) => writeln!(f, "bool {} {} {}", op.name(), Name(a), Name(b)),
                Step::Logic(op, a, b) => writeln!(f, "bool {} {} {}", op.name(), Name(a), Name(b)),
                Step::Not(a) => writeln!(f, "bool not {}", Name(a)),
                Step::Select(m, a, b) => writeln!(f, "{compute} select {} {} {}", Name(m), Name(a), Name(b)),
            }?;
        }
        for (i, (dtype, output)) in self.outputs.iter().zip(&self.program.outputs).enumerate() {
            write!(f, "{}{dtype} {}", if i > 0 { ", " } else { "" }, Name(*output))?;
        }
        Ok(())
    }
}

/// The name of an instruction's result: a to z, then a1 and so on.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'a' + (self.0 % 26) as u8))?;
        match self.0 / 26 {
            0 => Ok(()),
            round => write!(f, "{round}"),
        }
    }
}
