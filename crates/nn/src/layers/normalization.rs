//! Normalization: over the batch, within a sample, within groups of channels, to length 1.

use super::merge::sample_axis;
use super::reshape::sample_axes;
use super::settings::{Setting, described, settings};
use super::{require, require_epsilon};
use crate::layer::{AnyLayer, Layer, Weight, Weights, arity};
use crate::{AxisList, Constraint, Error, Initializer, Parameter, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{
    ArithmeticOps, BoundOps, CastOps, ChannelNorm, MatMulOps, MathOps, NormalizationOps, ReduceOps, Standardize,
    StatisticsOps, Value, ViewOps, keep,
};
use kiln_autograd::{DType, Key, Shape, Tensor, Var};
use serde_json::Value as Json;
use std::sync::Arc;

/// A vector along an axis of a batch, in the shape that broadcasts along it.
fn along(vector: &Var, axes: &[usize], x: &Var) -> Result<Var> {
    let shape = Value::shape(x);
    let last = shape.rank() - axes.len();
    if axes.iter().enumerate().all(|(i, axis)| axis + 1 == last + i) {
        return Ok(vector.clone());
    }
    let dims: Vec<usize> =
        (0..shape.rank()).map(|i| if axes.iter().any(|a| a + 1 == i) { shape[i] } else { 1 }).collect();
    Ok(vector.reshape(dims)?)
}

/// `gamma` and `beta`, as far as there are the two, in the shapes that broadcast along some axes.
fn gamma_and_beta(x: &Var, axes: &[usize], weights: Weights<'_>, pass: &mut Pass) -> Result<[Option<Var>; 2]> {
    let mut find = |name| weights.find(name).map(|weight| along(&pass.parameter(weight), axes, x)).transpose();
    Ok([find("gamma")?, find("beta")?])
}

/// [`settings!`] for a layer that ends in a scale and a shift: after its own arguments come Keras's for these.
macro_rules! scaled_settings {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        settings! {
            $(#[$doc])*
            $name {
                $($own)*
                /// What is added to the variance, from 0.
                epsilon: f64 = 1e-3;
                /// Whether `beta` is added.
                center: bool = true;
                /// Whether the result is multiplied by `gamma`.
                scale: bool = true;
                /// What `beta` starts from.
                beta_initializer: Initializer = Initializer::Zeros;
                /// What `gamma` starts from.
                gamma_initializer: Initializer = Initializer::Ones;
                /// What `beta` adds to the loss.
                beta_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What `gamma` adds to the loss.
                gamma_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What holds for `beta` after each update.
                beta_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for `gamma` after each update.
                gamma_constraint: Option<Constraint> = None, some Constraint;
            }
        }

        impl $name {
            /// Keras's defaults.
            pub fn new() -> $name {
                $name::default()
            }

            fn gamma_and_beta(&self, shape: &[usize]) -> Vec<Weight> {
                let gamma = self.scale.then(|| {
                    Weight::new("gamma", shape, self.gamma_initializer)
                        .regularizer(self.gamma_regularizer)
                        .constraint(self.gamma_constraint)
                });
                let beta = self.center.then(|| {
                    Weight::new("beta", shape, self.beta_initializer)
                        .regularizer(self.beta_regularizer)
                        .constraint(self.beta_constraint)
                });
                gamma.into_iter().chain(beta).collect()
            }
        }
    };
}

scaled_settings! {
    /// Normalizes each channel to mean 0 and variance 1 over the batch, then scales by `gamma` and shifts by `beta`, which are
    /// learned (Ioffe and Szegedy 2015).
    ///
    /// While training it uses the batch's mean and biased variance, of the steps that its mask counts, and moves its running
    /// ones towards them: `moving = moving · momentum + batch · (1 - momentum)`. Otherwise, and while its statistics are frozen, it
    /// uses the running ones.
    ///
    /// With [`renorm`](Self::renorm) training sees nearly what inference will: the result is corrected by `r` and `d` from the batch's
    /// statistics to running ones, `x · r + d`, as if both were constants (Ioffe 2017).
    ///
    /// # Shapes
    /// `[batch, …, channels]` to the same; all four weights, seven with `renorm`, are `[channels]`.
    BatchNormalization {
        /// The axis of the channels, counted with the batch; the last unless set.
        axis: isize = -1;
        /// The part of the running statistics that each batch keeps, from 0 to 1.
        momentum: f64 = 0.99;
        /// What the moving mean starts from.
        moving_mean_initializer: Initializer = Initializer::Zeros;
        /// What the moving variance starts from.
        moving_variance_initializer: Initializer = Initializer::Ones;
        /// Whether the batch's statistics are corrected to running ones.
        renorm: bool = false;
        /// The bounds of that correction.
        renorm_clipping: RenormClipping = RenormClipping::default();
        /// The part of the statistics of the correction that each batch keeps, from 0 to 1.
        renorm_momentum: f64 = 0.99;
    }
}

/// Bounds of the correction of a [`BatchNormalization`] with `renorm`; none where there is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RenormClipping {
    /// The largest factor.
    pub rmax: Option<f64>,
    /// The smallest factor.
    pub rmin: Option<f64>,
    /// The largest shift, either way.
    pub dmax: Option<f64>,
}

