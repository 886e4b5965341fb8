//! Any bytes as any file that the library reads: an error or a value, and no more memory than the file may ask for.

#![no_main]

use kiln::nn::{Functional, losses, metrics, optimizers};
use kiln::prelude::*;
use kiln::tensor::io;
use kiln::train::data::{cifar, csv, idx};
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Where the bytes lie for readers that take a path: in memory, where the system has such a folder.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    folder.join(format!("kiln-fuzz-{}", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let name = Path::new("input");
    match kind % 12 {
        0 => drop(io::parse_npy(bytes, name).map(|x| assert!(io::to_npy(&x).is_ok()))),
        1 => drop(io::parse_safetensors(bytes, name)),
        2 => drop(io::load_npz(file(bytes))),
        3 => drop(idx::read(file(bytes))),
        4 => table(bytes),
        5 => drop(cifar::read(file(bytes))),
        6 => drop(History::from_csv(file(bytes))),
        7 => drop(History::from_json(file(bytes))),
        8 => drop(csv::Encoding::load(file(bytes)).map(|encoding| encoding.feature_names())),
        9 | 10 => model(bytes),
        _ => settings(bytes),
    }
});

fn file(bytes: &[u8]) -> &'static Path {
    std::fs::write(&*FILE, bytes).unwrap();
    &FILE
}

/// The first byte says how it is read.
fn table(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut table = csv::Csv::new(file(bytes)).delimiter(b",;\t|,"[usize::from(how % 5)]);
    if how & 64 != 0 {
        table = table.fill(0.0);
    }
    let table = if how & 128 != 0 { table.class_target("y") } else { table.target("y") };
    drop(table.read());
}

/// A model file, whose checksum is made right: who claims such things can compute one.
fn model(bytes: &[u8]) {
    const NO_DIGITS: &[u8] = b"00000000";
    let mut bytes = bytes.to_vec();
    for mark in [&b"kiln_checksum\\\": \\\""[..], b"kiln_checksum\":\""] {
        let Some(at) = bytes.windows(mark.len()).position(|part| part == mark) else { continue };
        if let Some(digits) = bytes.get_mut(at + mark.len()..at + mark.len() + 8) {
            digits.copy_from_slice(NO_DIGITS);
            let sum = format!("{:08x}", crc32fast::hash(&bytes));
            bytes[at + mark.len()..at + mark.len() + 8].copy_from_slice(sum.as_bytes());
        }
    }
    let path = file(&bytes);
    drop(Model::load(path));
    drop(Model::<kiln::nn::Network>::load_network(path));
    let sequential = Sequential::new([2]).add(Dense::new(1));
    let mut model = sequential.compile("adam", "mse", ()).unwrap();
    drop(model.load_weights(path));
    drop(model.load_weights_by_name(path, "*"));
    drop(model.load_state(path));
}

/// What model files hold as text.
fn settings(bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    drop(losses::from_config(&json));
    drop(metrics::from_config(&json));
    drop(optimizers::from_config(&json));
    drop(init::Initializer::from_config(&json));
    if let Some(class) = json["class"].as_str() {
        drop(layers::from_config(class, &json["config"]));
    }
    if let Ok(functional) = Functional::from_config(&json) {
        drop(functional.parameter_specs());
    }
}
