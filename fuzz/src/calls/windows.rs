//! Windows and pictures: convolutions, pooling, columns, other sizes, sampling.

use super::{Call, Called, Same, one, two};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result};

pub fn run<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Called<V> {
    let dtype = match x.dtype().is_float() {
        true => x.dtype(),
        false => call.choose.of(&[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32]),
    };
    let (name, results) = match call.choose.below(8) {
        0 => conv::<V, 2>(call, dtype),
        1 => conv::<V, 1>(call, dtype),
        2 => conv::<V, 3>(call, dtype),
        3 => pool::<V, 2>(call, dtype),
        4 => pool::<V, 1>(call, dtype),
        5 => pool::<V, 3>(call, dtype),
        6 => pictures(call, dtype),
        _ => adaptive(call, dtype),
    };
    Called { name, same: Same::Sums, results }
}

type Named<V> = (&'static str, Result<Vec<V>>);

impl Call<'_> {
    fn each<const N: usize>(&mut self, f: impl Fn(&mut Self) -> usize) -> [usize; N] {
        std::array::from_fn(|_| f(self))
    }

    fn window_padding<const N: usize>(&mut self) -> Padding<N> {
        match self.choose.below(4) {
            0 => Padding::Valid,
            1 => Padding::Same,
            2 => Padding::symmetric(self.each(|c| c.choose.size(3))),
            _ => Padding::Explicit(std::array::from_fn(|_| self.each(|c| c.choose.size(3)))),
        }
    }

    /// `[batch, space…, channels]`, or with the channels before the space.
    fn images<V: Value, const N: usize>(&mut self, channels: usize, first: bool, dtype: DType) -> V {
        let most = [0, 40, 9, 5][N];
        let space: [usize; N] = self.each(|c| c.choose.below(most));
        let mut dims = vec![self.choose.of(&[1, 2, 3, 0])];
        dims.extend(space);
        dims.insert(if first { 1 } else { N + 1 }, channels);
        self.operand(&dims, dtype)
    }
}

/// The calls that differ by the number of dimensions.
trait Windows<V, const N: usize> {
    fn conv(x: &V, w: (&V, Option<&V>), options: &ConvOptions<N>) -> Result<V>;
    fn transposed(x: &V, w: (&V, Option<&V>), options: &ConvOptions<N>, more: [usize; N]) -> Result<V>;
    fn max(x: &V, options: &PoolOptions<N>) -> Result<V>;
    fn max_and_places(x: &V, options: &PoolOptions<N>) -> Result<(V, V)>;
    fn average(x: &V, options: &PoolOptions<N>) -> Result<V>;
    fn norm(x: &V, p: f64, options: &PoolOptions<N>) -> Result<V>;
}

use kiln::tensor::ops::{ConvOptions, PoolOptions};

struct Of;

macro_rules! windows {
    ($($n:literal $more:pat => $given:expr, $conv:ident $transposed:ident $max:ident $places:ident $average:ident $lp:ident;)*) => {$(
        impl<V: Ops> Windows<V, $n> for Of {
            fn conv(x: &V, w: (&V, Option<&V>), options: &ConvOptions<$n>) -> Result<V> { x.$conv(w, options) }
            fn transposed(x: &V, w: (&V, Option<&V>), options: &ConvOptions<$n>, $more: [usize; $n]) -> Result<V> {
                x.$transposed(w, options, $given)
            }
            fn max(x: &V, options: &PoolOptions<$n>) -> Result<V> { x.$max(options) }
            fn max_and_places(x: &V, options: &PoolOptions<$n>) -> Result<(V, V)> { x.$places(options) }
            fn average(x: &V, options: &PoolOptions<$n>) -> Result<V> { x.$average(options) }
            fn norm(x: &V, p: f64, options: &PoolOptions<$n>) -> Result<V> { x.$lp(p, options) }
        }
    )*};
}
windows! {
    1 [more] => more, conv1d conv1d_transpose max_pool1d max_pool1d_with_indices average_pool1d lp_pool1d;
    2 more => more, conv2d conv2d_transpose max_pool2d max_pool2d_with_indices average_pool2d lp_pool2d;
    3 more => more, conv3d conv3d_transpose max_pool3d max_pool3d_with_indices average_pool3d lp_pool3d;
}

