//! Normalizations as functions: by the mean and the spread of features, channels or neighbours.

mod cpu;
mod cuda;
mod op;

pub use op::{Normalize, NormalizeGrad};

use super::{Ops, Stride, keep};
use crate::{DType, Error, IntoAxes, MAX_RANK, Result, Shape};
use std::panic::Location;

/// The settings of normalizations of channels, with PyTorch's defaults but for the place of the channels, which are last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelNorm<'a, V> {
    /// The axis of the channels; 1 is PyTorch's.
    pub axis: isize,
    /// What each channel is multiplied by, `[C]`.
    pub weight: Option<&'a V>,
    /// What is added to each channel then, `[C]`.
    pub bias: Option<&'a V>,
    /// What is added to the variances.
    pub eps: f64,
    /// How far running statistics move towards those of a batch.
    pub momentum: f64,
}

impl<V> Default for ChannelNorm<'_, V> {
    fn default() -> Self {
        ChannelNorm { axis: -1, weight: None, bias: None, eps: 1e-5, momentum: 0.1 }
    }
}

/// Means and variances of channels, `[C]` each, that are kept from batch to batch.
#[derive(Debug, Clone)]
pub struct RunningStatistics<V> {
    /// The means.
    pub mean: V,
    /// The variances.
    pub variance: V,
}

/// The settings of [`NormalizationOps::standardize`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standardize<'a, V> {
    /// What the result is multiplied by; it broadcasts to the tensor.
    pub weight: Option<&'a V>,
    /// What is added then.
    pub bias: Option<&'a V>,
    /// What is added to the variances.
    pub eps: f64,
    /// Whether the mean is subtracted; if not it counts as 0, and the variance is the mean of the squares.
    pub centered: bool,
}

impl<V> Default for Standardize<'_, V> {
    fn default() -> Self {
        Standardize { weight: None, bias: None, eps: 1e-5, centered: true }
    }
}

/// What [`NormalizationOps::standardize`] gives.
#[derive(Debug, Clone)]
pub struct Standardized<V> {
    /// The normalized elements.
    pub values: V,
    /// The means, with length 1 along the axes; of half precision in `f32`.
    pub mean: V,
    /// The variances: the mean squares of the distances from the means.
    pub variance: V,
}

/// Normalizations.
pub trait NormalizationOps: Ops {
    /// `(x - mean) / √(variance + eps) · weight + bias`, with the means and variances over `axes`: what the layer, batch, group,
    /// instance and RMS normalizations are. It goes through memory once where the axes are the last ones, else twice.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 5.0], [3.0, 9.0]]);
    /// let y = x.standardize(0, &Standardize { eps: 0.0, ..Standardize::default() })?;
    /// assert_eq!(y.values.to_vec::<f64>()?, [-1.0, -1.0, 1.0, 1.0]);
    /// assert_eq!((y.mean.to_vec::<f64>()?, y.variance.to_vec::<f64>()?), (vec![2.0, 7.0], vec![1.0, 4.0]));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; weights or biases that do not broadcast to the tensor.
    #[track_caller]
    fn standardize(&self, axes: impl IntoAxes, options: &Standardize<'_, Self>) -> Result<Standardized<Self>> {
        let at = Location::caller();
        let axes = axes.into_axes().flags("standardize", Self::shape(self));
        let normal =
            || standardized(self, Normalize { axes: axes?, centered: options.centered, eps: options.eps }, options);
        normal().map_err(|e: Error| e.within("standardize", at))
    }

