//! Products of matrices by NVIDIA's library, and by kernels where it is not there.

use crate::beside::{FLOATS, alone, device, difference, numbers};
use crate::driver::{Fake, elsewhere};
use kiln::prelude::*;

type View = fn(&Tensor) -> kiln::tensor::Result<Tensor>;

const AS_IT_IS: View = |x| Ok(x.clone());
const TURNED: View = |x| x.transpose(-1, -2);

/// Operands, how each is looked at, and whether the library can take them.
fn operands() -> Vec<([Vec<usize>; 2], [View; 2], bool)> {
    // Attention's: batches and heads lie in no even steps.
    let heads: View = |x| x.permute(&[0, 2, 1, 3]);
    let keys: View = |x| x.permute(&[0, 2, 3, 1]);
    let backwards: View = |x| x.flip(-1);
    vec![
        ([vec![5, 7], vec![7, 3]], [AS_IT_IS; 2], true),
        ([vec![7, 5], vec![7, 3]], [TURNED, AS_IT_IS], true),
        ([vec![5, 7], vec![3, 7]], [AS_IT_IS, TURNED], true),
        ([vec![7, 5], vec![3, 7]], [TURNED; 2], true),
        ([vec![1, 7], vec![7, 1]], [AS_IT_IS; 2], true),
        ([vec![9, 1], vec![1, 4]], [AS_IT_IS; 2], true),
        ([vec![6, 9], vec![4, 5]], [|x| x.slice(1, 2..6), |x| x.slice(1, 1..4)], true),
        ([vec![6, 8], vec![4, 5]], [|x| x.slice(1, 4..), |x| x.slice(0, ..)], true),
        ([vec![3, 4, 5], vec![3, 5, 2]], [AS_IT_IS; 2], true),
        ([vec![3, 4, 5], vec![3, 2, 5]], [AS_IT_IS, TURNED], true),
        ([vec![4, 5], vec![3, 5, 2]], [AS_IT_IS; 2], true),
        ([vec![2, 6, 3, 4], vec![2, 6, 3, 4]], [heads, keys], true),
        ([vec![6, 8], vec![8, 3]], [backwards, AS_IT_IS], true),
        ([vec![6, 1], vec![8, 3]], [|x| x.expand([6, 8]), AS_IT_IS], true),
        // Neither has one step from matrix to matrix, nor has a copy.
        ([vec![2, 1, 4, 5], vec![1, 3, 5, 2]], [AS_IT_IS; 2], false),
    ]
}

/// How many of the products are not what they are on the CPU, in words, and by how many calls of the library each was computed.
fn compare(fake: &Fake) -> Vec<i64> {
    let mut calls = Vec::new();
    for (dims, views, _) in operands() {
        for dtype in FLOATS {
            let x: Vec<Tensor> = dims.iter().zip(1..).map(|(dims, seed)| numbers(dims, dtype, seed)).collect();
            let product = |device: Device| {
                let moved: Vec<Tensor> = x.iter().map(|x| x.to_device(device).unwrap()).collect();
                views[0](&moved[0]).unwrap().matmul(&views[1](&moved[1]).unwrap()).unwrap()
            };
            let before = fake.calls("cublasLtMatmul");
            let got = product(device()).to_device(Device::Cpu).unwrap();
            calls.push(fake.calls("cublasLtMatmul") - before);
            if let Some(problem) = difference(&got, &product(Device::Cpu), 16.0) {
                panic!("{dtype} {dims:?}: {problem}");
            }
        }
    }
    calls
}

#[test]
fn the_library_takes_operands_as_they_lie() {
    let _device = alone();
    let Some(fake) = Fake::open() else { return };
    let want = operands().iter().flat_map(|(.., taken)| [i64::from(*taken); FLOATS.len()]).collect::<Vec<_>>();
    assert_eq!(compare(&fake), want);
    let text = device().description().unwrap();
    assert!(text.contains("products by cuBLASLt 13.1, "), "{text}");
    // Whole numbers are multiplied by kernels.
    let (x, before) = (numbers(&[3, 3], DType::I64, 1).to_device(device()).unwrap(), fake.calls("cublasLtMatmul"));
    assert_eq!(x.matmul(&x).unwrap().dtype(), DType::I64);
    assert_eq!(fake.calls("cublasLtMatmul"), before);
    fake.fail("cublasLtMatmul", 719);
    let x = x.cast(DType::F32).unwrap();
    let text = x.matmul(&x).unwrap_err().to_string();
    assert!(text.starts_with("matmul: cuBLASLt cannot start the product: "), "{text}");
    assert!(x.matmul(&x).is_ok());
}

#[test]
fn without_the_library_kernels_multiply() {
    if Fake::open().is_some() {
        elsewhere("products::by_kernels", &[("KILN_FAKE_NO_PRODUCTS", "1")]);
    }
}

#[test]
#[ignore = "what `without_the_library_kernels_multiply` runs"]
fn by_kernels() {
    let fake = Fake::open().unwrap();
    assert!(compare(&fake).iter().all(|&calls| calls == 0));
    let text = device().description().unwrap();
    assert!(text.contains("products by kernels of Kiln (no cuBLASLt), "), "{text}");
}

#[test]
fn products_are_less_exact_where_that_is_allowed() {
    device();
    elsewhere("products::tf32", &[]);
}

/// In a process of its own, for it holds for all products.
#[test]
#[ignore = "what `products_are_less_exact_where_that_is_allowed` runs"]
fn tf32() {
    let x = Tensor::eye(32, 32).unwrap().mul(1.0 + 0.5f32.powi(12)).unwrap().to_device(device()).unwrap();
    let product = || x.matmul(&x).unwrap().to_device(Device::Cpu).unwrap().to_vec::<f32>().unwrap()[33];
    let exact = 1.0 + 0.5f32.powi(11);
    assert!((product() - exact).abs() < 1e-6);
    Device::allow_tf32(true);
    let allowed = product();
    assert!(allowed == 1.0 || Fake::open().is_none(), "{allowed}");
    Device::allow_tf32(false);
    assert!((product() - exact).abs() < 1e-6);
}
