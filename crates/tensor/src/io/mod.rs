//! Array files: safetensors, npy and npz. Reading trusts nothing: a damaged file is an error that names it.

mod npy;
mod safetensors;

pub use self::npy::{load_npy, load_npz, parse_npy, save_npy, save_npz, to_npy};
pub use self::safetensors::{TensorFile, load_safetensors, parse_safetensors, save_safetensors, to_safetensors};

use crate::{DType, Result, Shape, Tensor};

/// The elements as little-endian bytes.
fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    macro_rules! write {
        ($($tag:ident $t:ty),*) => {
            match tensor.dtype() {
                DType::Bool => tensor.to_vec_as::<u8>(),
                $(DType::$tag => tensor.to_vec_as::<$t>().into_iter().flat_map(<$t>::to_le_bytes).collect(),)*
            }
        };
    }
    write!(U8 u8, I32 i32, I64 i64, F16 crate::f16, BF16 crate::bf16, F32 f32, F64 f64)
}

/// The tensor of little-endian bytes, whose number the caller has checked.
fn tensor_of(dtype: DType, shape: Shape, bytes: &[u8]) -> Result<Tensor> {
    macro_rules! read {
        ($($tag:ident $t:ty),*) => {
            match dtype {
                DType::Bool => Tensor::build("load", shape, |out: &mut [bool]| {
                    out.iter_mut().zip(bytes).for_each(|(out, &b)| *out = b != 0);
                }),
                $(DType::$tag => Tensor::build("load", shape, |out: &mut [$t]| {
                    let (chunks, _) = bytes.as_chunks();
                    out.iter_mut().zip(chunks).for_each(|(out, b)| *out = <$t>::from_le_bytes(*b));
                }),)*
            }
        };
    }
    read!(U8 u8, I32 i32, I64 i64, F16 crate::f16, BF16 crate::bf16, F32 f32, F64 f64)
}
