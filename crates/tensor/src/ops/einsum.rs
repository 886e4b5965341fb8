//! Sums of products in Einstein's notation, made of views, sums and matrix products: how an equation is read, and in which
//! order its operands are multiplied.

use super::{Mul, Ops, Reduce, Stride, Sum, Value};
use crate::{DType, Error, MAX_RANK, Result, Shape};
use std::fmt;
use std::panic::Location;

/// The sum of products that an equation names by the letters of its dimensions: `"ij,jk->ik"` is a matrix product.
///
/// Operands are separated by commas, a letter stands for a dimension. Letters that do not come after the arrow are summed
/// over; a letter that an operand has twice takes its diagonal. Without an arrow the result has the letters that occur once,
/// in alphabetical order. `...` stands for any dimensions, which broadcast; they come first where there is no arrow, and are
/// summed over where the result leaves them out. The conventions are those of NumPy and PyTorch.
///
/// Of more than two operands, those are multiplied first whose product is smallest against them; each product of two is one
/// batched matrix product. The result has the promoted type of the operands, `i64` for booleans.
///
/// ```
/// use kiln_tensor::{Tensor, ops::einsum};
/// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
/// let b = Tensor::new([10.0, 1.0]);
/// assert_eq!(einsum("ij,j->i", &[&a, &b])?.to_vec::<f64>()?, [12.0, 34.0]);
/// assert_eq!(einsum("ii", &[&a])?.item()?, 5.0);
/// assert_eq!(einsum("...j->j...", &[&a])?.to_vec::<f64>()?, [1.0, 3.0, 2.0, 4.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// An equation that cannot be read; not one operand for each of its terms; an operand of another rank than its term; a
/// letter that stands for two lengths, neither of them 1; letters of the result that no operand has, or that it has twice.
#[track_caller]
pub fn einsum<V: Ops>(equation: &str, operands: &[&V]) -> Result<V> {
    let at = Location::caller();
    sum_of_products(equation, operands).map_err(|e| e.unplaced().at(at))
}

fn sum_of_products<V: Ops>(equation: &str, operands: &[&V]) -> Result<V> {
    let shapes: Vec<Shape> = operands.iter().map(|x| *Value::shape(*x)).collect();
    let (names, output) = read(equation, &shapes)?;
    let lengths = Lengths::new(&names, &shapes)?;
    let dtype = operands.iter().map(|x| Value::dtype(*x)).reduce(DType::promote).unwrap_or(DType::F32);
    let dtype = if dtype == DType::Bool { DType::I64 } else { dtype };

    let mut terms = Vec::with_capacity(operands.len());
    for (x, labels) in operands.iter().zip(names) {
        terms.push(Term { x: x.cast(dtype)?, labels }.diagonal()?.without_broadcast(&lengths)?);
    }
    for i in 0..terms.len() {
        let needed = needed(&terms, &[i], &output);
        terms[i] = terms[i].summed(|label| !needed.contains(&label))?;
    }
    while terms.len() > 1 {
        let (i, j) = cheapest(&terms, &output);
        let needed = needed(&terms, &[i, j], &output);
        let second = terms.remove(j);
        let product = terms[i].times(&second, &needed, &lengths)?;
        terms[i] = product;
    }
    let Some(term) = terms.pop() else { unreachable!("an equation has at least one term") };
    let axes: Vec<isize> = output.iter().map(|&label| term.axis(label)).collect();
    let y = if axes.is_empty() { term.x } else { term.x.permute(&axes)? };
    y.cast(dtype)
}

/// What a dimension is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// One of those that an ellipsis stands for, counted from the last.
    Rest(usize),
    Letter(char),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Rest(0) => write!(f, "the last dimension of `...`"),
            Label::Rest(i) => write!(f, "dimension {} from the end of `...`", i + 1),
            Label::Letter(letter) => write!(f, "`{letter}`"),
        }
    }
}

fn mistake(text: impl Into<String>) -> Error {
    Error::argument("einsum", text)
}

