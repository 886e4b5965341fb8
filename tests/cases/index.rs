//! Index expressions, masks, writing at indices.

#![expect(
    clippy::reversed_empty_ranges,
    reason = "with a negative step they are not empty, and without one they are meant to be"
)]

use super::{Array, Case, indices, numbers, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Result, Tensor, Var, s};

/// An array whose elements are those of the first input at an index that a function gives.
fn from(dims: &'static [usize], at: impl Fn(&[usize], &[Array]) -> Vec<usize>) -> impl Fn(&[Array]) -> Array {
    move |x| Array::build(dims, |i| x[0].at(&at(i, x)))
}

fn of(name: &str, dims: &[usize], f: impl Fn(&Var) -> Result<Var> + Send + Sync + 'static) -> Case {
    Case::new(name, vec![numbers(dims, 1)], move |x| f(&x[0]))
}

fn reading() -> Vec<Case> {
    let rows = || Tensor::new([2i64, -3, 0, 2]);
    let whole = |x: &Array, i: usize, n: i64| (x.values[i] as i64).rem_euclid(n) as usize;
    let mask = || ties(&[3, 4]).gt(0).unwrap();
    let two = || vec![numbers(&[3, 4, 2], 1), Tensor::new([[1i64], [-1]]), Tensor::new([0i64, 3, 1])];
    vec![
        of("at a number", &[3, 4], |x| x.at(s![-1])).reference(from(&[4], |i, _| vec![2, i[0]])),
        of("at ranges", &[3, 4], |x| x.at(s![.., 1..9])).reference(from(&[3, 3], |i, _| vec![i[0], i[1] + 1])),
        of("at steps", &[3, 7], |x| x.at(s![1.., ..; -3]))
            .reference(from(&[2, 3], |i, _| vec![i[0] + 1, 6 - 3 * i[1]])),
        of("at steps back", &[7], |x| x.at(s![5..1; -2])).reference(from(&[2], |i, _| vec![5 - 2 * i[0]])),
        of("at nothing", &[3, 4], |x| x.at(s![2..1])).reference(from(&[0, 4], |i, _| i.to_vec())),
        of("at all", &[3, 4], |x| x.at(s![])).reference(from(&[3, 4], |i, _| i.to_vec())),
        of("at new axes", &[3, 4], |x| x.at(s![NewAxis, Ellipsis, NewAxis, -2]))
            .reference(from(&[1, 3, 1], |i, _| vec![i[1], 2])),
        Case::new("at rows", vec![numbers(&[3, 4], 1), rows()], |x| x[0].at(s![&x[1], 1..3]))
            .reference(from(&[4, 2], move |i, x| vec![whole(&x[1], i[0], 3), i[1] + 1])),
        Case::new("at columns", vec![numbers(&[4, 3], 1), rows()], |x| x[0].at(s![Ellipsis, &x[1]]))
            .reference(from(&[4, 4], move |i, x| vec![i[0], whole(&x[1], i[1], 3)])),
        Case::new("at two", two(), |x| x[0].at(s![&x[1], &x[2]]))
            .reference(from(&[2, 3, 2], move |i, x| vec![whole(&x[1], i[0], 3), whole(&x[2], i[1], 4), i[2]])),
        Case::new("at two apart", vec![numbers(&[3, 2, 4], 1), Tensor::new([1i64, -1]), Tensor::new([0i64, 3])], |x| {
            x[0].at(s![&x[1], .., &x[2]])
        })
        .reference(from(&[2, 2], move |i, x| vec![whole(&x[1], i[0], 3), i[1], whole(&x[2], i[0], 4)])),
        Case::new("at a mask", vec![numbers(&[3, 4], 1), mask()], |x| x[0].at(s![&x[1]])).reference(|x| {
            let chosen: Vec<f64> = (0..12).filter(|&i| x[1].values[i] != 0.0).map(|i| x[0].values[i]).collect();
            Array { dims: vec![chosen.len()], values: chosen }
        }),
        Case::new("masked_select", vec![numbers(&[4], 1), mask()], |x| x[0].masked_select(&x[1])).reference(|x| {
            let chosen: Vec<f64> = (0..12).filter(|&i| x[1].values[i] != 0.0).map(|i| x[0].values[i % 4]).collect();
            Array { dims: vec![chosen.len()], values: chosen }
        }),
        Case::new("take", vec![numbers(&[2, 3], 1), Tensor::new([[5i64, -6], [0, 1]])], |x| x[0].take(&x[1]))
            .reference(|x| x[1].map(|i| x[0].values[(i as i64).rem_euclid(6) as usize])),
        Case::new("take_along_dim", vec![numbers(&[2, 3], 1), Tensor::new([[2i64, -3]])], |x| {
            x[0].take_along_dim(&x[1], 1)
        })
        .reference(from(&[2, 2], move |i, x| vec![i[0], whole(&x[1], i[1], 3)])),
        of("slice_by", &[7, 2], |x| x.slice_by(0, -2.., -2)).reference(from(&[3, 2], |i, _| vec![5 - 2 * i[0], i[1]])),
    ]
}

