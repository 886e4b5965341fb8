//! Mistakes in data that are in memory, and in callbacks.

use super::{Mistake, classes, classifier, mistakes, quiet, regressor};
use kiln::prelude::*;

pub(super) fn all() -> Vec<Mistake> {
    mistakes! {
        "a dataset of no sample" => { Dataset::new(Tensor::zeros([0, 4])?, Tensor::zeros([0, 1])?)? }
        "x and y of different length" => { Dataset::new(Tensor::zeros([5, 4])?, Tensor::zeros([4, 1])?)? }
        "a sample without a first dimension" => { Dataset::new(Tensor::scalar(1.0, DType::F32), Tensor::zeros([1])?)? }
        "too few sample weights" => { classes(&[8, 4])?.sample_weight(Tensor::ones([7])?)? }
        "sample weights in a column" => { classes(&[8, 4])?.sample_weight(Tensor::ones([8, 1])?)? }
        "more samples than there are" => { classes(&[8, 4])?.take(9)? }
        "a stratified split of a regression" => { Dataset::new(Tensor::ones([8, 4])?, Tensor::full([8, 1], 0.5)?)?.split_stratified(0.5, 0)? }
        "a split that leaves nothing" => { classes(&[2, 4])?.split(0.1, 0)? }
        "a selection out of range" => { classes(&[2, 4])?.select(&[0, 2])? }
        "predict without a sample" => { classifier()?.predict(&Tensor::zeros([0, 4])?)? }
        "evaluate on samples of another width" => { classifier()?.evaluate(&classes(&[8, 3])?)? }
        "validation data of another width" => {
            let validation = classes(&[8, 3])?;
            classifier()?.fit(&classes(&[8, 4])?, quiet().validation_data(&validation))?
        }
        "train_on_batch with targets of another length" => { regressor()?.train_on_batch(&Tensor::ones([8, 4])?, &Tensor::ones([7, 1])?)? }
        "labels and predictions of different length" => { ConfusionMatrix::from_labels(&[0, 1], &[0], 2)? }
        "a predicted label that is no class" => { ConfusionMatrix::from_labels(&[0, 1], &[0, 2], 2)? }
        "names for another number of classes" => { ConfusionMatrix::from_labels(&[0, 1], &[0, 1], 2)?.with_names(["cat"])? }
    }
}

/// A run with a callback and without validation data.
fn with(callback: impl Callback + 'static) -> Result<()> {
    regressor()?.fit(&Dataset::new(Tensor::ones([8, 4])?, Tensor::ones([8, 1])?)?, quiet().callback(callback))?;
    Ok(())
}

pub(super) fn callbacks() -> Vec<Mistake> {
    mistakes! {
        "a misspelt value to watch" => {
            let data = classes(&[8, 4])?;
            classifier()?.fit(&data, quiet().validation_split(0.25).callback(EarlyStopping::new().monitor("val_acuracy")))?
        }
        "a validation value without validation data" => { with(EarlyStopping::new())? }
        "a metric that was not compiled" => { with(EarlyStopping::new().monitor("accuracy"))? }
        "a plateau factor of 1" => { with(ReduceLROnPlateau::new().monitor("loss").factor(1.0))? }
        "NaN in the data" => {
            let data = Dataset::new(Tensor::new([[f32::NAN, 1.0, 1.0, 1.0]]), Tensor::new([[1.0f32]]))?;
            regressor()?.fit(&data, quiet().callback(TerminateOnNaN::new().raise_error(true)))?
        }
        "a checkpoint's path with an unknown name" => { with(ModelCheckpoint::new("{epoch}-{val_los:.2f}.safetensors"))? }
        "a checkpoint's path with an open brace" => { with(ModelCheckpoint::new("{epoch.safetensors"))? }
        "a closure that fails" => { with(on_epoch_end(|_, _, _| Err(Error::data("the disk is full", "make room"))))? }
    }
}
