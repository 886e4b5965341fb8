//! Mistakes with tensors and with gradients.

use super::{Mistake, mistakes};
use kiln::prelude::*;

fn zeros(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::zeros(shape)?)
}

pub(super) fn operations() -> Vec<Mistake> {
    mistakes! {
        "matmul of shapes that do not fit" => { zeros(&[32, 784])?.matmul(&zeros(&[128, 10])?)? }
        "matmul with a number" => { zeros(&[2, 2])?.matmul(&Tensor::scalar(1.0, DType::F32))? }
        "addition of shapes that do not broadcast" => { zeros(&[4, 3])?.add(&zeros(&[4])?)? }
        "reshape to another number of elements" => { zeros(&[2, 3])?.reshape([4, 2])? }
        "concat of different widths" => { concat(&[&zeros(&[2, 3])?, &zeros(&[2, 4])?], 0)? }
        "concat of nothing" => { concat::<Tensor>(&[], 0)? }
        "gather with fractions" => { zeros(&[3, 2])?.gather(0, &zeros(&[1, 2])?)? }
        "an index out of range" => { zeros(&[3, 2])?.index_select(0, &Tensor::new([0i64, 3]))? }
        "a slice beyond the end" => { zeros(&[3, 2])?.slice(0, 1..5)? }
        "a slice along an axis that is not there" => { zeros(&[3, 2])?.slice(2, 0..1)? }
        "a sum along an axis that is not there" => { zeros(&[3, 2])?.sum(2)? }
        "a sum along an axis twice" => { zeros(&[3, 2])?.sum([1, -1])? }
        "a permutation with an axis twice" => { zeros(&[3, 2])?.permute(&[0, 0])? }
        "the number in a tensor of several" => { zeros(&[3])?.item()? }
        "the elements as another type" => { zeros(&[3])?.to_vec::<f64>()? }
        "the elements of a view beyond all memory" => { zeros(&[1])?.expand([1 << 46])?.to_vec::<f32>()? }
        "a GPU without its backend" => { zeros(&[1])?.to_device(Device::Cuda(0))? }
        "more elements than the shape holds" => { Tensor::from_vec(vec![1.0, 2.0, 3.0], [2, 2])? }
        "adaptive pooling to a size beyond all memory" => { zeros(&[1, 4, 2])?.adaptive_max_pool([usize::MAX], false)? }
        "a norm over windows beyond all numbers" => { zeros(&[1, 4, 4, 2])?.lp_pool2d(2.0, &Pool2dOptions::new([usize::MAX; 2]))? }
        "the places of a pool in a size beyond all numbers" => {
            zeros(&[1, 1, 1, 2])?.max_unpool(&zeros(&[1, 1, 1, 2])?.cast(DType::I64)?, [usize::MAX, 2], false)?
        }
        "a grid beyond all numbers" => { zeros(&[1, 2, 3])?.affine_grid(&[usize::MAX, 2], false)? }
        "images of a size beyond all memory" => { zeros(&[1, 4, 4, 2])?.resize([1 << 31, 1 << 31], Resize::Bilinear)? }
        "columns of windows beyond all numbers" => {
            let windows = Pool3dOptions::new([1 << 30; 3]);
            zeros(&[1, 1, 0])?.col2im([1 << 30; 3], &windows)?
        }
        "a grid beyond all memory" => { zeros(&[1, 2, 3])?.affine_grid(&[1 << 40, 4], false)? }
        "a convolution of an image without channels" => { zeros(&[8, 8])?.conv2d(&zeros(&[3, 3, 3, 4])?, &Conv2dOptions::new())? }
        "a convolution with channels at the wrong place" => {
            zeros(&[1, 3, 8, 8])?.conv2d(&zeros(&[3, 3, 3, 4])?, &Conv2dOptions::new())?
        }
        "softmax along an axis that is not there" => { zeros(&[3])?.softmax(1)? }
        "a tensor beyond all memory" => { Tensor::zeros([usize::MAX, 2])? }
        "a tensor beyond all addresses" => { Tensor::zeros([1 << 23, 1 << 23])? }
        "random numbers beyond all addresses" => { Key::new(0).normal([1 << 23, 1 << 23], 0.0, 1.0)? }
        "a product beyond all addresses" => { zeros(&[1 << 23, 1])?.matmul(&zeros(&[1, 1 << 23])?)? }
        "a sum beyond all addresses" => { zeros(&[1 << 23, 1])?.add(&zeros(&[1, 1 << 23])?)? }
        "a ninth dimension" => { Tensor::zeros([1; 9])? }
        "argmax along an axis that is not there" => { zeros(&[2, 3])?.argmax(5)? }
        "a slice that ends at the last number there is" => { zeros(&[3, 2])?.slice(0, ..=isize::MAX)? }
        "a slice that goes backwards" => { zeros(&[3, 2])?.slice(0, -1..1)? }
        "pieces that do not add up" => { zeros(&[4, 2])?.split(&[3, 2], 0)? }
        "pieces beyond all numbers" => { zeros(&[4, 2])?.split(&[usize::MAX, 5], 0)? }
        "no pieces" => { zeros(&[4, 2])?.chunk(0, 0)? }
        "padding beyond all numbers" => { zeros(&[4])?.pad(&[(isize::MAX, isize::MAX)], 0.0)? }
        "padding for another number of dimensions" => { zeros(&[4, 2])?.pad(&[(1, 1)], 0.0)? }
        "a new axis far away" => { zeros(&[4, 2])?.unsqueeze(5)? }
        "an expansion to another length" => { zeros(&[4, 2])?.expand([4, 3])? }
        "unflatten to another length" => { zeros(&[4, 2])?.unflatten(0, &[3, 2])? }
        "more of the largest than there are" => { zeros(&[3])?.top_k(4, 0, true)? }
        "stacking different shapes" => { stack(&[&zeros(&[2])?, &zeros(&[3])?], 0)? }
        "a range of steps of 0" => { Tensor::arange(0.0, 1.0, 0.0)? }
        "a one-hot label that is no class" => { one_hot(&Tensor::new([0i64, 3]), 3, DType::F32)? }
        "a probability of 2" => { Key::new(0).bernoulli([3], 2.0)? }
        "a negative deviation" => { Key::new(0).normal([3], 0.0, -1.0)? }
        "an index beyond the end" => { zeros(&[4, 2])?.index(0, 4)? }
        "the transpose of a cube" => { zeros(&[4, 2, 2])?.t()? }
        "flattening backwards" => { zeros(&[4, 2])?.flatten(1, 0)? }
        "reshape beyond all addresses" => { zeros(&[4, 2])?.reshape([usize::MAX, 2])? }
        "expansion beyond all addresses" => { zeros(&[1])?.expand([usize::MAX, 2])? }
        "squeezing an axis that has elements" => { zeros(&[4, 1])?.squeeze(0)? }
        "a stride of a scalar" => { zeros(&[])?.stride(0, Stride { start: 0, length: 1, step: 1 })? }
        "a stride beyond the end" => { zeros(&[4])?.stride(0, Stride { start: 0, length: 3, step: 2 })? }
        "a matrix times a vector of another length" => { zeros(&[3, 4])?.matmul(&zeros(&[2])?)? }
        "scattering from less than the indices" => { zeros(&[5])?.scatter_add(0, &Tensor::new([0, 1, 2]), &zeros(&[2])?)? }
        "a number that is no byte" => { Tensor::new([1u8]).maximum(300)? }
        "a dropout rate of 2" => { zeros(&[3])?.dropout(Key::new(1), 2.0)? }
        "a cumulative sum along an axis that is not there" => { zeros(&[3])?.cumsum(1)? }
        "sorting along an axis that is not there" => { zeros(&[3])?.sort(1, false)? }
        "a pool larger than the image" => { zeros(&[1, 4, 4, 1])?.max_pool2d(&Pool2dOptions::new([5, 5]))? }
        "a negative power of integers" => { Tensor::new([2]).pow(-1)? }
        "an index expression of too many parts" => { zeros(&[4, 2])?.at(s![0, .., 1])? }
        "an index tensor that reaches outside" => { zeros(&[4, 2])?.at(s![.., &Tensor::new([0i64, 2])])? }
        "a mask of another shape" => { zeros(&[4, 2])?.at(s![&zeros(&[3])?.gt(0.0)?])? }
        "writing what does not fit" => { zeros(&[4, 2])?.set_at(s![1..3], &zeros(&[3])?)? }
        "the median along two axes" => { zeros(&[4, 2])?.median([0, 1])?.0 }
        "the fifth smallest of four" => { zeros(&[4, 2])?.kthvalue(5, 0)?.0 }
        "a quantile beyond 1" => { zeros(&[4])?.quantile(95.0, 0, Interpolation::Linear)? }
        "the diagonal of a vector" => { zeros(&[4])?.diagonal(0, 0, 1)? }
        "the triangle of a vector" => { zeros(&[4])?.tril(0)? }
        "a window longer than the axis" => { zeros(&[4])?.unfold(0, 5, 1)? }
        "reflecting nothing" => { zeros(&[0])?.pad_with(&[(1, 1)], PadMode::Reflect)? }
        "channels that do not divide" => { zeros(&[1, 3, 2, 2])?.pixel_shuffle(2)? }
        "the bits of fractions" => { zeros(&[4])?.bitwise_and(1)? }
        "values for other rows than are sorted" => { zeros(&[2, 3])?.searchsorted(&zeros(&[3, 2])?, false)? }
        "bags without a beginning" => { zeros(&[4, 2])?.embedding_bag(&Tensor::new([0i64, 1]), None, Bag::Sum, None, None)? }
        "a convolution of sequences that does not move" => {
            zeros(&[1, 8, 3])?.conv1d(&zeros(&[3, 3, 4])?, &Conv1dOptions::new().stride([0]))?
        }
        "whole numbers of no range" => { Key::new(0).integers([3], 5, 5)? }
        "a mask that is no mask" => { zeros(&[3])?.select(&zeros(&[3])?, 0.0)? }
        "a file of tensors that is not there" => { kiln::tensor::io::load_npy("no/such/file.npy")? }
        "argmax of nothing" => { zeros(&[0])?.argmax(0)? }
        "an index out of range in what is added" => { zeros(&[3, 4])?.add_at(s![5], 1.0)? }
        "values that do not fit where they are added" => { zeros(&[3, 4])?.add_at(s![0], &zeros(&[2])?)? }
        "the largest of nothing" => { zeros(&[0, 3])?.max(0)?.0 }
        "the smallest and the largest of nothing" => { zeros(&[0, 3])?.aminmax(0)?.0 }
        "the largest number of nothing" => { zeros(&[0, 3])?.nanmax(0)? }
        "the norm of a matrix of nothing" => { zeros(&[0, 0])?.matrix_norm(MatrixNorm::Order(2.0), false)? }
        "indices that do not fit each other" => {
            zeros(&[3, 4])?.at(s![&Tensor::new([0i64, 1]), &Tensor::new([0i64, 1, 2])])?
        }
        "two masks" => { zeros(&[3, 4])?.at(s![&zeros(&[3, 4])?.gt(1.0)?, &zeros(&[3, 4])?.gt(1.0)?])? }
        "differences with what does not fit" => { zeros(&[3, 4])?.diff(1, 0, Some(&zeros(&[2])?), None)? }
        "a diagonal beyond all memory" => { zeros(&[2])?.diag(1 << 40)? }
        "repetitions beyond all memory" => { zeros(&[3, 4])?.tile(&[1 << 40, 1 << 10])? }
        "repetitions of each beyond all memory" => { zeros(&[3, 4])?.repeat_interleave(&[1 << 60], 0)? }
        "a quantile in per cent" => { zeros(&[4])?.quantile(50.0, .., Interpolation::Linear)? }
        "a histogram of what is no number" => { zeros(&[4])?.div(0.0)?.histogram(10, None, None)?.0 }
        "an inverse beyond all memory" => { zeros(&[1])?.expand([1 << 20, 1 << 20])?.inv()? }
    }
}

