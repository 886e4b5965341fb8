//! Normalization on a GPU.

use super::op::{Form, Normalize, Weights, computed_in};
use crate::ops::softmax::over_rows;
use crate::{CudaCall, DType, Launch, LaunchArgument, Pointer, Spec};

const SOURCE: &str = include_str!("normalization.cu");
const ROWS: &str = concat!(include_str!("../softmax/total.cuh"), include_str!("normalization.cu"));
const FILL: &str = "KERNEL fill(i64 count, f32 value, T* to) {
    for (i64 i = THREAD; i < count; i += THREADS) to[i] = kiln::store<T>(value);
}";

/// Blocks that groups side by side are shared out to, if there is enough of them.
const TASKS: usize = 1024;
/// Elements of a part of a group at least.
const LEAST: usize = 256;

/// What all kernels of a call have in common.
struct Kernels {
    form: Form,
    weights: Option<Weights>,
    dtype: DType,
    centered: bool,
    eps: f64,
    is_forward: bool,
}

impl Kernels {
    fn finished(&self, launch: Launch) -> Launch {
        let weights = match self.weights {
            None => "0",
            Some(Weights::Groups) => "GROUPS",
            Some(Weights::Places) => "PLACES",
        };
        let launch = launch.define("WEIGHTS", weights).define("CENTERED", if self.centered { "1" } else { "0" });
        if self.is_forward { launch.define("FORWARD", "1") } else { launch }
    }

    fn eps(&self) -> LaunchArgument {
        if self.dtype == DType::F64 { self.eps.into() } else { (self.eps as f32).into() }
    }

    /// A launch over rows, each a group.
    fn rows(&self, entry: &'static str) -> Launch {
        let rows = [self.form.groups(), self.form.near, 1];
        self.finished(over_rows(ROWS, entry, self.dtype, rows)).arg(self.eps())
    }

    /// A launch over groups of a form.
    fn by(&self, form: Form, entry: &'static str) -> Launch {
        let Form { outer, far, inner, near } = form;
        let launch = Launch::new(SOURCE, entry).define_type("T", self.dtype).define_type("C", computed_in(self.dtype));
        let columns = if near == 1 { "32" } else { "1" };
        self.finished(launch.define("COLUMNS", columns)).arg([outer, far, inner, near])
    }
}

/// How groups side by side are cut into parts.
struct Parts {
    rows: usize,
    count: usize,
    tasks: usize,
}

impl Parts {
    fn of(form: Form) -> Parts {
        let tiles = form.outer * if form.near == 1 { form.inner.div_ceil(32) } else { form.inner };
        let wanted = (TASKS / tiles).max(1).min((form.count() / LEAST).max(1));
        let rows = form.far.div_ceil(wanted);
        let count = form.far.div_ceil(rows);
        Parts { rows, count, tasks: tiles * count }
    }

    /// Room for two numbers of each part of each group.
    fn room(&self, form: Form, call: &mut CudaCall<'_>, dtype: DType) -> Pointer {
        call.room(2 * form.groups() * self.count * computed_in(dtype).size())
    }
}

/// An operand or result that may not be there.
fn or_null(pointer: Option<Pointer>) -> LaunchArgument {
    pointer.map_or(0u64.into(), Into::into)
}

/// What is folded from no element at all.
fn fill(call: &mut CudaCall<'_>, value: f32) {
    for i in 1..call.outputs().len() {
        let Spec { shape, dtype, .. } = call.outputs()[i];
        if shape.count() > 0 {
            let launch = Launch::new(FILL, "fill").define_type("T", dtype).over(shape.count());
            call.launch(launch.arg(shape.count()).arg(value).arg(call.output(i)));
        }
    }
}

pub(super) fn normalize(op: &Normalize, call: &mut CudaCall<'_>) {
    let (x, weight) = (call.inputs()[0], call.inputs().get(1));
    let (form, weights) = op.form(x.shape(), weight.map(|w| w.shape()));
    let (dtype, [y, means, variances]) = (x.dtype(), [0, 1, 2].map(|i| call.output(i)));
    if x.shape().count() == 0 {
        return fill(call, f32::NAN);
    }
    let kernels = Kernels { form, weights, dtype, centered: op.centered, eps: op.eps, is_forward: true };
    let of = |i: usize, call: &mut CudaCall<'_>| or_null((i < call.inputs().len()).then(|| call.dense(i)));
    let (x, weight, bias) = (call.dense(0), of(1, call), of(2, call));
    if form.is_rows() {
        let launch = kernels.rows("rows").arg(x).arg(weight).arg(bias);
        return call.launch(launch.arg(y).arg(means).arg(variances));
    }
    let parts = Parts::of(form);
    let room = parts.room(form, call, dtype);
    let launch = kernels.by(form, "moments").blocks(parts.tasks);
    call.launch(launch.arg(parts.rows).arg(parts.count).arg(parts.tasks).arg(x).arg(room));
    let launch = kernels.by(form, "join_moments").over(form.groups()).arg(parts.rows).arg(parts.count);
    call.launch(launch.arg(room).arg(means).arg(variances));
    let launch = kernels.by(form, "apply").over(form.groups() * form.count()).arg(kernels.eps());
    call.launch(launch.arg(x).arg(weight).arg(bias).arg(y).arg(means).arg(variances));
}

pub(super) fn gradients(op: &Normalize, call: &mut CudaCall<'_>) {
    let (x, weight) = (call.inputs()[0], call.inputs().get(4));
    let (form, weights) = op.form(x.shape(), weight.map(|w| w.shape()));
    let dtype = x.dtype();
    let result = |i: usize, call: &CudaCall<'_>| (i < call.outputs().len()).then(|| call.output(i));
    let (dx, [d_weight, d_bias]) = (call.output(0), [1, 2].map(|i| result(i, call)));
    if x.shape().count() == 0 {
        return fill(call, 0.0);
    }
    let kernels = Kernels { form, weights, dtype, centered: op.centered, eps: op.eps, is_forward: false };
    let [x, means, variances, dy] = [0, 1, 2, 3].map(|i| call.dense(i));
    let weight = or_null(weight.map(|_| call.dense(4)));
    let [d_weight, d_bias] = [d_weight, d_bias].map(or_null);
    if form.is_rows() {
        let launch = kernels.rows("rows_back").arg(x).arg(means).arg(variances).arg(dy).arg(weight.clone());
        call.launch(launch.arg(dx).arg(d_weight.clone()).arg(d_bias.clone()));
        if weights != Some(Weights::Places) {
            return;
        }
    }
    // The gradients of weights of places are sums over the rows.
    let form = match form.is_rows() {
        true => Form { outer: 1, far: form.groups(), inner: form.near, near: 1 },
        false => form,
    };
    let parts = Parts::of(form);
    let (room, joined) = (parts.room(form, call, dtype), call.room(2 * form.groups() * computed_in(dtype).size()));
    let launch = kernels.by(form, "sums").blocks(parts.tasks).arg(parts.rows).arg(parts.count).arg(parts.tasks);
    call.launch(launch.arg(kernels.eps()).arg(x).arg(means).arg(variances).arg(dy).arg(room));
    let launch = kernels.by(form, "join_sums").over(form.groups()).arg(parts.count).arg(room).arg(joined);
    call.launch(launch.arg(d_weight).arg(d_bias));
    if !kernels.form.is_rows() {
        let launch = kernels.by(form, "apply_back").over(form.groups() * form.count()).arg(kernels.eps());
        call.launch(launch.arg(x).arg(means).arg(variances).arg(dy).arg(weight).arg(joined).arg(dx));
    }
}
