//! Inputs on which other frameworks were reported to be wrong, with the right answers. Gradients are those of the sum of the
//! results under the upstream gradient named.

use kiln_autograd::ops::*;
use kiln_autograd::{DType, Result, Tape, Tensor, Var, f16, gradients, hvp, keep};
use std::slice::from_ref;

/// The gradients of `Σ f(x) · upstream` with respect to each input.
fn slopes(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor], upstream: &Tensor) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x: Vec<Var> = x.iter().map(|x| tape.watch(x)).collect();
    let y = f(&x).unwrap();
    let wrt: Vec<&Var> = x.iter().collect();
    let dx = gradients(&[(&y, &Var::new(upstream.clone()))], &wrt, false).unwrap();
    dx.into_iter().map(|dx| dx.unwrap().tensor().to_vec_as()).collect()
}

fn slope(f: impl Fn(&Var) -> Result<Var>, x: &Tensor) -> Vec<f64> {
    let tape = Tape::new();
    let x = tape.watch(x);
    f(&x).unwrap().sum(..).unwrap().backward().unwrap().get(&x).unwrap().to_vec_as()
}

fn assert_near(found: &[f64], wanted: &[f64]) {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    assert!(found.len() == wanted.len() && found.iter().zip(wanted).all(near), "{found:?}, not {wanted:?}");
}

/// A constant has no spread, and is 0 when it is normalized, however large it is and wherever it lies.
#[test]
fn normalized_constants_are_zero() {
    for value in [1000.1f32, 123.456, 0.1, 200.3, -77777.7, 1e20, 3e-30] {
        for (dims, axes) in [
            (&[512, 16][..], &[0][..]),
            (&[9000, 3], &[0]),
            (&[64, 16], &[0]),
            (&[2, 4096], &[1]),
            (&[2, 65536], &[1]),
            (&[7, 33], &[1]),
            (&[8, 3, 3136], &[0, 2]),
            (&[3, 50, 40], &[1]),
        ] {
            let x = Tensor::full(dims, value).unwrap();
            let y = x.standardize(axes, &Standardize::default()).unwrap();
            for (what, of, want) in [("y", &y.values, 0.0), ("mean", &y.mean, value)] {
                let all = of.to_vec::<f32>().unwrap();
                assert!(all.iter().all(|&y| y == want), "{what} of {dims:?} of {value}: {} for {want}", all[0]);
            }
            let variance = y.variance.amax(..).unwrap().item().unwrap();
            assert!(variance <= (1e-6 * f64::from(value)).powi(2), "{dims:?} of {value}: {variance}");
        }
    }
}

/// Sums of long rows and columns are as exact as those of `sum`.
#[test]
fn long_normalizations_are_exact() {
    for (dims, axis) in [(&[1, 1 << 20][..], 1), (&[200_000, 4], 0)] {
        let noise = kiln_autograd::Key::new(3).normal(dims, 0.0, 0.01).unwrap();
        let x = noise.add(1.1).unwrap();
        let exact = x.cast(DType::F64).unwrap();
        let y = x.standardize(axis, &Standardize::default()).unwrap();
        let mean = exact.mean(keep(axis)).unwrap();
        let apart =
            y.mean.cast(DType::F64).unwrap().sub(&mean).unwrap().abs().unwrap().amax(..).unwrap().item().unwrap();
        assert!(apart < 2e-7, "{dims:?}: {apart}");
        let left = y.values.cast(DType::F64).unwrap().mean(axis).unwrap().abs().unwrap().amax(..).unwrap();
        assert!(left.item().unwrap() < 2e-5, "{dims:?}: {left}");
        // Gradients of what is normalized have no sum.
        let tape = Tape::new();
        let x = tape.watch(&x);
        let y = x.standardize(axis, &Standardize::default()).unwrap().values;
        let upstream = Var::new(kiln_autograd::Key::new(4).normal(dims, 0.95, 1.0).unwrap());
        let dx = gradients(&[(&y, &upstream)], &[&x], false).unwrap().remove(0).unwrap().into_tensor();
        let dx = dx.cast(DType::F64).unwrap();
        let (sum, size) = (dx.sum(..).unwrap().item().unwrap(), dx.abs().unwrap().sum(..).unwrap().item().unwrap());
        assert!(sum.abs() < 1e-4 * size, "{dims:?}: {sum} of {size}");
    }
}