pub(super) fn gradients() -> Vec<Mistake> {
    mistakes! {
        "the gradient of a value that is not watched" => {
            let tape = Tape::new();
            let x = tape.watch(&Tensor::new([1.0]));
            let other = Var::new(Tensor::new([2.0]));
            x.square()?.sum(..)?.backward()?.get(&other)?
        }
        "the gradient of a value of another tape" => {
            let (a, b) = (Tape::new(), Tape::new());
            let (x, y) = (a.watch(&Tensor::new([1.0])), b.watch(&Tensor::new([1.0])));
            x.square()?.sum(..)?.backward()?.get(&y)?
        }
        "the gradient of a value that was computed" => {
            let x = Tape::new().watch(&Tensor::new([1.0]));
            let y = x.square()?;
            y.sum(..)?.backward()?.get(&y)?
        }
        "a gradient taken out twice" => {
            let x = Tape::new().watch(&Tensor::new([1.0]));
            let mut gradients = x.square()?.sum(..)?.backward()?;
            gradients.take(&x)?;
            gradients.take(&x)?
        }
        "backward from several numbers" => { Tape::new().watch(&Tensor::new([1.0, 2.0])).square()?.backward()? }
        "backward from what is not recorded" => { Var::new(Tensor::new(1.0)).backward()? }
        "values of two tapes" => {
            let (a, b) = (Tape::new(), Tape::new());
            a.watch(&Tensor::new([1.0])).mul(&b.watch(&Tensor::new([1.0])))?
        }
        "watching integers" => {
            let x = Tape::new().watch(&Tensor::new([1i64, 2]));
            x.sum(..)?.backward()?
        }
        "the gradient of a function that returns several numbers" => { grad(|x| x[0].square(), &[Tensor::new([1.0, 2.0])])? }
        "a direction of another shape" => { hvp(|x| x[0].square()?.sum(..), &[Tensor::new([1.0, 2.0])], &[Tensor::new([1.0])])? }
    }
}
