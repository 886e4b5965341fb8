//! What operations have asked a device for, kept: a training asks for the same at each step, and to print a kernel's source anew
//! takes longer than to start it.

use super::execute::Ready;
use super::gpu::Gpu;
use super::launch::{Asked, CudaOperand, Room, Tell, tf32_is_allowed};
use crate::op::Specs;
use crate::run::FEW;
use crate::storage::{Role, Uniform};
use crate::{DType, Layout, Op, Result};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// So many calls are kept at most. Where shapes never come again, all are forgotten then.
const MOST: usize = 4096;

/// What an operation asked for, or several that run abreast, with its kernels.
pub(super) struct Known {
    pub(super) rooms: Vec<Room>,
    pub(super) ready: Vec<Ready>,
    pub(super) tell: Option<Tell>,
    /// Whether a result may take the place of an operand.
    pub(super) is_pointwise: bool,
}

/// An operation on operands.
pub(super) struct Question<'a> {
    pub(super) op: &'a dyn Op,
    pub(super) x: SmallVec<[CudaOperand<'a>; FEW]>,
    pub(super) y: &'a Specs,
}

/// What launches follow from, beside the operations.
#[derive(PartialEq, Eq, Hash)]
struct Operands {
    each: SmallVec<[(DType, bool, Layout, Option<([u8; 8], Role)>); 3]>,
    /// Of each operation, how many of them there are.
    counts: SmallVec<[usize; 1]>,
    tf32: bool,
}

struct Call {
    ops: SmallVec<[Arc<dyn Op>; 1]>,
    operands: Operands,
    /// Nothing where several cannot run abreast.
    known: Option<Arc<Known>>,
}

/// The calls of a device, by what they hash to. Of several that hash alike the last is kept, so that an operation which is not
/// even the same as itself, with a NaN among its arguments, does not fill the list.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashMap<u64, Call>>);

impl Gpu {
    /// What an operation asks for, or several that are to run abreast, with the kernels compiled; `None` where several cannot.
    ///
    /// # Errors
    /// One has no kernel for GPUs, or one that does not compile.
    pub(super) fn known(&'static self, questions: &[Question<'_>]) -> Result<Option<Arc<Known>>> {
        let operands = Operands::of(questions);
        let mut hasher = DefaultHasher::new();
        questions.iter().for_each(|question| question.op.digest().hash(&mut hasher));
        operands.hash(&mut hasher);
        let key = hasher.finish();
        let calls = || self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        let are_these = |call: &&Call| {
            let mut ops = call.ops.iter().zip(questions);
            call.operands == operands && ops.all(|(op, question)| op.same(question.op))
        };
        if let Some(call) = calls().get(&key).filter(are_these) {
            return Ok(call.known.clone());
        }
        // Not while the lock is held: to compile takes long, and others need not wait for it.
        let known = match asked(questions)? {
            Some(Asked { rooms, work, tell, is_pointwise }) => {
                Some(Arc::new(Known { rooms, ready: self.ready(work)?, tell, is_pointwise }))
            }
            None => None,
        };
        let mut calls = calls();
        if calls.len() >= MOST {
            calls.clear();
        }
        let ops = questions.iter().map(|question| question.op.to_arc()).collect();
        calls.insert(key, Call { ops, operands, known: known.clone() });
        Ok(known)
    }
}

impl Operands {
    fn of(questions: &[Question<'_>]) -> Operands {
        let of = |x: &CudaOperand<'_>| (x.dtype(), x.spec().is_number(), *x.layout(), x.value().map(Uniform::parts));
        let each = questions.iter().flat_map(|question| &question.x).map(of).collect();
        let counts = questions.iter().map(|question| question.x.len()).collect();
        Operands { each, counts, tf32: tf32_is_allowed() }
    }
}

/// What all ask for together, if that is possible.
fn asked(questions: &[Question<'_>]) -> Result<Option<Asked>> {
    let is_abreast = questions.len() > 1;
    let (mut all, mut count): (Option<Asked>, [usize; 2]) = (None, [0; 2]);
    for Question { op, x, y } in questions {
        let asked = Asked::of(*op, x, y, is_abreast)?;
        if is_abreast && !asked.is_joinable() {
            return Ok(None);
        }
        match &mut all {
            Some(all) => all.join(asked, count),
            None => all = Some(asked),
        }
        count = [count[0] + x.len(), count[1] + y.len()];
    }
    Ok(all)
}