    /// `(x - mean) / √(variance + eps) · weight + bias` of the elements of each sample: over the last dimensions, those of
    /// `normalized_shape` (Ba et al. 2016).
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[1.0, 3.0], [0.0, 20.0]]).layer_norm(&[2], None, None, 0.0)?;
    /// assert_eq!(y.to_vec::<f64>()?, [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Dimensions that are not the last ones; weights or biases that do not broadcast to them.
    #[track_caller]
    fn layer_norm(
        &self,
        normalized_shape: &[usize],
        weight: Option<&Self>,
        bias: Option<&Self>,
        eps: f64,
    ) -> Result<Self> {
        let at = Location::caller();
        let normal = || {
            let axes = last_axes("layer_norm", Self::shape(self), normalized_shape)?;
            Ok(self.standardize(axes, &Standardize { weight, bias, eps, centered: true })?.values)
        };
        normal().map_err(|e: Error| e.within("layer_norm", at))
    }

    /// `x / √(mean of squares + eps) · weight` over the last dimensions, those of `normalized_shape` (Zhang and Sennrich
    /// 2019). Without `eps` it is the precision of the element type.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[2.0, -2.0], [0.5, 0.5]]).rms_norm(&[2], None, Some(0.0))?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, -1.0, 1.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Dimensions that are not the last ones; weights that do not broadcast to them.
    #[track_caller]
    fn rms_norm(&self, normalized_shape: &[usize], weight: Option<&Self>, eps: Option<f64>) -> Result<Self> {
        let at = Location::caller();
        let normal = || {
            let axes = last_axes("rms_norm", Self::shape(self), normalized_shape)?;
            let smallest = if Self::dtype(self) == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
            let eps = eps.unwrap_or(smallest);
            Ok(self.standardize(axes, &Standardize { weight, bias: None, eps, centered: false })?.values)
        };
        normal().map_err(|e: Error| e.within("rms_norm", at))
    }

    /// Each channel normalized over the batch and all other dimensions (Ioffe and Szegedy 2015): in training by the
    /// statistics of this batch, else by the running ones. Gives these too as they are after the batch, in which the
    /// variance is the unbiased one (of one element there is none, and theirs stays); no gradient flows into them.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, 5.0], [3.0, 9.0]]);
    /// let (y, _) = x.batch_norm(None, true, &ChannelNorm { eps: 0.0, ..ChannelNorm::default() })?;
    /// assert_eq!(y.to_vec::<f64>()?, [-1.0, -1.0, 1.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist; statistics, weights or biases of another length than the channels; no statistics
    /// without training.
    #[track_caller]
    fn batch_norm(
        &self,
        running: Option<&RunningStatistics<Self>>,
        training: bool,
        options: &ChannelNorm<'_, Self>,
    ) -> Result<(Self, Option<RunningStatistics<Self>>)> {
        let at = Location::caller();
        by_channel(self, running, training, options, true).map_err(|e| e.within("batch_norm", at))
    }

    /// [`NormalizationOps::batch_norm`] of each sample by itself (Ulyanov et al. 2016), over its dimensions other than the
    /// channels. The running statistics take the means over the batch.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn instance_norm(
        &self,
        running: Option<&RunningStatistics<Self>>,
        training: bool,
        options: &ChannelNorm<'_, Self>,
    ) -> Result<(Self, Option<RunningStatistics<Self>>)> {
        let at = Location::caller();
        by_channel(self, running, training, options, false).map_err(|e| e.within("instance_norm", at))
    }

    /// Each of so many groups of neighbouring channels normalized, in each sample by itself (Wu and He 2018).
    ///
    /// # Errors
    /// An axis that does not exist, or of a length that the groups do not divide; weights or biases of another length than
    /// the channels.
    #[track_caller]
    fn group_norm(&self, groups: usize, options: &ChannelNorm<'_, Self>) -> Result<Self> {
        let at = Location::caller();
        let normal = || {
            let shape = *Self::shape(self);
            let axis = channel_axis("group_norm", &shape, options.axis)?;
            if groups == 0 || !shape[axis].is_multiple_of(groups) {
                let text = format!("{} channels cannot be parted into {groups} groups", shape[axis]);
                return Err(Error::argument("group_norm", text));
            }
            let split = self.unflatten(axis as isize, &[groups, shape[axis] / groups])?;
            let axes: Vec<isize> = (1..=shape.rank()).filter(|&a| a != axis).map(|a| a as isize).collect();
            let y = split.standardize(axes, &Standardize { eps: options.eps, ..Standardize::default() })?;
            let [weight, bias] = options.beside(&shape, axis)?;
            scaled(y.values.reshape(shape)?, weight.as_ref(), bias.as_ref())
        };
        normal().map_err(|e: Error| e.within("group_norm", at))
    }

    /// `x / (k + alpha / size · Σ x²)^beta`, with the sum over `size` neighbouring channels (Krizhevsky et al. 2012).
    ///
    /// # Errors
    /// An axis that does not exist; a size of 0.
    #[track_caller]
    fn local_response_norm(&self, size: usize, axis: isize, alpha: f64, beta: f64, k: f64) -> Result<Self> {
        let at = Location::caller();
        let normal = || {
            let shape = *Self::shape(self);
            let index = channel_axis("local_response_norm", &shape, axis)?;
            if size == 0 {
                return Err(Error::argument("local_response_norm", "a size of 0 sees no channel"));
            }
            // Beyond the ends are zeros, as many as a channel at an end sees at most.
            let mut around = vec![(0, 0); shape.rank()];
            let [before, behind] = [size / 2, (size - 1) / 2].map(|seen| seen.min(shape[index]));
            around[index] = (before as isize, behind as isize);
            let wide = self.square()?.pad(&around, 0.0)?;
            let mut sum: Option<Self> = None;
            for start in 0..=before + behind {
                let part = wide.stride(index as isize, Stride { start, length: shape[index], step: 1 })?;
                sum = Some(if let Some(sum) = sum { sum.add(&part)? } else { part });
            }
            let Some(sum) = sum else { unreachable!("each sees itself") };
            self.div(&sum.mul(alpha / size as f64)?.add(k)?.pow(beta)?)
        };
        normal().map_err(|e: Error| e.within("local_response_norm", at))
    }

    /// Vectors along `axis` divided by their `p`-norm, which counts as at least `eps`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([3.0, 4.0]).normalize(2.0, -1, 1e-12)?.to_vec::<f64>()?, [0.6, 0.8]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn normalize(&self, p: f64, axis: isize, eps: f64) -> Result<Self> {
        let at = Location::caller();
        let normal = || self.div(&self.norm(p, keep(axis))?.clamp(eps, f64::INFINITY)?);
        normal().map_err(|e: Error| e.within("normalize", at))
    }

    /// The slices along `axis` made shorter where their `p`-norm is above `most`, to that.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[3.0, 4.0], [0.3, 0.4]]).renorm(2.0, 0, 1.0)?;
    /// assert!(y.sub(&Tensor::new([[0.6, 0.8], [0.3, 0.4]]))?.norm(2.0, ..)?.item()? < 1e-6);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn renorm(&self, p: f64, axis: isize, most: f64) -> Result<Self> {
        let at = Location::caller();
        let normal = || {
            let shape = *Self::shape(self);
            let axis = channel_axis("renorm", &shape, axis)?;
            let axes: Vec<isize> = (0..shape.rank()).filter(|&a| a != axis).map(|a| a as isize).collect();
            let norm = self.norm(p, keep(&axes))?;
            let scale = norm.add(1e-7)?.reciprocal()?.mul(most)?;
            self.mul(&norm.gt(most)?.select(&scale, 1.0)?)
        };
        normal().map_err(|e: Error| e.within("renorm", at))
    }
}
impl<V: Ops> NormalizationOps for V {}

