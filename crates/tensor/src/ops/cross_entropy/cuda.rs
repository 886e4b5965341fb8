//! Cross-entropy on a GPU.

use super::no_class;
use crate::ops::softmax::over_rows;
use crate::{CudaCall, Launch, LaunchArgument};

const SOURCE: &str = concat!(include_str!("../softmax/rows.cuh"), include_str!("cross_entropy.cu"));

/// A launch over the rows of logits, and where labels that are no class are told; nothing where there is no row.
fn rows(call: &mut CudaCall<'_>, entry: &'static str) -> Option<(Launch, LaunchArgument)> {
    let [logits, labels] = [call.inputs()[0], call.inputs()[1]];
    let (rows, classes) = (labels.shape().count(), logits.shape()[logits.shape().rank() - 1]);
    if rows == 0 {
        return None;
    }
    let faults = call.faults(move |fault| no_class(fault.integer(), fault.position as usize, classes, rows));
    let launch = over_rows(SOURCE, entry, logits.dtype(), [rows, classes, 1]).define_type("I", labels.dtype());
    Some((launch, faults))
}

pub(super) fn forward(call: &mut CudaCall<'_>) {
    let Some((launch, faults)) = rows(call, "forward") else { return };
    let (logits, labels, y) = (call.dense(0), call.dense(1), call.output(0));
    call.launch(launch.define("FORWARD", "1").arg(logits).arg(labels).arg(y).arg(faults));
}

pub(super) fn backward(call: &mut CudaCall<'_>) {
    let Some((launch, faults)) = rows(call, "backward") else { return };
    let (logits, labels, dy, y) = (call.dense(0), call.dense(1), call.dense(2), call.output(0));
    call.launch(launch.arg(logits).arg(labels).arg(dy).arg(y).arg(faults));
}
