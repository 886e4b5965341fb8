//! Samples and targets in memory: batches, parts, splits. Reads no file.

use super::{RawArray, RawData};
use crate::{Error, Result};
use kiln_nn::ops::{ArgReduceOps, ArithmeticOps, CastOps, GatherOps, MathOps, ReduceOps, ViewOps};
use kiln_nn::{DType, Element, Key, Tensor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Samples `x`, targets `y` and, if given, a weight for each sample; all tensors have the samples in their first
/// dimension.
///
/// ```
/// use kiln_nn::Tensor;
/// use kiln_train::Dataset;
/// let x = Tensor::new([[0u8, 128], [255, 64], [1, 2]]);
/// let data = Dataset::new(x, Tensor::new([0, 1, 1]))?.scale(1.0 / 255.0);
/// let (train, test) = data.split(0.34, 7)?;
/// assert_eq!((train.len(), test.len()), (2, 1));
/// # Ok::<(), kiln_train::Error>(())
/// ```
///
/// A model of several inputs or outputs takes several of each, in order or by name:
///
/// ```
/// # use kiln_nn::Tensor;
/// # use kiln_train::Dataset;
/// # let zeros = |n: usize| Tensor::zeros([2, n]);
/// let x = [("title", zeros(8)?), ("body", zeros(32)?)];
/// let data = Dataset::new(x, [("priority", zeros(1)?)])?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone)]
pub struct Dataset {
    x: Vec<Tensor>,
    y: Vec<Tensor>,
    x_names: Vec<String>,
    y_names: Vec<String>,
    sample_weight: Option<Tensor>,
    scale: Option<f64>,
    class_names: Vec<String>,
    /// For a part of what a fit was given: the numbers of its samples there.
    numbers: Option<Arc<[usize]>>,
}

/// What it is made of, without the numbers.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs =
            |all: &[Tensor]| -> Vec<String> { all.iter().map(|x| format!("{} {}", x.dtype(), x.shape())).collect() };
        let mut all = f.debug_struct("Dataset");
        all.field("len", &self.len()).field("x", &specs(&self.x)).field("y", &specs(&self.y));
        for (name, names) in
            [("x_names", &self.x_names), ("y_names", &self.y_names), ("class_names", &self.class_names)]
        {
            if !names.is_empty() {
                all.field(name, names);
            }
        }
        all.field("is_weighted", &self.sample_weight.is_some()).field("scale", &self.scale).finish()
    }
}

/// Some samples of a [`Dataset`].
#[derive(Debug, Clone)]
pub struct Batch {
    /// The samples, for each input.
    pub inputs: Vec<Tensor>,
    /// Their targets, for each output.
    pub targets: Vec<Tensor>,
    /// Their weights.
    pub sample_weight: Option<Tensor>,
}

impl Batch {
    /// The samples of the first input.
    pub fn x(&self) -> &Tensor {
        &self.inputs[0]
    }

    /// The targets of the first output.
    pub fn y(&self) -> &Tensor {
        &self.targets[0]
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.first().map_or(0, samples)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples, targets and weights in a row.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        self.inputs.iter().chain(&self.targets).chain(&self.sample_weight).cloned().collect()
    }

    /// The first sample with a number that is not finite, be it of an input, a target or its weight.
    pub(crate) fn first_not_finite(&self) -> Option<usize> {
        let of_each = |tensor: &Tensor| tensor.count() / self.len().max(1);
        let place = |tensor: &Tensor| tensor.to_vec_as::<f64>().iter().position(|value| !value.is_finite());
        self.tensors().iter().find_map(|tensor| Some(place(tensor)? / of_each(tensor)))
    }

    /// The same as data.
    pub(crate) fn into_dataset(self) -> Result<Dataset> {
        let data = Dataset::new(self.inputs, self.targets)?;
        match self.sample_weight {
            Some(weights) => data.sample_weight(weights),
            None => Ok(data),
        }
    }

    /// A batch like this one of other tensors, in the order of [`Batch::tensors`].
    pub(crate) fn with(&self, tensors: &[Tensor]) -> Batch {
        let (x, rest) = tensors.split_at(self.inputs.len());
        let (y, weights) = rest.split_at(self.targets.len());
        Batch { inputs: x.to_vec(), targets: y.to_vec(), sample_weight: weights.first().cloned() }
    }

