//! Convolutions by NVIDIA's library, and by kernels where it is not there or cannot. The fake one starts only where a variable says
//! so: elsewhere kernels are tested.

use crate::beside::{FLOATS, alone, device, difference, numbers};
use crate::driver::{Fake, elsewhere};
use crate::training::train_convolutions;
use crate::windows::convolved;
use kiln::prelude::*;
use kiln::tensor::Trace;
use kiln::tensor::ops::{Conv2d, Conv2dInputGrad, Conv2dWeightGrad};

/// The library's functions, in the order of the passes.
const FUNCTIONS: [&str; 3] =
    ["cudnnConvolutionForward", "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"];

const PRESENT: (&str, &str) = ("KILN_FAKE_CUDNN", "1");

/// A convolution, its two gradients and their operands, for an input and weights of these sizes.
struct Case {
    conv: Conv2d,
    input: [usize; 2],
    kernel: [usize; 2],
    x: Tensor,
    w: Tensor,
    dy: Tensor,
}

impl Case {
    fn new(conv: Conv2d, dims: [usize; 4], weights: [usize; 4], dtype: DType) -> Case {
        let (x, w) = (numbers(&dims, dtype, 1), numbers(&weights, dtype, 2));
        let y = Tensor::apply(&conv, &[&x, &w]).unwrap().one().unwrap();
        let dy = numbers(y.shape().dims(), dtype, 3);
        Case { conv, input: [dims[1], dims[2]], kernel: [weights[0], weights[1]], x, w, dy }
    }

    /// What the three passes give on a device.
    fn on(&self, device: Device) -> [Tensor; 3] {
        let Case { conv, input, kernel, .. } = *self;
        let [x, w, dy] = [&self.x, &self.w, &self.dy].map(|x| x.to_device(device).unwrap());
        let results = [
            Tensor::apply(&conv, &[&x, &w]),
            Tensor::apply(&Conv2dInputGrad { conv, input }, &[&dy, &w]),
            Tensor::apply(&Conv2dWeightGrad { conv, kernel }, &[&x, &dy]),
        ];
        results.map(|y| y.unwrap().one().unwrap().to_device(Device::Cpu).unwrap())
    }

    /// Compares them with those of the CPU.
    #[track_caller]
    fn check(&self) {
        let passes = self.on(device()).into_iter().zip(self.on(Device::Cpu));
        for ((got, want), slack) in passes.zip([8.0, 8.0, 32.0]) {
            if let Some(problem) = difference(&got, &want, slack) {
                panic!("{} {:?}: {problem}", self.x.dtype(), self.conv);
            }
        }
    }
}

/// Checks every case, and gives the numbers of calls of the library's functions in each.
fn compare(fake: &Fake) -> Vec<(Case, [i64; 3])> {
    let mut calls = Vec::new();
    for (dims, weights, conv) in convolved() {
        for dtype in FLOATS {
            let case = Case::new(conv, dims, weights, dtype);
            let before = FUNCTIONS.map(|function| fake.calls(function));
            case.check();
            calls.push((case, std::array::from_fn(|i| fake.calls(FUNCTIONS[i]) - before[i])));
        }
    }
    calls
}

#[test]
fn the_library_convolves() {
    if Fake::open().is_some() {
        elsewhere("convolutions::by_the_library", &[PRESENT]);
    }
}

#[test]
#[ignore = "what `the_library_convolves` runs"]
fn by_the_library() {
    let _device = alone();
    let fake = Fake::open().unwrap();
    for (case, calls) in compare(&fake) {
        let is_even = case.conv.padding.iter().all(|[before, after]| before == after);
        let is_something = [&case.x, &case.w, &case.dy].iter().all(|x| x.count() > 0);
        let is_its = is_even && is_something && case.x.dtype() != DType::F64;
        assert_eq!(calls, [i64::from(is_its); 3], "{} {:?} of {}", case.x.dtype(), case.conv, case.x.shape());
    }
    let text = device().description().unwrap();
    assert!(text.ends_with("convolutions by cuDNN 9.19"), "{text}");
}

