//! Right answers where it is easy to be wrong: values and gradients at zeros, infinities and the edges of types. Many come
//! from faults that were reported, of this library or of others.

use kiln_autograd::ops::*;
use kiln_autograd::{DType, GradCheck, Result, Tape, Tensor, Var, f16, hvp};

/// The gradient of `Σ f(x)`.
fn slope(f: impl Fn(&Var) -> Result<Var>, x: &Tensor) -> Vec<f64> {
    let tape = Tape::new();
    let x = tape.watch(x);
    f(&x).unwrap().sum(..).unwrap().backward().unwrap().get(&x).unwrap().to_vec_as()
}

/// The same number everywhere, NaN included, with the signs of zeros.
fn assert_same(found: &[f64], wanted: &[f64], what: &str) {
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * b.abs();
    assert!(found.len() == wanted.len() && found.iter().zip(wanted).all(close), "{what}: {found:?}, not {wanted:?}");
}

#[test]
fn what_is_masked_adds_nothing_to_a_gradient() {
    let infinite = f64::INFINITY;
    let mask = |x: &Var, keep: &[bool]| Ok::<_, kiln_autograd::Error>(Var::new(Tensor::from_slice(keep, x.shape())?));
    type Case<'a> = (&'a str, Vec<f64>, Box<dyn Fn(&Var) -> Result<Var>>, Vec<f64>);
    let cases: Vec<Case> = vec![
        (
            "√ where not 0",
            vec![16.0, 0.0],
            Box::new(|x| x.eq(0.0)?.select(&x.mul(0.5)?, &x.sqrt()?.add(1.0)?)),
            vec![0.125, 0.5],
        ),
        (
            "log2 beyond 2",
            vec![0.0, 2.0, 3.0],
            Box::new(|x| x.gt(2.0)?.select(&x.log2()?, &x.mul(2.0)?)),
            vec![2.0, 2.0, 0.480_898_346_962_987_83],
        ),
        ("cos ∞", vec![0.0, infinite], Box::new(|x| x.lt(1.0)?.select(&x.cos()?, 0.0)), vec![0.0, 0.0]),
        (
            "x / 0",
            vec![1.0, 2.0],
            Box::new(move |x| mask(x, &[true, false])?.select(x, &x.div(0.0)?)),
            vec![1.0, infinite],
        ),
        ("hypot(0, 0)", vec![0.0], Box::new(move |x| mask(x, &[false])?.select(&x.hypot(x)?, 1.0)), vec![0.0]),
        ("relu of ln 0", vec![0.0], Box::new(|x| x.log()?.relu()), vec![0.0]),
        ("the largest of √", vec![0.0, 4.0], Box::new(|x| x.sqrt()?.amax(..)), vec![0.0, 0.25]),
        ("a slice of √", vec![0.0, 4.0], Box::new(|x| x.sqrt()?.slice(0, 1..)), vec![0.0, 0.25]),
        (
            "gathered from √",
            vec![0.0, 4.0],
            Box::new(|x| x.sqrt()?.gather(0, &Var::new(Tensor::new([1])))),
            vec![0.0, 0.25],
        ),
        ("√ · 0", vec![0.0, 4.0], Box::new(|x| x.sqrt()?.mul(&Var::new(Tensor::new([0.0, 1.0])))), vec![0.0, 0.25]),
        (
            "0 ** 0.5 masked",
            vec![0.0, 4.0],
            Box::new(move |x| mask(x, &[false, true])?.select(&x.pow(0.5)?, 0.0)),
            vec![0.0, 0.25],
        ),
    ];
    for (name, x, f, wanted) in cases {
        let count = x.len();
        assert_same(&slope(f, &Tensor::from_vec(x, [count]).unwrap()), &wanted, name);
    }
    let chosen = |x: &[Var]| x[0].gt(2.0)?.select(&x[0].log2()?, &x[0].mul(2.0)?)?.sum(..);
    let (x, one) = (Tensor::new([0.0, 2.0, 3.0]), Tensor::new([1.0; 3]));
    let (_, second) = hvp(chosen, &[x], &[one]).unwrap();
    assert_same(&second[0].to_vec::<f64>().unwrap(), &[0.0, 0.0, -0.160_299_448_987_662_6], "second order");
}