/// The dimensions of each operand and of the result.
fn read(equation: &str, shapes: &[Shape]) -> Result<(Vec<Vec<Label>>, Vec<Label>)> {
    let compact: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match compact.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (&compact[..], None),
    };
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != shapes.len() {
        let text = format!("\"{equation}\" is for {} operands, {} were given", terms.len(), shapes.len());
        return Err(mistake(text).help("commas separate the operands: \"ij,jk->ik\""));
    }
    let mut names = Vec::with_capacity(terms.len());
    let mut most = 0;
    for (i, (term, shape)) in terms.iter().zip(shapes).enumerate() {
        let named = letters(term)?.len();
        let rest = shape.rank().checked_sub(named).filter(|&rest| rest == 0 || term.contains("..."));
        let Some(rest) = rest else {
            let text = format!("operand {i} has shape {shape}, `{term}` names {named} dimensions");
            return Err(Error::shape("einsum", text).help("`...` stands for the dimensions without a letter"));
        };
        most = most.max(rest);
        names.push(labels(term, rest)?);
    }
    let all: Vec<Label> = names.concat();
    let output = match output {
        Some(term) => labels(term, most)?,
        None => {
            let mut once: Vec<Label> =
                all.iter().copied().filter(|a| all.iter().filter(|b| *b == a).count() == 1).collect();
            once.retain(|label| matches!(label, Label::Letter(_)));
            once.sort_unstable();
            (0..most).rev().map(Label::Rest).chain(once).collect()
        }
    };
    for (i, label) in output.iter().enumerate() {
        if let (Label::Letter(letter), false) = (label, all.contains(label)) {
            return Err(mistake(format!("no operand of \"{equation}\" has the index `{letter}` of the result")));
        }
        if output[..i].contains(label) {
            return Err(mistake(format!("{label} stands twice in the result of \"{equation}\"")));
        }
    }
    Ok((names, output))
}

/// The letters of a term, without its ellipsis.
fn letters(term: &str) -> Result<Vec<char>> {
    let named: Vec<char> = term.replacen("...", "", 1).chars().collect();
    match named.iter().find(|c| !c.is_alphabetic()) {
        None => Ok(named),
        Some(c) => {
            let text = format!("`{c}` in `{term}` is no index");
            Err(mistake(text).help("a term has letters and at most one `...`; the result comes after one `->`"))
        }
    }
}

/// The dimensions of a term, in which an ellipsis stands for `rest` of them.
fn labels(term: &str, rest: usize) -> Result<Vec<Label>> {
    let letters = letters(term)?.into_iter().map(Label::Letter);
    let before = term.split_once("...").map_or(0, |(before, _)| before.chars().count());
    let rest = if term.contains("...") { rest } else { 0 };
    let mut labels: Vec<Label> = letters.collect();
    labels.splice(before..before, (0..rest).rev().map(Label::Rest));
    Ok(labels)
}

/// How long each dimension is: 1 only where it is in all operands that have it.
struct Lengths(Vec<(Label, usize)>);

