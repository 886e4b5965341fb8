//! Builds the fake CUDA driver below `tests/gpu/fake`, and runs commands that find it where they look for a real one.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// Each library: its name, which is also what others load it by, its sources, and the compiler's flags of its own.
const LIBRARIES: &[(&str, &[&str], &[&str])] = &[
    ("libcuda.so.1", &["driver.cpp", "work.cpp", "state.cpp", "fibers.cpp"], &["-ldl"]),
    ("libnvrtc.so.13", &["nvrtc.cpp"], &[]),
    ("libcublasLt.so.13", &["cublaslt.cpp"], &["-ldl"]),
    ("libcudnn.so.9", &["cudnn.cpp"], &["-ldl"]),
    ("libcudnn_graph.so.9", &["cudnn_part.cpp"], &[]),
    ("libcudnn_ops.so.9", &["cudnn_part.cpp"], &[]),
    ("libcudnn_cnn.so.9", &["cudnn_part.cpp"], &[]),
];
const FLAGS: &[&str] = &["-std=c++17", "-O2", "-Wall", "-Wextra", "-fPIC"];
const SHARED: &[&str] = &["-shared", "-fvisibility=hidden"];

/// The fake driver, built.
pub struct FakeGpu {
    /// The folder of its libraries.
    pub folder: PathBuf,
    /// Where kernels are kept that were compiled for it.
    pub cache: PathBuf,
    compiler: String,
    sources: PathBuf,
}

impl FakeGpu {
    /// Builds the libraries, if their sources have changed since they were built, into `target/fake-gpu`. Functions in
    /// `without` are left out, as in a driver that is older than they are; such a build has a folder of its own.
    ///
    /// # Errors
    /// No C++ compiler, what the compiler says, or a folder that cannot be written.
    pub fn build(root: &Path, without: &[&str]) -> Result<Self, String> {
        let compiler = compiler()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = target.join("fake-gpu");
        let folder = match without {
            [] => target.clone(),
            names => target.join(format!("without-{}", names.join("-"))),
        };
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        // The compiler and the command may run elsewhere.
        let absolute = |path: PathBuf| fs::canonicalize(&path).map_err(|e| format!("{}: {e}", path.display()));
        let (target, folder) = (absolute(target)?, absolute(folder)?);
        let sources = root.join("tests/gpu/fake");
        let fake = Self { folder, cache: target.join("cache"), compiler, sources };
        fake.libraries(without)?;
        Ok(fake)
    }

    fn libraries(&self, without: &[&str]) -> Result<(), String> {
        let (stamp, state) = (self.folder.join("stamp"), self.state()?);
        let present = LIBRARIES.iter().all(|(name, ..)| self.folder.join(name).exists());
        if present && fs::read_to_string(&stamp).is_ok_and(|former| former == state) {
            return Ok(());
        }
        let hidden = self.folder.join("hidden-functions");
        let script = match without {
            [] => "{ global: *; };".to_owned(),
            names => format!("{{ global: *; local: {}; }};", names.join("; ")),
        };
        fs::write(&hidden, script).map_err(|e| format!("{}: {e}", hidden.display()))?;
        let mut builds = Vec::new();
        for (name, sources, flags) in LIBRARIES {
            let mut command = self.command(name, sources);
            command.args(SHARED).args(*flags);
            command.arg(format!("-Wl,-soname,{name}")).arg(format!("-Wl,--version-script={}", hidden.display()));
            builds.push(self.start(name, command)?);
        }
        for build in builds {
            self.finish(build)?;
        }
        fs::write(&stamp, state).map_err(|e| format!("{}: {e}", stamp.display()))
    }

