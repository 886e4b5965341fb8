//! Samples and targets in memory: batches, parts, splits. Reads no file.

use super::{RawArray, RawData};
use crate::{Error, Result};
use kiln_nn::ops::{ArgReduceOps, ArithmeticOps, CastOps, GatherOps, ViewOps};
use kiln_nn::{DType, Element, Key, Tensor};
use std::collections::BTreeMap;

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
#[derive(Debug, Clone)]
pub struct Dataset {
    x: Tensor,
    y: Tensor,
    sample_weight: Option<Tensor>,
    scale: Option<f64>,
    class_names: Vec<String>,
}

/// Some samples of a [`Dataset`].
#[derive(Debug, Clone)]
pub struct Batch {
    /// The samples.
    pub x: Tensor,
    /// Their targets.
    pub y: Tensor,
    /// Their weights.
    pub sample_weight: Option<Tensor>,
}

fn samples(t: &Tensor) -> usize {
    t.shape().first().copied().unwrap_or(0)
}

impl Dataset {
    /// Samples and targets.
    ///
    /// # Errors
    /// Tensors of different length, without a first dimension, or without a sample.
    pub fn new(x: Tensor, y: Tensor) -> Result<Dataset> {
        if x.rank() == 0 || y.rank() == 0 {
            let text =
                format!("Dataset: x has shape {}, y {}: both need a first dimension of samples", x.shape(), y.shape());
            return Err(Error::data(text, "a single sample is a batch of one: x.unsqueeze(0)"));
        }
        if samples(&x) != samples(&y) {
            let text = format!("Dataset: x has {} samples, y has {} targets", samples(&x), samples(&y));
            return Err(Error::data(text, "the first dimensions must be equal"));
        }
        if samples(&x) == 0 {
            return Err(Error::data("Dataset: there is no sample", "give at least one"));
        }
        Ok(Dataset { x, y, sample_weight: None, scale: None, class_names: Vec::new() })
    }

    /// Gives each sample a weight: its part in the loss.
    ///
    /// # Errors
    /// Not one weight for each sample.
    pub fn sample_weight(mut self, weight: Tensor) -> Result<Dataset> {
        if samples(&weight) != self.len() || weight.rank() != 1 {
            let text = format!("Dataset: the weights have shape {}, there are {} samples", weight.shape(), self.len());
            return Err(Error::data(text, "give a vector with one weight for each sample"));
        }
        self.sample_weight = Some(weight);
        Ok(self)
    }

    /// Multiplies samples by a factor when they are used, which leaves images in memory as the bytes they are:
    /// `.scale(1.0 / 255.0)`.
    #[must_use]
    pub fn scale(mut self, factor: f64) -> Dataset {
        self.scale = Some(self.scale.unwrap_or(1.0) * factor);
        self
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
        samples(&self.x)
    }

    /// Always false: a dataset has a sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples, scaled.
    ///
    /// # Errors
    /// None beyond those of memory.
    pub fn x(&self) -> Result<Tensor> {
        self.scaled(&self.x)
    }

    /// The targets.
    pub fn y(&self) -> &Tensor {
        &self.y
    }

    /// The weights.
    pub fn weights(&self) -> Option<&Tensor> {
        self.sample_weight.as_ref()
    }