/// The axes of the last dimensions, which have these lengths.
fn last_axes(name: &str, shape: &Shape, dims: &[usize]) -> Result<Vec<isize>> {
    if dims.is_empty() || !shape.ends_with(dims) {
        return Err(Error::shape(name, format!("{dims:?} are not the last dimensions of {shape}")));
    }
    Ok((1..=dims.len() as isize).map(|a| -a).collect())
}

fn channel_axis(name: &str, shape: &Shape, axis: isize) -> Result<usize> {
    match shape.axis(name, axis)? {
        index if index < shape.rank() => Ok(index),
        _ => Err(Error::shape(name, "a number has no channels")),
    }
}

/// [`NormalizationOps::standardize`] by an operation that has its settings.
fn standardized<V: Ops>(x: &V, op: Normalize, options: &Standardize<'_, V>) -> Result<Standardized<V>> {
    let (weight, bias, shape) = (options.weight, options.bias, *V::shape(x));
    let given = || [weight, bias].into_iter().flatten();
    let fits = |to: &Shape| given().all(|w| V::shape(w).broadcast(to).is_ok_and(|all| all == *to));
    if !fits(&shape) {
        let shapes: Vec<String> = given().map(|w| V::shape(w).to_string()).collect();
        let text = format!("weights and biases of {} do not broadcast to {shape}", shapes.join(" and "));
        return Err(Error::shape("standardize", text));
    }
    let dtype = given().map(V::dtype).fold(V::dtype(x).to_float(), DType::promote);
    let x = x.cast(dtype)?;
    // They are part of the operation where both vary along the other axes only, or along these only.
    let together = [true, false].map(|axes| op.ones_along(&shape, axes)).into_iter().find(fits);
    if let Some(of) = together.filter(|_| weight.is_some()) {
        let weights: Vec<V> = given().map(|w| w.cast(dtype)?.expand(of)).collect::<Result<_>>()?;
        return placed(&x, op, &weights);
    }
    let y = placed(&x, op, &[])?;
    Ok(Standardized { values: scaled(y.values, weight, bias)?, ..y })
}

