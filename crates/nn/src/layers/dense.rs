//! The fully connected layer.

use super::settings::{weighted, weighted_settings};
use crate::layer::{Layer, Weight, Weights};
use crate::{Error, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, MatMulOps, einsum};
use kiln_autograd::{Shape, Var};
use std::collections::BTreeMap;

weighted_settings! {
    /// `activation(x · kernel + bias)`: every unit sees all of the input's last dimension.
    ///
    /// # Shapes
    /// `[batch, …, n]` to `[batch, …, units]`; `kernel` is `[n, units]`, `bias` `[units]`.
    Dense {
        units: usize = 0, new;
    }
}

impl Dense {
    /// A layer of `units` outputs, linear, with a bias; the kernel starts from Glorot's uniform distribution, the bias
    /// from 0.
    pub fn new(units: usize) -> Dense {
        Dense { units, ..Dense::default() }
    }
}

impl Layer for Dense {
    weighted!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let Some(last) = input.rank().checked_sub(1) else {
            return Err(Error::config(
                "Dense: the input has no dimension to connect to",
                "give samples of at least one dimension",
            ));
        };
        if self.units == 0 {
            return Err(Error::config("Dense: 0 units give no output", "ask for at least one unit"));
        }
        Ok(Shape::new(&input.with(last, self.units))?)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        self.kernel_and_bias(&[input.last().copied().unwrap_or(1), self.units], &[self.units])
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let y = x.matmul(&pass.parameter(weights.get("kernel")?))?;
        match weights.find("bias") {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }
}

weighted_settings! {
    /// `activation(einsum(equation, x, kernel) + bias)`: a dense layer of any dimensions.
    ///
    /// # Shapes
    /// Those of the equation, in which the first letter of the input and of the output is the batch, or `...` all that the others do not
    /// name. With `"abc,cd->abd"` and an output of `[None, 64]`, `[batch, time, n]` to `[batch, time, 64]`.
    EinsumDense {
        equation: String = String::new(), new;
        output_shape: Vec<Option<usize>> = Vec::new(), new;
        /// The letters of the output that the bias has: `"d"`. None, and no bias, unless set.
        bias_axes: Option<String> = None, some String;
    }
}

/// The letters of an equation, `...` being the letter `.`.
struct Letters {
    input: Vec<char>,
    kernel: Vec<char>,
    output: Vec<char>,
}

/// What an equation makes of samples of a shape.
struct Shapes {
    output: Vec<usize>,
    kernel: Vec<usize>,
    bias: Option<Vec<usize>>,
}

impl EinsumDense {
    /// By an equation such as `"abc,cd->abd"`. `output_shape` is that of a sample, `None` where a letter of the input says it.
    pub fn new(equation: impl Into<String>, output_shape: impl Into<Vec<Option<usize>>>) -> EinsumDense {
        EinsumDense { equation: equation.into(), output_shape: output_shape.into(), ..EinsumDense::default() }
    }

    fn letters(&self) -> Result<Letters> {
        let plain: String = self.equation.replace("...", ".").chars().filter(|c| !c.is_whitespace()).collect();
        let parts = plain.split_once("->").and_then(|(x, y)| Some((x.split_once(',')?, y)));
        let Some(((input, kernel), output)) = parts else {
            let text = format!("EinsumDense: `{}` is no equation of an input, a kernel and an output", self.equation);
            return Err(Error::config(text, "write it as \"abc,cd->abd\""));
        };
        let list = |text: &str| text.chars().collect::<Vec<char>>();
        Ok(Letters { input: list(input), kernel: list(kernel), output: list(output) })
    }