    /// What samples and targets are called: `x` and `y`, numbered where there are several.
    pub(crate) fn names(&self) -> Vec<String> {
        let named = |name: &str, n: usize| -> Vec<String> {
            if n == 1 { vec![name.to_owned()] } else { (0..n).map(|i| format!("{name}{i}")).collect() }
        };
        [named("x", self.inputs.len()), named("y", self.targets.len())].concat()
    }

    /// The samples and targets, each mapped under its name; the weights stay away.
    pub(crate) fn map(&self, mut f: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<Batch> {
        let names = self.names();
        let mut names = names.iter();
        let mut each = |all: &[Tensor]| -> Result<Vec<Tensor>> {
            all.iter().map(|tensor| f(names.next().map_or("", String::as_str), tensor)).collect()
        };
        Ok(Batch { inputs: each(&self.inputs)?, targets: each(&self.targets)?, sample_weight: None })
    }
}

fn samples(t: &Tensor) -> usize {
    t.shape().first().copied().unwrap_or(0)
}

impl Dataset {
    /// Samples and targets.
    ///
    /// # Errors
    /// Tensors of different length, without a first dimension, or without a sample.
    pub fn new(x: impl IntoTensors, y: impl IntoTensors) -> Result<Dataset> {
        let (x_names, x) = x.into_tensors();
        let (y_names, y) = y.into_tensors();
        let (Some(first), Some(_)) = (x.first(), y.first()) else {
            return Err(Error::data("Dataset: it has no samples or no targets", "give a tensor of each"));
        };
        let n = samples(first);
        let all = x.iter().map(|t| ("x", "samples", t)).chain(y.iter().map(|t| ("y", "targets", t)));
        if all.clone().any(|(_, _, t)| t.rank() == 0) {
            let text = format!(
                "Dataset: x has shape {}, y {}: both need a first dimension of samples",
                listed(&x),
                listed(&y)
            );
            return Err(Error::data(text, "a single sample is a batch of one: x.unsqueeze(0)"));
        }
        if let Some((name, what, other)) = all.clone().find(|(_, _, t)| samples(t) != n) {
            let text = format!("Dataset: x has {n} samples, {name} has {} {what}", samples(other));
            return Err(Error::data(text, "the first dimensions must be equal"));
        }
        if n == 0 {
            return Err(Error::data("Dataset: there is no sample", "give at least one"));
        }
        for names in [&x_names, &y_names] {
            if let Some((i, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                let text = format!("Dataset: the name `{name}` is given twice, the second time to tensor {i}");
                return Err(Error::data(text, "names must differ"));
            }
        }
        Ok(Dataset { x, y, x_names, y_names, sample_weight: None, scale: None, class_names: Vec::new(), numbers: None })
    }

    /// Gives each sample a weight: its part in the loss.
    ///
    /// # Errors
    /// Not one weight for each sample; one that is no finite number.
    pub fn sample_weight(mut self, weight: Tensor) -> Result<Dataset> {
        if samples(&weight) != self.len() || weight.rank() != 1 {
            let text = format!("Dataset: the weights have shape {}, there are {} samples", weight.shape(), self.len());
            return Err(Error::data(text, "give a vector with one weight for each sample"));
        }
        if let Some((at, odd)) = weight.to_vec_as::<f64>().iter().enumerate().find(|(_, value)| !value.is_finite()) {
            let text = format!("Dataset: the weight of sample {at} is {odd}");
            return Err(Error::data(text, "give finite numbers; a sample that is not to count has the weight 0"));
        }
        self.sample_weight = Some(weight);
        Ok(self)
    }

    /// Multiplies samples by a factor when they are used, which leaves images in memory as the bytes they are:
    /// `.scale(1.0 / 255.0)`. Of several inputs, those of numbers other than bytes and floats stay: they are counts or tokens.
    #[must_use]
    pub fn scale(mut self, factor: f64) -> Dataset {
        self.scale = Some(self.scale.unwrap_or(1.0) * factor);
        self
    }

    /// What samples are multiplied by.
    pub(crate) fn factor(&self) -> Option<f64> {
        self.scale
    }

    /// What the classes are called in reports.
    #[must_use]
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Dataset {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// What the classes are called; empty where nobody said.
    pub fn names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.x.first().map_or(0, samples)
    }

    /// Always false: a dataset has a sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of the only input, scaled.
    ///
    /// # Errors
    /// There are several inputs.
    pub fn x(&self) -> Result<Tensor> {
        match &self.x[..] {
            [x] => self.scaled(x),
            all => {
                let text = format!("Dataset: it has {} inputs", all.len());
                Err(Error::data(text, "ask for all of them: .inputs()"))
            }
        }
    }

    /// The samples of each input, scaled.
    ///
    /// # Errors
    /// None beyond those of memory.
    pub fn inputs(&self) -> Result<Vec<Tensor>> {
        self.x.iter().map(|x| self.scaled(x)).collect()
    }

    /// The targets, of the first output where there are several.
    pub fn y(&self) -> &Tensor {
        &self.y[0]
    }

    /// The targets of each output.
    pub fn targets(&self) -> &[Tensor] {
        &self.y
    }

    /// Samples, targets and weights as they are in memory.
    pub(crate) fn all_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.x.iter().chain(&self.y).chain(&self.sample_weight)
    }

