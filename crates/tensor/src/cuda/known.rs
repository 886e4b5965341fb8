//! What operations have asked a device for, kept: a training asks for the same at each step, and to print a kernel's source anew
//! takes longer than to start it.

use super::execute::Ready;
use super::gpu::Gpu;
use super::launch::{Asked, CudaOperand, Room, Tell, tf32_is_allowed};
use crate::op::Specs;
use crate::storage::{Role, Uniform};
use crate::{DType, Layout, Op, Result};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// So many calls are kept at most. Where shapes never come again, all are forgotten then.
const MOST: usize = 4096;

/// What an operation asked for, with its kernels.
pub(super) struct Known {
    pub(super) rooms: Vec<Room>,
    pub(super) ready: Vec<Ready>,
    pub(super) tell: Option<Tell>,
}

/// What launches follow from, beside the operation.
#[derive(PartialEq, Eq, Hash)]
struct Operands {
    each: SmallVec<[(DType, bool, Layout, Option<([u8; 8], Role)>); 3]>,
    tf32: bool,
}

struct Call {
    op: Arc<dyn Op>,
    operands: Operands,
    known: Arc<Known>,
}

/// The calls of a device, by what they hash to. Of several that hash alike the last is kept, so that an operation which is not
/// even the same as itself, with a NaN among its arguments, does not fill the list.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashMap<u64, Call>>);

impl Gpu {
    /// What `op` asks for to compute `y` from `x`, its kernels compiled.
    ///
    /// # Errors
    /// It has no kernel for GPUs, or one that does not compile.
    pub(super) fn known(&self, op: &dyn Op, x: &[CudaOperand<'_>], y: &Specs) -> Result<Arc<Known>> {
        let of = |x: &CudaOperand<'_>| (x.dtype(), x.spec().is_number(), *x.layout(), x.value().map(Uniform::parts));
        let operands = Operands { each: x.iter().map(of).collect(), tf32: tf32_is_allowed() };
        let mut hasher = DefaultHasher::new();
        (op.digest(), &operands).hash(&mut hasher);
        let key = hasher.finish();
        let calls = || self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_this = |call: &&Call| call.operands == operands && call.op.same(op);
        if let Some(call) = calls().get(&key).filter(is_this) {
            return Ok(call.known.clone());
        }
        // Not while the lock is held: to compile takes long, and others need not wait for it.
        let Asked { rooms, work, tell } = Asked::of(op, x, y)?;
        let known = Arc::new(Known { rooms, ready: self.ready(work)?, tell });
        let mut calls = calls();
        if calls.len() >= MOST {
            calls.clear();
        }
        calls.insert(key, Call { op: op.to_arc(), operands, known: known.clone() });
        Ok(known)
    }
}
