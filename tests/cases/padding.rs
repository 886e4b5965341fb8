//! Padding with what a tensor has itself.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;

pub fn all() -> Vec<Case> {
    type Source = fn(isize, isize) -> isize;
    let modes: [(PadMode, Source); 4] = [
        (PadMode::Reflect, |i, n| {
            if i < 0 {
                -i
            } else if i >= n {
                2 * (n - 1) - i
            } else {
                i
            }
        }),
        (PadMode::Symmetric, |i, n| {
            if i < 0 {
                -1 - i
            } else if i >= n {
                2 * n - 1 - i
            } else {
                i
            }
        }),
        (PadMode::Replicate, |i, n| i.clamp(0, n - 1)),
        (PadMode::Circular, isize::rem_euclid),
    ];
    let mut cases = Vec::new();
    for (mode, source) in modes {
        let f = move |x: &[kiln_autograd::Var]| x[0].pad_with(&[(1, 2), (0, 0), (3, 1)], mode);
        cases.push(Case::new(format!("pad {mode:?}"), vec![numbers(&[3, 2, 4], 1)], f).reference(move |x| {
            let at = |i: usize, before: isize, n: usize| source(i as isize - before, n as isize) as usize;
            Array::build(&[6, 2, 8], |i| x[0].at(&[at(i[0], 1, 3), i[1], at(i[2], 3, 4)]))
        }));
        let f = move |x: &[kiln_autograd::Var]| x[0].pad_with(&[(-1, 2)], mode);
        cases.push(
            Case::new(format!("pad {mode:?} and cut"), vec![numbers(&[5], 1)], f)
                .reference(move |x| Array::build(&[6], |i| x[0].values[1 + source(i[0] as isize, 4) as usize])),
        );
    }
    cases
}

#[test]
fn more_than_once_around() {
    use kiln_autograd::Tensor;
    let x = Tensor::new([1, 2]);
    let padded = |mode| x.pad_with(&[(3, 4)], mode).unwrap().to_vec::<i32>().unwrap();
    assert_eq!(padded(PadMode::Circular), [2, 1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(padded(PadMode::Reflect), [2, 1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(padded(PadMode::Symmetric), [2, 2, 1, 1, 2, 2, 1, 1, 2]);
    let one = Tensor::new([7]).pad_with(&[(1, 1)], PadMode::Reflect).unwrap();
    assert_eq!(one.to_vec::<i32>().unwrap(), [7, 7, 7]);
    let text = numbers(&[2, 0], 1).pad_with(&[(0, 0), (1, 0)], PadMode::Replicate).unwrap_err().to_string();
    assert!(text.starts_with("pad_with: [2, 0] has nothing along axis 1"), "{text}");
    assert!(x.pad_with(&[], PadMode::Replicate).is_err() && x.pad_with(&[(-3, 0)], PadMode::Replicate).is_err());
    assert!(x.pad_with(&[(isize::MAX, isize::MAX)], PadMode::Replicate).is_err());
    assert!(x.pad_with(&[(isize::MAX >> 6, 0)], PadMode::Replicate).is_err());
}
