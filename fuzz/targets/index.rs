//! Index expressions, read and written, against walks over a vector.

#![no_main]

use kiln::tensor::ops::*;
use kiln::tensor::{DType, MAX_RANK, Tensor};
use kiln_fuzz::calls::{Call, index};
use kiln_fuzz::{Choices, tensor_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut choose = Choices::new(data);
    let x = tensor_of(&mut choose, DType::I64);
    if x.dtype() != DType::I64 {
        // A fraction without a type.
        return;
    }
    let mut call = Call::new(&choose, false);
    let Ok(list) = index::<Tensor>(&mut call, x.shape().dims()) else { return };
    let got = x.at(&list);
    let Some((dims, places)) = model(&x, &list) else {
        assert!(got.is_err(), "{list:?} of {} has no meaning, but is {}", x.shape(), got.unwrap());
        return;
    };
    // On the way to the result there are the dimensions of all, and the new ones.
    let is_new = |index: &&Index<Tensor>| match index {
        Index::NewAxis => true,
        Index::Tensor(mask) => mask.rank() == 0 && mask.dtype() == DType::Bool,
        _ => false,
    };
    let most = dims.len().max(x.rank() + list.iter().filter(is_new).count());
    let got = match got {
        Ok(got) => got,
        Err(error) => return assert!(most > MAX_RANK, "{list:?} of {}: {error}", x.shape()),
    };
    let all = x.to_vec::<i64>().unwrap();
    assert_eq!(got.shape().dims(), dims, "{list:?} of {}", x.shape());
    let want: Vec<i64> = places.iter().map(|&place| all[place]).collect();
    assert_eq!(got.to_vec::<i64>().unwrap(), want, "{list:?} of {}", x.shape());

    let from = call.choose.below(dims.len() + 1);
    let values: Tensor = call.operand(&dims[from..], DType::I64);
    let Ok(given) = values.cast(DType::I64).and_then(|v| v.expand(&dims[..])) else {
        assert!(x.set_at(&list, &values).is_err());
        return;
    };
    let given = given.to_vec::<i64>().unwrap();
    let (mut set, mut add) = (all.clone(), all);
    for (&place, &value) in places.iter().zip(&given) {
        set[place] = value;
        add[place] = add[place].wrapping_add(value);
    }
    let values = values.cast(DType::I64).unwrap();
    assert_eq!(x.set_at(&list, &values).unwrap().to_vec::<i64>().unwrap(), set, "{list:?} of {}", x.shape());
    assert_eq!(x.add_at(&list, &values).unwrap().to_vec::<i64>().unwrap(), add, "{list:?} of {}", x.shape());
});

/// What one part of an expression takes of a dimension.
enum Part {
    /// These positions, as a dimension of the result or, of a number, none.
    Slice(Vec<usize>, bool),
    New,
    /// Read together with the others at position `i` of what all broadcast to; for several dimensions at once, of a mask.
    Together(Vec<usize>, Vec<Vec<usize>>),
}

/// The shape of what is chosen, and the place of each element: PyTorch's rules, written out.
fn model(x: &Tensor, list: &[Index<Tensor>]) -> Option<(Vec<usize>, Vec<usize>)> {
    let dims = x.shape().dims();
    let taken = |index: &Index<Tensor>| match index {
        Index::NewAxis | Index::Ellipsis => 0,
        Index::Tensor(mask) if mask.dtype() == DType::Bool => mask.rank(),
        _ => 1,
    };
    let covered: usize = list.iter().map(taken).sum();
    let ellipses = list.iter().filter(|index| matches!(index, Index::Ellipsis)).count();
    if covered > dims.len() || ellipses > 1 {
        return None;
    }
    let mut parts = Vec::new();
    let mut at = 0;
    for index in list {
        if matches!(index, Index::Ellipsis) {
            for _ in 0..dims.len() - covered {
                parts.push(Part::Slice((0..dims[at]).collect(), true));
                at += 1;
            }
            continue;
        }
        let own = &dims[at..at + taken(index)];
        at += own.len();
        parts.push(part(index, own)?);
    }
    parts.extend(dims[at..].iter().map(|&d| Part::Slice((0..d).collect(), true)));
    places(dims, &parts)
}

