//! Kernels from source: NVRTC compiles one when it is first used, and a file keeps it for later processes.

use super::driver::check;
use super::launch::Launch;
use super::library::COMPILER;
use crate::{Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUfunction};
use cudarc::nvrtc::sys as nvrtc;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What every source begins with.
const PRELUDE: &str = include_str!("prelude.cuh");

/// NVRTC, for one architecture.
pub(super) struct Compiler {
    /// `sm_90`, or `compute_90` where the compiler is older than the device and the driver translates.
    target: String,
    version: (i32, i32),
    /// Where compiled kernels are kept.
    folder: Option<PathBuf>,
}

/// The kernels of a device that have been used, by their source and name.
pub(super) struct Kernels {
    compiler: Compiler,
    functions: Mutex<HashMap<(String, &'static str), Function>>,
}

/// A kernel that can be launched, for the rest of the process.
#[derive(Clone, Copy)]
pub(super) struct Function(pub(super) CUfunction);

// SAFETY: a handle of the driver's, which any thread may use.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

fn check_compiler(result: nvrtc::nvrtcResult, doing: &str) -> Result<()> {
    if result == nvrtc::nvrtcResult::NVRTC_SUCCESS {
        return Ok(());
    }
    // SAFETY: it gives a constant text for any number.
    let text = unsafe { CStr::from_ptr(nvrtc::nvrtcGetErrorString(result)) };
    Err(Error::new(ErrorKind::Device, "cuda", format!("{doing}: {}", text.to_string_lossy())))
}

impl Compiler {
    pub(super) fn new(architecture: i32) -> Result<Compiler> {
        COMPILER.open()?;
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the library is there, and the targets are variables here, as large as it says itself.
        let known = unsafe {
            check_compiler(nvrtc::nvrtcVersion(&mut major, &mut minor), "the compiler does not say its version")?;
            check_compiler(nvrtc::nvrtcGetNumSupportedArchs(&mut count), "the compiler does not say its targets")?;
            let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
            check_compiler(nvrtc::nvrtcGetSupportedArchs(known.as_mut_ptr()), "the compiler does not say its targets")?;
            known
        };
        let target = match known.iter().filter(|&&known| known <= architecture).max() {
            Some(&known) if known == architecture => format!("sm_{known}"),
            Some(older) => format!("compute_{older}"),
            None => {
                let text =
                    format!("the compiler (NVRTC {major}.{minor}) knows no devices as old as this (sm_{architecture})");
                return Err(Error::new(ErrorKind::Device, "cuda", text).help("use an older CUDA, or a newer GPU"));
            }
        };
        Ok(Compiler { target, version: (major, minor), folder: folder() })
    }

    /// Of the CUDA that it is of, as the driver counts.
    pub(super) fn version(&self) -> i32 {
        1000 * self.version.0 + 10 * self.version.1
    }

    /// The device code of a source: from its file, or compiled.
    fn code(&self, source: &str, entry: &str) -> Result<Vec<u8>> {
        // All that the code depends on: compared with what the file was made of, so that no chance gives other code.
        let key = format!("{} NVRTC {}.{}\n{source}", self.target, self.version.0, self.version.1);
        let file = self.folder.as_ref().map(|folder| folder.join(format!("{:016x}.kernel", digest(&key))));
        if let Some(code) = file.as_deref().and_then(|file| read(file, &key)) {
            return Ok(code);
        }
        let code = self.compile(source, entry)?;
        if let Some(file) = file {
            // Without it the next process compiles again.
            let _ = write(&file, &key, &code);
        }
        Ok(code)
    }

    fn compile(&self, source: &str, entry: &str) -> Result<Vec<u8>> {
        self.compile_with(source, entry, &[]).map(|(code, _)| code)
    }

    /// The device code of a source and what the compiler says of it.
    fn compile_with(&self, source: &str, entry: &str, more: &[&str]) -> Result<(Vec<u8>, String)> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error::argument(entry, "the source of its CUDA kernel has a zero byte"))
        };
        let (source, name) = (text(source)?, text(&format!("{entry}.cu"))?);
        // Products and sums are rounded one by one, as on the CPU.
        let target = format!("--gpu-architecture={}", self.target);
        let options = [&*target, "--fmad=false", "--std=c++17"].into_iter().chain(more.iter().copied());
        let options: Vec<CString> = options.map(text).collect::<Result<_>>()?;
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: the texts end with a zero and outlive the calls; there are no headers.
        let made = unsafe {
            nvrtc::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        check_compiler(made, "the compiler takes no source")?;
        // SAFETY: the program was made above, and the options live until the call returns.
        let result = unsafe { nvrtc::nvrtcCompileProgram(program, options.len() as i32, options.as_ptr()) };
        let outcome = match result {
            nvrtc::nvrtcResult::NVRTC_SUCCESS if self.target.starts_with("sm_") => {
                fetch(program, nvrtc::nvrtcGetCUBINSize, nvrtc::nvrtcGetCUBIN)
            }
            nvrtc::nvrtcResult::NVRTC_SUCCESS => fetch(program, nvrtc::nvrtcGetPTXSize, nvrtc::nvrtcGetPTX),
            nvrtc::nvrtcResult::NVRTC_ERROR_COMPILATION => {
                let text = format!("its CUDA kernel does not compile:\n{}", log(program)?);
                Err(Error::new(ErrorKind::Device, entry, text))
            }
            error => check_compiler(error, "the kernel cannot be compiled").map(|()| Vec::new()),
        };
        let outcome = outcome.and_then(|code| Ok((code, log(program)?)));
        // SAFETY: the program was made above and is not used after.
        unsafe { _ = nvrtc::nvrtcDestroyProgram(&mut program) };
        outcome
    }
}

