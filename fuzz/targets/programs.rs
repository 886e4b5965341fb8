//! Random programs of all operations, on tensors of any shape, type and layout: no panic, no access outside of memory, and
//! what an operation gives on views it gives on dense copies of them.

#![no_main]

use kiln::tensor::{DType, Tensor};
use kiln_fuzz::calls::{Call, Called, Same, is_ordinary};
use kiln_fuzz::{Choices, compact, same_bits, tensor, with_any_isa};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Elements of a value that later operations take, at most.
const MOST: usize = 20_000;

/// Elements of a view that may be beyond memory, and is not read.
const BEYOND: usize = 10_000_000;

/// Whether each call is printed: `KILN_SHOW=1`.
static IS_SHOWN: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KILN_SHOW").is_some());

fuzz_target!(|data: &[u8]| {
    let mut choose = Choices::new(data);
    let mut pool: Vec<Tensor> = (0..3).map(|_| tensor(&mut choose)).collect();
    let mut beyond = 0;
    // Until the bytes end, and a little further.
    while beyond < 2 {
        let x = [(); 3].map(|()| pool[choose.below(pool.len())].clone());
        let dense = x.each_ref().map(compact);
        let expected = Call::new(&choose, true).run(&dense);
        let mut call = Call::new(&choose, false);
        let got = with_any_isa(&mut choose, || call.run(&x));
        if *IS_SHOWN {
            show(&x, &got);
        }
        check(&x, &got, &expected, call.ordinary && dense.iter().all(is_ordinary));
        choose = call.choose;
        pool.extend(got.results.into_iter().flatten().filter(|y| y.count() <= MOST).take(4));
        beyond += usize::from(choose.is_done());
    }
});

fn show(x: &[Tensor; 3], got: &Called<Tensor>) {
    let specs = |x: &[Tensor]| x.iter().map(|x| format!("{} {}", x.dtype(), x.shape())).collect::<Vec<_>>().join(", ");
    match &got.results {
        Ok(y) => eprintln!("{} of {}: {}", got.name, specs(x), specs(y)),
        Err(error) => eprintln!("{} of {}: error: {}", got.name, specs(x), error.to_string().replace('\n', " ")),
    }
}

fn check(x: &[Tensor; 3], got: &Called<Tensor>, expected: &Called<Tensor>, ordinary: bool) {
    let operands = || x.iter().map(|x| format!("{} {} {:?}", x.dtype(), x.shape(), x.layout())).collect::<Vec<_>>();
    let (name, same) = (got.name, got.same);
    match (&got.results, &expected.results) {
        (Ok(got), Ok(want)) => {
            assert_eq!(got.len(), want.len(), "{name}");
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                assert_eq!(got.spec(), want.spec(), "{name}, result {i} of {:?}", operands());
                if got.count() > BEYOND {
                    continue;
                }
                // Each element is read, whatever comes of it.
                let (a, b) = (got.to_vec_as::<f64>(), want.to_vec_as::<f64>());
                let equal = match same {
                    Same::Bits => same_bits(got, want),
                    Same::Sums => !ordinary || close(got, &a, &b),
                    Same::Specs => true,
                };
                assert!(equal, "{name}, result {i} of {:?}:\n{got}\n{want}", operands());
            }
        }
        (Err(got), Err(want)) => {
            assert_eq!(got.kind(), want.kind(), "{name}: {got}\n{want}");
            assert!(!got.to_string().is_empty());
        }
        (Ok(_), Err(error)) => panic!("{name} is an error only of dense operands, {:?}: {error}", operands()),
        (Err(error), Ok(_)) => panic!("{name} is an error only of views, {:?}: {error}", operands()),
    }
}

/// Sums in two orders. What is infinite, or far larger than what went in, has lost more than the last places.
fn close(of: &Tensor, a: &[f64], b: &[f64]) -> bool {
    if !of.dtype().is_float() {
        return a == b;
    }
    let precision = match of.dtype() {
        DType::F64 => 1e-9,
        DType::F32 => 1e-3,
        _ => 0.1,
    };
    let bounded = a.iter().chain(b).all(|x| x.abs() < 1e4);
    let largest = a.iter().chain(b).fold(0.0f64, |most, x| most.max(x.abs()));
    !bounded || a.iter().zip(b).all(|(a, b)| (a - b).abs() <= precision * (1.0 + largest))
}