impl RenormClipping {
    fn bounds(&mut self) -> [(&'static str, &mut Option<f64>); 3] {
        [("rmax", &mut self.rmax), ("rmin", &mut self.rmin), ("dmax", &mut self.dmax)]
    }

    fn checked(self) -> Result<()> {
        let what = "renorm_clipping";
        for bound in [self.rmax, self.rmin, self.dmax].into_iter().flatten() {
            let holds = bound.is_finite() && bound >= 0.0;
            require(holds, "BatchNormalization", what, bound, "finite bounds from 0")?;
        }
        match (self.rmin, self.rmax) {
            (Some(rmin), Some(rmax)) if rmin > rmax => {
                let text = format!("BatchNormalization: {what} has an rmin of {rmin} and an rmax of {rmax}");
                Err(Error::config(text, "give the smaller one as rmin"))
            }
            _ => Ok(()),
        }
    }
}

impl Setting for RenormClipping {
    fn blank() -> Self {
        RenormClipping::default()
    }
    fn write(&self) -> Json {
        let mut own = *self;
        let fields = own.bounds().into_iter().filter_map(|(name, bound)| Some((name.to_owned(), (*bound)?.write())));
        Json::Object(fields.collect())
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        *self = RenormClipping::default();
        for (name, value) in json.as_object().into_iter().flatten() {
            let mut bounds = self.bounds();
            let known = bounds.each_ref().map(|(known, _)| *known);
            let bound = bounds.iter_mut().find(|(known, _)| known == name);
            bound.ok_or_else(|| Error::unknown("bound", name, &known))?.1.read(value)?;
        }
        Ok(())
    }
}

/// All axes of a batch but that of the channels.
fn others(channels: usize, x: &Signal) -> Vec<isize> {
    (0..x.shape().rank() as isize).filter(|axis| *axis != channels as isize + 1).collect()
}

impl BatchNormalization {
    /// Mean and biased variance over all axes but the channels', of what the mask counts.
    fn moments(&self, x: &Signal, channels: usize) -> Result<(Var, Var)> {
        let axes = others(channels, x);
        let Some(mut mask) = x.mask_for(x.shape()) else {
            return Ok((x.value.mean(&axes)?, x.value.var(&axes, 0.0)?));
        };
        while Value::shape(&mask).rank() < x.shape().rank() {
            mask = mask.unsqueeze(-1)?;
        }
        // Keras's weighted moments, with its epsilon against dividing by 0.
        let weight = mask.cast(Value::dtype(&x.value))?.expand(*x.shape())?;
        let count = weight.sum(keep(&axes[..]))?.add(1e-7)?;
        let mean = x.value.mul(&weight)?.sum(keep(&axes[..]))?.div(&count)?;
        let variance = x.value.sub(&mean)?.square()?.mul(&weight)?.sum(&axes)?.div(&count.squeeze(&axes[..])?)?;
        Ok((mean.squeeze(&axes[..])?, variance))
    }

