//! Reading and writing at indices on a GPU.

use super::{Gather, IndexAdd, IndexSelect, around, out_of_range};
use crate::ops::sort::{PAIR, PAIRS, sort_pairs};
use crate::{CudaCall, CudaOperand, DType, Launch, LaunchArgument, Layout, Pointer};

const SOURCE: &str = include_str!("gather.cu");

/// Where indices that are out of range are told.
fn faults(call: &mut CudaCall<'_>, op: &'static str, length: usize) -> LaunchArgument {
    let count = call.inputs()[1].shape().count();
    call.faults(move |fault| out_of_range(op, fault.integer(), fault.position as usize, length, count))
}

/// Looks at the indices of a result that has no elements.
fn check(call: &mut CudaCall<'_>, length: usize, faults: LaunchArgument) {
    let x = call.inputs()[1];
    let (count, index) = (x.shape().count(), call.dense(1));
    let launch = Launch::new(SOURCE, "check").define_type("I", x.dtype()).over(count);
    call.launch(launch.arg(count).arg(length).arg(index).arg(faults));
}

/// The length of an axis and the step along it, and the rest of a layout: without a step along the axis.
fn without(layout: &Layout, axis: usize) -> (usize, isize, Layout) {
    let (mut rest, rank) = (*layout, layout.shape.rank());
    if axis >= rank {
        return (1, 0, rest);
    }
    rest.strides[axis] = 0;
    (layout.shape[axis], layout.strides[axis], rest)
}

pub(super) fn gather(op: &Gather, call: &mut CudaCall<'_>) {
    let shape = *call.inputs()[1].shape();
    let (x, layout) = call.placed(0);
    let (length, step, rest) = without(&layout, op.axis);
    let rest = Layout { shape, ..rest };
    take(call, "gather", x, (length, step), [rest, Layout::contiguous(shape)]);
}

pub(super) fn index_select(op: &IndexSelect, call: &mut CudaCall<'_>) {
    let [x, index] = [call.inputs()[0], call.inputs()[1]];
    let y = call.outputs()[0].shape;
    let (_, inner) = around(x.shape(), op.axis);
    if x.value().is_some() || x.layout().is_contiguous() {
        let length = x.shape()[op.axis];
        let faults = faults(call, "index_select", length);
        if y.count() == 0 {
            return check(call, length, faults);
        }
        let (bytes, name) = piece(&x, inner);
        let (pieces, inner) = (y.count() * x.dtype().size() / bytes, inner * x.dtype().size() / bytes);
        let (x, at, y) = (call.dense(0), call.dense(1), call.output(0));
        let launch = Launch::new(SOURCE, "select").define("PIECE", name).define_type("I", index.dtype()).over(pieces);
        let sizes = [pieces, inner, index.shape().count(), length];
        return call.launch(launch.arg(sizes).arg(x).arg(at).arg(y).arg(faults));
    }
    let (x, layout) = call.placed(0);
    let (length, step, rest) = without(&layout, op.axis);
    let mut along = Layout { shape: y, ..Layout::default() };
    along.strides[op.axis] = 1;
    take(call, "index_select", x, (length, step), [Layout { shape: y, ..rest }, along]);
}

/// The largest piece in which parts of so many elements can be copied: its bytes and its type.
fn piece(x: &CudaOperand<'_>, inner: usize) -> (usize, &'static str) {
    let size = x.dtype().size();
    let start = x.layout().offset * size;
    let fits = |bytes: usize| (inner * size).is_multiple_of(bytes) && start.is_multiple_of(bytes);
    let pieces = [(16, "Sixteen"), (8, "u64"), (4, "u32"), (2, "u16")];
    pieces.into_iter().find(|&(bytes, _)| fits(bytes)).unwrap_or((1, "u8"))
}

