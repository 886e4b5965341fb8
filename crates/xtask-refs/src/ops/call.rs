//! The arguments of one recorded call, by name.

use crate::Stop;
use crate::files::{Manifest, number, text};
use kiln::autograd::ops::{ArithmeticOps, CastOps};
use kiln::autograd::{Axes, DType, Shape, Tape, Tensor, Var};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// One call: its arguments, with the inputs that want a gradient on a tape.
pub(crate) struct Call {
    arguments: Map<String, Value>,
    inputs: HashMap<String, Var>,
    mutated: RefCell<HashMap<String, Tensor>>,
    more: Cell<Option<&'static str>>,
}

impl Call {
    pub(crate) fn new(manifest: &Manifest, sample: &Value) -> Result<Call, Stop> {
        let mut arguments = sample.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default();
        match sample.get("bound").and_then(Value::as_object) {
            Some(bound) => arguments = bound.clone(),
            None => {
                let positional = sample.get("args").and_then(Value::as_array);
                for (i, value) in positional.into_iter().flatten().enumerate() {
                    arguments.insert(format!("#{i}"), value.clone());
                }
            }
        }
        let tape = Tape::new();
        let wants: Vec<&str> = list(sample, "grads").iter().map(|g| text(g, "of")).collect();
        let mut inputs = HashMap::new();
        for input in list(sample, "inputs") {
            let key = text(input, "tensor");
            let tensor = manifest.tensor(key)?;
            let var = if wants.contains(&key) { tape.watch(tensor) } else { Var::new(tensor.clone()) };
            inputs.insert(key.to_owned(), var);
        }
        Ok(Call { arguments, inputs, mutated: RefCell::default(), more: Cell::default() })
    }

    /// The input tensor of a key.
    pub(crate) fn input(&self, key: &str) -> Result<Var, Stop> {
        self.inputs.get(key).cloned().ok_or_else(|| Stop::Failed(format!("no input `{key}`")))
    }