fn conv<V: Ops, const N: usize>(call: &mut Call<'_>, dtype: DType) -> Named<V>
where
    Of: Windows<V, N>,
{
    let groups = call.choose.of(&[1, 1, 2, 3]);
    let (inner, outer) = (call.choose.of(&[1, 2, 3, 8, 17, 0]), groups * call.choose.of(&[1, 2, 5, 16, 0]));
    let (first, transposed) = (call.choose.flag(), call.choose.below(3) == 2);
    let kernel: [usize; N] = call.each(|c| c.choose.below(4) + usize::from(!c.choose.wild()));
    let mut options = ConvOptions::<N>::new()
        .stride(call.each(|c| c.choose.positive(3)))
        .dilation(call.each(|c| c.choose.positive(2)))
        .padding(call.window_padding())
        .groups(if call.choose.wild() { call.choose.size(4) } else { groups });
    if first {
        options = options.channels_first();
    }
    let mut of_weights = kernel.to_vec();
    match first {
        true => of_weights.splice(0..0, [outer, inner]).for_each(drop),
        false => of_weights.extend([inner, outer]),
    }
    let channels = if transposed { outer } else { inner * groups };
    let x: V = call.images::<V, N>(channels, first, dtype);
    let w: V = call.operand(&of_weights, dtype);
    let bias: V = call.operand(&[if transposed { inner * groups } else { outer }], dtype);
    let bias = call.choose.flag().then_some(&bias);
    match transposed {
        true => {
            let more = call.each(|c| if c.choose.flag() { 0 } else { c.choose.size(2) });
            ("conv_transpose", one(Of::transposed(&x, (&w, bias), &options, more)))
        }
        false => ("conv", one(Of::conv(&x, (&w, bias), &options))),
    }
}

fn pool_options<const N: usize>(call: &mut Call<'_>, first: bool) -> PoolOptions<N> {
    let mut options = PoolOptions::<N>::new(call.each(|c| c.choose.positive(4)));
    if call.choose.flag() {
        options = options.stride(call.each(|c| c.choose.positive(3)));
    }
    if call.choose.flag() {
        options = options.padding(call.window_padding()).dilation(call.each(|c| c.choose.positive(2)));
    }
    options = options.ceil_mode(call.choose.flag()).count_include_pad(call.choose.flag());
    if call.choose.below(4) == 3 {
        options = options.divisor(call.choose.positive(4));
    }
    if first { options.channels_first() } else { options }
}

fn pool<V: Ops, const N: usize>(call: &mut Call<'_>, dtype: DType) -> Named<V>
where
    Of: Windows<V, N>,
{
    let first = call.choose.flag();
    let options = pool_options::<N>(call, first);
    let channels = call.choose.of(&[1, 3, 8, 17, 0]);
    let x: V = call.images::<V, N>(channels, first, dtype);
    match call.choose.below(6) {
        0 => ("max_pool", one(Of::max(&x, &options))),
        1 => ("max_pool_with_indices", two(Of::max_and_places(&x, &options))),
        2 => ("average_pool", one(Of::average(&x, &options))),
        3 => ("lp_pool", one(Of::norm(&x, call.choose.amount(), &options))),
        4 => ("im2col", one(x.im2col(&options))),
        _ => {
            let size: [usize; N] = call.each(|c| c.choose.size(6));
            let columns = x.im2col(&options).unwrap_or(x);
            ("col2im", one(columns.col2im(size, &options)))
        }
    }
}

fn adaptive<V: Ops>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    fn of<V: Ops, const N: usize>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
        let first = call.choose.flag();
        let x: V = call.images::<V, N>(3, first, dtype);
        let size: [usize; N] = call.each(|c| c.choose.size(5));
        match call.choose.below(4) {
            0 => ("adaptive_average_pool", one(x.adaptive_average_pool(size, first))),
            1 => ("adaptive_max_pool", one(x.adaptive_max_pool(size, first))),
            2 => ("adaptive_max_pool_with_indices", two(x.adaptive_max_pool_with_indices(size, first))),
            _ => {
                let places = match call.indices::<V>(x.shape().dims(), size.iter().fold(1, |n, &d| n * d.min(9))) {
                    Ok(places) => places,
                    Err(error) => return ("max_unpool", Err(error)),
                };
                ("max_unpool", one(x.max_unpool(&places, size, first)))
            }
        }
    }
    match call.choose.below(3) {
        0 => of::<V, 2>(call, dtype),
        1 => of::<V, 1>(call, dtype),
        _ => of::<V, 3>(call, dtype),
    }
}

fn pictures<V: Ops>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    let first = call.choose.flag();
    let (align, rank) = (call.choose.flag(), 1 + call.choose.below(3));
    let x: V = match rank {
        1 => call.images::<V, 1>(2, first, dtype),
        2 => call.images::<V, 2>(2, first, dtype),
        _ => call.images::<V, 3>(2, first, dtype),
    };
    let batch = x.shape().dims().first().copied().unwrap_or(1);
    let sizes: Vec<usize> = (0..rank).map(|_| call.choose.size(12)).collect();
    match call.choose.below(5) {
        0 => {
            let method = call.choose.of(&[
                Resize::Nearest,
                Resize::Bilinear,
                Resize::Bicubic,
                Resize::Lanczos3,
                Resize::Lanczos5,
                Resize::Area,
            ]);
            ("resize", one(x.resize([sizes[0], sizes[rank - 1]], method)))
        }
        1 | 2 => {
            let mode = call.choose.of(&[
                InterpolateMode::Nearest,
                InterpolateMode::NearestExact,
                InterpolateMode::Linear,
                InterpolateMode::Cubic,
                InterpolateMode::Area,
            ]);
            // Factors of thousands ask for memory that there is.
            let mut factor = || match call.choose.wild() {
                true => call.choose.of(&[0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-9, 1e18]),
                false => 0.25 * (1 + call.choose.below(14)) as f64,
            };
            let factors: Vec<f64> = (0..rank).map(|_| factor()).collect();
            let options = match call.choose.flag() {
                true => Interpolate::to(mode, &sizes),
                false => Interpolate::by(mode, &factors),
            };
            let options =
                options.align_corners(align).antialias(call.choose.flag()).recompute_scale_factor(call.choose.flag());
            ("interpolate", one(x.interpolate(&if first { options.channels_first() } else { options })))
        }
        3 => {
            let mut dims = vec![batch];
            dims.extend((0..rank).map(|_| call.choose.below(4)));
            dims.push(rank);
            let grid: V = call.operand(&dims, dtype);
            let options = GridSample::new()
                .mode(call.choose.of(&[GridMode::Linear, GridMode::Nearest, GridMode::Cubic]))
                .padding(call.choose.of(&[GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection]))
                .align_corners(align);
            ("grid_sample", one(x.grid_sample(&grid, &if first { options.channels_first() } else { options })))
        }
        _ => {
            let theta: V = call.operand(&[2, rank, rank + 1], dtype);
            ("affine_grid", one(theta.affine_grid(&sizes, align)))
        }
    }
}
