//! Lookups in tables, and bags of them.

use super::{Array, Case, indices, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Tape, Tensor, Var};

pub fn all() -> Vec<Case> {
    let looked_up = |x: &[Array]| Array::build(&[2, 3, 2], |i| x[0].at(&[x[1].at(&i[..2]) as usize, i[2]]));
    let mut cases = vec![
        Case::new("embedding", vec![numbers(&[4, 2], 1), indices(&[2, 3], 4)], |x| x[0].embedding(&x[1], None))
            .reference(looked_up),
    ];
    for bag in [Bag::Sum, Bag::Mean, Bag::Max] {
        for padding in [None, Some(-1)] {
            let joined = move |members: &[usize], x: &[Array], column: usize| {
                let at = |&i: &usize| x[1].values[i] as usize;
                let taken: Vec<usize> = members.iter().filter(|i| padding.is_none() || at(i) != 3).copied().collect();
                let values: Vec<f64> = taken.iter().map(|i| x[2].values[*i] * x[0].at(&[at(i), column])).collect();
                match bag {
                    _ if values.is_empty() => 0.0,
                    Bag::Sum => values.iter().sum(),
                    Bag::Mean => values.iter().sum::<f64>() / values.len() as f64,
                    Bag::Max => values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)),
                }
            };
            let inputs = vec![numbers(&[4, 2], 1), indices(&[2, 3], 4), numbers(&[2, 3], 2)];
            let f = move |x: &[Var]| x[0].embedding_bag(&x[1], None, bag, Some(&x[2]), padding);
            let case = Case::new(format!("embedding_bag {bag:?} {padding:?}"), inputs, f).slack(64.0);
            cases.push(case.reference(move |x| {
                Array::build(&[2, 2], |i| joined(&(3 * i[0]..3 * i[0] + 3).collect::<Vec<_>>(), x, i[1]))
            }));
            // Of the three bags the second is empty.
            let inputs = vec![numbers(&[4, 2], 1), indices(&[6], 4), numbers(&[6], 2), Tensor::new([0i64, 4, 4])];
            let f = move |x: &[Var]| x[0].embedding_bag(&x[1], Some(&x[3]), bag, Some(&x[2]), padding);
            let case = Case::new(format!("embedding_bag {bag:?} {padding:?} by offsets"), inputs, f).slack(64.0);
            cases.push(case.reference(move |x| {
                let bags = [vec![0, 1, 2, 3], vec![], vec![4, 5]];
                Array::build(&[3, 2], |i| joined(&bags[i[0]], x, i[1]))
            }));
        }
    }
    cases
}

#[test]
fn padding_has_no_gradient() {
    let table = Tape::new().watch(&Tensor::new([[1.0], [2.0], [3.0]]));
    let y = table.embedding(&Var::new(Tensor::new([0i64, 2, 2])), -1).unwrap();
    assert_eq!(y.tensor().to_vec::<f64>().unwrap(), [1.0, 3.0, 3.0]);
    let slope = y.sum(..).unwrap().backward().unwrap().get(&table).unwrap().to_vec::<f64>().unwrap();
    assert_eq!(slope, [1.0, 0.0, 0.0]);
}

#[test]
fn long_rows_are_shortened() {
    let table = Tensor::new([[3.0f32, 4.0], [0.3, 0.4], [6.0, 8.0]]);
    let y = table.renorm_rows(&Tensor::new([0i64, 1]), 1.0, 2.0).unwrap().to_vec::<f32>().unwrap();
    assert!((y[0] - 0.6).abs() < 1e-6 && (y[1] - 0.8).abs() < 1e-6 && y[2..] == [0.3, 0.4, 6.0, 8.0], "{y:?}");
}

#[test]
fn mistakes_are_errors() {
    let (x, at) = (numbers(&[4, 2], 1), Tensor::new([0i64, 1]));
    for (error, part) in [
        (x.embedding(&at, 4).unwrap_err(), "embedding: the padding 4 is no row of [4, 2]"),
        (x.embedding(&Tensor::new([4i64]), None).unwrap_err(), "embedding: index 4"),
        (x.embedding_bag(&at, None, Bag::Sum, None, None).unwrap_err(), "embedding_bag: needs a matrix of indices"),
        (
            numbers(&[4], 1).embedding_bag(&at, Some(&Tensor::new([0i64])), Bag::Sum, None, None).unwrap_err(),
            "embedding_bag: needs a table [N, D], found [4]",
        ),
        (
            x.embedding_bag(&at, Some(&Tensor::new([1i64])), Bag::Sum, None, None).unwrap_err(),
            "embedding_bag: index -1 at position 0",
        ),
    ] {
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("embedding.rs"), "{text}");
    }
}