fn one(dtype: DType) -> Case {
    let conv = Conv2d { stride: [2, 1], padding: [[1, 1]; 2], dilation: [1, 2], groups: 2 };
    Case::new(conv, [2, 7, 8, 16], [3, 2, 8, 8], dtype)
}

#[test]
fn operands_lie_anywhere() {
    if Fake::open().is_some() {
        elsewhere("convolutions::of_what_lies_anywhere", &[PRESENT]);
    }
}

/// Strided operands are copied, values that lie in no memory are written, and what begins between two packs is left to a kernel.
#[test]
#[ignore = "what `operands_lie_anywhere` runs"]
fn of_what_lies_anywhere() {
    let _device = alone();
    let fake = Fake::open().unwrap();
    let Case { conv, x, w, .. } = one(DType::F32);
    let count = x.count();
    let shifted = Tensor::from_vec([vec![0.0; 3], x.to_vec_as::<f64>()].concat(), [count + 3]).unwrap();
    let shifted = shifted.cast(DType::F32).unwrap();
    let looks: [(&dyn Fn(Device) -> [Tensor; 2], i64); 4] = [
        (&|device| [x.to_device(device).unwrap().flip(1).unwrap(), w.to_device(device).unwrap()], 1),
        (&|device| [x.to_device(device).unwrap(), w.to_device(device).unwrap().flip(0).unwrap()], 1),
        (&|device| [x.to_device(device).unwrap(), Tensor::filled(w.spec(), 0.5)], 1),
        (
            &|device| {
                let x = shifted.to_device(device).unwrap().slice(0, 3..).unwrap().reshape(*x.shape()).unwrap();
                [x, w.to_device(device).unwrap()]
            },
            0,
        ),
    ];
    for (look, wanted) in looks {
        let result = |device| {
            let [x, w] = look(device);
            Tensor::apply(&conv, &[&x, &w]).unwrap().one().unwrap().to_device(Device::Cpu).unwrap()
        };
        let before = fake.calls(FUNCTIONS[0]);
        assert_eq!(difference(&result(device()), &result(Device::Cpu), 8.0), None);
        assert_eq!(fake.calls(FUNCTIONS[0]) - before, wanted);
    }
}

#[test]
fn a_convolution_that_cannot_be_started_is_left_to_kernels() {
    if Fake::open().is_some() {
        elsewhere("convolutions::after_a_failure", &[PRESENT]);
    }
}

#[test]
#[ignore = "what `a_convolution_that_cannot_be_started_is_left_to_kernels` runs"]
fn after_a_failure() {
    let _device = alone();
    let fake = Fake::open().unwrap();
    let case = one(DType::F32);
    for function in FUNCTIONS {
        fake.fail(function, 719);
        case.check();
        // It is not asked again.
        let before = fake.calls(function);
        case.check();
        assert_eq!(fake.calls(function), before);
    }
    // Of another type it is.
    let before = fake.calls(FUNCTIONS[0]);
    one(DType::F16).check();
    assert_eq!(fake.calls(FUNCTIONS[0]) - before, 1);
}

#[test]
fn a_plan_convolves_by_the_library() {
    if Fake::open().is_some() {
        elsewhere("convolutions::in_a_plan", &[PRESENT]);
    }
}

/// Training with plans gives the bits of training without, on the CPU nearly the same numbers; and the library is in the graph.
#[test]
#[ignore = "what `a_plan_convolves_by_the_library` runs"]
fn in_a_plan() {
    let fake = Fake::open().unwrap();
    train_convolutions();
    // The images have no gradient.
    assert_eq!(FUNCTIONS.map(|function| fake.calls(function) > 0), [true, false, true]);
    let _device = alone();
    let case = one(DType::BF16);
    let [x, w] = [&case.x, &case.w].map(|x| x.to_device(device()).unwrap());
    let trace = Trace::new();
    let (traced_x, traced_w) = (trace.input(&x).unwrap(), trace.input(&w).unwrap());
    let y = Tensor::apply(&case.conv, &[&traced_x, &traced_w]).unwrap().one().unwrap();
    let mut plan = trace.finish(&[&y]).unwrap();
    let mut into = vec![];
    for run in 0..4 {
        let before = fake.calls("cuGraphLaunch");
        into = plan.run(&[&x, &w]).unwrap();
        assert!(into[0].same_bits(&y.untraced()), "run {run}");
        // Results lie where they lay before, from some run on.
        assert!(run < 3 || fake.calls("cuGraphLaunch") > before);
    }
    drop(into);
}