    /// The weights.
    pub fn weights(&self) -> Option<&Tensor> {
        self.sample_weight.as_ref()
    }

    fn scaled(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.scale {
            Some(factor) if self.x.len() == 1 || x.dtype().is_float() || x.dtype() == DType::U8 => x.mul(factor)?,
            _ => x.clone(),
        })
    }

    fn map(&self, part: impl Fn(&Tensor) -> kiln_nn::Result<Tensor>) -> Result<Dataset> {
        let each = |all: &[Tensor]| all.iter().map(&part).collect::<kiln_nn::Result<Vec<_>>>();
        let sample_weight = self.sample_weight.as_ref().map(&part).transpose()?;
        Ok(Dataset { x: each(&self.x)?, y: each(&self.y)?, sample_weight, numbers: None, ..self.clone() })
    }

    /// The same samples with inputs and targets in a model's order, where they have names; `inputs` and `outputs` are the
    /// model's names, none where it has none.
    ///
    /// # Errors
    /// A name that the model does not have; more or fewer tensors than it takes.
    pub(crate) fn arranged(&self, inputs: &[String], outputs: &[String]) -> Result<Dataset> {
        let x = arranged("input", &self.x, &self.x_names, inputs)?;
        let y = arranged("output", &self.y, &self.y_names, outputs)?;
        // A model that has no names takes them in the order in which they are.
        let named = |own: &[String], known: &[String]| if known.is_empty() { own.to_vec() } else { known.to_vec() };
        let (x_names, y_names) = (named(&self.x_names, inputs), named(&self.y_names, outputs));
        Ok(Dataset { x, y, x_names, y_names, ..self.clone() })
    }

    /// Samples `start..end`, without a copy of those in memory.
    ///
    /// # Errors
    /// No range of samples.
    pub fn range(&self, start: usize, end: usize) -> Result<Dataset> {
        if start >= end || end > self.len() {
            let text = format!("Dataset: {start}..{end} is no range of {} samples", self.len());
            return Err(Error::data(text, "a range has at least one sample and ends with the last"));
        }
        let part = self.map(|t| Ok(t.slice(0, start as isize..end as isize)?))?;
        let numbers = self.numbers.as_ref().map(|numbers| numbers[start..end].into());
        Ok(Dataset { numbers, ..part })
    }

    /// The first `n` samples.
    ///
    /// # Errors
    /// None, or more than there are.
    pub fn take(&self, n: usize) -> Result<Dataset> {
        self.range(0, n)
    }

