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
    // A driver that lacks a function, as an older one does.
    let older = FakeGpu::build(&root, &["cuEventElapsedTime_v2"]).unwrap();
    let symbols = |fake: &FakeGpu| std::fs::read(fake.folder.join("libcuda.so.1")).unwrap();
    let names = |fake: &FakeGpu| {
        let dynamic = b"\0cuEventElapsedTime_v2\0";
        symbols(fake).windows(dynamic.len()).filter(|bytes| bytes == dynamic).count()
    };
    assert!(names(&older) < names(&fake));
}