#[test]
fn without_the_library_kernels_convolve() {
    if Fake::open().is_none() {
        return;
    }
    let without = |variables: &[(&str, &str)], said: &str| {
        let text = elsewhere("convolutions::by_kernels", &[&[PRESENT], variables].concat());
        assert!(text.contains(said), "{variables:?}: {text}");
    };
    let (none, there) = ("convolutions by kernels of Kiln (no cuDNN)", "convolutions by cuDNN 9.19");
    without(&[("KILN_FAKE_CUDNN", "")], none);
    without(&[("KILN_CUDNN", "0")], none);
    without(&[("KILN_FAKE_CUDNN_VERSION", "8907")], none);
    without(&[("KILN_FAKE_CUDNN_REFUSES", "1")], there);
    without(&[("KILN_FAKE_CUDNN_WORKSPACE", "1000000000")], there);
    // Without it, without one of its parts, and with one that lacks functions.
    let from = std::path::PathBuf::from(std::env::var("KILN_CUDA_LIB").unwrap());
    let folder = std::env::temp_dir().join(format!("kiln-cudnn-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let copy = |file: &str, to: &str| std::fs::copy(from.join(file), folder.join(to)).unwrap();
    let here = [("KILN_CUDA_LIB", folder.to_str().unwrap())];
    for file in ["libcuda.so.1", "libnvrtc.so.13", "libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn.so.9"] {
        copy(file, file);
    }
    without(&here, none);
    copy("libcudnn_cnn.so.9", "libcudnn_cnn.so.9");
    copy("libcudnn_cnn.so.9", "libcudnn.so.9");
    without(&here, none);
    std::fs::remove_file(folder.join("libcudnn.so.9")).unwrap();
    without(&here, none);
    copy("libcudnn.so.9", "libcudnn.so.9");
    elsewhere("convolutions::by_the_library", &[&[PRESENT], &here[..]].concat());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "what `without_the_library_kernels_convolve` runs"]
fn by_kernels() {
    let fake = Fake::open().unwrap();
    for dtype in FLOATS {
        one(dtype).check();
    }
    assert!(FUNCTIONS.iter().all(|function| fake.calls(function) == 0));
    println!("{}", device().description().unwrap());
}

#[test]
fn convolutions_are_less_exact_where_that_is_allowed() {
    if Fake::open().is_some() {
        elsewhere("convolutions::tf32", &[PRESENT]);
    }
}

/// In a process of its own, for it holds for all products.
#[test]
#[ignore = "what `convolutions_are_less_exact_where_that_is_allowed` runs"]
fn tf32() {
    device();
    let number = 1.0 + 0.5f32.powi(12);
    let [x, w] = [[1, 2, 2, 4], [1, 1, 4, 4]]
        .map(|shape| Tensor::full(shape, number).unwrap().add(0.0).unwrap().to_device(device()).unwrap());
    let conv = Conv2d { stride: [1, 1], padding: [[0, 0]; 2], dilation: [1, 1], groups: 1 };
    let first =
        || Tensor::apply(&conv, &[&x, &w]).unwrap()[0].to_device(Device::Cpu).unwrap().to_vec::<f32>().unwrap()[0];
    let exact = 4.0 * number * number;
    assert!((first() - exact).abs() < 1e-6);
    Device::allow_tf32(true);
    assert_eq!(first(), 4.0);
    Device::allow_tf32(false);
    assert!((first() - exact).abs() < 1e-6);
}
