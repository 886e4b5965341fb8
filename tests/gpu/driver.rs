//! What lies between Kiln and the driver, by a fake one that counts, and that fails when it is told to.

use crate::beside::{alone, device, shared};
use kiln::prelude::*;
use kiln::tensor::ErrorKind;
use libloading::{Library, Symbol};
use std::process::Command;

/// The fake driver's own functions; `None` on a GPU, where nothing can be counted.
pub struct Fake(Library);

impl Fake {
    pub fn open() -> Option<Fake> {
        device();
        // SAFETY: the library is loaded already.
        let library = unsafe { Library::new("libcuda.so.1") }.ok()?;
        // SAFETY: the symbol is looked for and not used.
        unsafe { library.get::<*const ()>(b"kiln_fake_calls") }.ok()?;
        Some(Fake(library))
    }

    pub fn calls(&self, function: &str) -> i64 {
        let name = std::ffi::CString::new(function).unwrap();
        // SAFETY: the function of this name takes a text and gives a number.
        unsafe {
            let calls: Symbol<'_, unsafe extern "C" fn(*const std::ffi::c_char) -> std::ffi::c_long> =
                self.0.get(b"kiln_fake_calls").unwrap();
            calls(name.as_ptr())
        }
    }

    /// The next call of a function fails with a code.
    pub fn fail(&self, function: &str, code: i32) {
        let name = std::ffi::CString::new(function).unwrap();
        // SAFETY: the function of this name takes a text, how many calls from now, and the code.
        unsafe {
            let fail: Symbol<'_, unsafe extern "C" fn(*const std::ffi::c_char, std::ffi::c_long, i32)> =
                self.0.get(b"kiln_fake_fail").unwrap();
            fail(name.as_ptr(), 1, code);
        }
    }
}

