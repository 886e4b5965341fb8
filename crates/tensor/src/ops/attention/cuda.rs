//! Attention on a GPU: which tensor cores compute, and how its operands lie for them.

use super::tiled::{Attend, Sizes};
use crate::ops::matmul::split;
use crate::{CudaCall, DType, Error, ErrorKind, Launch, Layout, Pointer, Result};

const SOURCE: &str = concat!(include_str!("../../cuda/mma.cuh"), include_str!("attention.cu"));

/// Rows of a block, and its threads.
const OWN: usize = 64;
const BLOCK: u32 = 128;
/// Elements that are read at a time.
const PACK: usize = 8;
/// The most features of a key or a value, of which a thread keeps a part.
const MOST: usize = 128;

/// Whether there is a kernel for operands of this kind; what has none is put together from products and a softmax.
pub(super) fn has_kernel(dtype: DType, sizes: &Sizes, has_mask: bool) -> bool {
    let fits = |features: usize| features > 0 && features <= MOST && features.is_multiple_of(16);
    let is_any = sizes.rows > 0 && sizes.columns > 0 && sizes.lead.count() > 0;
    matches!(dtype, DType::F16 | DType::BF16) && fits(sizes.inner) && fits(sizes.width) && is_any && !has_mask
}

fn sizes(call: &CudaCall<'_>, mask: usize) -> Result<Sizes> {
    let x = call.inputs();
    let sizes = Sizes::of(x[0].shape(), x[1].shape(), x[2].shape());
    let known = sizes.filter(|sizes| has_kernel(x[0].dtype(), sizes, x.len() > mask));
    known.ok_or_else(|| {
        let text = "has a CUDA kernel for f16 and bf16 without a mask, with features in sixteens up to 128";
        Error::new(ErrorKind::Device, "attend", text)
            .help("scaled_dot_product_attention takes any, by products and a softmax")
    })
}

/// Matrices whose rows lie dense and begin where a pack can be read: where they are, from one to the next, and the step
/// from row to row.
fn matrices(call: &mut CudaCall<'_>, i: usize, sizes: &Sizes) -> (Pointer, Layout, usize) {
    let is_even = |step: isize| usize::try_from(step).is_ok_and(|step| step.is_multiple_of(PACK));
    let offset = call.inputs()[i].layout().offset;
    let (mut pointer, mut layout) = call.placed(i);
    let rank = layout.shape.rank();
    let is_dense = layout.strides()[rank - 1] == 1 || layout.shape[rank - 1] == 1;
    // A copy begins where memory does.
    let is_copy = call.inputs()[i].value().is_some();
    if !is_dense
        || !layout.strides()[..rank - 1].iter().all(|&step| is_even(step))
        || !(is_copy || offset.is_multiple_of(PACK))
    {
        (pointer, layout) = (call.copied(i), Layout::contiguous(layout.shape));
    }
    let (batch, [row, _]) = split(&layout, sizes.lead);
    (pointer, batch, row.unsigned_abs())
}

/// A launch of one of the source's kernels: the macro of its name says which, so that no other is compiled with it.
fn kernel([entry, name]: [&'static str; 2], op: &Attend, call: &CudaCall<'_>, sizes: &Sizes, rows: usize) -> Launch {
    let blocks = rows.div_ceil(OWN) * sizes.lead.count();
    Launch::new(SOURCE, entry)
        .define(name, "1")
        .define_type("T", call.inputs()[0].dtype())
        .define("INNER", sizes.inner.to_string())
        .define("WIDTH", sizes.width.to_string())
        .define("CAUSAL", if op.causal { "1" } else { "0" })
        .block(BLOCK, 1, 1)
        .blocks(blocks)
        .arg([sizes.lead.count(), sizes.rows, sizes.columns])
}

/// Asks for the result and the sums.
pub(super) fn attend(op: &Attend, call: &mut CudaCall<'_>) -> Result<()> {
    let sizes = sizes(call, 3)?;
    let [(q, of_q, q_step), (k, of_k, k_step), (v, of_v, v_step)] = [0, 1, 2].map(|i| matrices(call, i, &sizes));
    let launch = kernel(["attend", "ATTEND"], op, call, &sizes, sizes.rows);
    let launch = launch.walk(sizes.lead, &[of_q, of_k, of_v]).arg([q_step, k_step, v_step, 0]);
    let launch = launch.arg(op.scale as f32).arg(q).arg(k).arg(v).arg(call.output(0)).arg(call.output(1));
    call.launch(launch);
    Ok(())
}

/// Asks for the three gradients. Each is a sum in the order of its terms, by kernels that compute the shares for themselves.
pub(super) fn attend_grad(op: &Attend, call: &mut CudaCall<'_>) -> Result<()> {
    let sizes = sizes(call, 6)?;
    let all = [0, 1, 2, 5].map(|i| matrices(call, i, &sizes));
    let (pointers, layouts) = (all.map(|(pointer, ..)| pointer), all.map(|(_, layout, _)| layout));
    let steps = all.map(|(.., step)| step);
    let (y, sums) = (call.dense(3), call.dense(4));
    let commons = call.room(sizes.lead.count() * sizes.rows * DType::F32.size());
    let [q, k, v, dy] = pointers;
    let started = |names, call: &CudaCall<'_>, rows| {
        let launch = kernel(names, op, call, &sizes, rows);
        launch.walk(sizes.lead, &layouts).arg(steps)
    };
    let common = started(["common", "COMMON"], call, sizes.rows).blocks((sizes.lead.count() * sizes.rows).div_ceil(4));
    call.launch(common.arg(y).arg(dy).arg(commons));
    let operands = |launch: Launch| launch.arg(op.scale as f32).arg(q).arg(k).arg(v).arg(dy).arg(sums).arg(commons);
    let of_queries = operands(started(["of_queries", "OF_QUERIES"], call, sizes.rows)).arg(call.output(0));
    call.launch(of_queries);
    let of_keys =
        operands(started(["of_keys", "OF_KEYS"], call, sizes.columns)).arg(call.output(1)).arg(call.output(2));
    call.launch(of_keys);
    Ok(())
}