    /// The factor and the shift that bring what is normalized by a batch's statistics to running ones, and those moved on.
    fn correction(&self, mean: &Tensor, variance: &Tensor, weights: Weights<'_>, pass: &mut Pass) -> Result<[Var; 2]> {
        let deviation = variance.add(self.epsilon)?.sqrt()?;
        let (renorm_mean, renorm_stddev) = (weights.get("renorm_mean")?, weights.get("renorm_stddev")?);
        // Early in training it may be tiny.
        let running = pass.current(renorm_stddev).clamp(self.epsilon.sqrt(), f64::INFINITY)?;
        let mut factor = deviation.div(&running)?;
        let mut shift = mean.sub(pass.current(renorm_mean))?.div(&running)?;
        let RenormClipping { rmax, rmin, dmax } = self.renorm_clipping;
        if rmin.is_some() || rmax.is_some() {
            factor = factor.clamp(rmin.unwrap_or(0.0), rmax.unwrap_or(f64::INFINITY))?;
        }
        if let Some(dmax) = dmax {
            shift = shift.clamp(-dmax, dmax)?;
        }
        moved(renorm_mean, mean, self.renorm_momentum, pass)?;
        moved(renorm_stddev, &deviation, self.renorm_momentum, pass)?;
        moved(weights.get("moving_mean")?, mean, self.momentum, pass)?;
        let deviation = moved(weights.get("moving_stddev")?, &deviation, self.momentum, pass)?;
        let variance = deviation.square()?.sub(self.epsilon)?.clamp(0.0, f64::INFINITY)?;
        pass.update(weights.get("moving_variance")?, variance);
        Ok([Var::new(factor), Var::new(shift)])
    }
}

/// Moves a running statistic towards a batch's; gives where it is then.
fn moved(statistic: &Parameter, batch: &Tensor, momentum: f64, pass: &mut Pass) -> Result<Tensor> {
    // It keeps its type, whatever the batch was computed in.
    let moved =
        pass.current(statistic).mul(momentum)?.add(&batch.mul(1.0 - momentum)?)?.cast(statistic.tensor.dtype())?;
    pass.update(statistic, moved.clone());
    Ok(moved)
}

impl AnyLayer for BatchNormalization {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity("BatchNormalization", inputs)?;
        require_epsilon("BatchNormalization", self.epsilon)?;
        let range = "the part that is kept, from 0 to 1, such as 0.99";
        for (setting, value) in [("momentum", self.momentum), ("renorm_momentum", self.renorm_momentum)] {
            require((0.0..=1.0).contains(&value), "BatchNormalization", setting, value, range)?;
        }
        self.renorm_clipping.checked()?;
        if input.rank() == 0 {
            let text = "BatchNormalization: the input has no channels";
            return Err(Error::config(text, "give samples of at least one dimension"));
        }
        sample_axis("BatchNormalization", self.axis, input.rank())?;
        Ok(vec![*input])
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let [input] = arity("BatchNormalization", inputs)?;
        let channels = [input[sample_axis("BatchNormalization", self.axis, input.rank())?]];
        let mut weights = self.gamma_and_beta(&channels);
        weights.push(Weight::statistic("moving_mean", channels, self.moving_mean_initializer));
        weights.push(Weight::statistic("moving_variance", channels, self.moving_variance_initializer));
        if self.renorm {
            // The deviations start from the root of what the variance starts from.
            let variance = self.moving_variance_initializer;
            let deviation = variance.init(Key::new(0), channels, DType::F64)?.sqrt()?;
            let statistic = |name: &'static str| Weight::statistic(name, channels, variance);
            weights.push(statistic("moving_stddev").starting_from(deviation.clone()));
            weights.push(Weight::statistic("renorm_mean", channels, self.moving_mean_initializer));
            weights.push(statistic("renorm_stddev").starting_from(deviation));
        }
        Ok(weights)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = arity("BatchNormalization", x)?;
        let channels = sample_axis("BatchNormalization", self.axis, x.shape().rank() - 1)?;
        let (moving_mean, moving_variance) = (weights.get("moving_mean")?, weights.get("moving_variance")?);
        // A batch without samples has no statistics.
        let uses_batch = pass.is_training() && moving_mean.trainable && x.shape().count() > 0;
        if uses_batch && x.mask.is_none() && !self.renorm {
            let [gamma, beta] = gamma_and_beta(&x.value, &[channels], weights, pass)?;
            let options =
                Standardize { weight: gamma.as_ref(), bias: beta.as_ref(), eps: self.epsilon, centered: true };
            let y = x.value.standardize(others(channels, x), &options)?;
            let statistic = |of: &Var| of.tensor().reshape(*moving_mean.tensor.shape());
            moved(moving_mean, &statistic(&y.mean)?, self.momentum, pass)?;
            moved(moving_variance, &statistic(&y.variance)?, self.momentum, pass)?;
            return Ok(vec![Signal::new(y.values)]);
        }
        let mut correction = None;
        let (mean, variance) = if uses_batch {
            let (mean, variance) = self.moments(x, channels)?;
            if self.renorm {
                correction = Some(self.correction(mean.tensor(), variance.tensor(), weights, pass)?);
            } else {
                moved(moving_mean, mean.tensor(), self.momentum, pass)?;
                moved(moving_variance, variance.tensor(), self.momentum, pass)?;
            }
            (mean, variance)
        } else {
            // In their own precision, as they were in training, whatever the weights are computed in.
            [moving_mean, moving_variance].map(|statistic| Var::new(pass.current(statistic).clone())).into()
        };
        let mut scale = variance.add(self.epsilon)?.rsqrt()?;
        let mut shift = None;
        if let Some([factor, constant]) = correction {
            scale = scale.mul(&factor)?;
            shift = Some(constant);
        }
        if let Some(gamma) = weights.find("gamma") {
            let gamma = pass.parameter(gamma);
            scale = scale.mul(&gamma)?;
            shift = shift.map(|shift| shift.mul(&gamma)).transpose()?;
        }
        if let Some(beta) = weights.find("beta") {
            let beta = pass.parameter(beta);
            shift = Some(match shift {
                Some(shift) => shift.add(&beta)?,
                None => beta,
            });
        }
        let axes = [channels];
        let y = x.value.sub(&along(&mean, &axes, &x.value)?)?.mul(&along(&scale, &axes, &x.value)?)?;
        let y = match shift {
            Some(shift) => y.add(&along(&shift, &axes, &y)?)?,
            None => y,
        };
        let dtype = Value::dtype(&x.value);
        let y = if dtype.is_float() { y.cast(dtype)? } else { y };
        Ok(vec![Signal::new(y).masked(x.mask.clone())])
    }
}