fn part(index: &Index<Tensor>, dims: &[usize]) -> Option<Part> {
    let wrapped = |i: i64, d: usize| {
        let d = d as i64;
        (-d..d).contains(&i).then(|| i.rem_euclid(d) as usize)
    };
    Some(match index {
        Index::NewAxis => Part::New,
        Index::Ellipsis => unreachable!("expanded"),
        Index::At(i) => Part::Slice(vec![wrapped(*i as i64, dims[0])?], false),
        Index::Slice { start, end, step } => Part::Slice(steps(*start, *end, *step, dims[0])?, true),
        Index::Tensor(mask) if mask.dtype() == DType::Bool => {
            if mask.shape().dims() != dims {
                return None;
            }
            let mut found = Vec::new();
            for (i, _) in mask.to_vec::<bool>().unwrap().into_iter().enumerate().filter(|(_, holds)| *holds) {
                found.push(unravel(i, dims));
            }
            Part::Together(vec![found.len()], found)
        }
        Index::Tensor(index) => {
            let found: Option<Vec<Vec<usize>>> =
                index.to_vec_as::<i64>().into_iter().map(|i| wrapped(i, dims[0]).map(|i| vec![i])).collect();
            if index.dtype().is_float() {
                return None;
            }
            Part::Together(index.shape().to_vec(), found?)
        }
    })
}

/// Python's slices.
fn steps(start: Option<isize>, end: Option<isize>, step: isize, d: usize) -> Option<Vec<usize>> {
    if step == 0 {
        return None;
    }
    let (d, step) = (d as i128, step as i128);
    let (lowest, highest) = if step > 0 { (0, d) } else { (-1, d - 1) };
    let bound = |i: Option<isize>, otherwise: i128| match i {
        None => otherwise,
        Some(i) if i < 0 => (i as i128 + d).clamp(lowest, highest),
        Some(i) => (i as i128).clamp(lowest, highest),
    };
    let (first, end) = if step > 0 { (bound(start, 0), bound(end, d)) } else { (bound(start, d - 1), bound(end, -1)) };
    let mut found = Vec::new();
    let mut i = first;
    while if step > 0 { i < end } else { i > end } {
        found.push(i as usize);
        i += step;
    }
    Some(found)
}

fn unravel(mut flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for axis in (0..dims.len()).rev() {
        index[axis] = flat % dims[axis];
        flat /= dims[axis];
    }
    index
}

fn places(dims: &[usize], parts: &[Part]) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut shared: Option<Vec<usize>> = None;
    for part in parts {
        if let Part::Together(own, _) = part {
            shared = Some(broadcast(shared.as_deref().unwrap_or(&[]), own)?);
        }
    }
    let together: Vec<usize> = (0..parts.len()).filter(|&i| matches!(parts[i], Part::Together(..))).collect();
    // Numbers beside index tensors are views: they leave before it is asked who is whose neighbour.
    let between = |range: std::ops::Range<usize>| {
        range.into_iter().all(|i| matches!(parts[i], Part::Together(..) | Part::Slice(_, false)))
    };
    let neighbours = together.first().zip(together.last()).is_none_or(|(&a, &b)| between(a..b + 1));
    let mut result = Vec::new();
    let mut shared_at = 0;
    if let (Some(shared), false) = (&shared, neighbours) {
        result.extend(shared);
    }
    let mut is_placed = !neighbours;
    for part in parts {
        match part {
            Part::Slice(found, true) => result.push(found.len()),
            Part::Slice(_, false) => {}
            Part::New => result.push(1),
            Part::Together(..) if !is_placed => {
                (shared_at, is_placed) = (result.len(), true);
                result.extend(shared.iter().flatten());
            }
            Part::Together(..) => {}
        }
    }
    let shared = shared.unwrap_or_default();
    let mut all = Vec::new();
    for flat in 0..result.iter().product() {
        let index = unravel(flat, &result);
        let of_shared = &index[shared_at..shared_at + shared.len()];
        let mut rest = (0..result.len()).filter(|i| !(shared_at..shared_at + shared.len()).contains(i));
        let mut place = Vec::new();
        for part in parts {
            match part {
                Part::Slice(found, true) => place.push(found[index[rest.next()?]]),
                Part::Slice(found, false) => place.push(found[0]),
                Part::New => drop(rest.next()),
                Part::Together(own, found) => {
                    let skipped = shared.len() - own.len();
                    let of_own = own.iter().zip(&of_shared[skipped..]);
                    place.extend(&found[of_own.fold(0, |at, (&d, &i)| at * d + if d == 1 { 0 } else { i })]);
                }
            }
        }
        all.push(place.iter().zip(dims).fold(0, |at, (&i, &d)| at * d + i));
    }
    Some((result, all))
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |x: &[usize], i: usize| (i + x.len()).checked_sub(rank).map_or(1, |i| x[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}
