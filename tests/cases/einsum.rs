//! Sums of products by their definition: one loop over all values of all indices.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tensor, Var};

/// The sum by its definition, of terms whose dimensions all have letters; a dimension of length 1 is repeated.
fn naive(terms: &[&str], output: &str, x: &[Array]) -> Array {
    let mut letters: Vec<(char, usize)> = output.chars().map(|c| (c, 1)).collect();
    for (term, x) in terms.iter().zip(x) {
        for (c, &d) in term.chars().zip(&x.dims) {
            match letters.iter_mut().find(|(known, _)| *known == c) {
                Some((_, length)) if *length == 1 => *length = d,
                Some(_) => {}
                None => letters.push((c, d)),
            }
        }
    }
    let lengths: Vec<usize> = letters.iter().map(|(_, d)| *d).collect();
    let mut y = Array::build(&lengths[..output.chars().count()], |_| 0.0);
    for flat in 0..lengths.iter().product::<usize>() {
        let values = super::unravel(flat, &lengths);
        let product: f64 = terms
            .iter()
            .zip(x)
            .map(|(term, x)| {
                let of = |c: char| values[letters.iter().position(|(known, _)| *known == c).unwrap()];
                let index: Vec<usize> = term.chars().map(of).collect();
                x.broadcast_at(&index)
            })
            .product();
        y.add(&values[..y.dims.len()], product);
    }
    y
}

