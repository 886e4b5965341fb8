//! Finding NVIDIA's libraries. Cudarc loads one by its name when it is first used, and panics where it is not there: so
//! each is looked for, opened and asked for its functions here first.

use crate::{Error, ErrorKind, Result};
use libloading::Library;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder that is looked in before all others.
const OVERRIDE: &str = "KILN_CUDA_LIB";

/// One of NVIDIA's libraries.
pub(super) struct Needed {
    /// What it is, in error texts.
    what: &'static str,
    /// The names of its file, the newest first.
    files: &'static [&'static str],
    /// What has to be opened before it, where it is there.
    before: &'static [&'static str],
    /// What it opens itself when it is used, by one of these names, and ends the process where it cannot.
    parts: &'static [&'static [&'static str]],
    /// The functions that Kiln calls.
    functions: &'static [&'static str],
    /// How it is had.
    help: &'static str,
}

pub(super) const DRIVER: Needed = Needed {
    what: "NVIDIA's driver",
    files: &["libcuda.so.1", "nvcuda.dll"],
    before: &[],
    parts: &[],
    functions: &[
        "cuInit",
        "cuDriverGetVersion",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetName",
        "cuDeviceGetAttribute",
        "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent",
        "cuMemAlloc_v2",
        "cuMemFree_v2",
        "cuMemGetInfo_v2",
        "cuMemHostAlloc",
        "cuMemFreeHost",
        "cuMemcpyHtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
        "cuMemcpyDtoDAsync_v2",
        "cuMemcpyPeerAsync",
        "cuEventCreate",
        "cuEventDestroy_v2",
        "cuEventRecord",
        "cuEventQuery",
        "cuEventSynchronize",
        "cuStreamCreate",
        "cuStreamSynchronize",
        "cuModuleLoadData",
        "cuModuleGetFunction",
        "cuFuncSetAttribute",
        "cuLaunchKernel",
        "cuStreamDestroy_v2",
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphLaunch",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuGetErrorName",
        "cuGetErrorString",
    ],
    help: "install NVIDIA's driver, version 525 or newer, and see that `nvidia-smi` lists the GPU",
};

