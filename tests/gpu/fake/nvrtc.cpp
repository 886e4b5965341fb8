// A fake libnvrtc.so.13: it compiles CUDA C++ with the system's C++ compiler, against shim.h. What it calls a cubin
// is a small text that names a shared library, which the fake driver loads.
//
// Environment: KILN_FAKE_CACHE, the folder of compiled kernels; KILN_FAKE_CXX, the compiler (default c++);
// KILN_FAKE_OPTIMIZE, its option for that (default -O1); KILN_FAKE_SANITIZE=1 adds -fsanitize=address, for a
// process that was started with libasan preloaded (LD_PRELOAD="$(g++ -print-file-name=libasan.so)",
// ASAN_OPTIONS=detect_leaks=0).
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <errno.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

extern char** environ;

// The texts of the headers, so that this library is all that a compilation needs.
#define EMBED(name, file)                              \
    asm(".section .rodata\n"                           \
        ".global " #name "\n" #name ":\n"              \
        ".incbin \"" file "\"\n"                       \
        ".byte 0\n"                                    \
        ".previous\n");                                \
    extern "C" __attribute__((visibility("hidden"))) const char name[];
EMBED(kiln_fake_shim_text, "shim.h")
EMBED(kiln_fake_contract_text, "contract.h")

namespace {

enum Result {
    Success = 0,
    InvalidInput = 3,
    InvalidProgram = 4,
    InvalidOption = 5,
    CompilationFailed = 6,
    NoNameExpressions = 8,
};

struct Program {
    std::string source, name, log, cubin, ptx;
    std::map<std::string, std::string> headers;
};

std::string environment(const char* name, const std::string& otherwise) {
    const char* value = getenv(name);
    return value && *value ? value : otherwise;
}

std::string read(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

bool exists(const std::string& path) { return access(path.c_str(), R_OK) == 0; }

// A name that no other process or thread has.
std::string unique(const std::string& path) {
    static std::atomic<unsigned> count;
    return path + "." + std::to_string(getpid()) + "-" + std::to_string(count++);
}

// Others see the whole file or none.
bool write(const std::string& path, const std::string& text) {
    std::string partial = unique(path);
    std::ofstream file(partial);
    file << text;
    file.close();
    return file.good() && rename(partial.c_str(), path.c_str()) == 0;
}

void make_folders(const std::string& path) {
    for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
        mkdir(path.substr(0, end).c_str(), 0777);
    }
    mkdir(path.c_str(), 0777);
}

// 128 bits of FNV-1a, in two halves that begin differently.
std::string hash(const std::string& text) {
    unsigned long long a = 0xcbf29ce484222325ull, b = 0x84222325cbf29ce4ull;
    for (unsigned char byte : text) {
        a = (a ^ byte) * 0x100000001b3ull;
        b = (b ^ byte) * 0x10000000233ull;
    }
    char digits[40];
    snprintf(digits, sizeof digits, "%016llx%016llx", a, b);
    return digits;
}

// Runs a command with its standard error in `log`; false if it fails.
bool execute(const std::vector<std::string>& command, const std::string& log) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    // A sanitizer that is preloaded is meant for the kernels, not for the compiler.
    std::vector<char*> variables;
    for (char** variable = environ; *variable; variable++) {
        if (strncmp(*variable, "LD_PRELOAD=", 11) != 0) variables.push_back(*variable);
    }
    variables.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    pid_t child;
    int problem = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), variables.data());
    posix_spawn_file_actions_destroy(&actions);
    if (problem) {
        std::ofstream(log) << command[0] << " cannot be run: " << strerror(problem) << "\n";
        return false;
    }
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return false;
    }
    return status == 0;
}

// ---- Options

struct Options {
    // Those that the C++ compiler takes too.
    std::vector<std::string> passed_on;
    std::string architecture = "sm_75";
};

bool begins_with(const std::string& text, const std::string& beginning) {
    return text.compare(0, beginning.size(), beginning) == 0;
}