    /// The shapes of the output and of the kernel, and that of the bias where there is one, for samples of a shape.
    fn shapes(&self, input: &Shape) -> Result<Shapes> {
        let letters = self.letters()?;
        let wrong = |what: String| {
            let text = format!("EinsumDense: `{}`: {what}", self.equation);
            Error::config(text, "the first letter is the batch, and each other one a dimension of a sample")
        };
        // The ellipsis takes the dimensions, the batch first, that the letters of the input leave.
        let named = letters.input.iter().filter(|c| **c != '.').count();
        let open = letters.input.contains(&'.');
        let rank = input.rank() + 1;
        if (open && named > rank) || (!open && named != rank) {
            return Err(wrong(format!("the input has {named} letters, a batch of {input} has {rank} dimensions")));
        }
        let mut lengths: BTreeMap<char, usize> = BTreeMap::new();
        let mut hidden = Vec::new();
        let mut at = 0;
        for c in &letters.input {
            let taken = if *c == '.' { rank - named } else { 1 };
            for i in at..at + taken {
                match (*c, i) {
                    ('.', 0) => {}
                    ('.', i) => hidden.push(input[i - 1]),
                    (_, 0) => {}
                    (c, i) => drop(lengths.insert(c, input[i - 1])),
                }
            }
            at += taken;
        }
        // What the output shape says of the letters of the output.
        let has_batch = letters.output.first() != Some(&'.');
        let given: Vec<char> = letters.output[usize::from(has_batch)..].iter().copied().filter(|c| *c != '.').collect();
        if self.output_shape.len() < given.len() {
            return Err(wrong(format!(
                "the output has {} letters after the batch, its shape {}",
                given.len(),
                self.output_shape.len()
            )));
        }
        let said = &self.output_shape[self.output_shape.len() - given.len()..];
        for (c, said) in given.iter().zip(said) {
            let known = lengths.get(c).copied();
            let length = said.or(known).ok_or_else(|| wrong(format!("nothing says how long `{c}` is")))?;
            if known.is_some_and(|known| known != length) {
                return Err(wrong(format!("`{c}` is {length} in the output and {} in the input", known.unwrap_or(0))));
            }
            lengths.insert(*c, length);
        }
        let mut output = Vec::new();
        for c in &letters.output[usize::from(has_batch)..] {
            match c {
                '.' => output.extend(&hidden),
                c => output.extend(lengths.get(c)),
            }
        }
        if let Some(batch) = letters.input.first().filter(|c| **c != '.' && letters.kernel.contains(c)) {
            let text = format!("EinsumDense: `{}`: the kernel has the letter `{batch}` of the batch", self.equation);
            return Err(Error::config(text, "a kernel is the same for all samples: leave the first letter out of it"));
        }
        let of = |c: &char| lengths.get(c).copied().ok_or_else(|| wrong(format!("nothing says how long `{c}` is")));
        let kernel = letters.kernel.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok(Shapes { output, kernel, bias: self.bias_shape(&letters.output, &lengths, hidden.len())? })
    }

    /// The shape of the bias: the lengths of its letters, and 1 for what the output has after the first of them.
    fn bias_shape(
        &self,
        output: &[char],
        lengths: &BTreeMap<char, usize>,
        hidden: usize,
    ) -> Result<Option<Vec<usize>>> {
        let Some(axes) = &self.bias_axes else { return Ok(None) };
        let Some(first) = output.iter().position(|c| axes.contains(*c)) else {
            let text =
                format!("EinsumDense: the output of `{}` has none of the bias's letters `{axes}`", self.equation);
            return Err(Error::config(text, "name letters of the output"));
        };
        let mut shape = Vec::new();
        for c in &output[first..] {
            match c {
                '.' => shape.extend(std::iter::repeat_n(1, hidden)),
                c if axes.contains(*c) => shape.push(lengths.get(c).copied().unwrap_or(1)),
                _ => shape.push(1),
            }
        }
        Ok(Some(shape))
    }
}

impl Layer for EinsumDense {
    weighted!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(Shape::new(&self.shapes(input)?.output)?)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let Ok(Shapes { kernel, bias, .. }) = self.shapes(input) else { return Vec::new() };
        let mut weights = self.kernel_and_bias(&kernel, bias.as_deref().unwrap_or_default());
        weights.truncate(if bias.is_some() { 2 } else { 1 });
        weights
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let y = einsum(&self.equation, &[x, &pass.parameter(weights.get("kernel")?)])?;
        match weights.find("bias") {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }

    fn keeps_mask(&self) -> bool {
        false
    }
}
