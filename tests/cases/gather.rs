//! Reading and writing at indices, among them repeated ones; one-hot vectors.

use super::{Array, Case, indices, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor, Var};

fn with(index: &[usize], axis: usize, i: f64) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = i as usize;
    index
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, index, axis) in [
        (&[3, 4][..], &[5, 4][..], 0usize),
        (&[3, 4], &[2, 3], 1),
        (&[2, 3, 4], &[2, 7, 1], 1),
        (&[5], &[0], 0),
        (&[5], &[9], 0),
    ] {
        let at = indices(index, x[axis] as i64);
        let inputs = vec![numbers(x, 1), at.clone()];
        let gather =
            Case::new(format!("gather {x:?} at {index:?}"), inputs, move |x| x[0].gather(axis as isize, &x[1]));
        cases.push(gather.reference(move |x| Array::build(&x[1].dims, |i| x[0].at(&with(i, axis, x[1].at(i))))));
        let inputs = vec![numbers(x, 1), at, numbers(index, 2)];
        let scatter = Case::new(format!("scatter_add {x:?} at {index:?}"), inputs, move |x| {
            x[0].scatter_add(axis as isize, &x[1], &x[2])
        });
        cases.push(scatter.slack(64.0).reference(move |x| {
            Array::build(&x[0].dims, |place| {
                let sources = (0..x[1].values.len()).map(|flat| super::unravel(flat, &x[1].dims));
                let hits = sources.filter(|i| with(i, axis, x[1].at(i)) == place);
                x[0].at(place) + hits.map(|i| x[2].at(&i)).sum::<f64>()
            })
        }));
    }
    // Of several for one place the last stays, and it alone has a gradient.
    for (x, index, axis) in [(&[3, 4][..], &[2, 3][..], 1usize), (&[5], &[9], 0), (&[2, 3], &[0, 3], 0)] {
        let inputs = vec![numbers(x, 1), indices(index, x[axis] as i64), numbers(index, 2)];
        let case = Case::new(format!("scatter {x:?} at {index:?}"), inputs, move |x| {
            x[0].scatter(axis as isize, &x[1], &x[2])
        });
        cases.push(case.reference(move |x| {
            Array::build(&x[0].dims, |place| {
                let sources = (0..x[1].values.len()).map(|flat| super::unravel(flat, &x[1].dims));
                let last = sources.rev().find(|i| with(i, axis, x[1].at(i)) == place);
                last.map_or(x[0].at(place), |i| x[2].at(&i))
            })
        }));
    }
    let scalar = vec![numbers(&[], 1), Tensor::new([0i64])];
    cases.push(
        Case::new("gather from a scalar", scalar, |x| x[0].gather(0, &x[1]))
            .reference(|x| Array { dims: vec![1], values: x[0].values.clone() }),
    );
    let larger = vec![numbers(&[3, 4], 1), indices(&[2, 2], 3), numbers(&[5, 6], 2)];
    cases.push(Case::new("scatter_add from a larger source", larger, |x| x[0].scatter_add(0, &x[1], &x[2])));
    for (x, count, axis) in
        [(&[3, 4][..], 7usize, 0usize), (&[3, 4], 2, 1), (&[2, 3, 2], 5, 1), (&[3, 4], 0, 0), (&[3, 0], 2, 0)]
    {
        let at = indices(&[count], x[axis] as i64);
        let select = Case::new(format!("index_select {x:?} axis {axis}"), vec![numbers(x, 1), at.clone()], move |x| {
            x[0].index_select(axis as isize, &x[1])
        });
        cases.push(select.reference(move |x| {
            let mut dims = x[0].dims.clone();
            dims[axis] = x[1].dims[0];
            Array::build(&dims, |i| x[0].at(&with(i, axis, x[1].values[i[axis]])))
        }));
        let mut source = x.to_vec();
        source[axis] = count;
        let add = move |x: &[Var]| Var::apply_one(IndexAdd { axis }, &[&x[0], &x[1], &x[2]]);
        let case = Case::new(format!("index_add {x:?} axis {axis}"), vec![numbers(x, 1), at, numbers(&source, 2)], add);
        cases.push(case.slack(64.0).reference(move |x| {
            Array::build(&x[0].dims, |place| {
                let hits = (0..x[1].values.len()).filter(|&j| x[1].values[j] as usize == place[axis]);
                x[0].at(place) + hits.map(|j| x[2].at(&with(place, axis, j as f64))).sum::<f64>()
            })
        }));
    }
    let rows = Case::new("rows", vec![numbers(&[4, 3], 1), indices(&[2, 5], 4)], |x| x[0].rows(&x[1]));
    cases.push(rows.reference(|x| Array::build(&[2, 5, 3], |i| x[0].at(&[x[1].at(&i[..2]) as usize, i[2]]))));
    let narrow = indices(&[6], 4).cast(DType::U8).unwrap();
    cases.push(Case::new("index_select with small integers", vec![numbers(&[4, 3], 1), narrow], |x| {
        x[0].index_select(0, &x[1])
    }));
    let hot = |x: &[Var]| one_hot(x[0].tensor(), 4, DType::F64).map(Var::new);
    cases.push(
        Case::new("one_hot", vec![indices(&[2, 3], 4)], hot)
            .no_gradient()
            .reference(|x| Array::build(&[2, 3, 4], |i| f64::from(u8::from(x[0].at(&i[..2]) as usize == i[2])))),
    );
    cases
}

#[test]
fn indices_out_of_range_are_errors() {
    let x = numbers(&[3, 4], 1);
    for bad in [3i64, -1, i64::MAX] {
        let index = Tensor::new([0, bad]);
        assert!(x.index_select(0, &index).is_err());
        assert!(x.gather(0, &index.reshape([1, 2]).unwrap()).is_err());
        assert!(one_hot(&index, 3, DType::F32).is_err());
        assert!(x.slice(1, ..2).unwrap().slice(0, ..2).unwrap().cross_entropy(&index).is_err());
    }
}

/// Few and many for each place of a small and a large tensor, which are joined in two ways.
#[test]
fn scattering_many() {
    let key = kiln_autograd::Key::new(6);
    for (length, count) in [(10, 5000), (10_000, 300), (10_000, 9000)] {
        let (x, source) = (key.normal([length], 0.0, 1.0).unwrap(), key.fold(1).normal([count], 0.0, 1.0).unwrap());
        let index = key.fold(2).integers([count], 0, length as i64).unwrap();
        let mut sums = x.to_vec_as::<f64>();
        for (&at, value) in index.to_vec::<i64>().unwrap().iter().zip(source.to_vec_as::<f64>()) {
            sums[at as usize] += value;
        }
        let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        assert_eq!(x.scatter_add(0, &index, &source).unwrap().to_vec::<f32>().unwrap(), sums);
    }
}