    /// The samples with these numbers, in this order.
    ///
    /// # Errors
    /// A number out of range, or none at all.
    pub fn select(&self, indices: &[usize]) -> Result<Dataset> {
        if indices.is_empty() {
            return Err(Error::data("Dataset: no sample was selected", "name at least one"));
        }
        if let Some(beyond) = indices.iter().find(|&&i| i >= self.len()) {
            let text = format!("Dataset: there is no sample {beyond} among {}", self.len());
            return Err(Error::data(text, format!("they are numbered from 0 to {}", self.len() - 1)));
        }
        let at = index_tensor(indices)?;
        self.map(|t| Ok(t.index_select(0, &at)?))
    }

    /// [`Dataset::select`], of which each sample keeps its number for [`Dataset::number`].
    pub(crate) fn select_numbered(&self, indices: &[usize]) -> Result<Dataset> {
        let numbers = indices.iter().map(|&i| self.number(i)).collect();
        Ok(Dataset { numbers: Some(numbers), ..self.select(indices)? })
    }

    /// The number of a sample in the data that a fit was given.
    pub(crate) fn number(&self, i: usize) -> usize {
        self.numbers.as_ref().and_then(|numbers| numbers.get(i).copied()).unwrap_or(i)
    }

    /// The batch of the samples with these numbers.
    ///
    /// # Errors
    /// A number out of range.
    pub fn batch(&self, indices: &[usize]) -> Result<Batch> {
        let at = index_tensor(indices)?;
        let pick = |t: &Tensor| t.index_select(0, &at);
        let sample_weight = self.sample_weight.as_ref().map(pick).transpose()?;
        let inputs = self.x.iter().map(|x| self.scaled(&pick(x)?)).collect::<Result<_>>()?;
        let targets = self.y.iter().map(pick).collect::<Result<_, _>>()?;
        Ok(Batch { inputs, targets, sample_weight })
    }

    /// The batch of samples `start..end`.
    ///
    /// # Errors
    /// No range of samples.
    pub fn batch_range(&self, start: usize, end: usize) -> Result<Batch> {
        let part = self.range(start, end)?;
        let inputs = part.inputs()?.into_iter().map(in_rows).collect::<Result<_>>()?;
        let targets = part.y.into_iter().map(in_rows).collect::<Result<_>>()?;
        Ok(Batch { inputs, targets, sample_weight: part.sample_weight.map(in_rows).transpose()? })
    }

    /// The class of each sample: targets that are whole numbers from 0, or the largest where each row is one-hot or are probabilities,
    /// whose sum is 1; `None` for anything else.
    pub fn classes(&self) -> Option<Vec<usize>> {
        let class = |labels: &Tensor| labels.to_vec_as::<i64>().into_iter().map(|c| usize::try_from(c).ok()).collect();
        // The targets of a binary cross-entropy are such a column of numbers.
        let y = self.y();
        let whole = || y.to_vec_as::<f64>().iter().all(|&c| c >= 0.0 && c.fract() == 0.0);
        match (y.rank(), samples(y) == y.count()) {
            (_, true) if !y.dtype().is_float() || whole() => class(y),
            (2, false) if are_probabilities(y).unwrap_or(false) => class(&y.argmax(-1).ok()?),
            _ => None,
        }
    }