#[test]
fn powers_at_their_edges() {
    let infinite = f64::INFINITY;
    assert_same(&slope(|x| x.pow(2.0), &Tensor::new([0.0])), &[0.0], "0²");
    assert_same(&slope(|x| x.pow(0.0), &Tensor::new([-infinite, infinite, 0.0])), &[0.0; 3], "x⁰");
    let y = Tensor::new([-infinite]).pow(0.3).unwrap();
    assert_eq!(y.item().unwrap(), infinite);
    assert_same(&slope(|x| x.pow(0.3), &Tensor::new([-infinite])), &[0.0], "(-∞)^0.3");
    let tape = Tape::new();
    let (a, b) = (tape.watch(&Tensor::new(1.0)), tape.watch(&Tensor::new(1.0)));
    let y = a.sub(&b).unwrap().pow(&b).unwrap().mul(123.0).unwrap().backward().unwrap();
    assert_eq!((y.get(&a).unwrap().item().unwrap(), y.get(&b).unwrap().item().unwrap()), (123.0, -123.0));
}

#[test]
fn distances_of_nothing_are_flat() {
    for constant in [0.0, 1.0, 0.1, 1e8] {
        for dtype in [DType::F64, DType::F32] {
            let x = Tensor::full([5], constant).unwrap().cast(dtype).unwrap();
            assert_same(&slope(|x| x.std(.., 0.0), &x), &[0.0; 5], "std of a constant");
        }
    }
    assert_same(&slope(|x| x.norm(2.0, ..), &Tensor::new([0.0; 3])), &[0.0; 3], "norm of 0");
    assert_same(&slope(|x| x.norm(0.5, ..), &Tensor::new([0.0; 3])), &[0.0; 3], "norm of half order of 0");
    let found = slope(|x| x.norm(0.5, ..), &Tensor::new([0.0, 4.0, 1.0]));
    assert_same(&found, &[0.0, 1.5, 3.0], "norm of half order beside 0");
    let inverse = Tensor::new([0.0, 4.0]).norm(-1.0, ..).unwrap();
    assert_eq!(inverse.item().unwrap(), 0.0);
    let rows = Tensor::new([[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]);
    let third = 1.0 / 3.0;
    let wanted = [0.0, 0.0, 0.0, third, 2.0 * third, 2.0 * third];
    assert_same(&slope(|x| x.norm(2.0, 1), &rows), &wanted, "norms of rows");
    let below = Tensor::new([f64::NEG_INFINITY; 2]);
    assert_same(&slope(|x| x.logsumexp(..), &below), &[0.0; 2], "logsumexp of -∞");
    assert_eq!(below.logsumexp(..).unwrap().item().unwrap(), f64::NEG_INFINITY);
    let one = Tensor::new([7.0]);
    assert_eq!(one.std(.., 0.0).unwrap().item().unwrap(), 0.0);
}

#[test]
fn products_and_ties() {
    let x = Tensor::new([1e20f32, 1e-30, 1e20, 1.0]);
    let found = slope(|x| x.prod(..), &x);
    let wanted = [1e-10, f64::INFINITY, 1e-10, 1e10];
    let near = |(a, b): (&f64, &f64)| a == b || (a / b - 1.0).abs() < 1e-6;
    assert!(found.iter().zip(&wanted).all(near), "{found:?}");
    assert_same(&slope(|x| x.prod(..), &Tensor::new([2.0, 0.0, 3.0, 4.0])), &[0.0, 24.0, 0.0, 0.0], "a zero");
    assert_same(&slope(|x| x.amax(..), &Tensor::new([1.0, 3.0, 3.0])), &[0.0, 0.5, 0.5], "a tie");
    // More ties than half precision can count, in equal parts.
    let equal = Tensor::full([70_000], f16::from_f32(2.0)).unwrap();
    assert!(slope(|x| x.amax(..), &equal).iter().all(|&g| g == f16::from_f64(1.0 / 70_000.0).to_f64()));
    GradCheck::new().run(|x| x[0].prod(0), &[Tensor::new([[0.0, 2.0], [3.0, 0.5], [-1.0, 4.0]])]).unwrap();
}

#[test]
fn statistics_are_rounded_once() {
    let half = |values: &[f32]| Tensor::from_slice(values, [values.len()]).unwrap().cast(DType::F16).unwrap();
    let item = |x: Result<Tensor>| x.unwrap().item().unwrap();
    assert_eq!(item(half(&[40_000.0; 3]).mean(..)), 40_000.0);
    let ones = half(&vec![1.0; 70_000]);
    assert_eq!(item(ones.mean(..)), 1.0);
    assert_eq!(item(ones.norm(2.0, ..)), f16::from_f64(70_000f64.sqrt()).to_f64());
    assert_eq!(item(ones.var(.., 0.0)), 0.0);
    let zeros = half(&vec![0.0; 70_000]);
    assert_eq!(item(zeros.logsumexp(..)), f16::from_f64(70_000f64.ln()).to_f64());
    let alternating: Vec<f32> = (0..70_000).map(|i| (i % 2) as f32).collect();
    assert_eq!(item(half(&alternating).var(.., 0.0)), 0.25);
    assert_eq!(item(half(&[300.0, -300.0]).std(.., 0.0)), 300.0);
    let near: Vec<f32> = (0..256).map(|i| 1021.0 + (i % 3) as f32).collect();
    assert!(item(half(&near).mean(..)).is_finite());

    let far: Vec<f32> = (0..8).map(|i| if i % 2 == 0 { 1e20 } else { 1.2e20 }).collect();
    let far = Tensor::from_vec(far, [8]).unwrap();
    assert!((item(far.var(.., 0.0)) / 1e38 - 1.0).abs() < 1e-6);
    assert!((item(far.std(.., 0.0)) / 1e19 - 1.0).abs() < 1e-6);
    assert!((item(Tensor::new([3e38f32; 3]).mean(..)) / 3e38 - 1.0).abs() < 1e-6);
    let offset = Tensor::new([1e9, 1e9 + 1.0, 1e9 + 2.0]);
    assert!((item(offset.var(.., 0.0)) - 2.0 / 3.0).abs() < 1e-12);
    for scale in [1e30f32, 1e-30] {
        let x = Tensor::new([3.0 * scale, 4.0 * scale]);
        assert!((item(x.norm(2.0, ..)) / (5.0 * f64::from(scale)) - 1.0).abs() < 1e-6, "{scale}");
    }
    for (scale, p) in [(1e200, 2.0), (1e-200, 2.0), (1e150, 3.0)] {
        let x = Tensor::new([3.0 * scale, 4.0 * scale]);
        let wanted = (3f64.powf(p) + 4f64.powf(p)).powf(1.0 / p) * scale;
        assert!((item(x.norm(p, ..)) / wanted - 1.0).abs() < 1e-12, "{scale} {p}");
    }
    let hypot = |a: Tensor, b: Tensor| item(a.hypot(&b));
    assert!((hypot(Tensor::new(3e200), Tensor::new(4e200)) / 5e200 - 1.0).abs() < 1e-15);
    assert!((hypot(Tensor::new(3e30f32), Tensor::new(4e30f32)) / 5e30 - 1.0).abs() < 1e-6);
    assert_eq!(hypot(Tensor::new(f64::INFINITY), Tensor::new(f64::NAN)), f64::INFINITY);
    assert_eq!(hypot(Tensor::new(f32::NAN), Tensor::new(f32::INFINITY)), f64::INFINITY);
}

#[test]
fn a_bound_that_is_no_number_is_seen() {
    let x = Tensor::new([5.0]);
    for y in [x.clamp(f64::NAN, 10.0), x.clamp(1.0, f64::NAN)] {
        assert!(y.unwrap().item().unwrap().is_nan());
    }
    assert!(x.norm(f64::NAN, ..).is_err() && Tensor::arange(0.0, 1.0, f64::INFINITY).is_err());
}

#[test]
fn spread_is_that_of_the_numbers() {
    let item = |x: Result<Tensor>| x.unwrap().item().unwrap();
    let near = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 1e-6, "{found}, not {wanted}");
    let offset = Tensor::new([1e7f32, 1e7 + 1.0, 1e7 + 1.0]);
    near(item(offset.var(.., 0.0)), 2.0 / 9.0);
    near(item(offset.std(.., 1.0)), (1.0f64 / 3.0).sqrt());
    near(item(Tensor::new([16_777_216f32, 16_777_218.0, 16_777_218.0]).var(.., 0.0)), 8.0 / 9.0);
    near(item(Tensor::new([1i64 << 24, (1 << 24) + 1, (1 << 24) + 2]).var(.., 0.0)), 2.0 / 3.0);
    near(item(Tensor::new([1e30f32, -1e30]).std(.., 0.0)), 1e30);
    assert_eq!(item(Tensor::new([0.1f32; 7]).std(.., 0.0)), 0.0);
    assert_eq!(slope(|x| x.std(.., 0.0), &Tensor::new([2.0, 2.0])), [0.0, 0.0]);
    let x = Tensor::new([[1.0, 2.5, -3.0], [0.5, 0.5, 7.0]]);
    GradCheck::new().run(|x| x[0].std(1, 1.0), std::slice::from_ref(&x)).unwrap();
    GradCheck::new().run(|x| x[0].var(.., 0.0), &[x]).unwrap();
    assert_eq!(slope(|x| x.logsumexp(..), &Tensor::new([f64::INFINITY, 0.0])), [1.0, 0.0]);
}