/// The axes of a batch that a setting names, sorted.
fn normalized_axes(class: &str, axes: &[isize], rank: usize) -> Result<Vec<usize>> {
    let mut axes = sample_axes(class, axes, rank)?;
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// The lengths of these axes.
fn lengths(input: &Shape, axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|axis| input[*axis]).collect()
}

/// Axes of a sample as those of its batch, to be folded and kept.
fn folded(axes: &[usize]) -> kiln_autograd::ops::Axes {
    let axes: Vec<isize> = axes.iter().map(|axis| *axis as isize + 1).collect();
    keep(&axes[..])
}

scaled_settings! {
    /// Normalizes the last dimension of each position to mean 0 and variance 1, then scales by `gamma` and shifts by
    /// `beta`, which are learned (Ba et al. 2016).
    ///
    /// # Shapes
    /// `[batch, …, n]` to the same; both weights are `[n]`, or have the lengths of the axes that are set.
    LayerNormalization {
        /// The axes that are normalized together, counted with the batch.
        axis: AxisList = AxisList::from(-1), into;
        /// Whether the mean is not subtracted, nor `beta` added: `x / √variance · gamma`, as older versions of Keras had it. For the
        /// root of the mean square there is [`RMSNormalization`].
        rms_scaling: bool = false;
    }
}