/// The first input with a source written where a function of the index says which of its elements.
fn written(at: impl Fn(&[usize], &[Array]) -> Option<f64>) -> impl Fn(&[Array]) -> Array {
    move |x| Array::build(&x[0].dims, |i| at(i, x).unwrap_or_else(|| x[0].at(i)))
}

fn writing() -> Vec<Case> {
    let apart = || Tensor::new([2i64, -4]);
    let last =
        |x: &Array, place: usize, n: i64| x.values.iter().rposition(|&i| (i as i64).rem_euclid(n) as usize == place);
    let mut cases = vec![
        Case::new("set_at ranges", vec![numbers(&[3, 4], 1), numbers(&[1, 2], 2)], |x| {
            x[0].set_at(s![1.., ..; 2], &x[1])
        })
        .reference(written(|i, x| (i[0] > 0 && i[1] % 2 == 0).then(|| x[1].values[i[1] / 2]))),
        Case::new("set_at rows", vec![numbers(&[4, 3], 1), apart(), numbers(&[2, 3], 2)], |x| {
            x[0].set_at(s![&x[1]], &x[2])
        })
        .reference(written(move |i, x| last(&x[1], i[0], 4).map(|j| x[2].at(&[j, i[1]])))),
        Case::new("set_at the same again", vec![numbers(&[3], 1), Tensor::new([1i64, 1, 0]), numbers(&[3], 2)], |x| {
            x[0].set_at(s![&x[1]], &x[2])
        })
        .reference(written(move |i, x| last(&x[1], i[0], 3).map(|j| x[2].values[j]))),
        Case::new("add_at the same again", vec![numbers(&[3], 1), Tensor::new([1i64, 1, 0]), numbers(&[3], 2)], |x| {
            x[0].add_at(s![&x[1]], &x[2])
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[3], |i| {
                x[0].at(i) + (0..3).filter(|&j| x[1].values[j] == i[0] as f64).map(|j| x[2].values[j]).sum::<f64>()
            })
        }),
        Case::new("select_scatter", vec![numbers(&[3, 4], 1), numbers(&[3], 2)], |x| x[0].select_scatter(&x[1], 1, -1))
            .reference(written(|i, x| (i[1] == 3).then(|| x[1].values[i[0]]))),
        Case::new("slice_scatter", vec![numbers(&[5, 2], 1), numbers(&[2, 2], 2)], |x| {
            x[0].slice_scatter(&x[1], 0, 3..0, -2)
        })
        .reference(written(|i, x| match i[0] {
            3 => Some(x[1].at(&[0, i[1]])),
            1 => Some(x[1].at(&[1, i[1]])),
            _ => None,
        })),
        Case::new("index_copy", vec![numbers(&[2, 4], 1), apart(), numbers(&[2, 2], 2)], |x| {
            x[0].index_copy(1, &x[1], &x[2])
        })
        .reference(written(move |i, x| last(&x[1], i[1], 4).map(|j| x[2].at(&[i[0], j])))),
        Case::new("index_copy of a scalar", vec![numbers(&[], 1), Tensor::new([0i64]), numbers(&[], 2)], |x| {
            x[0].index_copy(0, &x[1], &x[2])
        })
        .reference(|x| x[2].clone()),
        Case::new("index_add", vec![numbers(&[3, 2], 1), indices(&[5], 3), numbers(&[5, 2], 2)], |x| {
            x[0].index_add(0, &x[1], &x[2])
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[3, 2], |i| {
                let hits = (0..5).filter(|&j| x[1].values[j] == i[0] as f64);
                x[0].at(i) + hits.map(|j| x[2].at(&[j, i[1]])).sum::<f64>()
            })
        }),
        Case::new("index_fill", vec![numbers(&[2, 4], 1), apart()], |x| x[0].index_fill(1, &x[1], 7.0))
            .reference(written(move |i, x| last(&x[1], i[1], 4).map(|_| 7.0))),
        Case::new("masked_fill", vec![numbers(&[3, 4], 1), ties(&[4]).gt(0).unwrap()], |x| {
            x[0].masked_fill(&x[1], -3.0)
        })
        .reference(written(|i, x| (x[1].values[i[1]] != 0.0).then_some(-3.0))),
        Case::new("masked_scatter", vec![numbers(&[3, 4], 1), ties(&[3, 4]).gt(0).unwrap(), numbers(&[9], 2)], |x| {
            x[0].masked_scatter(&x[1], &x[2])
        })
        .reference(|x| {
            let mut next = x[2].values.iter();
            let values = (0..12).map(|i| if x[1].values[i] != 0.0 { *next.next().unwrap() } else { x[0].values[i] });
            Array { dims: vec![3, 4], values: values.collect() }
        }),
    ];
    for by in [ScatterReduce::Sum, ScatterReduce::Prod, ScatterReduce::Mean, ScatterReduce::Amax, ScatterReduce::Amin] {
        for include_self in [true, false] {
            let inputs = vec![numbers(&[3, 4], 1), indices(&[5, 3], 3), numbers(&[5, 4], 2)];
            let f = move |x: &[Var]| x[0].scatter_reduce(0, &x[1], &x[2], by, include_self);
            let case = Case::new(format!("scatter_reduce {by:?} {include_self}"), inputs, f).slack(256.0);
            cases.push(case.reference(move |x| {
                Array::build(&x[0].dims, |i| {
                    let hits = (0..5).filter(|&j| i[1] < 3 && x[1].at(&[j, i[1]]) as usize == i[0]);
                    let hits: Vec<f64> = hits.map(|j| x[2].at(&[j, i[1]])).collect();
                    let own = (include_self || hits.is_empty()).then(|| x[0].at(i));
                    joined(by, &own.into_iter().chain(hits).collect::<Vec<_>>())
                })
            }));
        }
    }
    let zeros = vec![Tensor::new([2.0, 3.0]), Tensor::new([0i64, 0, 1, 1]), Tensor::new([0.0, 4.0, 0.5, -2.0])];
    cases.push(Case::new("scatter_reduce through a zero", zeros, |x| {
        x[0].scatter_reduce(0, &x[1], &x[2], ScatterReduce::Prod, true)
    }));
    cases
}

