//! Searching sorted numbers, and counting.

use super::{Array, Case, numbers, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor};

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let before =
        |row: &[f64], x: f64, right: bool| row.iter().filter(|&&y| if right { y <= x } else { y < x }).count() as f64;
    for right in [false, true] {
        let sorted = Tensor::new([-1.0, 0.0, 0.0, 1.0]);
        for values in [ties(&[3, 4]), numbers(&[5], 1), numbers(&[], 2), numbers(&[0, 2], 1)] {
            let inputs = vec![sorted.clone(), values];
            let case = Case::new(format!("searchsorted {right}"), inputs, move |x| x[0].searchsorted(&x[1], right));
            cases.push(case.no_gradient().reference(move |x| x[1].map(|v| before(&x[0].values, v, right))));
        }
        let rows = vec![Tensor::new([[-1.0, 0.0, 2.0], [0.0, 0.5, 1.0]]), ties(&[2, 4])];
        let case = Case::new(format!("searchsorted rows {right}"), rows, move |x| x[0].searchsorted(&x[1], right));
        cases.push(case.no_gradient().reference(move |x| {
            Array::build(&[2, 4], |i| before(&x[0].values[3 * i[0]..3 * i[0] + 3], x[1].at(i), right))
        }));
    }
    cases.push(
        Case::new("isin", vec![ties(&[3, 4]), Tensor::new([2.0, -1.0])], |x| x[0].isin(&x[1], false))
            .no_gradient()
            .reference(|x| x[0].map(|v| f64::from(u8::from(x[1].values.contains(&v))))),
    );
    cases
}

/// Few and many numbers, among few and many, in rows of their own: each is found another way.
#[test]
fn many_numbers() {
    let before = |row: &[f64], x: f64, right: bool| {
        // NaN is the largest, and equal to itself.
        let is_before = |y: f64| match (y.is_nan(), x.is_nan()) {
            (true, x_is) => x_is && right,
            (false, true) => true,
            (false, false) => y < x || right && y == x,
        };
        row.iter().filter(|&&y| is_before(y)).count() as i64
    };
    let key = kiln_autograd::Key::new(5);
    for (rows, length, count) in
        [(1, 0, 3), (1, 5, 4000), (2, 32, 33), (1, 33, 31), (3, 100, 700), (1, 1000, 9000), (2, 5000, 3)]
    {
        let draw = |key: &kiln_autograd::Key, n: usize| {
            // Halves, so that many are equal, and some that are no numbers.
            let x = key.normal([rows, n], 0.0, 3.0).unwrap().mul(2.0).unwrap().round().unwrap().div(2.0).unwrap();
            x.gt(5.0).unwrap().select(f32::NAN, &x).unwrap()
        };
        let sorted = draw(&key, length).sort(-1, false).unwrap().0;
        let values = draw(&key.fold(1), count);
        for right in [false, true] {
            let found = sorted.searchsorted(&values, right).unwrap().to_vec::<i64>().unwrap();
            let (sorted, values) = (sorted.to_vec_as::<f64>(), values.to_vec_as::<f64>());
            for (i, (found, value)) in found.into_iter().zip(values).enumerate() {
                let row = &sorted[i / count * length..][..length];
                assert_eq!(found, before(row, value, right), "{value} among {length}, {right}");
            }
        }
    }
    let x = key.normal([10_000], 0.0, 1.0).unwrap();
    let (counts, edges) = x.histogram(7, None, None).unwrap();
    let (x, edges) = (x.to_vec_as::<f64>(), edges.to_vec_as::<f64>());
    let counted = |i: usize| x.iter().filter(|x| edges[i] <= **x && (**x < edges[i + 1] || i == 6)).count() as i64;
    assert_eq!(counts.to_vec::<i64>().unwrap(), (0..7).map(counted).collect::<Vec<_>>());
}

