//! Mistakes in the description of a model and in the targets it is given.

use super::{Mistake, classes, classifier, mistakes, quiet, regressor};
use kiln::nn::losses::{LossFn, SparseCategoricalCrossentropy};
use kiln::nn::optimizers::{Adam, IntoOptimizer, SGD};
use kiln::prelude::*;

pub(super) fn layers() -> Vec<Mistake> {
    mistakes! {
        "samples of another width than the model's" => { classifier()?.fit(&classes(&[8, 5])?, quiet())? }
        "a batch where the shape of a sample is meant" => {
            let model = Sequential::new([90, 2]).add(Dense::new(1)).compile("adam", "mse", ["mae"])?;
            model.predict(&Tensor::zeros([8, 2])?)?
        }
        "an image in the wrong number of dimensions" => { Sequential::new([64]).add(Conv2D::new(8, 3)).compile("adam", "mse", ["mae"])? }
        "a single sample without a batch dimension" => { classifier()?.predict(&Tensor::zeros([4])?)? }
        "images without channels into Conv2D" => { Sequential::new([28, 28]).add(Conv2D::new(8, 3)).compile("adam", "mse", ["mae"])? }
        "a window larger than the image" => { Sequential::new([4, 4, 1]).add(Conv2D::new(8, 5)).compile("adam", "mse", ["mae"])? }
        "a dilated window larger than the image" => {
            Sequential::new([4, 4, 1]).add(Conv2D::new(8, 3).dilation_rate([2, 2])).compile("adam", "mse", ["mae"])?
        }
        "groups that do not divide the channels" => {
            Sequential::new([8, 8, 3]).add(Conv2D::new(8, 3).groups(2)).compile("adam", "mse", ["mae"])?
        }
        "a stride of 0" => { Sequential::new([8, 8, 3]).add(Conv2D::new(8, 3).strides([0, 1])).compile("adam", "mse", ["mae"])? }
        "pooling a flat input" => { Sequential::new([64]).add(MaxPooling2D::new(2)).compile("adam", "mse", ["mae"])? }
        "pooling until nothing is left" => {
            let model = Sequential::new([5, 5, 1]).add(MaxPooling2D::new(2)).add(MaxPooling2D::new(2)).add(MaxPooling2D::new(2));
            model.compile("adam", "mse", ["mae"])?
        }
        "a dense layer of 0 units" => { Sequential::new([4]).add(Dense::new(0)).compile("adam", "mse", ["mae"])? }
        "a layer beyond all addresses" => { Sequential::new([784]).add(Dense::new(1 << 40)).compile("adam", "mse", ["mae"])? }
        "numbers into Embedding" => {
            let mut model = Sequential::new([4]).add(Embedding::new(10, 3)).add(Flatten::new()).add(Dense::new(1)).compile("adam", "mse", ["mae"])?;
            model.fit(&Dataset::new(Tensor::zeros([2, 4])?, Tensor::zeros([2, 1])?)?, quiet())?
        }
        "a token beyond the vocabulary" => {
            let model = Sequential::new([2]).add(Embedding::new(10, 3)).compile("adam", "mse", ["mae"])?;
            model.predict(&Tensor::new([[3i64, 10]]))?
        }
        "an empty vocabulary" => { Sequential::new([2]).add(Embedding::new(0, 3)).compile("adam", "mse", ["mae"])? }
        "normalization of a sample without dimensions" => {
            Sequential::new(()).add(BatchNormalization::new()).compile("adam", "mse", ["mae"])?
        }
        "a reshape to another number of elements" => { Sequential::new([28, 28]).add(Reshape::new([28, 27, 1])).compile("adam", "mse", ["mae"])? }
        "a dropout rate of 2" => { Sequential::new([4]).add(Dropout::new(2.0)).add(Dense::new(1)).compile("adam", "mse", ["mae"])? }
        "two layers of one name" => {
            Sequential::new([4]).add_named("a", Dense::new(1)).add_named("a", Dense::new(1)).compile("adam", "mse", ["mae"])?
        }
        "a kernel beyond all numbers" => {
            Sequential::new([8, 8, 3]).add(Conv2D::new(8, usize::MAX).dilation_rate([2, 2])).compile("adam", "mse", ["mae"])?
        }
        "a layer beyond all memory" => { Sequential::new([4]).add(Dense::new(usize::MAX)).compile("adam", "mse", ["mae"])? }
        "a sample without elements" => { Sequential::new([0]).add(Dense::new(1)).compile("adam", "mse", ["mae"])? }
    }
}

pub(super) fn names() -> Vec<Mistake> {
    mistakes! {
        "a misspelt optimizer" => { Sequential::new([4]).add(Dense::new(1)).compile("adm", "mse", ["mae"])? }
        "a misspelt loss" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "sparse_categorical_crossentrop", ["mae"])? }
        "a misspelt metric" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "mse", ["acuracy"])? }
        "a misspelt activation" => { Sequential::new([4]).add(Dense::new(1).activation("sotfmax")).compile("adam", "mse", ["mae"])? }
        "a name like no other" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "xyzzy", ["mae"])? }
        "the words of a name in another order" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "mean_error_squared", ["mae"])? }
        "a part of several names" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "cross_entropy", ["mae"])? }
        "a metric twice" => { Sequential::new([4]).add(Dense::new(1)).compile("adam", "mse", ["mae", "mae"])? }
    }
}