impl Layer for LayerNormalization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_epsilon("LayerNormalization", self.epsilon)?;
        if input.rank() == 0 {
            return Err(Error::config(
                "LayerNormalization: the input has no dimension to normalize",
                "give samples of at least one dimension",
            ));
        }
        normalized_axes("LayerNormalization", &self.axis, input.rank())?;
        Ok(*input)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let axes = normalized_axes("LayerNormalization", &self.axis, input.rank()).unwrap_or_default();
        let own = match self.rms_scaling {
            true => &LayerNormalization { scale: true, center: false, ..self.clone() },
            false => self,
        };
        own.gamma_and_beta(&lengths(input, &axes))
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let axes = normalized_axes("LayerNormalization", &self.axis, Value::shape(x).rank() - 1)?;
        if self.rms_scaling {
            let scale = x.var(folded(&axes), 0.0)?.add(self.epsilon)?.rsqrt()?;
            let gamma = along(&pass.parameter(weights.get("gamma")?), &axes, x)?;
            return Ok(x.mul(&scale)?.mul(&gamma)?);
        }
        let [gamma, beta] = gamma_and_beta(x, &axes, weights, pass)?;
        let options = Standardize { weight: gamma.as_ref(), bias: beta.as_ref(), eps: self.epsilon, centered: true };
        Ok(x.standardize(folded(&axes), &options)?.values)
    }
}

scaled_settings! {
    /// Normalizes groups of channels of each sample to mean 0 and variance 1, over all positions, then scales by `gamma` and
    /// shifts by `beta`, which are learned (Wu and He 2018).
    ///
    /// # Shapes
    /// `[batch, …, channels]` to the same; both weights are `[channels]`.
    GroupNormalization {
        /// Number of groups, which divides the channels; -1 gives each channel its own: instance normalization.
        groups: isize = 32;
        /// The axis of the channels, counted with the batch; the last unless set.
        axis: isize = -1;
    }
}

impl GroupNormalization {
    /// The axis of the channels in a sample, and the number of groups.
    fn split(&self, input: &Shape) -> Result<(usize, usize)> {
        let axis = sample_axis("GroupNormalization", self.axis, input.rank())?;
        let channels = input[axis];
        let groups = if self.groups == -1 { channels } else { usize::try_from(self.groups).unwrap_or(0) };
        if groups == 0 || !channels.is_multiple_of(groups) {
            let text = format!("GroupNormalization: {} groups do not divide {channels} channels", self.groups);
            return Err(Error::config(text, "give a number that does, or -1 for a group of each channel"));
        }
        Ok((axis, groups))
    }
}

impl Layer for GroupNormalization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_epsilon("GroupNormalization", self.epsilon)?;
        self.split(input)?;
        Ok(*input)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        // Of what cannot be split `output_shape` tells.
        self.split(input).map_or(Vec::new(), |(axis, _)| self.gamma_and_beta(&lengths(input, &[axis])))
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let (axis, groups) = self.split(&Shape::new(&Value::shape(x)[1..])?)?;
        let [gamma, beta] = ["gamma", "beta"].map(|name| weights.find(name).map(|weight| pass.parameter(weight)));
        let (weight, bias, axis) = (gamma.as_ref(), beta.as_ref(), axis as isize + 1);
        Ok(x.group_norm(groups, &ChannelNorm { axis, weight, bias, eps: self.epsilon, ..ChannelNorm::default() })?)
    }
}

settings! {
    /// Divides each position by the root of its mean square, then scales by a learned factor (Zhang and Sennrich 2019).
    ///
    /// # Shapes
    /// `[batch, …, n]` to the same; `scale` is `[n]`, or has the lengths of the axes that are set.
    RMSNormalization {
        /// The axes that are normalized together, counted with the batch.
        axis: AxisList = AxisList::from(-1), into;
        /// What is added to the mean square, from 0.
        epsilon: f64 = 1e-6;
    }
}

impl RMSNormalization {
    /// Keras's defaults.
    pub fn new() -> RMSNormalization {
        RMSNormalization::default()
    }
}

impl Layer for RMSNormalization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_epsilon("RMSNormalization", self.epsilon)?;
        normalized_axes("RMSNormalization", &self.axis, input.rank())?;
        Ok(*input)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let axes = normalized_axes("RMSNormalization", &self.axis, input.rank()).unwrap_or_default();
        vec![Weight::new("scale", lengths(input, &axes), Initializer::Ones)]
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let axes = normalized_axes("RMSNormalization", &self.axis, Value::shape(x).rank() - 1)?;
        let scale = along(&pass.parameter(weights.get("scale")?), &axes, x)?;
        let options = Standardize { weight: Some(&scale), bias: None, eps: self.epsilon, centered: false };
        Ok(x.standardize(folded(&axes), &options)?.values)
    }
}