// NVRTC's options, of which most have no meaning here. False, with a line in the log, for what NVRTC would refuse.
bool parse(int count, const char* const* texts, Options& options, std::string& log) {
    static const char* const without_meaning[] = {
        "--fmad", "-fmad", "--use_fast_math", "-use_fast_math", "--ftz", "-ftz", "--prec-div", "-prec-div",
        "--prec-sqrt", "-prec-sqrt", "--extra-device-vectorization", "-extra-device-vectorization",
        "--ptxas-options", "-ptxas-options", "-Xptxas", "--maxrregcount", "-maxrregcount", "--generate-line-info",
        "-lineinfo", "--device-debug", "-G", "--disable-warnings", "-w", "--restrict", "-restrict",
        "--device-as-default-execution-space", "-default-device", "--diag-suppress", "-diag-suppress",
        "--no-cache", "-no-cache", "--minimal", "-minimal", "--split-compile", "-split-compile",
        "--relocatable-device-code", "-rdc", "--dopt", "-dopt", "--builtin-initializer-list", "--dlcm",
    };
    for (int i = 0; i < count; i++) {
        std::string option = texts[i];
        size_t equals = option.find('=');
        std::string name = option.substr(0, equals);
        std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
        auto next = [&] { return i + 1 < count ? texts[++i] : ""; };
        if (name == "--gpu-architecture" || name == "-arch") {
            options.architecture = equals == std::string::npos ? next() : value;
        } else if (name == "--define-macro") {
            options.passed_on.push_back("-D" + (equals == std::string::npos ? next() : value));
        } else if (name == "--undefine-macro") {
            options.passed_on.push_back("-U" + (equals == std::string::npos ? next() : value));
        } else if (name == "--include-path") {
            options.passed_on.push_back("-I" + (equals == std::string::npos ? next() : value));
        } else if (name == "-D" || name == "-I" || name == "-U") {
            options.passed_on.push_back(option.size() > 2 ? option : option + next());
        } else if (begins_with(option, "-D") || begins_with(option, "-I") || begins_with(option, "-U")) {
            options.passed_on.push_back(option);
        } else if (name == "--std" || name == "-std") {
            // The shim needs C++17, which is also NVRTC's default.
            if (value > "c++17" && value != "c++98") options.passed_on.push_back("-std=" + value);
        } else {
            bool known = false;
            for (const char* ignored : without_meaning) known = known || name == ignored;
            if (!known) {
                log = "nvrtc: error: unrecognized option " + option + " found\n";
                return false;
            }
            bool has_value = name == "-Xptxas" && equals == std::string::npos;
            if (has_value) next();
        }
    }
    return true;
}

// Those of NVRTC 13.0.
const int architectures[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};

// The number in sm_90a or compute_90, 0 if there is none that this library knows.
int architecture_number(const std::string& text) {
    size_t underscore = text.find('_');
    std::string kind = text.substr(0, underscore);
    if (underscore == std::string::npos || (kind != "sm" && kind != "compute")) return 0;
    int number = atoi(text.c_str() + underscore + 1);
    for (int known : architectures) {
        if (number == known) return number;
    }
    return 0;
}

// ---- Kernels in preprocessed text