#[test]
fn halves_are_rounded_once_wherever_they_are_made() {
    for (dtype, x, wanted) in
        [(DType::F16, 1.00048828125 + 1e-12, 1.0009765625), (DType::BF16, 1.00390625 + 1e-12, 1.0078125)]
    {
        let item = |x: Tensor| x.item().unwrap();
        assert_eq!(item(Tensor::new([x]).cast(dtype).unwrap()), wanted);
        assert_eq!(item(Tensor::scalar(x, dtype)), wanted);
        assert_eq!(item(Tensor::zeros([0]).unwrap().cast(dtype).unwrap().pad(&[(0, 1)], x).unwrap()), wanted);
        let sums = Tensor::new([1.0, x - 1.0]).cast(DType::F64).unwrap().cumsum(0).unwrap().cast(dtype).unwrap();
        assert_eq!(item(sums.index(0, 1).unwrap()), wanted);
    }
}

#[test]
fn sums_at_one_place_do_not_stick() {
    let index = Tensor::from_vec(vec![0i64; 4000], [4000]).unwrap();
    let ones = Tensor::full([4000], f16::from_f32(1.0)).unwrap();
    let base = Tensor::full([1], f16::from_f32(0.0)).unwrap();
    assert_eq!(base.scatter_add(0, &index, &ones).unwrap().item().unwrap(), 4000.0);
    let table = Tensor::full([2, 1], f16::from_f32(0.5)).unwrap();
    assert_eq!(slope(|x| x.rows(&Var::new(index.clone())), &table), [4000.0, 0.0]);
    // Of a source that is larger than memory only what the indices cover is read.
    let wide =
        Tensor::filled(kiln_autograd::Spec::new(kiln_autograd::Shape::new(&[1 << 41]).unwrap(), DType::F32), 3.0);
    let sums = Tensor::zeros([2]).unwrap().scatter_add(0, &Tensor::new([1, 1, 0]), &wide).unwrap();
    assert_eq!(sums.to_vec::<f32>().unwrap(), [3.0, 6.0]);
    let index = Tensor::from_vec(vec![0i64; 1_000_000], [1_000_000]).unwrap();
    let tenths = Tensor::full([1_000_000], 0.1f32).unwrap();
    let sum = Tensor::zeros([1]).unwrap().scatter_add(0, &index, &tenths).unwrap().item().unwrap();
    assert!((sum / 1e5 - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn numbers_take_part_by_value() {
    let bytes = Tensor::new([5u8, 255, 0]);
    assert_eq!(bytes.add(-1).unwrap().to_vec::<u8>().unwrap(), [4, 254, 255]);
    assert_eq!(bytes.eq(300).unwrap().to_vec::<bool>().unwrap(), [false; 3]);
    assert_eq!(bytes.gt(-1).unwrap().to_vec::<bool>().unwrap(), [true; 3]);
    assert_eq!(bytes.lt(300).unwrap().to_vec::<bool>().unwrap(), [true; 3]);
    assert_eq!(bytes.gt(4.5).unwrap().to_vec::<bool>().unwrap(), [true, true, false]);
    let large = (1i64 << 53) + 1;
    assert_eq!(Tensor::new([0i64]).add(large).unwrap().to_vec::<i64>().unwrap(), [large]);
    assert_eq!(Tensor::new([i64::MAX]).remainder((1i64 << 61) - 1).unwrap().to_vec::<i64>().unwrap(), [3]);
    assert_eq!(Tensor::new([large]).eq((1i64 << 53) as f64).unwrap().to_vec::<bool>().unwrap(), [true]);
    let half = |x: f32| Tensor::new([f16::from_f32(x)]);
    assert_eq!(half(0.001).mul(1e5).unwrap().dtype(), DType::F16);
    assert!((half(0.001).mul(1e5).unwrap().item().unwrap() - 100.0).abs() < 0.1);
    assert!((half(6e4).div(1e5).unwrap().item().unwrap() - 0.6).abs() < 1e-3);
    assert_eq!(Tensor::new([1, 2]).mul(0.5).unwrap().to_vec::<f32>().unwrap(), [0.5, 1.0]);
    assert_eq!(Tensor::new([true, false]).add(2).unwrap().to_vec::<i64>().unwrap(), [3, 2]);
    let x = Tensor::new([1.0, 2.0]);
    assert_eq!((2.0 * &x).unwrap().to_vec::<f64>().unwrap(), [2.0, 4.0]);
    assert_eq!((1.0 - &x).unwrap().to_vec::<f64>().unwrap(), [0.0, -1.0]);
    assert_eq!((&x + 1.0).unwrap().to_vec::<f64>().unwrap(), [2.0, 3.0]);
    assert_eq!((&x * 2).unwrap().to_vec::<f64>().unwrap(), [2.0, 4.0]);
}

#[test]
fn integers_stay_integers() {
    let divide = |a: f64, b: f64| Tensor::new(a).floor_divide(&Tensor::new(b)).unwrap().item().unwrap();
    let infinite = f64::INFINITY;
    let found =
        [divide(1.0, 0.1), divide(infinite, 2.0), divide(-1.0, infinite), divide(1.0, 0.0), divide(1.0, infinite)];
    assert_same(&found, &[9.0, f64::NAN, -1.0, infinite, 0.0], "floor_divide");
    let whole = Tensor::new([7, -7, 7, -7]).floor_divide(&Tensor::new([2, 2, -2, -2])).unwrap();
    assert_eq!(whole.to_vec::<i32>().unwrap(), [3, -4, -4, 3]);
    assert!(Tensor::new([100]).isclose(&Tensor::new([101]), 0.1, 0.0, false).unwrap().to_vec::<bool>().unwrap()[0]);
    let most = Tensor::new([i64::MAX]);
    assert_eq!(most.nan_to_num(0.0, 1.0, 2.0).unwrap().to_vec::<i64>().unwrap(), [i64::MAX]);
    assert_eq!(Tensor::new([0, 2]).clamp(0.5, 2.5).unwrap().to_vec::<f32>().unwrap(), [0.5, 2.0]);
    assert_eq!(Tensor::new([0, 9]).clamp(1, 5).unwrap().to_vec::<i32>().unwrap(), [1, 5]);
    assert!(Tensor::new([7u8]).clamp(300, 400).unwrap_err().to_string().contains("the number 300 is no u8"));
    // What is chosen is one of the operands; sums wrap.
    let (bytes, mask) = (Tensor::new([7u8]), Tensor::new([true]));
    for chosen in [bytes.maximum(300), bytes.minimum(-1), bytes.fmax(256), mask.select(&bytes, 300)] {
        assert!(chosen.unwrap_err().to_string().contains(" is no u8"));
    }
    assert_eq!(bytes.add(300).unwrap().to_vec::<u8>().unwrap(), [51]);
    assert!(Tensor::new([2]).pow(-1).unwrap_err().to_string().contains("no integer"));
    let pooled = Tensor::new([(1i64 << 24) + 1, 3]).reshape([1, 1, 2, 1]).unwrap();
    let pooled = pooled.max_pool2d(&Pool2dOptions::new([1, 2])).unwrap();
    assert_eq!(pooled.to_vec::<i64>().unwrap(), [(1 << 24) + 1]);
    let whole = Tensor::arange(i64::MIN, i64::MAX, i64::MAX).unwrap();
    assert_eq!(whole.to_vec::<i64>().unwrap(), [i64::MIN, -1, i64::MAX - 1]);
    for i in 1..500 {
        let (end, step) = (21.767_174f32 + i as f32 * 0.37, 0.989_416_96f32 / i as f32);
        let steps = Tensor::arange(0.0, end, step).unwrap().to_vec::<f32>().unwrap();
        assert!(steps.iter().all(|&x| x < end), "{end} {step}");
    }
}

#[test]
fn empty_tensors() {
    let empty = Tensor::zeros([0, 0]).unwrap();
    assert!(empty.argmax(1).is_err() && empty.amax(1).is_err() && empty.argmax(0).is_err());
    let rows = Tensor::zeros([0, 3]).unwrap();
    assert_eq!(rows.argmax(1).unwrap().shape().dims(), [0]);
    assert_eq!(rows.sum(..).unwrap().item().unwrap(), 0.0);
    assert_eq!(rows.prod(..).unwrap().item().unwrap(), 1.0);
    assert!(rows.mean(..).unwrap().item().unwrap().is_nan());
    assert_eq!(rows.sum(0).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    assert_eq!(rows.logsumexp(..).unwrap().item().unwrap(), f64::NEG_INFINITY);
    for axis in [3isize, isize::MAX, -isize::MAX] {
        let error = Tensor::zeros([2, 3, 4]).unwrap().norm(2.0, axis).unwrap_err().to_string();
        assert!(error.starts_with("norm: axis"), "{error}");
    }
}

/// Tensors of no element whose dimensions are large: nothing is counted through, nor listed.
#[test]
fn nothing_takes_no_time() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims).unwrap();
    for (x, axis) in [(zeros(&[1 << 40, 0]), 1), (zeros(&[0, 1 << 40]), 0)] {
        assert_eq!(x.cumsum(axis).unwrap().count(), 0);
        assert_eq!(x.cummin(axis).unwrap().0.count(), 0);
        assert_eq!(x.sort(axis, false).unwrap().0.count(), 0);
    }
    assert_eq!(slope(|x| x.prod(0), &zeros(&[1 << 40, 0])).len(), 0);
    let none = Var::new(Tensor::from_vec(Vec::<i64>::new(), [0]).unwrap());
    assert_eq!(slope(|x| x.index_select(1, &none), &zeros(&[1 << 40, 0])).len(), 0);
    let tall = zeros(&[1 << 30, 0, 1 << 20]);
    assert_eq!(tall.matmul(&tall.transpose(1, 2).unwrap()).unwrap().count(), 0);
    let image = zeros(&[1, 1 << 30, 1, 0]);
    assert_eq!(image.max_pool2d(&Pool2dOptions::new([1, 1])).unwrap().count(), 0);
    assert_eq!(image.average_pool2d(&Pool2dOptions::new([1, 1])).unwrap().count(), 0);
    let options = Conv2dOptions::new().padding(Padding::Explicit([[1 << 30, 1 << 30], [0, 0]]));
    let y = zeros(&[1, 1, 1, 0]).conv2d(&zeros(&[1 << 30, 1, 0, 1]), &options);
    assert!(y.is_err() || y.unwrap().to_vec::<f32>().unwrap().iter().all(|&y| y == 0.0));
    assert!(zeros(&[0, 1 << 46]).chunk(usize::MAX, 1).is_err());
}

#[test]
fn a_window_may_be_much_larger_than_the_image() {
    let x = Tensor::from_vec((0..24).map(f64::from).collect(), [1, 3, 4, 2]).unwrap();
    for size in [100, 1 << 30, 1 << 31] {
        let options = Pool2dOptions::new([size, size]).stride([1, 1]).padding(Padding::Same);
        let largest = x.max_pool2d(&options).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(largest, [22.0, 23.0].repeat(12));
        let padding = Padding::Explicit([[size / 2; 2]; 2]);
        for options in [options, options.padding(padding)] {
            let means = x.average_pool2d(&options).unwrap().to_vec::<f64>().unwrap();
            assert!(means.chunks(2).all(|mean| mean == [11.0, 12.0]), "{size}: {means:?}");
        }
        assert_eq!(slope(|x| x.max_pool2d(&options), &x)[22..], [12.0, 12.0]);
        assert_same(&slope(|x| x.average_pool2d(&options), &x), &[1.0; 24], "each mean is of all");
    }
}

#[test]
fn a_spread_needs_a_finite_correction() {
    let x = Tensor::new([[1.0, 2.0], [3.0, 5.0]]);
    for correction in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (op, y) in [("var", x.var(.., correction)), ("std", x.std(0, correction))] {
            let text = y.unwrap_err().to_string();
            assert!(text.starts_with(&format!("{op}: the correction is {correction}\n  at tests/values.rs")), "{text}");
        }
        assert!(Var::new(x.clone()).std(1, correction).is_err());
    }
    assert_eq!(x.var(0, 1.0).unwrap().to_vec::<f64>().unwrap(), [2.0, 4.5]);
}

#[test]
fn the_cross_entropy_of_a_certain_label_has_no_sign() {
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let logits = Tensor::new([[100.0, -100.0], [-100.0, 100.0]]).cast(dtype).unwrap();
        let loss = logits.cross_entropy(&Tensor::new([0, 1])).unwrap();
        assert!(loss.to_vec_as::<f64>().iter().all(|x| x.to_bits() == 0), "{loss}");
    }
}

#[test]
fn nan_wins_wherever_it_stands() {
    for length in [3, 511, 512, 513] {
        for at in [0, 1, length / 2, length - 1] {
            let mut values = vec![1.0f32; length];
            values[at] = f32::NAN;
            let x = Tensor::from_vec(values, [length]).unwrap();
            assert!(x.amax(..).unwrap().item().unwrap().is_nan() && x.amin(..).unwrap().item().unwrap().is_nan());
            assert_eq!(x.argmax(0).unwrap().item().unwrap(), at as f64);
            let column = x.reshape([length, 1]).unwrap();
            assert_eq!(column.argmin(0).unwrap().item().unwrap(), at as f64);
        }
    }
}
