//! CIFAR-10 in its binary form (<https://www.cs.toronto.edu/~kriz/cifar.html>). Reads folders, unpacks no archive.
//!
//! A file is a row of records: a label byte, then 32×32 red, green and blue planes. The arrays here have the channel
//! last (NHWC), as Keras wants images.

use super::{RawArray, RawData, read_file};
use crate::error::{Error, Result};
use std::path::Path;

/// The classes, by label.
pub const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;

/// Images `[N, 32, 32, 3]` and labels `[N]`, both bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cifar10 {
    /// Red, green and blue of each pixel, 0 to 255.
    pub images: RawArray,
    /// The class of each image, 0 to 9.
    pub labels: RawArray,
}

/// Reads one file, such as `data_batch_1.bin`.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::File`] where it is empty, its size is not a multiple of a
/// record's, or a label is above 9.
pub fn read(path: impl AsRef<Path>) -> Result<Cifar10> {
    read_all(&[path.as_ref()])
}

/// Reads the training set (`data_batch_1.bin` to `data_batch_5.bin`) and the test set (`test_batch.bin`) of a folder.
///
/// # Errors
/// As [`read`], for whichever file is missing or damaged.
pub fn read_folder(folder: impl AsRef<Path>) -> Result<(Cifar10, Cifar10)> {
    let folder = folder.as_ref();
    let parts: Vec<_> = (1..=5).map(|part| folder.join(format!("data_batch_{part}.bin"))).collect();
    let test = folder.join("test_batch.bin");
    for path in parts.iter().chain([&test]) {
        if !path.exists() {
            return Err(Error::file(path, "does not exist").with_help(
                "give the folder `cifar-10-batches-bin`; examples/data/get-data.sh DIR cifar10 fetches it",
            ));
        }
    }
    let train = read_all(&parts)?;
    Ok((train, read(test)?))
}

fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Cifar10> {
    let mut images = Vec::new();
    let mut labels = Vec::new();
    for path in paths {
        let path = path.as_ref();
        append(path, &read_file(path)?, &mut images, &mut labels)?;
    }
    let count = labels.len();
    Ok(Cifar10 {
        images: RawArray::new(vec![count, SIDE, SIDE, 3], RawData::U8(images))?,
        labels: RawArray::new(vec![count], RawData::U8(labels))?,
    })
}

fn append(path: &Path, bytes: &[u8], images: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Error::file(
            path,
            format!("has {} bytes, expected a multiple of {RECORD} (one CIFAR-10 record)", bytes.len()),
        )
        .with_help("take the binary version, cifar-10-binary.tar.gz; if it is, download it again"));
    }
    images.reserve(bytes.len() / RECORD * 3 * PLANE);
    for (number, record) in bytes.chunks_exact(RECORD).enumerate() {
        let (label, planes) = (record[0], &record[1..]);
        if usize::from(label) >= CLASS_NAMES.len() {
            return Err(Error::file(path, format!("record {number} has the label {label}, expected 0 to 9"))
                .with_help("CIFAR-100 has another layout; if it is CIFAR-10, download it again"));
        }
        labels.push(label);
        for pixel in 0..PLANE {
            images.extend([planes[pixel], planes[PLANE + pixel], planes[2 * PLANE + pixel]]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record(label: u8, red: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        bytes.extend((0..3 * PLANE).map(|at| red.wrapping_add((at / PLANE) as u8)));
        bytes[1 + PLANE + 33] = 200;
        bytes
    }

    #[test]
    fn planes_become_channels() {
        let folder = tempfile::tempdir().unwrap();
        for part in 1..=5 {
            let path = folder.path().join(format!("data_batch_{part}.bin"));
            fs::write(path, [record(part, 10), record(0, 20)].concat()).unwrap();
        }
        fs::write(folder.path().join("test_batch.bin"), record(9, 30)).unwrap();
        let (train, test) = read_folder(folder.path()).unwrap();
        assert_eq!(train.images.shape(), [10, 32, 32, 3]);
        assert_eq!(*train.labels.data(), RawData::U8(vec![1, 0, 2, 0, 3, 0, 4, 0, 5, 0]));
        assert_eq!(test.labels.shape(), [1]);
        let RawData::U8(pixels) = test.images.data() else { unreachable!() };
        assert_eq!(pixels[..6], [30, 31, 32, 30, 31, 32]);
        // Green of row 1, column 1.
        assert_eq!(pixels[(32 + 1) * 3 + 1], 200);
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data_batch_1.bin");
        let error = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(error(&[]).contains("has 0 bytes"));
        assert!(error(&record(1, 1)[1..]).contains("has 3072 bytes, expected a multiple of 3073"));
        let wrong = [record(1, 1), record(10, 1)].concat();
        assert!(error(&wrong).contains("record 1 has the label 10"));
        let missing = read_folder(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("data_batch_2.bin: does not exist"), "{missing}");
    }
}