/// Means whose squares no type can hold, and means that are infinite.
#[test]
fn normalizations_of_the_largest() {
    let x = Tensor::new([[1e20f32, 1.001e20], [1.002e20, 1.003e20], [1.004e20, 1.001e20]]);
    let options = Standardize { eps: 0.0, ..Standardize::default() };
    let columns = x.standardize(0, &options).unwrap().values.to_vec::<f32>().unwrap();
    let rows = x.t().unwrap().standardize(1, &options).unwrap().values.t().unwrap().to_vec::<f32>().unwrap();
    assert!(columns.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-4 && a.abs() < 1.5), "{columns:?} {rows:?}");
    let mut far = vec![1.0f32; 5000 * 2];
    far[4000] = f32::INFINITY;
    let mean = Tensor::from_vec(far, [5000, 2]).unwrap().standardize(0, &options).unwrap().mean;
    assert_eq!(mean.to_vec::<f32>().unwrap(), [f32::INFINITY, 1.0]);
}

/// Running statistics keep their type; one element has no unbiased variance, and no element no statistics.
#[test]
fn running_statistics_stay_what_they_are() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let x = range(6, &[3, 2]).cast(dtype).unwrap();
        for running in [DType::F16, DType::F32, DType::F64] {
            let of = |value: f64| Tensor::full([2], value).unwrap().cast(running).unwrap();
            let before = RunningStatistics { mean: of(0.0), variance: of(1.0) };
            let after = x.batch_norm(Some(&before), true, &ChannelNorm::default()).unwrap().1.unwrap();
            assert_eq!([after.mean.dtype(), after.variance.dtype()], [running; 2]);
            for (rows, mean) in [(1, [0.0, 0.1]), (0, [0.0; 2])] {
                let few = x.slice(0, ..rows).unwrap();
                let after = few.batch_norm(Some(&before), true, &ChannelNorm::default()).unwrap().1.unwrap();
                let found = after.mean.to_vec_as::<f64>();
                assert!(found.iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}");
                assert_eq!(after.variance.to_vec_as::<f64>(), [1.0; 2]);
            }
        }
    }
}

/// Deviations whose squares vanish in single precision.
#[test]
fn deviations_of_tiny_numbers() {
    let deviation = Tensor::new([1e-30f32, 2e-30, 3e-30]).std(.., 0.0).unwrap().item().unwrap();
    assert!((deviation / 8.165e-31 - 1.0).abs() < 1e-3, "{deviation}");
    assert_eq!(Tensor::new([3f32; 5]).std(.., 0.0).unwrap().item().unwrap(), 0.0);
}

/// Distances go through no tensor of all differences, and their gradients at equal rows are 0.
#[test]
fn distances_of_all_pairs() {
    let (a, b) = (range(12, &[3, 4]), range(8, &[2, 4]).mul(0.5).unwrap());
    for dtype in [DType::F16, DType::F32, DType::F64] {
        let (a, b) = (a.cast(dtype).unwrap(), b.cast(dtype).unwrap());
        let found = a.cdist(&b, 2.0).unwrap();
        let apart = a.unsqueeze(1).unwrap().sub(&b.unsqueeze(0).unwrap()).unwrap().norm(2.0, -1).unwrap();
        assert_eq!((found.dtype(), found.to_vec_as::<f64>()), (dtype, apart.to_vec_as::<f64>()));
    }
    let dx =
        slopes(|x| x[0].cdist(&x[0], 2.0), &[range(4, &[2, 2]).cast(DType::F32).unwrap()], &Tensor::eye(2, 2).unwrap());
    assert!(dx[0].iter().all(|dx| dx.abs() < 1e-6), "{dx:?}");
}

#[test]
fn integers_have_no_gradients() {
    for text in [
        kiln_autograd::grad(|x| x[0].mul(2.0)?.sum(..), &[Tensor::new([1, 2])]).unwrap_err().to_string(),
        kiln_autograd::grad(|x| x[0].sum(..), &[Tensor::new([1.0]), Tensor::new([true])]).unwrap_err().to_string(),
    ] {
        assert!(text.starts_with("grad: argument ") && text.contains("reported.rs"), "{text}");
    }
}

