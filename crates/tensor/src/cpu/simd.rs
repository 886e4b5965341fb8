//! Instruction sets: which one this processor has, and how generic code is compiled for each.
//!
//! A kernel is plain Rust in an `#[inline(always)]` function; it is compiled once per set inside a function that
//! enables the set, and LLVM vectorizes it there. Kernels keep a fixed number of lanes whatever the set, so that the
//! sets give the same bits.

use std::cell::Cell;
use std::sync::LazyLock;

/// An instruction set, widest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target always has: SSE2 on x86-64, NEON on AArch64.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

/// A piece of work that [`dispatch`] compiles for each instruction set.
pub trait Kernel {
    /// What it returns.
    type Out;
    /// Does the work. Mark it `#[inline(always)]`, and what it calls too.
    fn run(self) -> Self::Out;
}

static BEST: LazyLock<Isa> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Baseline
});

thread_local! {
    static LIMIT: Cell<Isa> = const { Cell::new(Isa::Avx512) };
}

/// The set that kernels started on this thread use.
pub fn isa() -> Isa {
    (*BEST).min(LIMIT.get())
}

/// Runs `body` with kernels started on this thread held to `limit`: for tests that compare the sets.
pub fn with_isa<R>(limit: Isa, body: impl FnOnce() -> R) -> R {
    let before = LIMIT.replace(limit);
    let result = body();
    LIMIT.set(before);
    result
}

/// Runs a kernel, compiled for the best instruction set of this processor.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Out {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` answers `Avx512` only where the processor was seen to have all four features, AVX2 and FMA.
        Isa::Avx512 => unsafe { avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` answers `Avx2` only where the processor was seen to have AVX2 and FMA.
        Isa::Avx2 => unsafe { avx2(kernel) },
        _ => kernel.run(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Out {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Out {
    kernel.run()
}
