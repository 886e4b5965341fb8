//! What stands for the backend in a build without the feature `cuda`: no device is ever there, so no memory is either.

use super::launch::PlannedCall;
use crate::abreast::Waiting;
use crate::op::{Outputs, Specs};
use crate::storage::Storage;
use crate::{DType, Device, DeviceMemory, Error, ErrorKind, Op, Result, Spec, Tensor};

/// Memory that does not exist.
pub(crate) enum Buffer {}

impl Buffer {
    pub(crate) fn bytes(&self) -> usize {
        match *self {}
    }
}

#[cold]
fn absent<T>(number: usize) -> Result<T> {
    let device = Device::Cuda(number).to_string();
    Err(Error::new(ErrorKind::Device, device, "this build of Kiln has no CUDA backend")
        .help("enable the feature `cuda` of kiln, or use Device::Cpu"))
}

pub(crate) fn count() -> usize {
    0
}

pub(crate) fn ensure_available(number: usize) -> Result<()> {
    absent(number)
}

pub(crate) fn memory(number: usize) -> Result<DeviceMemory> {
    absent(number)
}

pub(crate) fn reset_peak(number: usize) -> Result<()> {
    absent(number)
}

pub(crate) fn release(number: usize) -> Result<()> {
    absent(number)
}

pub(crate) fn synchronize(number: usize) -> Result<()> {
    absent(number)
}

pub(crate) fn describe(number: usize) -> Result<String> {
    absent(number)
}

pub(crate) fn run(
    number: usize,
    _: &dyn Op,
    _: &[&Tensor],
    _: &mut [Option<Storage>],
    _: &Specs,
    _: &mut Outputs,
) -> Result<()> {
    absent(number)
}

pub(crate) fn run_abreast(number: usize, _: &[&Waiting]) -> Result<Option<Vec<Outputs>>> {
    absent(number)
}

pub(crate) fn room(number: usize, _: usize, _: DType) -> Result<Storage> {
    absent(number)
}

/// Of a plan that is never made.
pub(crate) enum Recorded {}

impl Recorded {
    pub(crate) fn new(number: usize, _: usize, _: &[Spec], _: Vec<Vec<PlannedCall>>) -> Result<Recorded> {
        absent(number)
    }

    pub(crate) fn run(&mut self, _: &[&Storage]) -> Result<()> {
        match *self {}
    }

    pub(crate) fn launches(&self) -> usize {
        match *self {}
    }

    pub(crate) fn launches_of(&self, _: usize) -> usize {
        match *self {}
    }
}

pub(crate) fn upload(number: usize, _: &Tensor) -> Result<Tensor> {
    absent(number)
}

pub(crate) fn across(_: usize, _: &Tensor, from: &Buffer) -> Result<Tensor> {
    match *from {}
}

pub(crate) fn download(buffer: &Buffer, _: &Tensor) -> Result<Tensor> {
    match *buffer {}
}

pub(crate) fn device(buffer: &Buffer) -> Device {
    match *buffer {}
}