fn range(count: usize, dims: &[usize]) -> Tensor {
    Tensor::from_vec((0..count).map(|i| i as f64).collect(), dims).unwrap()
}

/// `(x - mean) / √(var + ε)` along the last axis.
fn normalized(x: &Var, eps: f64) -> Result<Var> {
    x.sub(&x.mean(keep(-1))?)?.mul(&x.var(keep(-1), 0.0)?.add(eps)?.rsqrt()?)
}

#[test]
fn normalizing_nothing_is_finite() {
    let zeros = Tensor::new([0.0; 3]);
    let unit = |x: &Var| x.div(&x.norm(2.0, keep(-1))?.maximum(1e-3)?);
    assert_near(&slope(unit, &zeros), &[1000.0; 3]);
    let upstream = Tensor::new([[1.0, 0.0]]);
    let found = slopes(|x| normalized(&x[0], 1e-5), &[Tensor::new([[0.0, 0.0]])], &upstream);
    assert_near(&found[0], &[0.5 / 1e-5f64.sqrt(), -0.5 / 1e-5f64.sqrt()]);
    let clipped = |x: &Var| x.mul(&x.norm(2.0, ..)?.maximum(1.0)?.reciprocal()?);
    assert_near(&slope(clipped, &zeros), &[1.0; 3]);
    let shares = |x: &Var| x.div(&x.norm(1.0, keep(-1))?);
    assert!(slope(shares, &Tensor::new([0.0, 0.0, 0.0, 0.0, 0.1996])).iter().all(|x| x.is_finite()));
}

#[test]
fn third_order_through_a_normalization() {
    // The row (t, 0) with ε = ¼ and weights (1, 2): -t / √(1 + t²).
    let tape = Tape::new();
    let t = tape.watch(&Tensor::new([0.7]));
    let row = concat(&[&t, &Var::new(Tensor::new([0.0]))], 0).unwrap();
    let weights = Var::new(Tensor::new([1.0, 2.0]));
    let mut y = normalized(&row, 0.25).unwrap().mul(&weights).unwrap().sum(..).unwrap();
    let wanted = [-0.573_462_344_363_328, -0.549_820_080_885_262, 0.774_914_207_959_094, -0.713_247_976_644_995];
    for wanted in wanted {
        assert!((y.tensor().item().unwrap() - wanted).abs() < 1e-12, "{y:?}, not {wanted}");
        let one = Var::new(Tensor::scalar(1.0, DType::F64));
        y = gradients(&[(&y, &one)], &[&t], true).unwrap()[0].clone().unwrap().sum(..).unwrap();
    }
}

#[test]
fn pools_that_overlap() {
    let mut values: Vec<f64> = (1..=24).map(f64::from).collect();
    values[7] = 88.0;
    let x = Tensor::from_vec(values, [1, 4, 6, 1]).unwrap();
    let options = Pool2dOptions::new([3, 3]).stride([2, 2]).padding(Padding::symmetric([1, 1]));
    let found = slope(|x| x.max_pool2d(&options), &x);
    let mut wanted = [0.0; 24];
    (wanted[7], wanted[11], wanted[23]) = (4.0, 1.0, 1.0);
    assert_near(&found, &wanted);
    let low = Tensor::full([1, 3, 3, 1], -5.0).unwrap();
    assert!(low.max_pool2d(&options).unwrap().to_vec_as::<f64>().iter().all(|&x| x == -5.0));
    let line = Tensor::new([1.0, 2.0, 3.0, 4.0, 5.0]).reshape([1, 5, 1]).unwrap();
    let same = Pool1dOptions::new([2]).stride([2]).padding(Padding::Same);
    assert_near(&line.average_pool1d(&same).unwrap().to_vec::<f64>().unwrap(), &[1.5, 3.5, 5.0]);
}