    /// Compiles a program of the sources' folder.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn program(&self, name: &str) -> Result<PathBuf, String> {
        let mut command = self.command(name, &[&format!("{name}.cpp")]);
        // Tests are compiled more often than they run.
        command.args(["-O0", "-ldl", "-lpthread"]);
        self.finish(self.start(name, command)?)?;
        Ok(self.folder.join(name))
    }

    /// Lets a command find the fake driver.
    pub fn prepare(&self, command: &mut Command) {
        command.env("KILN_CUDA_LIB", &self.folder).env("KILN_FAKE_CXX", &self.compiler);
        if std::env::var_os("KILN_FAKE_CACHE").is_none() {
            command.env("KILN_FAKE_CACHE", &self.cache);
        }
    }

    /// The runtime of the compiler's AddressSanitizer, to be preloaded where kernels are compiled with it.
    pub fn sanitizer(&self) -> Option<PathBuf> {
        let output = Command::new(&self.compiler).arg("-print-file-name=libasan.so").output().ok()?;
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // Where it has no such file, a compiler gives the name back.
        path.is_absolute().then_some(path)
    }

    /// A word that changes with the sources and with how they are compiled.
    fn state(&self) -> Result<String, String> {
        let mut hasher = DefaultHasher::new();
        let entries = fs::read_dir(&self.sources).map_err(|e| format!("{}: {e}", self.sources.display()))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            file.file_name().hash(&mut hasher);
            fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?.hash(&mut hasher);
        }
        (&self.compiler, FLAGS, SHARED, LIBRARIES).hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// The compiler, in the folder of the sources; it writes a file that no other process writes.
    fn command(&self, name: &str, sources: &[&str]) -> Command {
        let mut command = Command::new(&self.compiler);
        command.current_dir(&self.sources).args(FLAGS).args(sources);
        // Where the assembler looks for the headers that a library holds.
        command.arg("-Wa,-I.").arg("-o").arg(self.partial(name));
        command
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{}", std::process::id()))
    }

    fn start<'a>(&self, name: &'a str, mut command: Command) -> Result<(&'a str, Child), String> {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        Ok((name, child.map_err(|e| format!("{}: {e}", self.compiler))?))
    }

    fn finish(&self, (name, child): (&str, Child)) -> Result<(), String> {
        let output = child.wait_with_output().map_err(|e| format!("{}: {e}", self.compiler))?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        fs::rename(self.partial(name), self.folder.join(name)).map_err(|e| format!("{name}: {e}"))
    }
}

/// The C++ compiler that `CXX` names, or one of the usual names.
fn compiler() -> Result<String, String> {
    let named = std::env::var("CXX").ok();
    let candidates = named.iter().map(String::as_str).chain(["c++", "g++", "clang++"]);
    let runs = |name: &&str| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    candidates.into_iter().find(runs).map(str::to_owned).ok_or_else(|| NO_COMPILER.to_owned())
}

/// What `build` says where there is nothing to build with.
pub const NO_COMPILER: &str = "the fake GPU needs a C++ compiler: install g++ or clang++, or name one in CXX";

/// The subcommand: `[--without NAME,NAME…] [-- COMMAND ARGUMENT…]`.
pub fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    let (without, rest) = match arguments {
        ["--without", names, rest @ ..] => (names.split(',').collect(), rest),
        rest => (Vec::new(), rest),
    };
    let command = match rest {
        [] => None,
        ["--", program, arguments @ ..] => Some((program, arguments)),
        _ => {
            eprintln!("usage: cargo xtask fake-gpu [--without FUNCTION,FUNCTION…] [-- COMMAND ARGUMENT…]");
            return ExitCode::from(2);
        }
    };
    let fake = match FakeGpu::build(root, &without) {
        Ok(fake) => fake,
        Err(problem) => {
            eprintln!("fake-gpu: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let Some((program, arguments)) = command else {
        println!("{}", fake.folder.display());
        return ExitCode::SUCCESS;
    };
    let mut command = Command::new(program);
    fake.prepare(&mut command);
    match command.args(arguments).status().map(|status| status.code()) {
        Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(problem) => {
            eprintln!("fake-gpu: {program} cannot be run: {problem}");
            ExitCode::FAILURE
        }
    }
}