/// The operation where the axes lie, or where they do not lie well for it with the axes last.
fn placed<V: Ops>(x: &V, op: Normalize, weights: &[V]) -> Result<Standardized<V>> {
    let shape = V::shape(x);
    if op.runs(shape, weights.first().map(V::shape)) {
        let operands: Vec<&V> = [x].into_iter().chain(weights).collect();
        return match V::apply_op(op, &operands)?.into_array() {
            Some([values, mean, variance]) => Ok(Standardized { values, mean, variance }),
            None => unreachable!("an operation of three results"),
        };
    }
    let (last, first): (Vec<isize>, Vec<isize>) = (0..shape.rank() as isize).partition(|&axis| op.axes[axis as usize]);
    let order = [first.clone(), last].concat();
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as isize);
    let weights: Vec<V> = weights.iter().map(|w| w.permute(&order)).collect::<Result<_>>()?;
    let mut moved = Normalize { axes: [false; MAX_RANK], ..op };
    moved.axes[first.len()..shape.rank()].fill(true);
    let Standardized { values, mean, variance } = placed(&x.permute(&order)?, moved, &weights)?;
    let [values, mean, variance] = [values, mean, variance].map(|y| y.permute(&back));
    Ok(Standardized { values: values?, mean: mean?, variance: variance? })
}

fn scaled<V: Ops>(x: V, weight: Option<&V>, bias: Option<&V>) -> Result<V> {
    let x = if let Some(weight) = weight { x.mul(weight)? } else { x };
    if let Some(bias) = bias { x.add(bias) } else { Ok(x) }
}

/// A number of each channel beside tensors of `shape`.
fn beside_channels<V: Ops>(x: &V, shape: &Shape, axis: usize) -> Result<V> {
    let mut dims = vec![1; shape.rank()];
    dims[axis] = shape[axis];
    x.reshape(dims)
}

impl<V: Ops> ChannelNorm<'_, V> {
    /// Weight and bias beside tensors of `shape`.
    fn beside(&self, shape: &Shape, axis: usize) -> Result<[Option<V>; 2]> {
        let beside = |x: Option<&V>| x.map(|x| beside_channels(x, shape, axis)).transpose();
        Ok([beside(self.weight)?, beside(self.bias)?])
    }
}

/// Normalized over the dimensions other than the channels, and other than the batch unless `whole`.
fn by_channel<V: Ops>(
    x: &V,
    running: Option<&RunningStatistics<V>>,
    training: bool,
    options: &ChannelNorm<'_, V>,
    whole: bool,
) -> Result<(V, Option<RunningStatistics<V>>)> {
    let name = if whole { "batch_norm" } else { "instance_norm" };
    let shape = *V::shape(x);
    let axis = channel_axis(name, &shape, options.axis)?;
    let [weight, bias] = options.beside(&shape, axis)?;
    let (weight, bias) = (weight.as_ref(), bias.as_ref());
    if !training {
        let Some(running) = running else {
            let error = Error::argument(name, "without training there must be running statistics");
            return Err(error.help("give them, or normalize by those of the batch: training: true"));
        };
        let [mean, variance] = [&running.mean, &running.variance].map(|x| beside_channels(x, &shape, axis));
        let y = scaled(x.sub(&mean?)?.mul(&variance?.add(options.eps)?.rsqrt()?)?, weight, bias)?;
        return Ok((y, Some(running.clone())));
    }
    let axes: Vec<isize> = (usize::from(!whole)..shape.rank()).filter(|&a| a != axis).map(|a| a as isize).collect();
    let y = x.standardize(&axes, &Standardize { weight, bias, eps: options.eps, centered: true })?;
    // Of samples each by itself the mean.
    let samples = if whole || axis == 0 { 1 } else { shape[0] };
    let moved = |old: &V, of: &V, factor: f64| {
        let batch = of.detach().reshape([samples, shape[axis]])?.mean(0)?;
        old.mul(1.0 - options.momentum)?.add(&batch.mul(options.momentum * factor)?)?.cast(V::dtype(old))
    };
    let after = |running: &RunningStatistics<V>| -> Result<_> {
        let count: f64 = axes.iter().map(|&a| shape[a as usize] as f64).product();
        if count * (samples as f64) == 0.0 {
            return Ok(running.clone());
        }
        // One element has no unbiased variance.
        let variance = match count > 1.0 {
            true => moved(&running.variance, &y.variance, count / (count - 1.0))?,
            false => running.variance.clone(),
        };
        Ok(RunningStatistics { mean: moved(&running.mean, &y.mean, 1.0)?, variance })
    };
    Ok((y.values, running.map(after).transpose()?))
}
