//! The fake CUDA driver passes its own tests, in each of its ways to run.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use xtask::fake_gpu::{FakeGpu, NO_COMPILER};

#[test]
fn keeps_its_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fake = match FakeGpu::build(&root, &[]) {
        Ok(fake) => fake,
        Err(problem) if problem == NO_COMPILER => {
            println!("skipped: {problem}");
            return;
        }
        Err(problem) => panic!("{problem}"),
    };
    let program = fake.program("selftest").unwrap();
    let ways: &[&[(&str, &str)]] = &[
        &[],
        &[("KILN_FAKE_SEED", "0")],
        &[("KILN_FAKE_SEED", "2"), ("KILN_FAKE_DEVICES", "2")],
        &[("KILN_FAKE_LAZY", "1")],
        &[("KILN_FAKE_GUARD", "1"), ("KILN_FAKE_LAZY", "1"), ("KILN_FAKE_DEVICES", "2")],
    ];
    for way in ways {
        let mut command = Command::new(&program);
        fake.prepare(&mut command);
        let output = command.arg(&fake.folder).envs(way.iter().copied()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{way:?}: {:?}\n{text}", output.status);
    }
    sees_overruns(&fake, &program);
    lacks_functions(&root, &fake);
}

/// With AddressSanitizer in the process, kernels and the memory of devices are under its watch.
fn sees_overruns(fake: &FakeGpu, program: &Path) {
    let Some(library) = fake.sanitizer() else {
        println!("skipped: the C++ compiler has no AddressSanitizer");
        return;
    };
    let mut command = Command::new(program);
    fake.prepare(&mut command);
    command.arg(&fake.folder).arg("--overrun").env("KILN_FAKE_SANITIZE", "1");
    let output = command.env("LD_PRELOAD", library).env("ASAN_OPTIONS", "detect_leaks=0").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("in overrun") && text.contains("test.cu:2"), "{text}");
}

/// A build without some functions, as an older driver is.
fn lacks_functions(root: &Path, fake: &FakeGpu) {
    let older = FakeGpu::build(root, &["cuEventElapsedTime_v2"]).unwrap();
    // Their names stand in the library's tables of symbols: once less, for debuggers, or not at all.
    let names = |fake: &FakeGpu| {
        let library = std::fs::read(fake.folder.join("libcuda.so.1")).unwrap();
        let name = b"\0cuEventElapsedTime_v2\0";
        library.windows(name.len()).filter(|bytes| bytes == name).count()
    };
    assert!(names(&older) < names(fake));
}