settings! {
    /// Brings each vector along the axes to length 1.
    ///
    /// # Shapes
    /// `[batch, …]` to the same.
    UnitNormalization {
        /// The axes of the vectors, counted with the batch.
        axis: AxisList = AxisList::from(-1), into;
    }
}

impl UnitNormalization {
    /// Along the last axis.
    pub fn new() -> UnitNormalization {
        UnitNormalization::default()
    }
}

impl Layer for UnitNormalization {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        normalized_axes("UnitNormalization", &self.axis, input.rank())?;
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let axes = normalized_axes("UnitNormalization", &self.axis, Value::shape(x).rank() - 1)?;
        Ok(x.mul(&x.square()?.sum(folded(&axes))?.maximum(1e-12)?.rsqrt()?)?)
    }
}

settings! {
    /// A layer whose kernel is divided by its largest singular value, which is found by `power_iterations` steps of training each
    /// (Miyato et al. 2018).
    ///
    /// # Shapes
    /// Those of the layer; `vector_u` is `[1, last dimension of the kernel]`. The kernel itself is changed in training.
    SpectralNormalization {
        layer: Arc<dyn AnyLayer> = Arc::new(super::Dense::new(0)), new;
        /// Steps towards the singular value at each step of training.
        power_iterations: usize = 1;
    }
}

impl SpectralNormalization {
    /// Wraps a layer that has a `kernel` or `embeddings`.
    pub fn new(layer: impl AnyLayer + 'static) -> SpectralNormalization {
        SpectralNormalization { layer: Arc::new(layer), ..SpectralNormalization::default() }
    }
}

impl AnyLayer for SpectralNormalization {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        if self.power_iterations == 0 {
            return Err(Error::config("SpectralNormalization: 0 power iterations", "give at least 1"));
        }
        self.layer.infer(inputs)
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let weights: Vec<Weight> = self.layer.weights_for(inputs)?;
        let Some(kernel) = weights.iter().find(|w| w.name == "kernel" || w.name == "embeddings") else {
            let text = format!("SpectralNormalization: {} has no kernel", self.layer.class_name());
            return Err(Error::config(text, "wrap a layer such as Dense, Conv2D or Embedding"));
        };
        let last = kernel.shape.last().copied().unwrap_or(1);
        let deviation = Initializer::TruncatedNormal { mean: 0.0, stddev: 0.02 };
        let vector = Weight::statistic("vector_u", [1, last], deviation);
        Ok(weights.into_iter().map(|w| w.within("layer")).chain([vector]).collect())
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let inner = weights.within("layer");
        let kernel = inner.find("kernel").or_else(|| inner.find("embeddings"));
        if let Some(kernel) = kernel.filter(|_| pass.is_training()) {
            let vector = weights.get("vector_u")?;
            let (w, mut u) = (pass.current(kernel), pass.current(vector).clone());
            let last = w.shape().last().copied().unwrap_or(1);
            let matrix = w.reshape([w.count() / last.max(1), last])?;
            let unit = |v: Tensor| -> Result<Tensor> { Ok(v.mul(&v.square()?.sum(..)?.maximum(1e-12)?.rsqrt()?)?) };
            let mut v = u.matmul(&matrix.t()?)?;
            for _ in 0..self.power_iterations {
                v = unit(u.matmul(&matrix.t()?)?)?;
                u = unit(v.matmul(&matrix)?)?;
            }
            let sigma = v.matmul(&matrix)?.mul(&u)?.sum(..)?;
            // A kernel of zeros stays.
            let sigma = sigma.maximum(f64::from(f32::MIN_POSITIVE))?;
            let w = w.div(&sigma)?;
            pass.update(vector, u);
            pass.replace(kernel, w);
        }
        self.layer.run(x, inner, pass)
    }

    fn final_activation(&self) -> crate::Activation {
        self.layer.final_activation()
    }

    fn penalty(&self) -> Option<Regularizer> {
        self.layer.penalty()
    }
}