fn joined(by: ScatterReduce, all: &[f64]) -> f64 {
    match by {
        ScatterReduce::Sum => all.iter().sum(),
        ScatterReduce::Prod => all.iter().product(),
        ScatterReduce::Mean => all.iter().sum::<f64>() / all.len() as f64,
        ScatterReduce::Amax => all.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)),
        ScatterReduce::Amin => all.iter().fold(f64::INFINITY, |a, &b| a.min(b)),
    }
}

pub fn all() -> Vec<Case> {
    let mut cases = reading();
    cases.extend(writing());
    cases.push(Case::new("nonzero", vec![ties(&[3, 4])], |x| x[0].nonzero()).no_gradient().reference(|x| {
        let found: Vec<usize> = (0..12).filter(|&i| x[0].values[i] != 0.0).collect();
        Array::build(&[found.len(), 2], |i| if i[1] == 0 { found[i[0]] / 4 } else { found[i[0]] % 4 } as f64)
    }));
    cases
}

#[test]
fn integers_and_booleans() {
    let x = Tensor::new([5u8, 9, 1]);
    let at = Tensor::new([0, 0, 2]);
    let source = Tensor::new([7u8, 8, 0]);
    let reduced = |by, own| x.scatter_reduce(0, &at, &source, by, own).unwrap().to_vec::<u8>().unwrap();
    assert_eq!(reduced(ScatterReduce::Amax, true), [8, 9, 1]);
    assert_eq!(reduced(ScatterReduce::Amin, false), [7, 9, 0]);
    assert_eq!(reduced(ScatterReduce::Mean, false), [7, 9, 0]);
    let mask = Tensor::new([true, false, true]);
    assert_eq!(
        mask.set_at(s![..2], &Tensor::new([false, true])).unwrap().to_vec::<bool>().unwrap(),
        [false, true, true]
    );
    assert_eq!(x.at(s![&mask]).unwrap().to_vec::<u8>().unwrap(), [5, 1]);
    let scalar = Tensor::scalar(3.0, DType::F32);
    assert_eq!(scalar.nonzero().unwrap().shape().dims(), [1, 0]);
    assert_eq!(scalar.at(s![NewAxis]).unwrap().shape().dims(), [1]);
}

