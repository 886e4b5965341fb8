//! What the machine can at best: multiplications with addition in registers, which no kernel exceeds, and copying memory.

use kiln::tensor::Isa;

/// Independent chains: enough to hide the latency of two units, and few enough for sixteen registers.
const CHAINS: usize = 12;

/// Additions and multiplications that `multiply_add` makes in a step, by the widest vectors of this machine that are allowed.
pub fn flops_a_step() -> usize {
    2 * CHAINS * lanes()
}

fn lanes() -> usize {
    match allowed() {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Baseline => 4,
    }
}

/// `x · a + b` over and over, on this thread. The result keeps the compiler from leaving it out.
pub fn multiply_add(steps: usize, a: f32) -> f32 {
    match allowed() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `allowed` answers Avx512 only where the CPU has AVX-512F.
        Isa::Avx512 => unsafe { x86::avx512(steps, a) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `allowed` answers Avx2 only where the CPU has AVX2 and FMA.
        Isa::Avx2 => unsafe { x86::avx2(steps, a) },
        _ => baseline(steps, a),
    }
}

/// The instruction set that Kiln's kernels use: what the machine has, limited by `KILN_BENCH_ISA` as they are.
fn allowed() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let limit = crate::limit::chosen();
        if limit >= Isa::Avx512 && is_x86_feature_detected!("avx512f") {
            return Isa::Avx512;
        }
        if limit >= Isa::Avx2 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Isa::Avx2;
        }
    }
    Isa::Baseline
}

fn baseline(steps: usize, a: f32) -> f32 {
    let mut sums = [[0.5f32; 4]; CHAINS];
    for _ in 0..steps {
        for x in sums.as_flattened_mut() {
            // Baseline x86-64 has no fused instruction, and would call a function for it.
            *x = if cfg!(target_arch = "x86_64") { *x * a + 0.5 } else { x.mul_add(a, 0.5) };
        }
    }
    sums.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::CHAINS;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub fn avx512(steps: usize, a: f32) -> f32 {
        let (a, b) = (_mm512_set1_ps(a), _mm512_set1_ps(0.5));
        let mut sums = [b; CHAINS];
        for _ in 0..steps {
            for x in &mut sums {
                *x = _mm512_fmadd_ps(*x, a, b);
            }
        }
        _mm512_reduce_add_ps(sums.into_iter().reduce(|x, y| _mm512_add_ps(x, y)).unwrap_or(b))
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(steps: usize, a: f32) -> f32 {
        let (a, b) = (_mm256_set1_ps(a), _mm256_set1_ps(0.5));
        let mut sums = [b; CHAINS];
        for _ in 0..steps {
            for x in &mut sums {
                *x = _mm256_fmadd_ps(*x, a, b);
            }
        }
        _mm256_cvtss_f32(sums.into_iter().reduce(|x, y| _mm256_add_ps(x, y)).unwrap_or(b))
    }
}
