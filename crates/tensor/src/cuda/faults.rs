//! What kernels find wrong with values. They write the first report into memory of the device, which is looked at whenever
//! the host waits for the device anyway: no step of training waits for it.

use super::driver::check;
use super::launch::{Fault, Tell};
use crate::{Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUdeviceptr, CUstream};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The report of a device, and who can tell what one means.
#[derive(Default)]
pub(super) struct Faults {
    /// Four numbers: whether there is one, of which call, the position, the value.
    report: CUdeviceptr,
    /// The calls that may still report, the first of which has this number.
    calls: Vec<Tell>,
    first: usize,
    /// Steps of plans, which report under a number of their own whenever they are run, and are known for as long as their plan.
    steps: BTreeMap<u64, Weak<dyn Fn(Fault) -> Error + Send + Sync>>,
    /// Whether one of them was run.
    is_replayed: bool,
}

impl Faults {
    const WORDS: usize = 4;
    /// Calls after which the device is waited for: an epoch may have millions before anybody reads.
    const MOST_CALLS: usize = 4096;
    /// Beyond all numbers of calls.
    const FIRST_STEP: u64 = 1 << 63;

    /// Memory for the report. The device is the thread's.
    pub(super) fn new(stream: CUstream) -> Result<Faults> {
        let mut report = 0;
        // SAFETY: the target is a variable here.
        check(unsafe { sys::cuMemAlloc_v2(&mut report, 8 * Self::WORDS) }, "there is no memory for reports")?;
        let faults = Faults { report, ..Faults::default() };
        faults.clear(stream)?;
        Ok(faults)
    }

    fn clear(&self, stream: CUstream) -> Result<()> {
        static ZEROS: [u64; Faults::WORDS] = [0; Faults::WORDS];
        // SAFETY: the report is as large; what is copied lives for ever.
        let result = unsafe { sys::cuMemcpyHtoDAsync_v2(self.report, ZEROS.as_ptr().cast(), 8 * Self::WORDS, stream) };
        check(result, "reports cannot be cleared")
    }

    /// The `kiln::Faults` of a call, whose launches are put into the stream before anybody looks for reports.
    ///
    /// # Errors
    /// A report of an earlier call, where so many may have reported that they are looked at now.
    pub(super) fn of(&mut self, tell: Tell, stream: CUstream) -> Result<[u64; 2]> {
        if self.calls.len() >= Self::MOST_CALLS {
            self.look(stream)?;
        }
        self.calls.push(tell);
        Ok([self.report, (self.first + self.calls.len() - 1) as u64])
    }

    /// The `kiln::Faults` of a step of a plan, for all its runs.
    pub(super) fn of_step(&mut self, tell: &Tell) -> [u64; 2] {
        let number = self.steps.last_key_value().map_or(Self::FIRST_STEP, |(last, _)| last + 1);
        self.steps.insert(number, Arc::downgrade(tell));
        [self.report, number]
    }

    /// Steps of a plan are put into the stream, before anybody looks for reports.
    pub(super) fn replayed(&mut self) {
        self.is_replayed = true;
    }

    /// Whether a call may have reported something.
    pub(super) fn is_pending(&self) -> bool {
        self.is_replayed || !self.calls.is_empty()
    }

    /// What was reported, when the stream has nothing left to do.
    ///
    /// # Errors
    /// The report, as the operation tells it.
    pub(super) fn look(&mut self, stream: CUstream) -> Result<()> {
        let mut words = [0u64; Self::WORDS];
        // SAFETY: there is room for the words, and the copy is waited for.
        unsafe {
            let bytes = 8 * Self::WORDS;
            check(
                sys::cuMemcpyDtoHAsync_v2(words.as_mut_ptr().cast(), self.report, bytes, stream),
                "no report can be read",
            )?;
            check(sys::cuStreamSynchronize(stream), "a kernel has failed")?;
        }
        let [reported, call, position, bits] = words;
        let tell = match self.steps.get(&call) {
            Some(step) => step.upgrade(),
            None => (call as usize).checked_sub(self.first).and_then(|call| self.calls.get(call)).cloned(),
        };
        self.first += self.calls.len();
        self.calls.clear();
        self.is_replayed = false;
        self.steps.retain(|_, step| step.strong_count() > 0);
        if reported == 0 {
            return Ok(());
        }
        self.clear(stream)?;
        match tell {
            Some(tell) => Err(tell(Fault { position: position as i64, bits })),
            None => {
                Err(Error::new(ErrorKind::Device, "cuda", "a kernel has reported something of no call that is known"))
            }
        }
    }
}
