//! Array files: safetensors, npy and npz. Reading trusts nothing: a damaged file is an error that names it, and no claim
//! of a header is believed before it was compared with what is there. Writing replaces a file in one step.

mod format;
mod npy;
mod npz;
mod replace;
mod safetensors;

pub use self::npy::{load_npy, parse_npy, save_npy, to_npy};
pub use self::npz::{load_npz, save_npz};
pub use self::replace::{replace_file, replace_file_with};
pub use self::safetensors::{TensorFile, load_safetensors, parse_safetensors, save_safetensors, to_safetensors};

use crate::read::BLOCK;
use crate::{DType, Element, Error, Result, Shape, Tensor, with_element};
use std::io::{self, Read, Write};
use std::path::Path;

/// How a file holds the elements of a tensor, which may be in a narrower type.
#[derive(Clone, Copy)]
struct Encoding {
    dtype: DType,
    bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl Encoding {
    /// As Kiln itself holds them, little-endian.
    fn of(dtype: DType) -> Encoding {
        Encoding { dtype, bytes: dtype.size(), signed: true, big_endian: false }
    }

    fn decode<T: Element, const N: usize>(self, mut bytes: [u8; N]) -> io::Result<T> {
        if self.big_endian {
            bytes.reverse();
        }
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&bytes);
        let bits = u64::from_le_bytes(wide);
        if N == T::DTYPE.size() && self.signed || T::DTYPE.is_float() {
            return Ok(T::from_raw_bits(bits));
        }
        let spare = 64 - 8 * N;
        let value = if self.signed { Ok((bits << spare) as i64 >> spare) } else { i64::try_from(bits) };
        let beyond =
            |_| io::Error::new(io::ErrorKind::InvalidData, format!("{bits} (uint{}) is beyond {}", 8 * N, T::DTYPE));
        value.map(T::from_i64).map_err(beyond)
    }
}

/// The number of bytes of a tensor's elements; `None` beyond what any memory holds.
fn bytes_of(shape: &Shape, element: usize) -> Option<u64> {
    shape.iter().try_fold(element as u64, |bytes, &length| bytes.checked_mul(length as u64))
}

/// The tensor whose elements `source` gives. No more is read than they take, and no second copy is held.
fn read_tensor(path: &Path, shape: Shape, encoding: Encoding, source: &mut dyn Read) -> Result<Tensor> {
    let mut outcome = Ok(());
    let tensor = with_element!(encoding.dtype, T => Tensor::build("load", shape, |out: &mut [T]| {
        outcome = match encoding.bytes {
            1 => fill::<T, 1>(out, encoding, source),
            2 => fill::<T, 2>(out, encoding, source),
            4 => fill::<T, 4>(out, encoding, source),
            _ => fill::<T, 8>(out, encoding, source),
        }
    }))?;
    outcome.map(|()| tensor).map_err(|e| Error::file(path, "its elements cannot be read").caused_by(e))
}

fn fill<T: Element, const N: usize>(out: &mut [T], encoding: Encoding, source: &mut dyn Read) -> io::Result<()> {
    let mut buffer = [[0; N]; 1024];
    for part in out.chunks_mut(buffer.len()) {
        let bytes = &mut buffer[..part.len()];
        source.read_exact(bytes.as_flattened_mut())?;
        for (element, bytes) in part.iter_mut().zip(bytes) {
            *element = encoding.decode(*bytes)?;
        }
    }
    Ok(())
}

/// Writes the elements, little-endian and in row-major order.
fn write_elements(tensor: &Tensor, target: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    with_element!(tensor.dtype(), T => tensor.try_for_each_block(|block: &[T]| {
        for part in block.chunks(BLOCK) {
            bytes.clear();
            part.iter().for_each(|x| bytes.extend_from_slice(&x.to_raw_bits().to_le_bytes()[..T::DTYPE.size()]));
            target.write_all(&bytes)?;
        }
        Ok(())
    }))
}

/// An empty vector with room for a tensor's bytes and a header.
fn room_for(tensor: &Tensor, header: usize) -> Result<Vec<u8>> {
    let bytes = bytes_of(tensor.shape(), tensor.dtype().size()).and_then(|n| usize::try_from(n).ok());
    crate::tensor::room("save", bytes.map_or(usize::MAX, |n| n.saturating_add(header)), tensor.spec())
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |e| Error::file(path, "cannot be read").caused_by(e)
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |e| Error::file(path, "cannot be written").caused_by(e)
}