    /// An argument; `None` where it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name).filter(|value| !value.is_null())
    }

    fn need(&self, name: &str) -> Result<&Value, Stop> {
        self.get(name).ok_or_else(|| Stop::Failed(format!("no argument `{name}`")))
    }

    fn as_var(&self, value: &Value) -> Result<Option<Var>, Stop> {
        value.get("tensor").and_then(Value::as_str).map(|key| self.input(key)).transpose()
    }

    /// The tensor argument called `input`.
    pub(crate) fn x(&self) -> Result<Var, Stop> {
        self.var("input")
    }

    /// A tensor argument.
    pub(crate) fn var(&self, name: &str) -> Result<Var, Stop> {
        self.maybe(name)?.ok_or_else(|| Stop::Failed(format!("`{name}` is no tensor")))
    }

    /// A tensor argument that may be absent.
    pub(crate) fn maybe(&self, name: &str) -> Result<Option<Var>, Stop> {
        self.get(name).map_or(Ok(None), |value| self.as_var(value))
    }

    /// A tensor, or a number as one of type `dtype`.
    pub(crate) fn operand(&self, name: &str, dtype: DType) -> Result<Var, Stop> {
        match self.maybe(name)? {
            Some(var) => Ok(var),
            None => Ok(Var::new(Tensor::scalar(self.number(name)?, dtype))),
        }
    }

    /// A tensor, or a number that adapts to the type of what it stands beside.
    pub(crate) fn bound(&self, name: &str) -> Result<Var, Stop> {
        match self.maybe(name)? {
            Some(var) => Ok(var),
            None if self.need(name)?.is_i64() => Ok(Var::new(Tensor::number(self.number(name)? as i64))),
            None => Ok(Var::new(Tensor::number(self.number(name)?))),
        }
    }

    /// A list of tensors; a single one counts as a list.
    pub(crate) fn vars(&self, name: &str) -> Result<Vec<Var>, Stop> {
        match self.need(name)? {
            Value::Array(items) => {
                let one =
                    |item: &Value| self.as_var(item)?.ok_or_else(|| Stop::Failed(format!("`{name}` holds no tensors")));
                items.iter().map(one).collect()
            }
            _ => Ok(vec![self.var(name)?]),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<f64, Stop> {
        number(self.need(name)?).ok_or_else(|| Stop::Failed(format!("`{name}` is no number")))
    }

    pub(crate) fn number_or(&self, name: &str, default: f64) -> Result<f64, Stop> {
        if self.get(name).is_some() { self.number(name) } else { Ok(default) }
    }

    pub(crate) fn int(&self, name: &str) -> Result<isize, Stop> {
        Ok(self.number(name)? as isize)
    }

    pub(crate) fn int_or(&self, name: &str, default: isize) -> Result<isize, Stop> {
        if self.get(name).is_some() { self.int(name) } else { Ok(default) }
    }

    /// A list of integers; a single one counts as a list, and what is absent as an empty one.
    pub(crate) fn ints(&self, name: &str) -> Result<Vec<isize>, Stop> {
        match self.get(name) {
            None => Ok(vec![]),
            Some(value) => {
                let all = crate::files::numbers(value)
                    .ok_or_else(|| Stop::Failed(format!("`{name}` is no list of integers")))?;
                Ok(all.into_iter().map(|x| x as isize).collect())
            }
        }
    }

    /// The argument `dim` as axes, which stay where `keepdim` says so. In PyTorch an empty list means all.
    pub(crate) fn axes(&self) -> Result<Axes, Stop> {
        Ok(all_or(&self.ints("dim")?).keep_dims(self.flag("keepdim")))
    }

    /// The argument `dim` as one axis, which stays where `keepdim` says so.
    pub(crate) fn axis(&self) -> Result<Axes, Stop> {
        Ok(Axes::of(self.int_or("dim", -1)?).keep_dims(self.flag("keepdim")))
    }

    /// Sizes and counts.
    pub(crate) fn counts(&self, name: &str) -> Result<Vec<usize>, Stop> {
        Ok(self.ints(name)?.into_iter().map(|x| x as usize).collect())
    }

    /// `N` sizes from a list of as many, from a single number for all, or `default` where there is none.
    pub(crate) fn sizes<const N: usize>(&self, name: &str, default: [usize; N]) -> Result<[usize; N], Stop> {
        let given: Vec<usize> = self.ints(name)?.into_iter().map(|x| x as usize).collect();
        match given[..] {
            [] => Ok(default),
            [one] => Ok([one; N]),
            _ => given.try_into().map_err(|_| Stop::Failed(format!("`{name}` has not {N} numbers"))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn word(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The type that an argument `dtype` names.
    pub(crate) fn dtype(&self) -> Option<DType> {
        let name = text(self.get("dtype")?, "dtype");
        DType::ALL.into_iter().find(|dtype| dtype.to_string() == name)
    }

    /// The result in the type that an argument `dtype` names, if there is one.
    pub(crate) fn in_dtype(&self, x: Var) -> Result<Var, Stop> {
        Ok(match self.dtype() {
            Some(dtype) if dtype != x.tensor().dtype() => {
                self.takes("a cast to `dtype`");
                x.cast(dtype)?
            }
            _ => x,
        })
    }

    /// A shape in which one length may be -1.
    pub(crate) fn shape(&self, name: &str, count: usize) -> Result<Shape, Stop> {
        let given = self.ints(name)?;
        let known: isize = given.iter().filter(|&&d| d != -1).product();
        let dims: Vec<usize> =
            given.iter().map(|&d| if d == -1 { count / known.max(1) as usize } else { d as usize }).collect();
        Ok(Shape::new(&dims)?)
    }

    /// Says that this takes another call of the library, and for what.
    pub(crate) fn takes(&self, more: &'static str) {
        self.more.set(Some(more));
    }

    /// What it took beside one call of the library.
    pub(crate) fn more(&self) -> Option<&'static str> {
        self.more.get()
    }

    /// A tensor times the argument `alpha`, if there is one.
    pub(crate) fn times_alpha(&self, x: Var) -> Result<Var, Stop> {
        match self.number_or("alpha", 1.0)? {
            1.0 => Ok(x),
            alpha => {
                self.takes("a product with `alpha`");
                Ok(x.mul(alpha)?)
            }
        }
    }

    /// Says what a tensor argument is after the call.
    pub(crate) fn mutate(&self, name: &str, after: &Var) {
        if let Some(key) = self.get(name).and_then(|value| value.get("tensor")).and_then(Value::as_str) {
            self.mutated.borrow_mut().insert(key.to_owned(), after.tensor().clone());
        }
    }

    pub(crate) fn mutated(&self, key: &str) -> Option<Tensor> {
        self.mutated.borrow().get(key).cloned()
    }
}

fn list<'a>(sample: &'a Value, key: &str) -> &'a [Value] {
    sample.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// One output.
pub(crate) fn one(y: kiln::autograd::Result<Var>) -> Result<Vec<Var>, Stop> {
    Ok(vec![y?])
}

/// Two outputs.
pub(crate) fn pair((a, b): (Var, Var)) -> Result<Vec<Var>, Stop> {
    Ok(vec![a, b])
}

/// The axes of a list, all where it is empty.
pub(crate) fn all_or(list: &[isize]) -> Axes {
    if list.is_empty() { Axes::of(..) } else { Axes::of(list) }
}