/// As in NumPy and PyTorch: all or nothing, in a new dimension.
#[test]
fn masks_without_dimensions() {
    let [yes, no] = [true, false].map(Tensor::new);
    let x = Tensor::new([[1, 2], [3, 4]]);
    assert_eq!(x.at(s![&yes]).unwrap().shape().dims(), [1, 2, 2]);
    assert_eq!(x.at(s![&no, 0]).unwrap().shape().dims(), [0, 2]);
    assert_eq!(x.at(s![1, .., &yes]).unwrap().to_vec::<i32>().unwrap(), [3, 4]);
    assert_eq!(x.at(s![&yes, &Tensor::new([1, 0])]).unwrap().to_vec::<i32>().unwrap(), [3, 4, 1, 2]);
    let scalar = Tensor::new(5);
    assert_eq!(scalar.at(s![&yes]).unwrap().to_vec::<i32>().unwrap(), [5]);
    assert_eq!(scalar.set_at(s![&yes], 7).unwrap().item().unwrap(), 7.0);
    assert_eq!(scalar.set_at(s![&no], 7).unwrap().item().unwrap(), 5.0);
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[2, 3], 1);
    for (error, part) in [
        (x.at(s![0, 0, 0]).unwrap_err(), "at: 3 indices for the 2 dimensions of [2, 3]"),
        (x.at(s![Ellipsis, Ellipsis]).unwrap_err(), "at: two ellipses in an index"),
        (x.at(s![2]).unwrap_err(), "at: index 2 is out of range"),
        (x.at(s![..; 0]).unwrap_err(), "at: a step of 0 leads nowhere"),
        (x.at(s![&Tensor::new([2i64])]).unwrap_err(), "at: index 2 at position 0 is out of range 0..2"),
        (x.at(s![&Tensor::new([0i64]), &Tensor::new([-4i64])]).unwrap_err(), "at: index -4 at position 0"),
        (x.at(s![&Tensor::new([0.5])]).unwrap_err(), "at: "),
        (x.at(s![&Tensor::new([true])]).unwrap_err(), "at: a mask [1] does not fit [2, 3] from axis 0 on"),
        (x.set_at(s![0], &numbers(&[2], 1)).unwrap_err(), "does not broadcast to"),
        (x.take(&Tensor::new([6i64])).unwrap_err(), "take: index 6"),
        (x.masked_select(&x).unwrap_err(), "masked_select: the mask must be bool"),
        (
            x.masked_scatter(&x.gt(9.0).unwrap().logical_not().unwrap(), &numbers(&[2], 1)).unwrap_err(),
            "masked_scatter: ",
        ),
        (
            x.index_copy(0, &Tensor::new([0i64]), &numbers(&[1, 2], 1)).unwrap_err(),
            "index_copy: slices [1, 2] do not fit [1, 3]",
        ),
        (x.select_scatter(&numbers(&[3], 1), 0, 2).unwrap_err(), "select_scatter: index 2 is out of range"),
        (x.slice_scatter(&numbers(&[3], 1), 0, .., 1).unwrap_err(), "slice_scatter: a source [3] does not fit [2, 3]"),
    ] {
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("index.rs"), "{text}");
    }
}

#[test]
fn inclusive_ranges_backwards() {
    let x = Tensor::new([0, 1, 2, 3, 4]);
    let at = |y: Result<Tensor>| y.unwrap().to_vec::<i32>().unwrap();
    assert_eq!(at(x.at(s![4..=2; -1])), [4, 3, 2]);
    assert_eq!(at(x.at(s![3..=0; -1])), [3, 2, 1, 0]);
    assert_eq!(at(x.at(s![3..=3; -1])), [3]);
    assert_eq!(at(x.at(s![..=-2; -1])), [4, 3]);
    assert_eq!(at(x.at(s![..=-5; -2])), [4, 2, 0]);
    assert_eq!(at(x.slice_by(0, 3..=1, -1)), [3, 2, 1]);
    assert_eq!(at(x.slice_by(0, 1..=-1, 2)), [1, 3]);
}

#[test]
fn an_index_out_of_range_is_told_as_it_was_written() {
    let x = Tensor::new([0, 1, 2, 3, 4]);
    for (i, told) in [(-6, "index -6 "), (5, "index 5 "), (i64::MIN, "index -9223372036854775808 ")] {
        let index = Tensor::new([0, i]);
        for error in [x.take(&index).unwrap_err(), x.at(s![&index]).unwrap_err()] {
            assert!(error.to_string().contains(told), "{error}");
        }
    }
    let by = ScatterReduce::Mean;
    let error = x.scatter_reduce(0, &Tensor::new([7]), &Tensor::new([1]), by, false).unwrap_err().to_string();
    assert!(error.starts_with("scatter_reduce: ") && error.contains("cases/index.rs"), "{error}");
    let error = x.masked_select(&Tensor::new([true, false])).unwrap_err().to_string();
    assert!(error.starts_with("masked_select: ") && error.contains("cases/index.rs"), "{error}");
}

#[test]
fn truth_values_are_scattered() {
    let (x, source) = (Tensor::new([true, true, false]), Tensor::new([false, true]));
    let index = Tensor::new([0, 2]);
    for include_self in [false, true] {
        let y = x.scatter_reduce(0, &index, &source, ScatterReduce::Amax, include_self).unwrap();
        assert_eq!(y.to_vec::<bool>().unwrap(), [include_self, true, true]);
    }
}
