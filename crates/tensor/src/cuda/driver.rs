//! Calls of the driver, each with its error.

use crate::{Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUresult};
use std::ffi::CStr;

/// The error of a call that failed; `doing` is what could not be done.
#[cold]
pub(super) fn failure(result: CUresult, doing: &str) -> Error {
    let mut name = std::ptr::null();
    let mut text = std::ptr::null();
    // SAFETY: both take any number, and give a constant text or none.
    unsafe {
        _ = sys::cuGetErrorName(result, &mut name);
        _ = sys::cuGetErrorString(result, &mut text);
    }
    let read = |text: *const std::ffi::c_char| match text.is_null() {
        true => "unknown".to_owned(),
        // SAFETY: a text of the driver's, which ends with a zero and lives as long as the driver.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    };
    let text = format!("{doing}: {} ({})", read(text), read(name));
    let kind = if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY { ErrorKind::Memory } else { ErrorKind::Device };
    let error = Error::new(kind, "cuda", text);
    match result {
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS | CUresult::CUDA_ERROR_LAUNCH_FAILED | CUresult::CUDA_ERROR_ASSERT => {
            error.help("a kernel that ran before has failed; the process cannot use this device any more")
        }
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            error.help("the compiler (NVRTC) is newer than the driver; update the driver")
        }
        _ => error,
    }
}

/// `Ok` where the driver says so.
#[inline]
pub(super) fn check(result: CUresult, doing: &str) -> Result<()> {
    match result {
        CUresult::CUDA_SUCCESS => Ok(()),
        error => Err(failure(error, doing)),
    }
}