    /// Two parts: the first with `1 - fraction` of the samples, the second with `fraction`, chosen at random by `seed`.
    ///
    /// # Errors
    /// A fraction that leaves a part without a sample.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let [first, second] = self.split_numbers(fraction, seed)?;
        Ok((self.select(&first)?, self.select(&second)?))
    }

    /// The numbers of the samples of both parts of [`Dataset::split`].
    pub(crate) fn split_numbers(&self, fraction: f64, seed: u64) -> Result<[Vec<usize>; 2]> {
        let second = self.second_part(fraction)?;
        let mut first = Key::new(seed).permutation(self.len())?;
        let second = first.split_off(self.len() - second);
        Ok([first, second])
    }

    /// [`Dataset::split`] with the classes in both parts in about the proportion they have here.
    ///
    /// # Errors
    /// As there, and targets that are no classes.
    pub fn split_stratified(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let [first, second] = self.stratified_numbers(fraction, seed)?;
        Ok((self.select(&first)?, self.select(&second)?))
    }

    /// The numbers of the samples of both parts of [`Dataset::split_stratified`].
    pub(crate) fn stratified_numbers(&self, fraction: f64, seed: u64) -> Result<[Vec<usize>; 2]> {
        let Some(classes) = self.classes() else {
            return Err(Error::data("Dataset: a stratified split needs classes as targets", "use .split(…)"));
        };
        self.second_part(fraction)?;
        let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for i in Key::new(seed).permutation(self.len())? {
            by_class.entry(classes[i]).or_default().push(i);
        }
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for class in by_class.into_values() {
            let cut = class.len() - (class.len() as f64 * fraction).round() as usize;
            first.extend_from_slice(&class[..cut]);
            second.extend_from_slice(&class[cut..]);
        }
        if first.is_empty() || second.is_empty() {
            return Err(Error::data(
                "Dataset: the stratified split leaves a part empty",
                "give more samples, or another fraction",
            ));
        }
        let mix = |part: &[usize], n: u64| -> Result<Vec<usize>> {
            Ok(Key::new(seed).fold(n).permutation(part.len())?.into_iter().map(|i| part[i]).collect())
        };
        Ok([mix(&first, 1)?, mix(&second, 2)?])
    }

    fn second_part(&self, fraction: f64) -> Result<usize> {
        let second = (self.len() as f64 * fraction).round();
        if !(second >= 1.0 && second < self.len() as f64) {
            let text =
                format!("Dataset: a fraction of {fraction} of {} samples leaves a part without a sample", self.len());
            return Err(Error::config(text, "give a fraction between 0 and 1, such as 0.2"));
        }
        Ok(second as usize)
    }
}

/// Whether each row is of probabilities, one-hot ones among them.
fn are_probabilities(y: &Tensor) -> Result<bool> {
    let off = y.cast(DType::F64)?.sum(-1)?.sub(1.0)?.abs()?.amax(..)?.item()?;
    Ok(y.amin(..)?.cast(DType::F64)?.item()? >= 0.0 && off <= 1e-3)
}

fn index_tensor(indices: &[usize]) -> Result<Tensor> {
    let indices: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
    Ok(Tensor::from_slice(&indices, [indices.len()])?)
}

/// A file's array as a tensor.
impl TryFrom<RawArray> for Tensor {
    type Error = Error;
    fn try_from(array: RawArray) -> Result<Tensor> {
        fn make<T: Element>(data: Vec<T>, shape: Vec<usize>) -> Result<Tensor> {
            Ok(Tensor::from_vec(data, shape)?)
        }
        let (shape, data) = array.into_parts();
        match data {
            RawData::U8(data) => make(data, shape),
            RawData::I32(data) => make(data, shape),
            RawData::I64(data) => make(data, shape),
            RawData::F32(data) => make(data, shape),
            RawData::F64(data) => make(data, shape),
        }
    }
}

/// Several tensors, with names or without: one tensor, `[a, b]`, or `[("a", a), ("b", b)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a tensor nor several",
    note = "give a tensor, [a, b], or by name [(\"title\", a), (\"body\", b)]; arrays of numbers become tensors by `Tensor::new`"
)]
pub trait IntoTensors {
    /// The names, none where there are none, and the tensors.
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>);
}

impl IntoTensors for Tensor {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        (Vec::new(), vec![self])
    }
}

impl IntoTensors for &Tensor {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        self.clone().into_tensors()
    }
}

impl<const N: usize> IntoTensors for [Tensor; N] {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        (Vec::new(), self.into())
    }
}

impl IntoTensors for Vec<Tensor> {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        (Vec::new(), self)
    }
}

impl<S: Into<String>, const N: usize> IntoTensors for [(S, Tensor); N] {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        self.into_iter().map(|(name, tensor)| (name.into(), tensor)).unzip()
    }
}

impl IntoTensors for Vec<(String, Tensor)> {
    fn into_tensors(self) -> (Vec<String>, Vec<Tensor>) {
        self.into_iter().unzip()
    }
}

fn listed(tensors: &[Tensor]) -> String {
    tensors.iter().map(|t| t.shape().to_string()).collect::<Vec<_>>().join(", ")
}