bool is_word(char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void skip_space(const std::string& text, size_t& at) {
    while (at < text.size() && isspace(static_cast<unsigned char>(text[at]))) at++;
}

// The end of what a parenthesis at `at` opens.
size_t closing(const std::string& text, size_t at) {
    int depth = 0;
    for (; at < text.size(); at++) {
        if (text[at] == '(') depth++;
        if (text[at] == ')' && --depth == 0) return at;
    }
    return text.size() - 1;
}

// Tells the driver of a kernel.
std::string describe(const std::string& name, const std::string& limit, bool alone) {
    return "extern \"C\" __attribute__((visibility(\"default\"))) const kiln_fake::Kernel " + name +
           "_kiln_kernel = kiln_fake::describe<&" + name + ">(\"" + name + "\", kiln_fake::thread_limit(" + limit +
           "), " + (alone ? "true" : "false") + ");\n";
}

// Puts spaces over the words that only NVIDIA's compiler knows, in place, so that places in error messages stay right.
// What they say goes into the lines that describe the kernels to the driver: of every `extern "C"` kernel with a body.
std::string take_kernels(std::string& text) {
    const std::string global = "__global__", bounds = "__launch_bounds__";
    std::map<std::string, std::string> kernels;
    for (size_t found = text.find(global); found != std::string::npos; found = text.find(global, found + 1)) {
        // A declaration of linkage: the words before, which may be `extern "C"` with anything like `static` between.
        size_t start = text.find_last_of(";}", found);
        start = start == std::string::npos ? 0 : start + 1;
        bool has_c_linkage = text.find("\"C\"", start) < found;
        text.replace(found, global.size(), global.size(), ' ');
        size_t at = found;
        std::string limit, word;
        while (at < text.size()) {
            skip_space(text, at);
            if (text[at] == '(') break;
            size_t begin = at;
            while (at < text.size() && is_word(text[at])) at++;
            if (at == begin) at++;
            word = text.substr(begin, at - begin);
            if (word == "__attribute__") at = closing(text, text.find('(', at)) + 1;
            if (word != bounds) continue;
            size_t open = text.find('(', at), close = closing(text, open);
            limit = text.substr(open + 1, close - open - 1);
            text.replace(begin, close + 1 - begin, close + 1 - begin, ' ');
        }
        size_t after = at < text.size() ? closing(text, at) + 1 : at;
        skip_space(text, after);
        bool has_body = after < text.size() && text[after] == '{';
        if (has_c_linkage && has_body) kernels[word] = limit;
    }
    std::string lines;
    for (const auto& [name, limit] : kernels) lines += describe(name, limit, kernels.size() == 1);
    return lines;
}

// ---- Compiling

// Writes the shim and the program's headers where a compilation finds them; the folder's name says what they hold.
std::string header_folder(const std::string& cache, const Program& program) {
    std::map<std::string, std::string> files = program.headers;
    files["shim.h"] = kiln_fake_shim_text;
    files["contract.h"] = kiln_fake_contract_text;
    std::string all;
    for (const auto& [name, text] : files) all += name + '\0' + text + '\0';
    std::string folder = cache + "/headers-" + hash(all);
    for (const auto& [name, text] : files) {
        std::string path = folder + "/" + name;
        if (exists(path)) continue;
        make_folders(path.substr(0, path.rfind('/')));
        write(path, text);
    }
    return folder;
}

struct Compilation {
    std::string cache, base, object;
    std::vector<std::string> flags;
};

Compilation prepare(const Program& program, const Options& options, int architecture) {
    Compilation compilation;
    compilation.cache = environment("KILN_FAKE_CACHE", environment("TMPDIR", "/tmp") + "/kiln-fake-gpu");
    std::vector<std::string>& flags = compilation.flags;
    flags = {environment("KILN_FAKE_CXX", "c++"), "-std=c++17", environment("KILN_FAKE_OPTIMIZE", "-O1"), "-g1", "-w",
             "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-strict-aliasing",
             // Arithmetic as written: no fused operations but those that the kernel asks for.
             "-ffp-contract=off", "-fno-fast-math",
             // Variables in __shared__ memory of templates and of others are in one section.
             "-fno-weak"};
#if defined(__aarch64__)
    flags.push_back("-fsigned-char");
#endif
    if (environment("KILN_FAKE_SANITIZE", "0") != "0") {
        flags.push_back("-fsanitize=address");
        flags.push_back("-g");
    }
    flags.insert(flags.end(), options.passed_on.begin(), options.passed_on.end());
    flags.push_back("-D__CUDACC__=1");
    flags.push_back("-D__CUDACC_RTC__=1");
    flags.push_back("-D__CUDACC_VER_MAJOR__=13");
    flags.push_back("-D__CUDA_ARCH__=" + std::to_string(architecture * 10));
    flags.push_back("-I" + header_folder(compilation.cache, program));
    std::string all = program.name + '\0' + program.source;
    for (const std::string& flag : flags) all += '\0' + flag;
    compilation.base = compilation.cache + "/" + hash(all);
    compilation.object = compilation.base + ".so";
    return compilation;
}

// Clang needs the option less than GCC, and some versions do not know it.
bool knows(const std::string& compiler, const std::string& option) {
    return execute({compiler, option, "-Werror", "-x", "c++", "-E", "/dev/null", "-o", "/dev/null"}, "/dev/null");
}

// Preprocesses, finds the kernels, and compiles, so that kernels may come from macros and stand in an #if.
bool compile(const Program& program, const Compilation& compilation, std::string& log) {
    make_folders(compilation.cache);
    std::string files = unique(compilation.base);
    std::string source = files + ".cu", preprocessed = files + ".ii";
    std::string library = files + ".so", messages = files + ".log";
    std::vector<std::string> flags = compilation.flags;
    static const bool has_no_weak = knows(flags[0], "-fno-weak");
    if (!has_no_weak) flags.erase(std::find(flags.begin(), flags.end(), "-fno-weak"));
    std::ofstream(source) << "#include \"shim.h\"\n#line 1 \"" << program.name << "\"\n" << program.source << "\n";
    std::vector<std::string> command = flags;
    command.insert(command.end(), {"-E", "-x", "c++", source, "-o", preprocessed});
    bool compiled = execute(command, messages);
    if (compiled) {
        std::string text = read(preprocessed);
        std::string kernels = take_kernels(text);
        std::ofstream(preprocessed) << text << "\n# 1 \"the list of kernels\"\n" << kernels;
        command = flags;
        // Without the C++ library, of which kernels know nothing, linking takes half the time.
        command.insert(command.end(), {"-shared", "-nostdlib", "-Wl,-z,defs", "-x", "c++-cpp-output", preprocessed,
                                       "-o", library, "-lm", "-lc", "-lgcc"});
        if (environment("KILN_FAKE_SANITIZE", "0") != "0") {
            // The sanitizer's functions come from the process.
            for (std::string& word : command) {
                if (word == "-Wl,-z,defs") word = "-Wl,-z,undefs";
            }
        }
        compiled = execute(command, messages) && rename(library.c_str(), compilation.object.c_str()) == 0;
    }
    log = read(messages);
    for (const std::string& file : {source, preprocessed, library, messages}) unlink(file.c_str());
    return compiled;
}

int compile_program(Program& program, int count, const char* const* texts) {
    Options options;
    program.log.clear();
    if (!parse(count, texts, options, program.log)) return InvalidOption;
    int architecture = architecture_number(options.architecture);
    if (architecture == 0) {
        program.log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
        return InvalidOption;
    }
    Compilation compilation = prepare(program, options, architecture);
    if (!exists(compilation.object) && !compile(program, compilation, program.log)) return CompilationFailed;
    std::string text = "architecture " + options.architecture + "\nlibrary " + compilation.object + "\n";
    bool is_binary = begins_with(options.architecture, "sm_");
    program.cubin = is_binary ? "kiln-fake-cubin\n" + text : "";
    program.ptx = "// kiln-fake-ptx\n" + text;
    return Success;
}

// The functions that give a text give its size too, with the zero at its end.
int size_of(const std::string* text, size_t* size) {
    if (!text || !size) return InvalidInput;
    *size = text->size() + 1;
    return Success;
}

int copy(const std::string* text, char* to) {
    if (!text || !to) return InvalidInput;
    memcpy(to, text->c_str(), text->size() + 1);
    return Success;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API int nvrtcVersion(int* major, int* minor) {
    if (!major || !minor) return InvalidInput;
    *major = 13;
    *minor = 0;
    return Success;
}

API int nvrtcGetNumSupportedArchs(int* count) {
    if (!count) return InvalidInput;
    *count = int(sizeof architectures / sizeof *architectures);
    return Success;
}

API int nvrtcGetSupportedArchs(int* list) {
    if (!list) return InvalidInput;
    memcpy(list, architectures, sizeof architectures);
    return Success;
}

API int nvrtcCreateProgram(Program** program, const char* source, const char* name, int header_count,
                           const char* const* headers, const char* const* header_names) {
    if (!program || !source || header_count < 0 || (header_count > 0 && (!headers || !header_names))) {
        return InvalidInput;
    }
    *program = new Program;
    (*program)->source = source;
    (*program)->name = name && *name ? name : "default_program";
    for (int i = 0; i < header_count; i++) (*program)->headers[header_names[i]] = headers[i];
    return Success;
}

API int nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return InvalidProgram;
    delete *program;
    *program = nullptr;
    return Success;
}

API int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    if (!program) return InvalidProgram;
    return compile_program(*program, count, options);
}

