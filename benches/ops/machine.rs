//! The limits that the other rows are shares of, measured in the same run.

use super::row::{Family, Work};
use criterion::Criterion;
use std::hint::black_box;

#[path = "../limit/machine.rs"]
mod limits;

/// About half a millisecond.
const STEPS: usize = 100_000;
/// A copy of 64 MB, more than most caches hold.
const COPIED: usize = 1 << 24;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "machine");
    let threads = rayon::current_num_threads();
    family.row("multiply-add", Work::Flops(threads * STEPS * limits::flops_a_step()), || {
        || Ok(rayon::broadcast(|_| limits::multiply_add(STEPS, black_box(0.5))))
    });
    family.row("copy", Work::Bytes(8 * COPIED), || {
        use rayon::prelude::*;
        let (from, mut to) = (vec![1.0f32; COPIED], vec![0.0f32; COPIED]);
        let piece = COPIED.div_ceil(threads);
        move || {
            to.par_chunks_mut(piece).zip(from.par_chunks(piece)).for_each(|(to, from)| to.copy_from_slice(from));
            black_box(to.as_ptr());
            Ok(())
        }
    });
}