/// Tensors in the order of the names that a model has for them.
fn arranged(what: &str, tensors: &[Tensor], names: &[String], known: &[String]) -> Result<Vec<Tensor>> {
    let list = known.join("`, `");
    if !known.is_empty() && tensors.len() != known.len() {
        let text = format!("the model has {} {what}s (`{list}`), the data {}", known.len(), tensors.len());
        return Err(Error::data(text, "give a tensor for each: [(\"name\", tensor), …] or [tensor, …]"));
    }
    if what == "input" && known.is_empty() && names.len() > 1 {
        let text = format!("the model does not name its inputs, the data do: `{}`", names.join("`, `"));
        return Err(Error::data(
            text,
            "name them in Module::input_names, or give tensors in the model's order: [x, y]",
        ));
    }
    if names.is_empty() || known.is_empty() {
        return Ok(tensors.to_vec());
    }
    let of = |name: &String| {
        names.iter().position(|own| own == name).map(|i| tensors[i].clone()).ok_or_else(|| {
            let has = names.join("`, `");
            Error::data(
                format!("the data has no tensor for the {what} `{name}`: it has `{has}`"),
                format!("the model's are `{list}`; without names they are taken in this order"),
            )
        })
    };
    known.iter().map(of).collect()
}

/// What [`crate::Model::predict`] takes: a tensor of samples, several for a model of several inputs, or a dataset, whose
/// targets are not looked at.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a model could predict for",
    note = "give a tensor of samples, a `Dataset`, or several tensors as in [a, b]"
)]
pub trait Inputs {
    /// Number of samples.
    fn count(&self) -> usize;
    /// Samples `start..end` of each input of a model, whose names these are.
    ///
    /// # Errors
    /// No range of samples; inputs that the model does not have.
    fn part(&self, start: usize, end: usize, names: &[String]) -> Result<Vec<Tensor>>;
}

impl Inputs for Tensor {
    fn count(&self) -> usize {
        samples(self)
    }
    fn part(&self, start: usize, end: usize, _names: &[String]) -> Result<Vec<Tensor>> {
        Ok(vec![in_rows(self.slice(0, start as isize..end as isize)?)?])
    }
}

impl<const N: usize> Inputs for [Tensor; N] {
    fn count(&self) -> usize {
        self.first().map_or(0, samples)
    }
    fn part(&self, start: usize, end: usize, names: &[String]) -> Result<Vec<Tensor>> {
        parts(&arranged("input", self, &[], names)?, start, end)
    }
}

impl<const N: usize> Inputs for [(&str, Tensor); N] {
    fn count(&self) -> usize {
        self.first().map_or(0, |(_, x)| samples(x))
    }
    fn part(&self, start: usize, end: usize, names: &[String]) -> Result<Vec<Tensor>> {
        let (own, all) = self.clone().into_tensors();
        parts(&arranged("input", &all, &own, names)?, start, end)
    }
}

/// The samples from `start` to `end` of each.
fn parts(all: &[Tensor], start: usize, end: usize) -> Result<Vec<Tensor>> {
    if let [first, rest @ ..] = all
        && let Some(other) = rest.iter().find(|other| samples(other) != samples(first))
    {
        let text = format!("the inputs have {} and {} samples", samples(first), samples(other));
        return Err(Error::data(text, "the first dimension of all inputs is the batch"));
    }
    all.iter().map(|x| in_rows(x.slice(0, start as isize..end as isize)?)).collect()
}

/// A batch in rows: sums along what lies otherwise may be taken in another order, and how data lie decides no bits.
fn in_rows(x: Tensor) -> Result<Tensor> {
    match x.layout().is_contiguous() {
        true => Ok(x),
        false => Ok(x.flatten(0, -1)?.reshape(*x.shape())?),
    }
}

impl Inputs for Dataset {
    fn count(&self) -> usize {
        self.len()
    }
    fn part(&self, start: usize, end: usize, names: &[String]) -> Result<Vec<Tensor>> {
        let all = arranged("input", &self.x, &self.x_names, names)?;
        all.iter().map(|x| in_rows(self.scaled(&x.slice(0, start as isize..end as isize)?)?)).collect()
    }
}
