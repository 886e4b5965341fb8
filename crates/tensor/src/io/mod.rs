//! Array files: safetensors. Reading trusts nothing: a damaged file is an error that names it.

mod safetensors;

pub use self::safetensors::{TensorFile, load_safetensors, parse_safetensors, save_safetensors, to_safetensors};