/// A call, and what it means with a letter for each dimension.
fn case(equation: &'static str, terms: &'static [&'static str], output: &'static str, shapes: &[&[usize]]) -> Case {
    let inputs = shapes.iter().zip(1..).map(|(dims, seed)| numbers(dims, seed)).collect();
    let f = move |x: &[Var]| einsum(equation, &x.iter().collect::<Vec<_>>());
    Case::new(format!("einsum {equation} {shapes:?}"), inputs, f)
        .slack(64.0)
        .reference(move |x| naive(terms, output, x))
}

pub fn all() -> Vec<Case> {
    let many = case("bij,bkj->bik", &["bij", "bkj"], "bik", &[&[2, 3, 4], &[2, 5, 4]]);
    vec![
        case("ij,jk->ik", &["ij", "jk"], "ik", &[&[2, 3], &[3, 4]]),
        case("ij,jk", &["ij", "jk"], "ik", &[&[2, 3], &[3, 4]]),
        case("ba", &["ba"], "ab", &[&[2, 3]]),
        case(" i j -> j i ", &["ij"], "ji", &[&[2, 3]]),
        case("ij->", &["ij"], "", &[&[2, 3]]),
        case("->", &[""], "", &[&[]]),
        case(",i->i", &["", "i"], "i", &[&[], &[3]]),
        case("i,i", &["i", "i"], "", &[&[5], &[5]]),
        case("i,j->ji", &["i", "j"], "ji", &[&[2], &[3]]),
        case("ij,ij->i", &["ij", "ij"], "i", &[&[3, 4], &[3, 4]]),
        case("ij,ij->ij", &["ij", "ij"], "ij", &[&[3, 4], &[3, 4]]),
        case("ijk,ik->j", &["ijk", "ik"], "j", &[&[2, 3, 4], &[2, 4]]),
        case("bhqd,bkhd->bhqk", &["bhqd", "bkhd"], "bhqk", &[&[2, 2, 3, 4], &[2, 5, 2, 4]]),
        many.large(vec![numbers(&[9, 70, 60], 1), numbers(&[9, 80, 60], 2)]),
        // Diagonals.
        case("ii", &["ii"], "", &[&[3, 3]]),
        case("ii->i", &["ii"], "i", &[&[3, 3]]),
        case("iji->j", &["iji"], "j", &[&[2, 3, 2]]),
        case("iijj->ji", &["iijj"], "ji", &[&[2, 2, 3, 3]]),
        case("iii->i", &["iii"], "i", &[&[2, 2, 2]]),
        case("ii,ij->j", &["ii", "ij"], "j", &[&[3, 3], &[3, 2]]),
        // Ellipses, which broadcast.
        case("...ij,...jk->...ik", &["abij", "bjk"], "abik", &[&[2, 3, 2, 4], &[3, 4, 2]]),
        case("...ij,...jk->...ik", &["abij", "abjk"], "abik", &[&[2, 1, 2, 4], &[1, 3, 4, 2]]),
        case("i...,i...", &["iab", "ib"], "ab", &[&[2, 3, 4], &[2, 4]]),
        case("...i->i...", &["abi"], "iab", &[&[2, 3, 4]]),
        case("...ik,...j->ij", &["abik", "abj"], "ij", &[&[2, 2, 3, 2], &[2, 2, 4]]),
        case("...,...", &["ab", "b"], "ab", &[&[2, 3], &[3]]),
        case("i...i", &["iai"], "a", &[&[2, 3, 2]]),
        // Dimensions of length 1, repeated or not.
        case("ij,ij->i", &["ij", "ij"], "i", &[&[3, 1], &[3, 4]]),
        case("ij,jk->ik", &["ij", "jk"], "ik", &[&[3, 1], &[1, 2]]),
        case("ij->j", &["ij"], "j", &[&[1, 1]]),
        // Nothing at all.
        case("ij,jk->ik", &["ij", "jk"], "ik", &[&[2, 0], &[0, 3]]),
        case("ij,jk->ik", &["ij", "jk"], "ik", &[&[0, 2], &[2, 3]]),
        case("ij,ij->i", &["ij", "ij"], "i", &[&[2, 0], &[2, 1]]),
        case("ii->i", &["ii"], "i", &[&[0, 0]]),
        // Several operands.
        case("ij,kj,lj->ikl", &["ij", "kj", "lj"], "ikl", &[&[2, 3], &[3, 3], &[2, 3]]),
        case("ij,jk,kl,lm->im", &["ij", "jk", "kl", "lm"], "im", &[&[5, 2], &[2, 4], &[4, 1], &[1, 3]]),
        case("i,j,k->kji", &["i", "j", "k"], "kji", &[&[2], &[3], &[2]]),
        case("ab,c,ad->", &["ab", "c", "ad"], "", &[&[2, 3], &[2], &[2, 2]]),
        Case::new("einsum of one with itself", vec![numbers(&[3, 3], 1)], |x| {
            einsum("ij,jk,ki", &[&x[0], &x[0], &x[0]])
        })
        .slack(64.0)
        .reference(|x| naive(&["ij", "jk", "ki"], "", &[x[0].clone(), x[0].clone(), x[0].clone()])),
    ]
}

#[test]
fn types_are_promoted() {
    let (a, b) = (Tensor::new([[1, 2], [3, 4]]), Tensor::new([2u8, 3]));
    let y = einsum("ij,j->i", &[&a, &b]).unwrap();
    assert_eq!((y.dtype(), y.to_vec::<i32>().unwrap()), (DType::I32, vec![8, 18]));
    let sum = einsum("ij->", &[&a]).unwrap();
    assert_eq!((sum.dtype(), sum.to_vec::<i32>().unwrap()), (DType::I32, vec![10]));
    let mask = Tensor::new([true, true, false]);
    assert_eq!(einsum("i,i", &[&mask, &mask]).unwrap().to_vec::<i64>().unwrap(), [2]);
    assert_eq!(einsum("ij,j->i", &[&a, &Tensor::new([0.5f32, 0.5])]).unwrap().to_vec::<f32>().unwrap(), [1.5, 3.5]);
}

#[test]
fn mistakes_are_errors() {
    let (a, b) = (numbers(&[2, 3], 1), numbers(&[3, 4], 2));
    let told = |equation: &str, x: &[&Tensor]| einsum(equation, x).unwrap_err().to_string();
    for (equation, x, part) in [
        ("ij,jk->ik", &[&a][..], "is for 2 operands, 1 were given"),
        ("ij", &[], "is for 1 operands, 0 were given"),
        ("ij,jk->iz", &[&a, &b], "has the index `z` of the result"),
        ("ij,jk->ii", &[&a, &b], "`i` stands twice in the result"),
        ("ij->......", &[&a], "`.` in `......` is no index"),
        ("ij,jk->ik->ki", &[&a, &b], "is no index"),
        ("i1->i", &[&a], "`1` in `i1` is no index"),
        ("ijk->i", &[&a], "operand 0 has shape [2, 3], `ijk` names 3 dimensions"),
        ("i->i", &[&a], "operand 0 has shape [2, 3], `i` names 1 dimensions"),
        ("ijk...->i", &[&a], "names 3 dimensions"),
        ("ij,ik->jk", &[&a, &b], "`i` is 2 long in operand 0, [2, 3], and 3 long in operand 1, [3, 4]"),
        ("...,...->...", &[&a, &b], "dimension 2 from the end of `...` is 2 long in operand 0"),
        ("ii->i", &[&a], "`i` is 2 long in operand 0, [2, 3], and 3 long in operand 0, [2, 3]"),
        ("ii->i", &[&numbers(&[1, 3], 1)], "`i` is 1 and 3 long in one operand, [1, 3]"),
        ("abcde,fghij->abcdefghij", &[&numbers(&[1; 5], 1), &numbers(&[1; 5], 1)], "10 dimensions"),
    ] {
        let text = told(equation, x);
        assert!(
            text.starts_with("einsum: ") && text.contains(part) && text.contains("einsum.rs"),
            "{equation}: {text}"
        );
    }
}