pub(super) fn settings() -> Vec<Mistake> {
    mistakes! {
        "a batch size of 0" => { classifier()?.fit(&classes(&[8, 4])?, quiet().batch_size(0))? }
        "epochs as a count of more" => { classifier()?.fit(&classes(&[8, 4])?, quiet().initial_epoch(3).epochs(3))? }
        "a validation split of 0" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_split(0.0))? }
        "a validation split of 1" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_split(1.0))? }
        "a validation split of 1.5" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_split(1.5))? }
        "a validation split of NaN" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_split(f64::NAN))? }
        "a stratified split of 1.5" => { classifier()?.fit(&classes(&[8, 4])?, quiet().stratified_validation_split(1.5))? }
        "the last -0.5 of the samples" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_last(-0.5))? }
        "a learning rate of NaN" => { Sequential::new([4]).add(Dense::new(1)).compile(Adam::new(f64::NAN), "mse", ["mae"])? }
        "a rate where a schedule has ended at 0" => {
            let rate = kiln::nn::schedules::PolynomialDecay::new(0.1, 1).end_learning_rate(0.0);
            let mut model = Sequential::new([4]).add(Dense::new(1)).compile(Adam::new(rate), "mse", ["mae"])?;
            let data = Dataset::new(Tensor::ones([8, 4])?, Tensor::ones([8, 1])?)?;
            model.fit(&data, quiet().epochs(2).callback(LearningRateScheduler::new(|_, _| 0.01)))?
        }
        "a rate for an optimizer with a schedule" => {
            let mut adam = Adam::new(kiln::nn::schedules::ExponentialDecay::new(0.1, 10, 0.5)).into_optimizer()?;
            adam.set_learning_rate(0.01)?
        }
        "a validation frequency of 0" => { classifier()?.fit(&classes(&[8, 4])?, quiet().validation_freq(0))? }
        "a negative learning rate" => { Sequential::new([4]).add(Dense::new(1)).compile(SGD::new(-0.1), "mse", ["mae"])? }
        "two ways to clip" => { Sequential::new([4]).add(Dense::new(1)).compile(Adam::new(0.1).clipnorm(1.0).clipvalue(1.0), "mse", ["mae"])? }
        "a weight for a class that does not occur" => {
            classifier()?.fit(&classes(&[8, 4])?, quiet().class_weight(ClassWeight::Weights(vec![(2, 3.0)])))?
        }
        "a negative class weight" => {
            classifier()?.fit(&classes(&[8, 4])?, quiet().class_weight(ClassWeight::Weights(vec![(1, -3.0)])))?
        }
        "identifiers as classes" => {
            let data = Dataset::new(Tensor::ones([2, 4])?, Tensor::new([4_000_000_000i64, 1]))?;
            classifier()?.fit(&data, quiet().class_weight(ClassWeight::Balanced))?
        }
        "class weights in a regression" => {
            let data = Dataset::new(Tensor::ones([8, 4])?, Tensor::full([8, 1], 0.5)?)?;
            regressor()?.fit(&data, quiet().class_weight(ClassWeight::Balanced))?
        }
    }
}

/// Targets that are wrong for a classifier of four numbers into two classes.
fn trained_on(loss: &str, y: Tensor) -> Result<()> {
    let mut model =
        Sequential::new([4]).add(Dense::new(2).activation("softmax")).compile("adam", loss, ["accuracy"])?;
    model.fit(&Dataset::new(Tensor::ones([y.shape()[0], 4])?, y)?, quiet())?;
    Ok(())
}

pub(super) fn targets() -> Vec<Mistake> {
    mistakes! {
        "a label that is no class" => { trained_on("sparse_categorical_crossentropy", Tensor::new([0i64, 1, 2]))? }
        "a negative label" => { trained_on("sparse_categorical_crossentropy", Tensor::new([0i64, -1]))? }
        "a forgotten Flatten" => {
            let model = Sequential::new([28, 28]).add(Dense::new(16).activation("relu")).add(Dense::new(2).activation("softmax"));
            let mut model = model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])?;
            model.fit(&classes(&[8, 28, 28])?, quiet())?
        }
        "one-hot targets with the sparse loss" => { trained_on("sparse_categorical_crossentropy", Tensor::new([[0.0f32, 1.0], [1.0, 0.0]]))? }
        "class ids with the categorical loss" => { trained_on("categorical_crossentropy", Tensor::new([0i64, 1]))? }
        "fractions as labels" => { trained_on("sparse_categorical_crossentropy", Tensor::new([0.0f32, 0.5]))? }
        "class ids with the binary loss and two units" => { trained_on("binary_crossentropy", Tensor::new([0i64, 1]))? }
        "targets (N) for predictions (N, 2) in mse" => { trained_on("mse", Tensor::new([0.0f32, 1.0, 2.0]))? }
        "targets (N, 3) for predictions (N, 1) in mse" => {
            regressor()?.fit(&Dataset::new(Tensor::ones([2, 4])?, Tensor::ones([2, 3])?)?, quiet())?
        }
        "targets (N, N) for predictions (N, 1) in mse" => {
            regressor()?.fit(&Dataset::new(Tensor::ones([3, 4])?, Tensor::ones([3, 3])?)?, quiet())?
        }
        "a loss of several numbers" => {
            let loss = SparseCategoricalCrossentropy::new().reduction(losses::Reduction::None);
            let mut model = Sequential::new([4]).add(Dense::new(2).activation("softmax")).compile("adam", loss, ["accuracy"])?;
            model.fit(&classes(&[8, 4])?, quiet())?
        }
        "a custom loss whose shapes do not fit" => {
            let loss = LossFn::new("mine", |t, p| Ok(p.sub(&t.matmul(p)?)?.mean(-1)?));
            let mut model = Sequential::new([4]).add(Dense::new(2)).compile("adam", loss, ["mae"])?;
            model.fit(&Dataset::new(Tensor::ones([3, 4])?, Tensor::ones([3, 2])?)?, quiet())?
        }
    }
}