#[test]
fn order() {
    let x = Tensor::new([3.0, 1.0, 2.0, 5.0, 4.0]);
    let upstream = Tensor::new([10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_near(&slopes(|x| Ok(x[0].sort(0, false)?.0), &[x], &upstream)[0], &[30.0, 10.0, 20.0, 50.0, 40.0]);
    let (x, v) = (Tensor::new([3.0, 1.0, 2.0, 5.0]), Tensor::new([1.0, -2.0, 0.5, 1.5]));
    let along = |f: fn(&Var) -> Result<Var>| {
        let (_, second) = hvp(|x| f(&x[0])?.square()?.sum(..), from_ref(&x), from_ref(&v)).unwrap();
        second[0].to_vec::<f64>().unwrap()
    };
    assert_near(&along(|x| Ok(x.sort(0, false)?.0)), &[2.0, -4.0, 1.0, 3.0]);
    assert_near(&along(|x| Ok(x.top_k(2, 0, true)?.0)), &[2.0, 0.0, 0.0, 3.0]);
    assert_near(&along(|x| Ok(x.cummax(0)?.0)), &[6.0, 0.0, 0.0, 3.0]);
    assert_near(&along(|x| Ok(x.cummin(0)?.0)), &[2.0, -12.0, 0.0, 0.0]);
    let sorted = Tensor::new([3.0f32, f32::NAN, 2.0, 0.0]).sort(0, false).unwrap().0.to_vec::<f32>().unwrap();
    assert!(sorted[..3] == [0.0, 2.0, 3.0] && sorted[3].is_nan());
}

#[test]
fn what_repeats_adds_up() {
    let index = Var::new(Tensor::new([0i64, 0]));
    let found = slopes(|x| x[0].gather(0, &index), &[Tensor::new([0.1])], &Tensor::new([0.2, 0.3]));
    assert_near(&found[0], &[0.5]);
    let z = slope(
        |z| z.exp()?.add(&z.exp()?.sub(&Var::new(Tensor::filled(range(1000, &[1000]).spec(), 0.0)))?.sum(..)?),
        &Tensor::new(1.0),
    );
    assert_near(&z, &[1001.0 * 1f64.exp()]);
    let ones = Tensor::full([3, 3, 3], 1.0).unwrap();
    let cube = slope(|a| a.add(&Var::new(ones.clone()))?.square(), &Tensor::full([3, 3], 1.0).unwrap());
    assert_near(&cube, &[12.0; 9]);
    let parts = [Tensor::new([[1.0]]), Tensor::new([[1.0, 1.0, 1.0]])];
    let upstream = Tensor::new([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
    let plain = Var::new(Tensor::new([[1.0, 1.0]]));
    let found = slopes(|x| concat(&[&x[0], &plain, &x[1]], 1), &parts, &upstream);
    assert_eq!(found, [vec![1.0], vec![4.0, 5.0, 6.0]]);
    let cast = slope(|x| x.cast(DType::F64), &Tensor::new([1.0f32, 2.0]));
    assert_near(&cast, &[1.0, 1.0]);
    let index = Var::new(Tensor::new([[2i64, 1, 0]]));
    let base = [range(6, &[1, 6]), Tensor::new([[4.0, 5.0, 6.0]])];
    let factors = Var::new(Tensor::new([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]));
    let found =
        slopes(|x| x[0].mul(&factors)?.scatter_add(1, &index, &x[1]), &base, &Tensor::full([1, 6], 1.0).unwrap());
    assert_eq!(found, [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![1.0; 3]]);
}

#[test]
fn transposed_convolution_with_output_padding() {
    let x = range(16, &[2, 2, 4]);
    let w = range(12, &[2, 2, 3]);
    let options = Conv1dOptions::new().channels_first();
    let tape = Tape::new();
    let (x, w) = (tape.watch(&x), tape.watch(&w));
    // With stride 1 the padding beyond the end is zeros alone, which a convolution of dilation 2 would allow.
    let y = x.conv1d_transpose(&w, &options, 0).unwrap();
    assert_eq!(y.shape().dims(), [2, 2, 6]);
    let all = y.sum(..).unwrap().backward().unwrap();
    let dx = all.get(&x).unwrap().to_vec::<f64>().unwrap();
    let channel = |i: usize| if (i / 4).is_multiple_of(2) { 15.0 } else { 51.0 };
    assert_near(&dx, &(0..16).map(channel).collect::<Vec<_>>());
    let dw = all.get(&w).unwrap().to_vec::<f64>().unwrap();
    assert_near(&dw, &(0..12).map(|i| if i < 6 { 44.0 } else { 76.0 }).collect::<Vec<_>>());
}

#[test]
fn kinks() {
    let zero = Tensor::new([0.0]);
    assert_eq!((slope(|x| x.abs(), &zero), slope(|x| x.relu(), &zero)), (vec![0.0], vec![0.0]));
    let safe = |x: &[Var]| x[1].eq(0.0)?.select(0.0, &x[0].div(&x[1])?);
    let inputs = [Tensor::new([1.0, 2.0]), Tensor::new([0.0, 2.0])];
    assert_eq!(slopes(safe, &inputs, &Tensor::new([1.0, 1.0])), [vec![0.0, 0.5], vec![0.0, -0.5]]);
}

#[test]
fn layouts() {
    let ones = Tensor::ones([1, 32, 32]).unwrap().expand([32, 32, 32]).unwrap();
    let product = ones.matmul(&Tensor::ones([32, 32, 32]).unwrap()).unwrap();
    assert!(product.to_vec::<f32>().unwrap().iter().all(|&x| x == 32.0));
    let row = Tensor::new([[1.0], [2.0]]).t().unwrap();
    assert_eq!(row.matmul(&Tensor::new([1.0, 2.0])).unwrap().to_vec::<f64>().unwrap(), [5.0]);
    let t = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).t().unwrap();
    assert_eq!(t.sum(1).unwrap().to_vec::<f64>().unwrap(), [5.0, 7.0, 9.0]);
    assert_eq!(t.prod(1).unwrap().to_vec::<f64>().unwrap(), [4.0, 10.0, 18.0]);
    assert_eq!(t.mean(1).unwrap().to_vec::<f64>().unwrap(), [2.5, 3.5, 4.5]);
    let sums = Tensor::new([[1.0, 2.0], [3.0, 4.0]]).t().unwrap().cumsum(1).unwrap();
    assert_eq!(sums.to_vec::<f64>().unwrap(), [1.0, 4.0, 2.0, 6.0]);
    let second = Tensor::new([[1, 2, 3], [30, 10, 20]]).index(0, 1).unwrap();
    assert_eq!(second.argsort(0, false).unwrap().to_vec::<i64>().unwrap(), [1, 2, 0]);
    let w = range(12, &[3, 4, 1, 1]).slice(1, 1..3).unwrap();
    let (x, options) = (range(2 * 5 * 5, &[1, 2, 5, 5]), Conv2dOptions::new().stride([2, 2]).channels_first());
    let dense = Tensor::from_vec(w.to_vec::<f64>().unwrap(), w.shape()).unwrap();
    let (a, b) = (x.conv2d(&w, &options).unwrap(), x.conv2d(&dense, &options).unwrap());
    assert!(a.same_bits(&b));
    let square = range(64, &[1, 4, 4, 4]);
    let first = Tensor::new([1.0, 0.0, 0.0, 0.0]).reshape([1, 1, 4, 1]).unwrap();
    let picked = square.conv2d(&first, &Conv2dOptions::new()).unwrap().to_vec::<f64>().unwrap();
    assert_near(&picked, &(0..16).map(|i| 4.0 * f64::from(i)).collect::<Vec<_>>());
}

#[test]
fn nothing_at_all() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims).unwrap();
    for (a, b, wanted) in [
        (&[2, 0][..], &[0, 3][..], &[2, 3][..]),
        (&[0, 2], &[2, 3], &[0, 3]),
        (&[2, 3], &[3, 0], &[2, 0]),
        (&[0, 2, 3], &[0, 3, 4], &[0, 2, 4]),
        (&[2, 3, 0], &[2, 0, 4], &[2, 3, 4]),
    ] {
        let tape = Tape::new();
        let (a, b) = (tape.watch(&zeros(a)), tape.watch(&zeros(b)));
        let y = a.matmul(&b).unwrap();
        assert_eq!(y.shape().dims(), wanted);
        assert!(y.tensor().to_vec::<f32>().unwrap().iter().all(|&x| x == 0.0));
        let all = y.sum(..).unwrap().backward().unwrap();
        assert_eq!((all.get(&a).unwrap().shape(), all.get(&b).unwrap().shape()), (a.shape(), b.shape()));
    }
    let empty = zeros(&[3, 0]);
    assert_eq!(empty.sum(1).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    assert_eq!(empty.prod(1).unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
    assert!(empty.mean(1).unwrap().to_vec::<f32>().unwrap().iter().all(|x| x.is_nan()));
    assert!(empty.amax(1).is_err() && empty.argmax(1).is_err());
    assert_eq!((empty.all(..).unwrap().item().unwrap(), empty.any(..).unwrap().item().unwrap()), (1.0, 0.0));
    assert_eq!(zeros(&[0]).add(&Tensor::ones([1]).unwrap()).unwrap().shape().dims(), [0]);
    assert_eq!(concat(&[&zeros(&[2, 0]), &zeros(&[2, 3])], 1).unwrap().shape().dims(), [2, 3]);
    assert_eq!(zeros(&[4, 3]).slice(0, 2..2).unwrap().shape().dims(), [0, 3]);
    let conv = zeros(&[0, 5, 5, 2]).conv2d(&zeros(&[3, 3, 2, 4]), &Conv2dOptions::new()).unwrap();
    assert_eq!(conv.shape().dims(), [0, 3, 3, 4]);
}

#[test]
fn axes_at_their_limits() {
    let x = range(24, &[2, 3, 4]);
    type Along = fn(&Tensor, isize) -> Result<Tensor>;
    let all: [(&str, Along); 12] = [
        ("sum", |x, a| x.sum(a)),
        ("mean", |x, a| x.mean(a)),
        ("var", |x, a| x.var(a, 1.0)),
        ("norm", |x, a| x.norm(3.0, a)),
        ("argmax", |x, a| x.argmax(a)),
        ("softmax", |x, a| x.softmax(a)),
        ("cumsum", |x, a| x.cumsum(a)),
        ("argsort", |x, a| x.argsort(a, false)),
        ("flip", |x, a| x.flip(a)),
        ("index", |x, a| x.index(a, 0)),
        ("slice", |x, a| x.slice(a, 1..)),
        ("concat", |x, a| concat(&[x, x], a)),
    ];
    for (name, f) in all {
        for axis in 0..3 {
            assert!(f(&x, axis).unwrap().same_bits(&f(&x, axis - 3).unwrap()), "{name} {axis}");
        }
        for axis in [3, -4] {
            let error = f(&x, axis).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: axis {axis}")), "{error}");
        }
    }
}

#[test]
fn types_follow_the_tensor() {
    let x = Tensor::new([f16::from_f32(1.0), f16::from_f32(2.0)]);
    assert_eq!(x.pad(&[(1, 1)], 0.0).unwrap().dtype(), DType::F16);
    assert_eq!(Tensor::filled(x.spec(), 3.0).dtype(), DType::F16);
    for (a, b) in [(DType::F16, DType::BF16), (DType::BF16, DType::F16)] {
        assert_eq!(a.promote(b), DType::F32);
        assert_eq!(a.promote(DType::F64), DType::F64);
    }
    let wide = Tensor::new([f16::from_f32(300.0), f16::from_f32(-300.0)]);
    let deviation = wide.sub(&wide.mean(keep(-1)).unwrap()).unwrap();
    let scaled = deviation.div(&wide.std(keep(-1), 0.0).unwrap()).unwrap();
    assert_eq!(scaled.to_vec_as::<f64>(), [1.0, -1.0]);
}

#[test]
fn infinite_weights_meet_padding() {
    let mut w = [1.0f64; 9];
    w[0] = f64::NEG_INFINITY;
    let w = Tensor::from_slice(&w, [3, 3, 1, 1]).unwrap();
    let x = range(16, &[1, 4, 4, 1]).add(1.0).unwrap();
    let y = x.conv2d(&w, &Conv2dOptions::new().padding(Padding::symmetric([1, 1]))).unwrap();
    for (i, y) in y.to_vec::<f64>().unwrap().into_iter().enumerate() {
        let edge = i / 4 == 0 || i % 4 == 0;
        assert!(if edge { y.is_nan() } else { y == f64::NEG_INFINITY }, "{i}: {y}");
    }
}