/// Reads elements of which one coordinate comes from the indices: operand and indices are walked through together.
fn take(call: &mut CudaCall<'_>, op: &'static str, x: Pointer, (length, step): (usize, isize), operands: [Layout; 2]) {
    let (dtypes, count) = ([0, 1].map(|i| call.inputs()[i].dtype()), operands[0].shape.count());
    let faults = faults(call, op, length);
    if count == 0 {
        return check(call, length, faults);
    }
    let (index, y) = (call.dense(1), call.output(0));
    let launch = Launch::new(SOURCE, "take")
        .define("TAKE", "1")
        .define_type("T", dtypes[0])
        .define_type("I", dtypes[1])
        .over(count)
        .arg(count)
        .arg(length)
        .arg(step as i64)
        .walk(operands[0].shape, &operands);
    call.launch(launch.arg(x).arg(index).arg(y).arg(faults));
}

pub(super) fn index_add(op: &IndexAdd, call: &mut CudaCall<'_>) {
    let [x, index] = [call.inputs()[0], call.inputs()[1]];
    let (length, count) = (x.shape()[op.axis], index.shape().count());
    let (_, inner) = around(x.shape(), op.axis);
    let faults = faults(call, "index_add", length);
    if x.shape().count() == 0 {
        return check(call, length, faults);
    }
    let (pairs, at) = (call.room(count * PAIR), call.dense(1));
    let launch = keys("row_keys").define("ROW_KEYS", "1").define_type("I", index.dtype()).over(count);
    call.launch(launch.arg(count).arg(length).arg(inner).arg(at).arg(pairs).arg(faults));
    let source = call.dense(2);
    join_sorted(call, "add", pairs, source, [length, inner, count, count * inner]);
}

/// Joins elements at indices by a function of the kernels'.
pub(super) fn scatter(call: &mut CudaCall<'_>, op: &'static str, axis: usize, join: &'static str) {
    let [x, index] = [call.inputs()[0], call.inputs()[1]];
    let (shape, count) = (*index.shape(), index.shape().count());
    let (length, step, rest) = without(&Layout::contiguous(*x.shape()), axis);
    let faults = faults(call, op, length);
    if x.shape().count() == 0 {
        return check(call, length, faults);
    }
    let (source, layout) = call.placed(2);
    let (pairs, at) = (call.room(count * PAIR), call.dense(1));
    let launch = keys("element_keys")
        .define("ELEMENT_KEYS", "1")
        .define_type("I", index.dtype())
        .over(count)
        .arg(count)
        .arg(length)
        .arg(step as i64)
        .walk(shape, &[Layout { shape, ..rest }, Layout { shape, ..layout }]);
    call.launch(launch.arg(at).arg(pairs).arg(faults));
    join_sorted(call, join, pairs, source, [x.shape().count(), 1, count, 0]);
}

fn keys(entry: &'static str) -> Launch {
    Launch::new([PAIRS, SOURCE].concat(), entry)
}

/// Sorts the keys and joins by them: the length of the axis that they count, what is adjacent, how many there are, and
/// the source's step from one group of slices to the next.
fn join_sorted(
    call: &mut CudaCall<'_>,
    join: &'static str,
    pairs: Pointer,
    source: Pointer,
    [length, inner, keys_count, step]: [usize; 4],
) {
    let x = call.inputs()[0];
    let count = x.shape().count();
    let pairs = if keys_count > 0 { sort_pairs(call, 1, keys_count, pairs) } else { pairs };
    let starts = call.room((length + 1) * size_of::<i64>());
    let launch = keys("starts").define("STARTS", "1").over(length + 1);
    call.launch(launch.arg(length).arg(keys_count).arg(pairs).arg(starts));
    let (from, y) = (call.dense(0), call.output(0));
    let sum = if x.dtype().is_float() { DType::F64 } else { DType::I64 };
    let launch = keys("join").define_type("T", x.dtype()).define_type("SUM", sum).define("JOIN", join).over(count);
    call.launch(launch.arg([count, length, inner, step]).arg(from).arg(starts).arg(pairs).arg(source).arg(y));
}
