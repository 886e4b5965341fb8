//! Measuring as on another machine.

use kiln::tensor::{Isa, with_isa};

/// Runs `f` with the instruction set that the environment variable `KILN_BENCH_ISA` names, `baseline` or `avx2`, or with
/// the best there is.
pub fn limited<R>(f: impl FnOnce() -> R) -> R {
    with_isa(chosen(), f)
}

/// What that variable names.
pub fn chosen() -> Isa {
    match std::env::var("KILN_BENCH_ISA").as_deref() {
        Ok("baseline") => Isa::Baseline,
        Ok("avx2") => Isa::Avx2,
        Err(_) | Ok("" | "avx512") => Isa::Avx512,
        Ok(other) => panic!("KILN_BENCH_ISA is {other}; give baseline, avx2 or avx512"),
    }
}
