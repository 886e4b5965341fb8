//! Instruction sets: which one this CPU has, and how a kernel written once is compiled for each.
//!
//! A kernel is an `#[inline(always)]` function; [`dispatch`] inlines it into a function that carries
//! `#[target_feature]`, so the compiler emits that instruction set for its body. Closures handed to other threads leave
//! that function, therefore each task dispatches anew, with the [`Isa`] that its caller read by [`isa`].

use core::cell::Cell;
use std::sync::LazyLock;

use super::float::Float;
use super::vector::Vector;
use crate::{DType, Element};

/// An instruction set, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target always has: SSE2 on `x86_64`, NEON on `aarch64`.
    Baseline,
    /// AVX2 with fused multiply-add: 256-bit vectors.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL): 512-bit vectors and masks.
    Avx512,
}

/// A kernel that relies on the compiler to vectorise plain loops.
pub trait Kernel {
    /// What the kernel returns.
    type Out;
    /// Runs the kernel; implementations are `#[inline(always)]`, or the instruction set is lost.
    fn run(self) -> Self::Out;
}

/// A kernel written over explicit vectors of `T`.
pub trait VectorKernel<T: Float> {
    /// What the kernel returns.
    type Out;
    /// Runs the kernel with vectors `V`; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`.
    unsafe fn run<V: Vector<Elem = T>>(self) -> Self::Out;
}

/// A kernel that is called through a pointer, so that what calls it is not compiled for each.
pub trait Routine {
    /// What it is called with.
    type Arguments;
    /// Runs the kernel; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// What the implementation asks of the arguments.
    unsafe fn run(arguments: Self::Arguments);
}

thread_local! {
    static LIMIT: Cell<Isa> = const { Cell::new(Isa::Avx512) };
}

/// The best instruction set of this CPU, lowered by [`with_isa`] where the current thread is inside one.
#[inline]
pub fn isa() -> Isa {
    detected().min(LIMIT.get())
}

/// Runs `f` with kernels limited to `limit` on this thread, and restores the former limit, also after a panic.
///
/// It can only lower: a limit above what the CPU has changes nothing.
pub fn with_isa<R>(limit: Isa, f: impl FnOnce() -> R) -> R {
    struct Restore(Isa);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.replace(limit));
    f()
}

/// The limit of this thread, for tasks that it hands to others.
pub(crate) fn limit() -> Isa {
    LIMIT.get()
}

/// Runs `kernel` compiled for the best instruction set allowed on this thread.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Out {
    dispatch_on(isa(), kernel)
}

/// [`dispatch`] without a version for AVX-512: for kernels whose time matters less than that of compiling them.
#[inline]
pub fn dispatch_up_to_avx2<K: Kernel>(kernel: K) -> K::Out {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` answers at least Avx2 only where the CPU has the features that the function enables.
        Isa::Avx2 | Isa::Avx512 => unsafe { on_avx2(kernel) },
        _ => kernel.run(),
    }
}

/// [`dispatch`] for a kernel that reads elements of type `T`: only that for `f32`, which training waits for, has a
/// version for AVX-512.
#[inline]
pub fn dispatch_for<T: Element, K: Kernel>(kernel: K) -> K::Out {
    // Told apart by a constant, so that the other is not compiled.
    if const { matches!(T::DTYPE, DType::F32) } { dispatch(kernel) } else { dispatch_up_to_avx2(kernel) }
}

/// Runs `kernel` compiled for `isa`, or for the best that the CPU has where that is less.
#[inline]
pub fn dispatch_on<K: Kernel>(isa: Isa, kernel: K) -> K::Out {
    match isa.min(detected()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detected` is at least Avx512, so the CPU has the features that the function enables.
        Isa::Avx512 => unsafe { on_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detected` is at least Avx2, so the CPU has the features that the function enables.
        Isa::Avx2 => unsafe { on_avx2(kernel) },
        _ => kernel.run(),
    }
}

/// The routine compiled for the best instruction set allowed on this thread, or for AVX2 where that is better and `R` is
/// not `WIDE`: time matters less than that of compiling it. Calling it is as safe as [`Routine::run`].
pub fn routine<R: Routine, const WIDE: bool>() -> unsafe fn(R::Arguments) {
    match isa() {
        // `isa` answers only what the CPU has.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if WIDE => routine_on_avx512::<R>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => routine_on_avx2::<R>,
        _ => R::run,
    }
}

/// Runs `kernel` over the vectors of `isa`, or of the best that the CPU has where that is less.
#[inline]
pub fn dispatch_vectors<T: Float, K: VectorKernel<T>>(isa: Isa, kernel: K) -> K::Out {
    match isa.min(detected()) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detected` is at least Avx512, so the CPU has the features that the function enables.
        Isa::Avx512 => unsafe { vectors_on_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detected` is at least Avx2, so the CPU has the features that the function enables.
        Isa::Avx2 => unsafe { vectors_on_avx2(kernel) },
        // SAFETY: `Baseline` is plain Rust and asks for no feature.
        _ => unsafe { kernel.run::<T::Baseline>() },
    }
}

/// What this CPU has, asked once.
#[inline]
fn detected() -> Isa {
    static DETECTED: LazyLock<Isa> = LazyLock::new(detect);
    *DETECTED
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let fused = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2");
    match (wide, fused) {
        (true, true) => Isa::Avx512,
        (false, true) => Isa::Avx2,
        (_, false) => Isa::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Baseline
}

/// # Safety
/// The CPU has these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
unsafe fn on_avx512<K: Kernel>(kernel: K) -> K::Out {
    kernel.run()
}

/// # Safety
/// The CPU has these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
unsafe fn on_avx2<K: Kernel>(kernel: K) -> K::Out {
    kernel.run()
}

/// # Safety
/// The CPU has these features; as [`Routine::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
unsafe fn routine_on_avx512<R: Routine>(arguments: R::Arguments) {
    // SAFETY: the caller's promise.
    unsafe { R::run(arguments) }
}

/// # Safety
/// The CPU has these features; as [`Routine::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
unsafe fn routine_on_avx2<R: Routine>(arguments: R::Arguments) {
    // SAFETY: the caller's promise.
    unsafe { R::run(arguments) }
}

/// # Safety
/// The CPU has these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2")]
unsafe fn vectors_on_avx512<T: Float, K: VectorKernel<T>>(kernel: K) -> K::Out {
    // SAFETY: the caller guarantees AVX-512, which is all that `T::Avx512` needs.
    unsafe { kernel.run::<T::Avx512>() }
}

/// # Safety
/// The CPU has these features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
unsafe fn vectors_on_avx2<T: Float, K: VectorKernel<T>>(kernel: K) -> K::Out {
    // SAFETY: the caller guarantees AVX2 and FMA, which is all that `T::Avx2` needs.
    unsafe { kernel.run::<T::Avx2>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lowers_and_is_restored() {
        let best = isa();
        with_isa(Isa::Baseline, || {
            assert_eq!(isa(), Isa::Baseline);
            with_isa(Isa::Avx512, || assert_eq!(isa(), best));
            assert_eq!(isa(), Isa::Baseline);
        });
        assert_eq!(isa(), best);
    }

    #[test]
    fn every_isa_runs_a_kernel() {
        struct Sum<'a>(&'a [f32]);
        impl Kernel for Sum<'_> {
            type Out = f32;
            #[inline(always)]
            fn run(self) -> f32 {
                self.0.iter().sum()
            }
        }
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            assert_eq!(dispatch_on(isa, Sum(&[1.0, 2.0, 3.0])), 6.0);
        }
    }
}
