//! Files that are missing, damaged, or of something else.

use super::{Mistake, classes, classifier, mistakes, quiet, regressor};
use kiln::prelude::*;
use kiln::tensor::io::{load_npy, load_npz, save_npy, save_safetensors};
use kiln::train::data::csv::Csv;
use kiln::train::data::idx;
use std::path::PathBuf;

/// A folder of this test.
pub(super) fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("kiln-errors-{}", std::process::id()))
}

/// A file of this content.
fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    std::fs::create_dir_all(folder()).unwrap();
    let path = folder().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// An IDX file: bytes of shape 3 by 2, of which `bytes` are there.
pub(super) fn idx_of(bytes: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2], bytes].concat()
}

/// An npy file of this type, shape and content.
fn npy(name: &str, descriptor: &str, shape: &str, data: &[u8]) -> PathBuf {
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}\n");
    file(name, [b"\x93NUMPY\x01\x00", &[header.len() as u8, 0][..], header.as_bytes(), data].concat())
}

/// A model's file.
fn saved() -> Result<PathBuf> {
    let path = file("model.safetensors", "");
    classifier()?.save(&path)?;
    Ok(path)
}

pub(super) fn all() -> Vec<Mistake> {
    mistakes! {
        "no such IDX file" => { idx::read(folder().join("none"))? }
        "an IDX file that ends early" => { idx::read(file("short.idx", idx_of(&[1, 2, 3])))? }
        "an IDX file with too much" => { idx::read(file("long.idx", idx_of(&[1, 2, 3, 4, 5, 6, 7])))? }
        "text as an IDX file" => { idx::read(file("text.idx", "hello, world"))? }
        "an IDX file of an unknown type" => { idx::read(file("type.idx", [0, 0, 7, 1, 0, 0, 0, 1, 0]))? }
        "a damaged gzip file" => { idx::read(file("bad.gz", [0x1f, 0x8b, 8, 0, 1, 2, 3]))? }
        "no MNIST in the folder" => { datasets::mnist(folder().join("mnist"))? }
        "no CIFAR-10 in the folder" => { datasets::cifar10(folder().join("cifar"))? }
        "no such CSV file" => { Csv::new(folder().join("none.csv")).target("y").read()? }
        "a CSV file without the column" => { Csv::new(file("a.csv", "height,weight\n1,2\n")).target("wieght").read()? }
        "a word among the numbers of a CSV file" => { Csv::new(file("b.csv", "a,b\n1,2\n3,x\n")).target("b").read()? }
        "a word of a million letters in a CSV file" => {
            Csv::new(file("long.csv", format!("a,b\n1,{}\n", "x".repeat(1 << 20)))).target("b").read()?
        }
        "the target of a CSV file as a feature" => {
            Csv::new(file("leak.csv", "a,b\n1,2\n")).features(["a", "b"]).target("b").read()?
        }
        "a CSV file split at quotes" => { Csv::new(file("quote.csv", "a,b\n1,2\n")).delimiter(b'"').read()? }
        "a row of a CSV file that is too short" => { Csv::new(file("c.csv", "a,b\n1,2\n3\n")).target("b").read()? }
        "a CSV file without rows" => { Csv::new(file("d.csv", "a,b\n")).target("b").read()? }
        "no such model file" => { Model::load(folder().join("none.safetensors"))? }
        "text as a model file" => { Model::load(file("text.safetensors", "hello, world, this is no model"))? }
        "a pickle as a model file" => { Model::load(file("pickle.safetensors", b"\x80\x02}q\x00."))? }
        "a zip archive as a model file" => { Model::load(file("zip.safetensors", b"PK\x03\x04\x14\x00\x00\x00"))? }
        "a model file cut short" => {
            let bytes = std::fs::read(saved()?).unwrap();
            Model::load(file("cut.safetensors", &bytes[..bytes.len() - 10]))?
        }
        "weights as a model" => {
            let path = file("weights.safetensors", "");
            classifier()?.save_weights(&path)?;
            Model::load(path)?
        }
        "weights of another architecture" => { regressor()?.load_weights(saved()?)? }
        "weights of another model" => {
            let path = saved()?;
            let mut other = Sequential::new([4]).add(Dense::new(2)).add(Dense::new(2)).compile("adam", "mse", ["mae"])?;
            other.load_weights(path)?
        }
        "a model saved into a folder that is a file" => { classifier()?.save(file("plain", "").join("model"))? }
        "two tensors of one name" => {
            let x = Tensor::new([1, 2]);
            save_safetensors(folder().join("twice.safetensors"), [("w", &x), ("w", &x)])?
        }
        "a bf16 tensor for NumPy" => { save_npy(folder().join("b.npy"), &Tensor::new([1.0]).cast(DType::BF16)?)? }
        "text as an npy file" => { load_npy(file("text.npy", "hello, world"))? }
        "a safetensors file as npy" => { load_npy(file("a.npy", [&[2, 0, 0, 0, 0, 0, 0, 0], &b"{}"[..]].concat()))? }
        "an npy file that claims more than it has" => { load_npy(npy("claim.npy", "<f4", "(1099511627776,)", &[0; 4]))? }
        "an npy file of complex numbers" => { load_npy(npy("complex.npy", "<c8", "(1,)", &[0; 8]))? }
        "an npy file of integers beyond i64" => { load_npy(npy("u8.npy", "<u8", "(1,)", &[0xff; 8]))? }
        "a page of the web as an npz file" => { load_npz(file("page.npz", "<!DOCTYPE html>"))? }
        "a history that is no CSV" => { History::from_csv(file("h.csv", "epoch,loss\n0,high\n"))? }
        "a history that is no JSON" => { History::from_json(file("h.json", "{\"epochs\": 3"))? }
        "a plot as .jpeg" => { classifier()?.fit(&classes(&[8, 4])?, quiet())?.plot(folder().join("a.jpeg"))? }
        "a plot without an extension" => { classifier()?.fit(&classes(&[8, 4])?, quiet())?.plot(folder().join("a"))? }
        "a plot of no epoch" => { History::new().plot(folder().join("a.svg"))? }
    }
}
