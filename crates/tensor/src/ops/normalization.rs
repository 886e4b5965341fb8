//! Normalizations as functions: by the mean and the spread of features, channels or neighbours. Made of means, variances and
//! products.

use super::{Ops, Stride, keep};
use crate::{DType, Error, Result, Shape};
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

/// Normalizations.
pub trait NormalizationOps: Ops {
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
            scaled(standardized(self, &axes, eps)?, weight, bias)
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
            let squares = self.square()?.mean(keep(&axes))?.add(eps.unwrap_or(smallest))?;
            scaled(self.mul(&squares.rsqrt()?)?, weight, None)
        };
        normal().map_err(|e: Error| e.within("rms_norm", at))
    }

    /// Each channel normalized over the batch and all other dimensions (Ioffe and Szegedy 2015): in training by the
    /// statistics of this batch, else by the running ones. Gives these too as they are after the batch, in which the
    /// variance is the unbiased one; no gradient flows into them.
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
            let y = standardized(&split, &axes, options.eps)?.reshape(shape)?;
            options.scaled(y, axis)
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

/// `(x - mean) / √(variance + ε)` over some axes.
fn standardized<V: Ops>(x: &V, axes: &[isize], eps: f64) -> Result<V> {
    let centered = x.sub(&x.mean(keep(axes))?)?;
    centered.mul(&x.var(keep(axes), 0.0)?.add(eps)?.rsqrt()?)
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
    fn scaled(&self, x: V, axis: usize) -> Result<V> {
        let shape = *V::shape(&x);
        let beside = |x: Option<&V>| x.map(|x| beside_channels(x, &shape, axis)).transpose();
        scaled(x, beside(self.weight)?.as_ref(), beside(self.bias)?.as_ref())
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
    if !training {
        let Some(running) = running else {
            let error = Error::argument(name, "without training there must be running statistics");
            return Err(error.help("give them, or normalize by those of the batch: training: true"));
        };
        let [mean, variance] = [&running.mean, &running.variance].map(|x| beside_channels(x, &shape, axis));
        let y = x.sub(&mean?)?.mul(&variance?.add(options.eps)?.rsqrt()?)?;
        return Ok((options.scaled(y, axis)?, Some(running.clone())));
    }
    let axes: Vec<isize> = (usize::from(!whole)..shape.rank()).filter(|&a| a != axis).map(|a| a as isize).collect();
    let moved = |old: &V, batch: V| {
        // Of samples each by itself the mean.
        let batch = if whole || axis == 0 { batch } else { batch.mean(0)? };
        old.mul(1.0 - options.momentum)?.add(&batch.mul(options.momentum)?)
    };
    let after = |running: &RunningStatistics<V>| -> Result<_> {
        let x = x.detach();
        let mean = moved(&running.mean, x.mean(&axes)?)?;
        Ok(RunningStatistics { mean, variance: moved(&running.variance, x.var(&axes, 1.0)?)? })
    };
    let y = options.scaled(standardized(x, &axes, options.eps)?, axis)?;
    Ok((y, running.map(after).transpose()?))
}