/// What lies on an edge belongs to the bin above it, the last edge to the last bin: in each type, whose edges are rounded.
#[test]
fn numbers_on_edges() {
    let counts = |x: &Tensor, bins, range| x.histogram(bins, range, None).unwrap().0.to_vec::<i64>().unwrap();
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        for bins in [1, 2, 3, 7, 10, 39] {
            let (_, edges) = Tensor::new([0.0, 1.0]).cast(dtype).unwrap().histogram(bins, None, None).unwrap();
            let mut each = vec![1; bins];
            each[bins - 1] = 2;
            assert_eq!(counts(&edges, bins, Some([0.0, 1.0])), each, "{dtype} {bins}");
        }
    }
    assert_eq!(counts(&Tensor::new([0.7f32, 0.9]), 2, Some([0.7, 0.9])), [1, 1]);
    assert_eq!(counts(&Tensor::new([16_777_216i64, 16_777_217]), 2, None), [1, 1]);
    assert_eq!(counts(&Tensor::full([70_000], 1.0f32).unwrap().cast(DType::F16).unwrap(), 1, None), [70_000]);
}

#[test]
fn counting() {
    let x = Tensor::new([3, 1, 3, 0]);
    assert_eq!(x.bincount(None, 0).unwrap().to_vec::<i64>().unwrap(), [1, 1, 0, 2]);
    assert_eq!(x.bincount(None, 6).unwrap().count(), 6);
    let weights = Tensor::new([0.5, 1.0, 0.25, 2.0]);
    assert_eq!(x.bincount(Some(&weights), 0).unwrap().to_vec::<f64>().unwrap(), [2.0, 1.0, 0.0, 0.75]);
    assert_eq!(Tensor::full([0], 1i64).unwrap().bincount(None, 0).unwrap().count(), 0);
    assert!(Tensor::new([-1]).bincount(None, 0).is_err() && Tensor::new([0.5]).bincount(None, 0).is_err());
    assert!(x.bincount(Some(&Tensor::new([1.0])), 0).unwrap_err().to_string().starts_with("bincount: 1 weights"));
    let x = Tensor::new([0.0, 0.1, 0.5, 1.0, 2.0, f64::NAN]);
    let (counts, edges) = x.histogram(2, Some([0.0, 1.0]), None).unwrap();
    assert_eq!((counts.to_vec::<i64>().unwrap(), edges.to_vec::<f64>().unwrap()), (vec![2, 2], vec![0.0, 0.5, 1.0]));
    let (counts, edges) = Tensor::new([5, 5]).histogram(1, None, None).unwrap();
    assert_eq!((counts.to_vec::<i64>().unwrap(), edges.to_vec::<f64>().unwrap()), (vec![2], vec![4.5, 5.5]));
    assert!(x.histogram(0, Some([0.0, 1.0]), None).is_err() && x.histogram(2, Some([1.0, 0.0]), None).is_err());
}

#[test]
fn sets() {
    let x = Tensor::new([1.0, f64::NAN, 3.0]);
    let test = Tensor::new([f64::NAN, 3.0]);
    assert_eq!(x.isin(&test, false).unwrap().to_vec::<bool>().unwrap(), [false, false, true]);
    assert_eq!(x.isin(&test, true).unwrap().to_vec::<bool>().unwrap(), [true, true, false]);
    let none = Tensor::zeros([0]).unwrap();
    assert_eq!(x.isin(&none, true).unwrap().to_vec::<bool>().unwrap(), [true; 3]);
    assert_eq!(Tensor::new([1, 5]).bucketize(&Tensor::new([1.0, 4.0]), true).unwrap().to_vec::<i64>().unwrap(), [1, 2]);
    assert!(x.bucketize(&Tensor::scalar(1.0, DType::F64), false).is_err());
    let text = numbers(&[2, 3], 1).searchsorted(&numbers(&[3, 3], 1), false).unwrap_err().to_string();
    assert!(text.starts_with("searchsorted: values [3, 3] need a sorted row for all"), "{text}");
}