pub(super) const COMPILER: Needed = Needed {
    what: "NVIDIA's run-time compiler (NVRTC)",
    files: &["libnvrtc.so.13", "libnvrtc.so.12", "nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
    before: &["libnvrtc-builtins.so.13.0", "libnvrtc-builtins.so.12.9"],
    parts: &[],
    functions: &[
        "nvrtcVersion",
        "nvrtcGetNumSupportedArchs",
        "nvrtcGetSupportedArchs",
        "nvrtcCreateProgram",
        "nvrtcDestroyProgram",
        "nvrtcCompileProgram",
        "nvrtcGetProgramLogSize",
        "nvrtcGetProgramLog",
        "nvrtcGetCUBINSize",
        "nvrtcGetCUBIN",
        "nvrtcGetPTXSize",
        "nvrtcGetPTX",
        "nvrtcGetErrorString",
    ],
    help: "install CUDA 12 or 13, or its compiler alone: `pip install nvidia-cuda-nvrtc`, and name the folder that has the library in KILN_CUDA_LIB",
};

/// Without it products are computed by kernels of Kiln.
pub(super) const PRODUCTS: Needed = Needed {
    what: "NVIDIA's library for products of matrices (cuBLASLt)",
    files: &["libcublasLt.so.13", "libcublasLt.so.12", "cublasLt64_13.dll", "cublasLt64_12.dll"],
    before: &[],
    parts: &[],
    functions: &[
        "cublasLtCreate",
        "cublasLtGetVersion",
        "cublasLtMatmul",
        "cublasLtMatmulAlgoGetHeuristic",
        "cublasLtMatmulDescCreate",
        "cublasLtMatmulDescDestroy",
        "cublasLtMatmulDescSetAttribute",
        "cublasLtMatmulPreferenceCreate",
        "cublasLtMatmulPreferenceDestroy",
        "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatrixLayoutCreate",
        "cublasLtMatrixLayoutDestroy",
        "cublasLtMatrixLayoutSetAttribute",
    ],
    help: "install CUDA 12 or 13, or the library alone: `pip install nvidia-cublas`",
};

/// Without it convolutions are computed by kernels of Kiln.
pub(super) const CONVOLUTIONS: Needed = Needed {
    what: "NVIDIA's library for convolutions (cuDNN)",
    files: &["libcudnn.so.9", "cudnn64_9.dll"],
    before: &[],
    parts: &[
        &["libcudnn_graph.so.9", "cudnn_graph64_9.dll"],
        &["libcudnn_ops.so.9", "cudnn_ops64_9.dll"],
        &["libcudnn_cnn.so.9", "cudnn_cnn64_9.dll"],
    ],
    functions: super::convolution::FUNCTIONS,
    help: "install cuDNN 9: `pip install nvidia-cudnn-cu13`",
};

impl Needed {
    /// Opens the library for the rest of the process.
    pub(super) fn open(&self) -> Result<&'static Library> {
        let folders = folders();
        for before in self.before {
            let _ = open(before, &folders);
        }
        let is_there = |names: &[&str]| names.iter().any(|name| open(name, &folders).is_some());
        if let Some(part) = self.parts.iter().find(|names| !is_there(names)) {
            let text = format!("{} is not there as a whole: no {}", self.what, part[0]);
            return Err(Error::new(ErrorKind::Device, "cuda", text).help(self.help));
        }
        let Some(library) = self.files.iter().find_map(|file| open(file, &folders)) else {
            let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let places = match looked.is_empty() {
                true => "where the system has its libraries".to_owned(),
                false => format!("where the system has its libraries and in {}", looked.join(", ")),
            };
            let text = format!("{} is not there: no {} {places}", self.what, self.files[0]);
            return Err(Error::new(ErrorKind::Device, "cuda", text).help(self.help));
        };
        for function in self.functions {
            // SAFETY: the symbol is looked for and not used.
            if unsafe { library.get::<*const ()>(function.as_bytes()) }.is_err() {
                let text = format!("{} is too old: it has no function {function}", self.what);
                return Err(Error::new(ErrorKind::Device, "cuda", text).help(self.help));
            }
        }
        Ok(library)
    }
}

/// The library of this name, if some folder or the system has it. It stays open: cudarc finds it by its name.
fn open(file: &str, folders: &[PathBuf]) -> Option<&'static Library> {
    let within = folders.iter().map(|folder| folder.join(file)).filter(|path| path.is_file());
    let only = std::env::var_os(OVERRIDE).is_some_and(|folder| !folder.is_empty());
    let system = (!only || within.clone().next().is_none()).then(|| PathBuf::from(file));
    // The system's own comes first, as it would for any program, unless a folder was named.
    let all: Vec<PathBuf> =
        if only { within.chain(system).collect() } else { system.into_iter().chain(within).collect() };
    all.iter().find_map(|path| load(path)).map(|library| &*Box::leak(Box::new(library)))
}

#[cfg(unix)]
fn load(path: &Path) -> Option<Library> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: NVIDIA's libraries have initialisers that may run at any time.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.ok().map(Into::into)
}

#[cfg(not(unix))]
fn load(path: &Path) -> Option<Library> {
    // SAFETY: NVIDIA's libraries have initialisers that may run at any time.
    unsafe { Library::new(path) }.ok()
}

/// Where a machine with CUDA may have its libraries: a toolkit, or the packages of a Python environment.
fn folders() -> Vec<PathBuf> {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(find_folders).clone()
}

fn find_folders() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = variable(OVERRIDE).into_iter().collect();
    for toolkit in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable).chain(["/usr/local/cuda".into()]) {
        folders.extend(["lib64", "lib", "targets/x86_64-linux/lib"].map(|below| toolkit.join(below)));
    }
    folders.push("/usr/lib/x86_64-linux-gnu".into());
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable) {
        // lib/python3.12/site-packages/nvidia/cu13/lib
        for python in below(&environment.join("lib")) {
            for package in below(&python.join("site-packages/nvidia")) {
                folders.push(package.join("lib"));
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
