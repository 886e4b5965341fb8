//! Tensors, automatic differentiation and training: Keras's `compile`, `fit` and `History` on a small, fast,
//! differentiable array library.
//!
//! ```no_run
//! use kiln::prelude::*;
//!
//! fn main() -> Result<()> {
//!     let (train, test) = datasets::digits()?;
//!     let mut model = Sequential::new([28, 28])
//!         .add(Flatten::new())
//!         .add(Dense::new(128).activation("relu"))
//!         .add(Dense::new(10).activation("softmax"))
//!         .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])?;
//!     let history = model.fit(&train, Fit::new().epochs(5).validation_data(&test))?;
//!     history.plot("history.png")?;
//!     println!("{}", model.evaluate(&test)?);
//!     Ok(())
//! }
//! ```
//!
//! This crate is a façade over four, each built on the one before:
//!
//! | module | what it holds |
//! |---|---|
//! | [`tensor`] | arrays: [`Tensor`](tensor::Tensor), the operations on them, random numbers, [array files](tensor::io), [plans](tensor::Plan) |
//! | [`autograd`] | gradients: [`Tape`](autograd::Tape), [`grad`](autograd::grad) and its kin, [checks](autograd::GradCheck) of them |
//! | [`nn`] | [layers](nn::layers), [initializers](nn::init), [losses](nn::losses), [metrics](nn::metrics), [optimizers](nn::optimizers), [schedules](nn::schedules) |
//! | [`train`] | [data](train::Dataset), [`compile`](train::Compile::compile) and [`fit`](train::Model::fit), [callbacks](train::callbacks), [history](train::History), model files |
//!
//! [`scores`] has scikit-learn's scores by its names. The [`prelude`] has what most programs need of all four. Each of `tensor`, `nn` and `train` has an error type and a `Result`;
//! `?` makes the first two into the last, which is that of the prelude.
//!
//! # The book
//!
//! In the repository, with every program tested: `docs/getting-started.md` (tensors and gradients), `docs/data-analysis.md`,
//! `docs/compile-and-fit.md` (training), `docs/reading-a-run.md` (scores, pictures, what a history says), `docs/resuming.md` (runs that go on where they were),
//! `docs/tuning.md` (learning rates, searches), `docs/deploying.md` (predictors, monitoring, retraining), `docs/gpus.md`, `docs/composing-models.md` (several inputs and outputs, text, transformers, parts of other models, modules),
//! `docs/extending.md` (parts of your own), `docs/anatomy-of-an-op.md`, `docs/performance.md` (benchmarks). Programs that train on real data are in `examples`.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cpu` | yes | the processor, which is always built: a name for crates that choose their backends by feature |
//! | `plot` | yes | histories, confusion matrices, curves as PNG or SVG, and a run on one page of HTML |
//! | `bayesian` | no | `search::Search::bayesian`, with six small crates |
//! | `cuda` | no | NVIDIA's GPUs: it builds without CUDA, and [`Device::cuda`](tensor::Device::cuda) says what is missing (`docs/gpus.md`) |
//! | `approx` | no | tensors in the macros of the crate `approx`: `assert_relative_eq!(a, b, max_relative = 1e-6)` |
//!
//! # Debug builds
//!
//! Compiled without optimization, Kiln takes up to a hundred times as long. Programs that are run without `--release` want
//! this in the Cargo.toml at the root of their workspace; `fit` warns once where the second part is missing. The first is for
//! functions, folds and kernels of the program's own.
//!
//! ```toml
//! [profile.dev]
//! opt-level = 1
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```
#![forbid(unsafe_code)]

pub use kiln_autograd as autograd;
pub use kiln_nn as nn;
pub use kiln_tensor as tensor;
pub use kiln_train as train;
pub use kiln_train::scores;

/// What most programs need: `use kiln::prelude::*`.
///
/// Of what is not in it, this is wanted most: [`tensor::io`], [`tensor::Plan`], [`nn::schedules`], the types inside
/// [`nn::losses`], [`nn::metrics`], [`nn::optimizers`] and [`nn::init`], whose modules are in it, and [`tensor::Result`] and
/// [`nn::Result`]. `Activation`, `Dropout` and `Softmax` are the layers here, and `Padding` is that of layers.
pub mod prelude {
    pub use kiln_autograd::{
        Differentiable, GradCheck, Keep, Tape, Var, checkpoint, grad, gradients, hvp, jvp, value_and_grad, vjp,
    };
    pub use kiln_nn::layers::{self, *};
    pub use kiln_nn::{
        AnyLayer, Built, Connect, Functional, Input, IntoModule, IntoOptimizer, Layer, Module, Parameter, Pass,
        Sequential, Signal, Weight, Weights, init, losses, metrics, optimizers,
    };
    // The padding of layers and that of operations are two types; layers are met first.
    pub use kiln_nn::layers::Padding;
    pub use kiln_tensor::ops::prelude::*;
    pub use kiln_tensor::{
        Aliases, Arity, CpuCall, CudaCall, DType, Device, Element, Key, Launch, Mask, Op, Outputs, Scalar, Shape, Spec,
        Specs, Tensor, View, ViewMut, with_element,
    };
    pub use kiln_train::callbacks::{self, *};
    pub use kiln_train::{
        ClassWeight, ClassificationReport, Compile, ConfusionMatrix, Dataset, Error, Every, Fit, History, Logs, Model,
        Result, Stream, Verbosity, datasets,
    };
}

/// The book's pages, whose programs are tests.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../docs/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../docs/data-analysis.md")]
    mod data_analysis {}
    #[doc = include_str!("../../docs/compile-and-fit.md")]
    mod compile_and_fit {}
    #[doc = include_str!("../../docs/reading-a-run.md")]
    #[cfg(feature = "plot")]
    mod reading_a_run {}
    #[doc = include_str!("../../docs/resuming.md")]
    mod resuming {}
    #[doc = include_str!("../../docs/tuning.md")]
    #[cfg(feature = "plot")]
    mod tuning {}
    #[doc = include_str!("../../docs/deploying.md")]
    mod deploying {}
    #[doc = include_str!("../../docs/gpus.md")]
    mod gpus {}
    #[doc = include_str!("../../docs/composing-models.md")]
    mod composing_models {}
    #[doc = include_str!("../../docs/extending.md")]
    mod extending {}
    #[doc = include_str!("../../docs/anatomy-of-an-op.md")]
    mod anatomy_of_an_op {}
    #[doc = include_str!("../../docs/performance.md")]
    mod performance {}
    #[doc = include_str!("../../README.md")]
    mod readme {}
}