    fn scaled(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.scale {
            Some(factor) => x.mul(factor)?,
            None => x.clone(),
        })
    }

    fn map(&self, part: impl Fn(&Tensor) -> kiln_nn::Result<Tensor>) -> Result<Dataset> {
        let sample_weight = self.sample_weight.as_ref().map(&part).transpose()?;
        Ok(Dataset { x: part(&self.x)?, y: part(&self.y)?, sample_weight, ..self.clone() })
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
        self.map(|t| Ok(t.slice(0, start as isize..end as isize)?))
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

    /// The batch of the samples with these numbers.
    ///
    /// # Errors
    /// A number out of range.
    pub fn batch(&self, indices: &[usize]) -> Result<Batch> {
        let at = index_tensor(indices)?;
        let pick = |t: &Tensor| t.index_select(0, &at);
        let sample_weight = self.sample_weight.as_ref().map(pick).transpose()?;
        Ok(Batch { x: self.scaled(&pick(&self.x)?)?, y: pick(&self.y)?, sample_weight })
    }

    /// The batch of samples `start..end`.
    ///
    /// # Errors
    /// No range of samples.
    pub fn batch_range(&self, start: usize, end: usize) -> Result<Batch> {
        let part = self.range(start, end)?;
        Ok(Batch { x: part.x()?, y: part.y, sample_weight: part.sample_weight })
    }

    /// The class of each sample: targets that are whole numbers from 0, or the largest of one-hot targets; `None` for
    /// anything else.
    pub fn classes(&self) -> Option<Vec<usize>> {
        let class = |labels: &Tensor| labels.to_vec_as::<i64>().into_iter().map(|c| usize::try_from(c).ok()).collect();
        // The targets of a binary cross-entropy are such a column of numbers.
        let whole = || self.y.to_vec_as::<f64>().iter().all(|&c| c >= 0.0 && c.fract() == 0.0);
        match (self.y.rank(), samples(&self.y) == self.y.count()) {
            (_, true) if !self.y.dtype().is_float() || whole() => class(&self.y),
            (2, false) => class(&self.y.argmax(-1).ok()?),
            _ => None,
        }
    }

    /// Two parts: the first with `1 - fraction` of the samples, the second with `fraction`, chosen at random by `seed`.
    ///
    /// # Errors
    /// A fraction that leaves a part without a sample.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let second = self.second_part(fraction)?;
        let order = Key::new(seed).permutation(self.len())?;
        let (a, b) = order.split_at(self.len() - second);
        Ok((self.select(a)?, self.select(b)?))
    }

    /// [`Dataset::split`] with the classes in both parts in about the proportion they have here.
    ///
    /// # Errors
    /// As there, and targets that are no classes.
    pub fn split_stratified(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
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
        Ok((self.select(&mix(&first, 1)?)?, self.select(&mix(&second, 2)?)?))
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

/// What [`crate::Model::predict`] takes: a tensor of samples, or a dataset, whose targets are not looked at.
pub trait Inputs {
    /// Number of samples.
    fn count(&self) -> usize;
    /// Samples `start..end`.
    ///
    /// # Errors
    /// No range of samples.
    fn part(&self, start: usize, end: usize) -> Result<Tensor>;
}

impl Inputs for Tensor {
    fn count(&self) -> usize {
        samples(self)
    }
    fn part(&self, start: usize, end: usize) -> Result<Tensor> {
        Ok(self.slice(0, start as isize..end as isize)?)
    }
}

impl Inputs for Dataset {
    fn count(&self) -> usize {
        self.len()
    }
    fn part(&self, start: usize, end: usize) -> Result<Tensor> {
        self.scaled(&self.x.slice(0, start as isize..end as isize)?)
    }
}

/// More classes than anybody weights; a larger number is an identifier by mistake.
const MOST_CLASSES: usize = 1 << 24;

/// A weight for each class.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeight {
    /// By class number; a class that is not named has weight 1.
    Weights(Vec<(usize, f64)>),
    /// `samples / (classes · samples of the class)`: every class counts alike.
    Balanced,
}

impl ClassWeight {
    /// The weight of each class of a dataset.
    ///
    /// # Errors
    /// Targets that are no classes; a weight for a class that does not occur, or that is negative or not finite.
    pub(crate) fn resolve(&self, data: &Dataset) -> Result<Vec<f64>> {
        let Some(classes) = data.classes() else {
            return Err(Error::config(
                "class_weight: the targets are no classes",
                "weight regression samples with sample_weight",
            ));
        };
        let largest = classes.iter().copied().max().unwrap_or(0);
        if largest >= MOST_CLASSES {
            let text = format!("class_weight: {largest} is a number beyond any number of classes");
            return Err(Error::config(text, "number the classes from 0: identifiers are no class numbers"));
        }
        let mut counts = vec![0usize; largest + 1];
        classes.iter().for_each(|&c| counts[c] += 1);
        match self {
            ClassWeight::Balanced => {
                let present = counts.iter().filter(|&&n| n > 0).count();
                Ok(counts.iter().map(|&n| if n > 0 { data.len() as f64 / (present * n) as f64 } else { 0.0 }).collect())
            }
            ClassWeight::Weights(weights) => {
                let mut all = vec![1.0; counts.len()];
                for &(class, weight) in weights {
                    if class >= all.len() || counts[class] == 0 {
                        return Err(Error::config(
                            format!("class_weight: class {class} does not occur in the data"),
                            format!("the classes run from 0 to {}", counts.len() - 1),
                        ));
                    }
                    if !(weight.is_finite() && weight >= 0.0) {
                        return Err(Error::config(
                            format!("class_weight: {weight} is no weight for class {class}"),
                            "weights are finite and not negative",
                        ));
                    }
                    all[class] = weight;
                }
                Ok(all)
            }
        }
    }
}

/// The weights of a batch: those of its samples times those of their classes.
pub(crate) fn batch_weights(batch: &Batch, classes: Option<&[f64]>) -> Result<Option<Tensor>> {
    let Some(classes) = classes else { return Ok(batch.sample_weight.clone()) };
    let labels = match batch.y.count() == samples(&batch.y) {
        true => batch.y.reshape([batch.y.count()])?,
        false => batch.y.argmax(-1)?,
    };
    let by_class = Tensor::from_slice(classes, [classes.len()])?.index_select(0, &labels.cast(DType::I64)?)?;
    Ok(Some(match &batch.sample_weight {
        Some(weights) => weights.mul(&by_class)?,
        None => by_class,
    }))
}
