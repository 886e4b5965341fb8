//! Known data sets: the digits that come with Kiln, and folders in the publishers' layouts. Downloads nothing;
//! `examples/data/get-data.sh` does.

use crate::data::{Dataset, cifar, idx};
use crate::{Error, Result};
use kiln_nn::Tensor;
use kiln_nn::ops::{CastOps, ViewOps};
use std::path::Path;

/// What turns a byte into a number from 0 to 1.
const PIXEL: f64 = 1.0 / 255.0;

/// The first 5000 training and the first 1000 test images of MNIST, which are part of this crate: handwritten digits of
/// 28 × 28 pixels from 0 to 1, and their labels 0 to 9.
///
/// ```
/// let (train, test) = kiln_train::datasets::digits()?;
/// assert_eq!((train.len(), test.len()), (5000, 1000));
/// # Ok::<(), kiln_train::Error>(())
/// ```
///
/// # Errors
/// None: the files are known to be good.
pub fn digits() -> Result<(Dataset, Dataset)> {
    macro_rules! file {
        ($name:literal) => {{
            let bytes = include_bytes!(concat!("../data/digits/", $name));
            idx::parse(Path::new($name), bytes.as_slice(), bytes.len())?.try_into()?
        }};
    }
    let train = labelled(file!("train-images-idx3-ubyte.gz"), file!("train-labels-idx1-ubyte.gz"))?;
    let test = labelled(file!("t10k-images-idx3-ubyte.gz"), file!("t10k-labels-idx1-ubyte.gz"))?;
    let names = (0..10).map(|d| d.to_string());
    Ok((train.class_names(names.clone()), test.class_names(names)))
}

/// A folder with the four files of MNIST or a set in its form, such as Fashion-MNIST, each plain or `.gz`: the training
/// and the test part, pixels from 0 to 1.
///
/// # Errors
/// A file that is missing or damaged; images and labels of different number.
pub fn mnist(folder: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    let folder = folder.as_ref();
    let read = |name: &str| -> Result<Tensor> {
        let plain = folder.join(name);
        let packed = folder.join(format!("{name}.gz"));
        let path = if packed.exists() { packed } else { plain };
        if !path.exists() {
            let what = match folder.is_dir() {
                true => format!("there is no {name}.gz and no {name}"),
                false => "is no folder".to_owned(),
            };
            // What the script fetches is a folder for each set.
            let below = ["mnist", "fashion-mnist"].map(|set| folder.join(set)).into_iter().find(|below| below.is_dir());
            let help = match below {
                Some(below) => format!("it is in a folder of its own: {}", below.display()),
                None => "fetch the set: examples/data/get-data.sh DIR mnist, which puts it into DIR/mnist".to_owned(),
            };
            return Err(Error::file(folder, what).with_help(help));
        }
        let tensor: Tensor = idx::read(&path)?.try_into()?;
        // The names tell how many dimensions there are.
        let rank = if name.contains("idx3") { 3 } else { 1 };
        if tensor.rank() != rank {
            let text = format!("has shape {}, and there should be {rank} dimensions", tensor.shape());
            return Err(Error::file(path, text).with_help("are images and labels swapped?"));
        }
        Ok(tensor)
    };
    let part =
        |kind: &str| labelled(read(&format!("{kind}-images-idx3-ubyte"))?, read(&format!("{kind}-labels-idx1-ubyte"))?);
    Ok((part("train")?, part("t10k")?))
}

/// A folder with CIFAR-10's six binary files: the training and the test part, images of 32 × 32 pixels with three
/// colours from 0 to 1.
///
/// # Errors
/// A file that is missing or damaged.
pub fn cifar10(folder: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    let (train, test) = cifar::read_folder(folder)?;
    let part = |data: cifar::Cifar10| -> Result<Dataset> {
        Ok(labelled(data.images.try_into()?, data.labels.try_into()?)?.class_names(cifar::CLASS_NAMES))
    };
    Ok((part(train)?, part(test)?))
}

/// Images as bytes, seen from 0 to 1, with labels as `i64`.
fn labelled(images: Tensor, labels: Tensor) -> Result<Dataset> {
    let labels = labels.flatten(0, -1)?.cast(kiln_nn::DType::I64)?;
    Ok(Dataset::new(images, labels)?.scale(PIXEL))
}