API int nvrtcGetCUBINSize(Program* program, size_t* size) {
    if (!program) return InvalidProgram;
    // As of a program for a virtual architecture, which has none.
    if (program->cubin.empty()) return size ? (*size = 0, Success) : InvalidInput;
    return size_of(&program->cubin, size);
}
API int nvrtcGetCUBIN(Program* program, char* cubin) {
    if (!program) return InvalidProgram;
    return program->cubin.empty() ? InvalidProgram : copy(&program->cubin, cubin);
}
API int nvrtcGetPTXSize(Program* program, size_t* size) {
    return program ? size_of(&program->ptx, size) : InvalidProgram;
}
API int nvrtcGetPTX(Program* program, char* ptx) { return program ? copy(&program->ptx, ptx) : InvalidProgram; }
API int nvrtcGetProgramLogSize(Program* program, size_t* size) {
    return program ? size_of(&program->log, size) : InvalidProgram;
}
API int nvrtcGetProgramLog(Program* program, char* log) { return program ? copy(&program->log, log) : InvalidProgram; }

// Kernels have the names of C, which need no lowering.
API int nvrtcAddNameExpression(Program*, const char*) { return NoNameExpressions; }
API int nvrtcGetLoweredName(Program*, const char*, const char**) { return NoNameExpressions; }

API const char* nvrtcGetErrorString(int result) {
    switch (result) {
        case Success: return "NVRTC_SUCCESS";
        case InvalidInput: return "NVRTC_ERROR_INVALID_INPUT";
        case InvalidProgram: return "NVRTC_ERROR_INVALID_PROGRAM";
        case InvalidOption: return "NVRTC_ERROR_INVALID_OPTION";
        case CompilationFailed: return "NVRTC_ERROR_COMPILATION";
        case NoNameExpressions: return "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION";
        default: return "NVRTC_ERROR_INTERNAL_ERROR";
    }
}
