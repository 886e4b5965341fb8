//! Rows of tables: an embedding, and a batch of a data set.

use super::row::{Family, gradients, normal, passes, whole};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "indexing");
    let read = 8192 * 256;
    family.row("embedding-8192-of-50000x256", passes(2, read), || {
        let (table, index) = (normal(&[50_000, 256]), whole(8192, 50_000));
        move || table.embedding(&index, None)
    });
    // The gradient of a table is as large as the table.
    family.row("embedding-gradients-8192-of-50000x256", passes(3, read + 50_000 * 256), || {
        let index = Var::new(whole(8192, 50_000));
        gradients(move |x| x[0].embedding(&index, None), vec![normal(&[50_000, 256])])
    });
    family.row("index_select-32-of-60000x784", passes(2, 32 * 784), || {
        // More than any cache holds, as a data set is.
        let data = Tensor::zeros([60_000, 784]).expect("190 MB");
        let batches: Vec<Tensor> = (0..256)
            .map(|i| whole(256 * 32, 60_000).slice(0, 32 * i..32 * (i + 1)).expect("within what there is"))
            .collect();
        let mut next = 0;
        move || {
            next = (next + 1) % batches.len();
            data.index_select(0, &batches[next])
        }
    });
}