/// What the compiler says of a program.
fn log(program: nvrtc::nvrtcProgram) -> Result<String> {
    let log = fetch(program, nvrtc::nvrtcGetProgramLogSize, nvrtc::nvrtcGetProgramLog)?;
    Ok(String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned())
}

/// What a program has of one kind.
fn fetch(
    program: nvrtc::nvrtcProgram,
    size: unsafe fn(nvrtc::nvrtcProgram, *mut usize) -> nvrtc::nvrtcResult,
    get: unsafe fn(nvrtc::nvrtcProgram, *mut std::ffi::c_char) -> nvrtc::nvrtcResult,
) -> Result<Vec<u8>> {
    let mut bytes = 0;
    // SAFETY: the program is alive, and the target as large as it says.
    unsafe {
        check_compiler(size(program, &mut bytes), "the compiler gives no code")?;
        let mut code = vec![0u8; bytes];
        check_compiler(get(program, code.as_mut_ptr().cast()), "the compiler gives no code")?;
        Ok(code)
    }
}

impl Kernels {
    pub(super) fn new(compiler: Compiler) -> Kernels {
        Kernels { compiler, functions: Mutex::default() }
    }

    /// The kernel of a launch. The device must be the thread's.
    pub(super) fn function(&self, launch: &Launch) -> Result<Function> {
        // A panic while the lock is held leaves the map as it was.
        let functions = || self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (launch.text(), launch.entry);
        if let Some(function) = functions().get(&key) {
            return Ok(*function);
        }
        // Without the lock: others need not wait while this one is compiled, and compile it twice at worst.
        // Lines of errors count from where the operation's own text begins.
        let source = format!("{PRELUDE}\n#line 1 \"{}.cu\"\n{}", launch.entry, key.0);
        show(&source, launch.entry);
        let code = self.compiler.code(&source, launch.entry)?;
        let entry =
            CString::new(launch.entry).map_err(|_| Error::argument("cuda", "a kernel's name has a zero byte"))?;
        let (mut module, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the code is what the compiler gave, or a file of this user's that was compared; a module is kept for the
        // rest of the process.
        unsafe {
            check(sys::cuModuleLoadData(&mut module, code.as_ptr().cast()), "a kernel cannot be loaded")?;
            let found = sys::cuModuleGetFunction(&mut function, module, entry.as_ptr());
            check(found, &format!("the source has no kernel {}", launch.entry))?;
        }
        if launch.shared > 48 << 10 {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found above.
            let result = unsafe { sys::cuFuncSetAttribute(function, attribute, launch.shared as i32) };
            check(result, "the device has not so much shared memory")?;
        }
        functions().insert(key, Function(function));
        Ok(Function(function))
    }
}

/// Writes a source to the folder that `KILN_CUDA_SOURCES` names, if it does: for whoever wants to see what is compiled.
fn show(source: &str, entry: &str) {
    if let Some(folder) = std::env::var_os("KILN_CUDA_SOURCES").filter(|folder| !folder.is_empty()) {
        let file = Path::new(&folder).join(format!("{entry}-{:016x}.cu", digest(source)));
        // It is looked at, and nothing depends on it.
        let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(file, source));
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Where compiled kernels are kept: `KILN_CUDA_CACHE` (empty for nowhere), or the user's folder for what can be made again.
fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let not_empty = |path: &PathBuf| !path.as_os_str().is_empty();
    match variable("KILN_CUDA_CACHE") {
        Some(folder) => Some(folder).filter(not_empty),
        None => variable("XDG_CACHE_HOME")
            .filter(not_empty)
            .or_else(|| variable("HOME").filter(not_empty).map(|home| home.join(".cache")))
            .map(|cache| cache.join("kiln/cuda")),
    }
}

const MAGIC: &[u8; 8] = b"kilncu1\n";

/// A file's code, if it was made of this key and is whole: the magic, the lengths of key and code, a checksum, both.
fn read(file: &Path, key: &str) -> Option<Vec<u8>> {
    let bytes = std::fs::read(file).ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let (made_of, code) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let is_whole = magic == MAGIC && made_of == key.as_bytes() && u64::from_le_bytes(*sum) == checksum(code);
    is_whole.then(|| code.to_vec())
}

/// Written beside and moved into place, so that no other process reads half of it.
fn write(file: &Path, key: &str, code: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    let mut to = std::fs::File::create(&beside)?;
    to.write_all(MAGIC)?;
    to.write_all(&(key.len() as u64).to_le_bytes())?;
    to.write_all(&checksum(code).to_le_bytes())?;
    to.write_all(key.as_bytes())?;
    to.write_all(code)?;
    drop(to);
    std::fs::rename(&beside, file)
}

/// FNV-1a, for files that a crash has cut off.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each source of the folder `KILN_CUDA_SOURCES`, or each so manieth of them (`KILN_CUDA_EVERY`), by NVRTC for five kinds of
    /// devices: a part of `cargo xtask gpu`. None may need more registers than there are, which would spill into memory.
    #[test]
    #[ignore = "needs NVRTC and a folder of sources"]
    fn sources_compile_without_spills() {
        let folder = std::env::var("KILN_CUDA_SOURCES").expect("a folder of sources");
        let every: usize = std::env::var("KILN_CUDA_EVERY").map_or(1, |every| every.parse().expect("a number"));
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let files: Vec<&PathBuf> = files.iter().enumerate().filter(|(i, _)| i % every == 0).map(|(_, f)| f).collect();
        assert!(!files.is_empty(), "there is no source");
        let next = std::sync::atomic::AtomicUsize::new(0);
        let problems = Mutex::new(Vec::new());
        let work = || {
            let compilers = [75, 80, 90, 100, 120].map(|architecture| Compiler::new(architecture).unwrap());
            while let Some(file) = files.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let source = std::fs::read_to_string(file).unwrap();
                // Devices of 7.5 have no bf16: what stands in for their tensor cores takes what it needs.
                let stands_in = source.contains("multiply_add") && source.contains("#define T bf16");
                for compiler in compilers.iter().skip(usize::from(stands_in)) {
                    let problem = match compiler.compile_with(&source, "kernel", &["--ptxas-options=-v"]) {
                        Err(error) => error.to_string(),
                        Ok((_, log)) if spills(&log) => log,
                        Ok(_) => continue,
                    };
                    let text = format!("{} for {}:\n{problem}", file.display(), compiler.target);
                    problems.lock().unwrap().push(text);
                    break;
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
        let problems = problems.into_inner().unwrap();
        assert!(problems.is_empty(), "{} of {} sources:\n{}", problems.len(), files.len(), problems.join("\n"));
        println!("{} sources for 5 kinds of devices", files.len());
    }

    /// Whether a kernel keeps what belongs in registers in memory: more than a few numbers, and for want of registers. Where there
    /// are many left the assembler has put something aside of its own accord, so that more threads find room.
    fn spills(log: &str) -> bool {
        const FEW: u32 = 40;
        const MANY_REGISTERS: u32 = 128;
        let number = |line: &str, behind: &str| line.split(behind).next()?.rsplit(' ').next()?.parse::<u32>().ok();
        let lines: Vec<&str> = log.lines().collect();
        (0..lines.len()).filter(|&at| lines[at].contains(" bytes spill stores")).any(|at| {
            let registers = lines[at..].iter().find(|line| line.contains(" registers"));
            let registers = registers.and_then(|line| number(line, " registers"));
            let is_short = registers.is_none_or(|registers| registers >= MANY_REGISTERS);
            is_short && number(lines[at], " bytes spill stores").is_none_or(|bytes| bytes > FEW)
        })
    }

    #[test]
    fn spills_are_seen() {
        let log = |bytes: u32, registers: u32| {
            format!(
                "ptxas . 8 bytes stack frame, {bytes} bytes spill stores, 60 bytes spill loads\nptxas info : Used {registers} registers, 1 barriers"
            )
        };
        assert!(spills(&log(48, 255)) && spills(&(log(0, 40) + "\n" + &log(48, 128))));
        assert!(!spills(&log(8, 255)) && !spills(&log(72, 48)));
        assert!(spills("ptxas . 48 bytes spill stores"));
    }

    #[test]
    fn a_kept_kernel_is_read_back_only_whole_and_of_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below/a.kernel");
        assert_eq!(read(&file, "key"), None);
        write(&file, "key", b"code").unwrap();
        assert_eq!(read(&file, "key").as_deref(), Some(&b"code"[..]));
        assert_eq!(read(&file, "yek"), None);
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(read(&file, "key"), None);
        std::fs::write(&file, &bytes[..20]).unwrap();
        assert_eq!(read(&file, "key"), None);
    }
}