/// Runs a test of this program in another process with other variables, and gives what it prints.
pub fn elsewhere(test: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

#[test]
#[ignore = "what `a_device_that_is_missing_says_so` runs"]
fn print_why_not() {
    match Device::cuda(0) {
        Ok(device) => println!("there is {}", device.description().unwrap()),
        Err(error) => println!("{error}"),
    }
    println!("best: {}, {} devices", Device::best(), Device::cuda_count());
}

#[test]
fn a_device_that_is_missing_says_so() {
    if Fake::open().is_none() {
        return;
    }
    let why = |variables: &[(&str, &str)]| elsewhere("driver::print_why_not", variables);
    let text = why(&[]);
    assert!(text.contains("there is ") && text.contains("best: cuda:0, 1 devices"), "{text}");
    let empty = std::env::temp_dir().join(format!("kiln-no-libraries-{}", std::process::id()));
    std::fs::create_dir_all(&empty).unwrap();
    let text = why(&[("KILN_CUDA_LIB", empty.to_str().unwrap())]);
    assert!(text.contains("cuda:0: NVIDIA's driver is not there: no libcuda.so.1"), "{text}");
    assert!(text.contains(empty.to_str().unwrap()) && text.contains("best: cpu, 0 devices"), "{text}");
    // A driver without a compiler.
    let driver = std::env::var("KILN_CUDA_LIB").unwrap() + "/libcuda.so.1";
    std::fs::copy(driver, empty.join("libcuda.so.1")).unwrap();
    let text = why(&[("KILN_CUDA_LIB", empty.to_str().unwrap())]);
    assert!(text.contains("run-time compiler (NVRTC) is not there") && text.contains("best: cpu"), "{text}");
    std::fs::remove_dir_all(&empty).unwrap();
    let text = why(&[("KILN_FAKE_DRIVER_VERSION", "11040")]);
    assert!(text.contains("the driver is for CUDA 11.4, the oldest that works is 12.0"), "{text}");
    let text = why(&[("KILN_FAKE_DEVICES", "0")]);
    assert!(text.contains("the driver finds no GPU") && text.contains("best: cpu, 0 devices"), "{text}");
    let error = Device::cuda(63).unwrap_err().to_string();
    assert!(error.starts_with("cuda:63: the only GPU is number 0"), "{error}");
}

#[test]
#[ignore = "what `devices_exchange_tensors` runs"]
fn exchange() {
    let [a, b] = [0, 1].map(|number| Device::cuda(number).unwrap());
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
    let (on_a, on_b) = (x.to_device(a).unwrap(), x.t().unwrap().to_device(b).unwrap());
    let error = on_a.add(&on_b).unwrap_err().to_string();
    assert!(error.contains("the operands are on cuda:0 and cuda:1"), "{error}");
    let moved = on_a.slice(1, 1..).unwrap().to_device(b).unwrap();
    assert_eq!(moved.device(), b);
    assert_eq!(moved.add(&on_b).unwrap().to_vec::<f32>().unwrap(), [3.0, 5.0, 6.0, 8.0]);
    assert_eq!(on_b.to_device(Device::Cpu).unwrap().to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn devices_exchange_tensors() {
    if Fake::open().is_some() {
        elsewhere("driver::exchange", &[("KILN_FAKE_DEVICES", "2")]);
    }
}

#[test]
fn training_waits_for_what_it_reads() {
    // Work runs late, and the host must not touch a device's memory.
    if Fake::open().is_some() {
        elsewhere("driver::train", &[("KILN_FAKE_LAZY", "1"), ("KILN_FAKE_GUARD", "1")]);
    }
}

#[test]
#[ignore = "what `training_waits_for_what_it_reads` runs"]
fn train() {
    crate::training::train_dense();
}

/// Copies many tensors to the device, some larger than those before, and reads them there.
fn exchange_many() {
    let numbers = |i: usize| (0..20_000 + 3_000 * (i % 7)).map(|j| (i * 31 + j) as f32).collect::<Vec<f32>>();
    let there: Vec<Tensor> = (0..40)
        .map(|i| Tensor::from_vec(numbers(i), [numbers(i).len()]).unwrap().to_device(device()).unwrap())
        .map(|x| x.add(1.0).unwrap())
        .collect();
    for (i, x) in there.iter().enumerate() {
        let want: Vec<f32> = numbers(i).iter().map(|x| x + 1.0).collect();
        assert_eq!(x.to_vec::<f32>().unwrap(), want, "{i}");
    }
}

#[test]
#[ignore = "what `batches_go_through_few_pinned_blocks` runs"]
fn copy_late() {
    exchange_many();
}

#[test]
fn batches_go_through_few_pinned_blocks() {
    let _device = alone();
    let Some(fake) = Fake::open() else { return };
    device().release_cached().unwrap();
    let before = fake.calls("cuMemHostAlloc");
    exchange_many();
    let blocks = fake.calls("cuMemHostAlloc") - before;
    assert!((1..=4).contains(&blocks), "{blocks}");
    device().release_cached().unwrap();
    // Without such memory the driver copies from where the elements lie.
    fake.fail("cuMemHostAlloc", 2);
    exchange_many();
    // Copies that are late must find what was to be copied.
    elsewhere("driver::copy_late", &[("KILN_FAKE_LAZY", "1"), ("KILN_FAKE_GUARD", "1")]);
}

#[test]
fn memory_is_used_again_and_counted() {
    let _device = alone();
    let Some(fake) = Fake::open() else { return };
    let mut model = Sequential::new([5])
        .add(Dense::new(16).activation("relu"))
        .add(Dense::new(3).activation("softmax"))
        .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        .unwrap()
        .on(device())
        .unwrap();
    let (x, y) = (Tensor::ones([8, 5]).unwrap(), Tensor::new([0, 1, 2, 0, 1, 2, 0, 1]));
    let mut step = || {
        let calls =
            || ["cuMemAlloc", "cuLaunchKernel", "cuGraphLaunch", "cuMemcpyHtoDAsync"].map(|name| fake.calls(name));
        let before = calls();
        model.train_on_batch(&x, &y).unwrap();
        let after = calls();
        std::array::from_fn(|i| after[i] - before[i])
    };
    let steps: Vec<[i64; 4]> = (0..10).map(|_| step()).collect();
    // Operations one by one, which give the optimizer its tensors; recorded; compared; replayed; made a graph of.
    assert!((10..120).contains(&steps[0][1]), "{steps:?}");
    // One graph from then on, one copy of the numbers, and two of the batch. Its memory may take turns for some steps.
    assert_eq!(steps[8..], [[0, 0, 1, 3]; 2], "{steps:?}");
    drop(model);
    let (before, memory) = (device().memory().unwrap().live, Tensor::ones([1 << 20]).unwrap());
    let there = memory.to_device(device()).unwrap();
    assert_eq!(device().memory().unwrap().live - before, 4 << 20);
    drop(there);
    let memory = device().memory().unwrap();
    assert_eq!(memory.live, before);
    assert!(memory.peak >= before + (4 << 20) && memory.waiting >= 4 << 20 && memory.total > 0);
    device().release_cached().unwrap();
    assert_eq!(device().memory().unwrap().waiting, 0);
}

#[test]
fn without_memory_there_is_an_error_and_training_goes_on() {
    let _device = alone();
    if Fake::open().is_none() {
        return;
    }
    let x = Tensor::ones([1 << 10, 1]).unwrap().to_device(device()).unwrap();
    let wide = x.expand([1 << 10, 1 << 20]).unwrap();
    let error = wide.add(1.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    let text = error.to_string();
    assert!(text.starts_with("add: there is no memory for 4.295 GB on "), "{text}");
    assert_eq!(x.add(1.0).unwrap().sum(..).unwrap().item().unwrap(), 2048.0);
}

#[test]
fn a_call_that_fails_is_an_error() {
    let _device = alone();
    let Some(fake) = Fake::open() else { return };
    let x = Tensor::new([1.0f32, 2.0]).to_device(device()).unwrap();
    fake.fail("cuLaunchKernel", 701);
    let text = x.mul(3.0).unwrap_err().to_string();
    assert!(text.starts_with("mul: the kernel pointwise cannot be started: "), "{text}");
    fake.fail("cuMemcpyDtoHAsync", 999);
    let text = x.to_vec::<f32>().unwrap_err().to_string();
    assert!(text.contains("the elements cannot be copied from the device"), "{text}");
    assert_eq!(x.mul(3.0).unwrap().to_vec::<f32>().unwrap(), [3.0, 6.0]);
}

#[test]
fn an_operation_without_a_kernel_says_so() {
    #[derive(Debug, Clone, PartialEq)]
    struct Nowhere;
    impl Op for Nowhere {
        fn name(&self) -> &str {
            "nowhere"
        }
        fn infer(&self, x: &[Spec]) -> kiln::tensor::Result<Specs> {
            Ok(x[0].into())
        }
        fn cpu(&self, _: CpuCall<'_, Self>) -> kiln::tensor::Result<()> {
            Ok(())
        }
    }
    let _device = shared();
    let x = Tensor::new([1.0f32]).to_device(device()).unwrap();
    let text = Tensor::apply(&Nowhere, &[&x]).unwrap_err().to_string();
    assert!(text.starts_with("nowhere: has no CUDA kernel") && text.contains("implement Op::cuda"), "{text}");
}

#[test]
fn a_kernel_of_ones_own() {
    /// `y = x² + 1`, by a kernel.
    #[derive(Debug, Clone, PartialEq)]
    struct SquarePlusOne {
        source: &'static str,
    }
    impl Op for SquarePlusOne {
        fn name(&self) -> &str {
            "square_plus_one"
        }
        fn infer(&self, x: &[Spec]) -> kiln::tensor::Result<Specs> {
            Ok(x[0].into())
        }
        fn cpu(&self, _: CpuCall<'_, Self>) -> kiln::tensor::Result<()> {
            unreachable!("it runs on a device")
        }
        fn cuda(&self, call: &mut CudaCall<'_>) -> kiln::tensor::Result<()> {
            let count = call.outputs()[0].shape.count();
            let launch = Launch::new(self.source, "square_plus_one").define_type("T", call.inputs()[0].dtype());
            let launch = launch.over(count).arg(count).arg(call.dense(0)).arg(call.output(0));
            call.launch(launch);
            Ok(())
        }
    }
    let _device = shared();
    let good = "KERNEL square_plus_one(i64 n, const T* x, T* y) {
        for (i64 i = THREAD; i < n; i += THREADS) {
            f32 a = kiln::load<f32>(x[i]);
            y[i] = kiln::store<T>(a * a + 1.0f);
        }
    }";
    for dtype in [DType::F32, DType::BF16] {
        let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).cast(dtype).unwrap().to_device(device()).unwrap();
        let y = Tensor::apply(&SquarePlusOne { source: good }, &[&x.t().unwrap()]).unwrap().one().unwrap();
        assert_eq!(y.to_vec_as::<f64>(), [2.0, 17.0, 5.0, 26.0, 10.0, 37.0]);
    }
    let bad = "KERNEL square_plus_one(i64 n, const T* x, T* y) {\n    y[0] = undefined;\n}";
    let x = Tensor::new([1.0f32]).to_device(device()).unwrap();
    let text = Tensor::apply(&SquarePlusOne { source: bad }, &[&x]).unwrap_err().to_string();
    assert!(text.starts_with("square_plus_one: its CUDA kernel does not compile:"), "{text}");
    // The line counts from the operation's own source, after its macros.
    assert!(text.contains("square_plus_one.cu") && text.contains("undefined"), "{text}");
}