impl Lengths {
    fn new(names: &[Vec<Label>], shapes: &[Shape]) -> Result<Lengths> {
        let mut found: Vec<(Label, usize, usize)> = Vec::new();
        for (operand, (labels, shape)) in names.iter().zip(shapes).enumerate() {
            for (&label, &length) in labels.iter().zip(shape.iter()) {
                match found.iter_mut().find(|(known, ..)| *known == label) {
                    None => found.push((label, length, operand)),
                    Some(entry) if entry.1 == 1 => (entry.1, entry.2) = (length, operand),
                    Some(&mut (_, known, first)) if known != length && length != 1 => {
                        let text = format!(
                            "{label} is {known} long in operand {first}, {}, and {length} long in operand {operand}, {shape}",
                            shapes[first]
                        );
                        return Err(Error::shape("einsum", text));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Lengths(found.into_iter().map(|(label, length, _)| (label, length)).collect()))
    }

    fn of(&self, label: Label) -> usize {
        self.0.iter().find(|(known, _)| *known == label).map_or(1, |(_, length)| *length)
    }

    fn product(&self, labels: &[Label]) -> usize {
        labels.iter().map(|&label| self.of(label)).product()
    }
}

/// An operand, or a product of some, and the names of its dimensions.
struct Term<V> {
    x: V,
    labels: Vec<Label>,
}

impl<V: Ops> Term<V> {
    fn axis(&self, label: Label) -> isize {
        let axis = self.labels.iter().position(|&own| own == label);
        axis.unwrap_or_else(|| unreachable!("{label} is a dimension of the term")) as isize
    }

    /// With each name once: of two dimensions of one name, the elements where both indices are the same.
    fn diagonal(self) -> Result<Term<V>> {
        let Term { mut x, mut labels } = self;
        let twice = |labels: &[Label]| {
            let pairs = (0..labels.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
            pairs.into_iter().find(|&(i, j)| labels[i] == labels[j])
        };
        while let Some((i, j)) = twice(&labels) {
            let shape = *Value::shape(&x);
            let (label, length) = (labels[i], shape[i]);
            if shape[j] != length {
                let text = format!("{label} is {length} and {} long in one operand, {shape}", shape[j]);
                return Err(Error::shape("einsum", text).help("a diagonal is that of a square"));
            }
            let others: Vec<usize> = (0..labels.len()).filter(|&axis| axis != i && axis != j).collect();
            let order: Vec<isize> = others.iter().chain([&i, &j]).map(|&axis| axis as isize).collect();
            let square = x.permute(&order)?.flatten(-2, -1)?;
            x = square.stride(-1, Stride { start: 0, length, step: length as isize + 1 })?;
            labels = others.iter().map(|&axis| labels[axis]).chain([label]).collect();
        }
        Ok(Term { x, labels })
    }

    /// Without the dimensions that are repeated to the length they have elsewhere: a product repeats what does not have them.
    fn without_broadcast(self, lengths: &Lengths) -> Result<Term<V>> {
        let shape = *Value::shape(&self.x);
        let is_broadcast = |axis: usize| shape[axis] == 1 && lengths.of(self.labels[axis]) != 1;
        let dropped: Vec<isize> =
            (0..shape.rank()).filter(|&axis| is_broadcast(axis)).map(|axis| axis as isize).collect();
        if dropped.is_empty() {
            return Ok(self);
        }
        let labels = (0..shape.rank()).filter(|&axis| !is_broadcast(axis)).map(|axis| self.labels[axis]).collect();
        Ok(Term { x: self.x.squeeze(dropped)?, labels })
    }

    /// Summed over some dimensions.
    fn summed(&self, over: impl Fn(Label) -> bool) -> Result<Term<V>> {
        let labels: Vec<Label> = self.labels.iter().copied().filter(|&label| !over(label)).collect();
        let axes: Vec<isize> = (0..self.labels.len()).filter(|&a| over(self.labels[a])).map(|a| a as isize).collect();
        let x = if axes.is_empty() { self.x.clone() } else { self.x.sum(axes)? };
        Ok(Term { x, labels })
    }

    /// As three dimensions, each of which holds those of a list.
    fn grouped(&self, groups: [&[Label]; 3], lengths: &Lengths) -> Result<V> {
        let order: Vec<isize> = groups.concat().into_iter().map(|label| self.axis(label)).collect();
        let x = if order.is_empty() { self.x.clone() } else { self.x.permute(&order)? };
        x.reshape(groups.map(|labels| lengths.product(labels)))
    }

    /// The product with another, summed over the dimensions of both that nothing else needs.
    fn times(&self, other: &Term<V>, needed: &[Label], lengths: &Lengths) -> Result<Term<V>> {
        let is_shared = |label: &Label| self.labels.contains(label) && other.labels.contains(label);
        let (shared, left): (Vec<Label>, Vec<Label>) = self.labels.iter().partition(|label| is_shared(label));
        let right: Vec<Label> = other.labels.iter().copied().filter(|label| !is_shared(label)).collect();
        let (batch, inner): (Vec<Label>, Vec<Label>) = shared.iter().partition(|label| needed.contains(label));
        let x = if inner.is_empty() {
            let (a, b) = (self.grouped([&batch, &left, &[]], lengths)?, other.grouped([&batch, &[], &right], lengths)?);
            a.mul(&b)?
        } else if left.is_empty() && right.is_empty() {
            // A row times a row each: one pass, where small matrices would be many.
            let (a, b) =
                (self.grouped([&batch, &[], &inner], lengths)?, other.grouped([&batch, &[], &inner], lengths)?);
            let axes = std::array::from_fn(|axis| axis == 2);
            V::fold(Reduce { fold: Sum, front: Mul, axes, keep_dims: false }, [&a, &b])?
        } else {
            let (a, b) =
                (self.grouped([&batch, &left, &inner], lengths)?, other.grouped([&batch, &inner, &right], lengths)?);
            a.matmul(&b)?
        };
        let labels = [batch, left, right].concat();
        let dims: Vec<usize> = labels.iter().map(|&label| lengths.of(label)).collect();
        if dims.len() > MAX_RANK {
            let text =
                format!("a product of two operands would have {} dimensions, the most is {MAX_RANK}", dims.len());
            return Err(Error::shape("einsum", text).help("multiply in steps, in another order"));
        }
        Ok(Term { x: x.reshape(dims)?, labels })
    }
}

/// The dimensions that the result or a term other than these has.
fn needed<V>(terms: &[Term<V>], without: &[usize], output: &[Label]) -> Vec<Label> {
    let others = terms.iter().enumerate().filter(|(i, _)| !without.contains(i));
    others.flat_map(|(_, term)| &term.labels).chain(output).copied().collect()
}

/// The pair whose product adds least to what there is; the first of equal ones.
fn cheapest<V: Ops>(terms: &[Term<V>], output: &[Label]) -> (usize, usize) {
    let size = |term: &Term<V>| Value::shape(&term.x).iter().map(|&d| d as f64).product::<f64>();
    let mut best = (f64::INFINITY, (0, 1));
    for j in 1..terms.len() {
        for i in 0..j {
            let (a, b, needed) = (&terms[i], &terms[j], needed(terms, &[i, j], output));
            let product = a.labels.iter().zip(Value::shape(&a.x).iter());
            let rest = b.labels.iter().zip(Value::shape(&b.x).iter()).filter(|(label, _)| !a.labels.contains(label));
            let kept = product.chain(rest).filter(|(label, _)| needed.contains(label));
            let cost = kept.map(|(_, &d)| d as f64).product::<f64>() - size(a) - size(b);
            if cost < best.0 {
                best = (cost, (i, j));
            }
        }
    }
    best.1
}
