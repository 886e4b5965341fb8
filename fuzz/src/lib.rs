//! What the fuzz targets share: choices read from bytes, tensors made of them, and calls of every operation.
#![forbid(unsafe_code)]

pub mod calls;
mod choices;
mod values;

pub use choices::Choices;
pub use values::{compact, same_bits, tensor, tensor_of, tensor_with};

use kiln::tensor::{Isa, with_isa};

/// Runs `f` with the instruction set that the next choice names.
pub fn with_any_isa<R>(choose: &mut Choices<'_>, f: impl FnOnce() -> R) -> R {
    with_isa(choose.of(&[Isa::Baseline, Isa::Avx2, Isa::Avx512]), f)
}
