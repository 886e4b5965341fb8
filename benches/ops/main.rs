//! Operations at sizes that training uses, for tracking with criterion: `cargo bench --bench ops [-- FILTER]`. A row is named
//! `FAMILY/WHAT-SHAPE`, with `-gradients` where it runs forward and backward; a file for each family. `docs/performance.md` says how
//! rows are read and compared, and `benches/peers` has the same rows of other libraries under the same names.

#[path = "../limit/mod.rs"]
mod limit;

mod attention;
mod conv2d;
mod elementwise;
mod indexing;
mod linalg;
mod machine;
mod matmul;
mod norm;
mod optimizer;
mod order;
mod overhead;
mod pool;
mod random;
mod rearrange;
mod recurrent;
mod reduce;
mod row;
mod softmax;

use criterion::{Criterion, criterion_group};
use std::time::Duration;

/// Rows are many, so each is brief: 0.1 s to warm up and 20 samples in 0.4 s, where criterion has 3 s and 100 samples in 5 s. That finds a
/// change of some percent on a quiet machine; on a noisy one repetition tells more than length (`cargo xtask bench --compare`). Longer:
/// `-- --warm-up-time 1 --measurement-time 3 --sample-size 50`.
fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(20)
        .nresamples(2000)
}

criterion_group! {
    name = benches;
    config = brief();
    targets = machine::rows, matmul::rows, conv2d::rows, elementwise::rows, reduce::rows, rearrange::rows, order::rows, softmax::rows,
        norm::rows, pool::rows, indexing::rows, linalg::rows, random::rows, optimizer::rows, attention::rows, recurrent::rows, overhead::rows
}

fn main() {
    limit::limited(benches);
    brief().configure_from_args().final_summary();
}
