// The scheduler: a fiber for every thread of a block, one block after the other. A thread runs until it waits at a
// barrier or for its warp, and then another is chosen, in an order that a seed decides. An order that the kernel's
// barriers do not rule out may thus come up, and shared memory begins with garbage, so that a missing barrier gives
// wrong numbers.
#include "fibers.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <numeric>
#include <vector>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

// There only in a process that runs under AddressSanitizer.
extern "C" __attribute__((weak)) void __asan_unpoison_memory_region(const volatile void*, size_t);

namespace kiln_fake {
namespace {

constexpr unsigned threads_at_most = 1024;
// Of addresses; memory is taken only for what is used. The lowest page of each stack is out of bounds.
constexpr size_t stack_bytes = 256 << 10;
constexpr size_t page_bytes = 4096;
constexpr unsigned char garbage = 0xCB;
// So many bytes behind dynamic shared memory must not change.
constexpr size_t fence_bytes = 256;
constexpr unsigned char fence = 0xFB;

// ---- Switching between stacks

#if defined(__x86_64__)

// Pushes what a callee must keep, stores the stack pointer in *from, and returns on the stack `to`.
asm(R"(
    .text
    .type kiln_fake_switch, @function
kiln_fake_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size kiln_fake_switch, .-kiln_fake_switch
)");
constexpr size_t saved_words = 6;
constexpr size_t return_word = 6;

#elif defined(__aarch64__)

asm(R"(
    .text
    .type kiln_fake_switch, %function
kiln_fake_switch:
    sub sp, sp, #160
    stp x29, x30, [sp, #0]
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x29, x30, [sp, #0]
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size kiln_fake_switch, .-kiln_fake_switch
)");
constexpr size_t saved_words = 20;
constexpr size_t return_word = 1;

#endif

#if defined(__x86_64__) || defined(__aarch64__)

extern "C" void kiln_fake_switch(void** from, void* to) __attribute__((visibility("hidden")));

struct Context {
    void* stack_pointer;

    void begin(unsigned char* stack_top, void (*entry)()) {
        // Two words above what is popped keep the stack aligned as at a call, with a return address of null.
        void** words = reinterpret_cast<void**>(stack_top) - 2 - saved_words;
        memset(words, 0, (saved_words + 2) * sizeof(void*));
        words[return_word] = reinterpret_cast<void*>(entry);
        stack_pointer = words;
    }
    void switch_to(Context& other) { kiln_fake_switch(&stack_pointer, other.stack_pointer); }
};

#else

struct Context {
    ucontext_t context;

    void begin(unsigned char* stack_top, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack_top - stack_bytes / 2;
        context.uc_stack.ss_size = stack_bytes / 2;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    void switch_to(Context& other) { swapcontext(&context, &other.context); }
};

#endif

// ---- The state of a block

enum class State { Ready, AtBarrier, InWarp, Finished };

struct Fiber {
    Context context;
    Index thread;
    unsigned number;
    State state;
    Place place;
    // What an operation of the warp was called with, and its result.
    WarpOperation operation;
    unsigned mask, source;
    unsigned long long value, result;
};

// Lanes as bits: those that have not ended, and those of them that wait in an operation of the warp.
struct Warp {
    unsigned alive, waiting;
};

struct Scheduler {
    std::vector<Fiber> fibers = std::vector<Fiber>(threads_at_most);
    Warp warps[threads_at_most / 32];
    unsigned char* stacks = nullptr;
    Context main;
    Running running;
    Fiber* current = nullptr;
    const Launch* launch = nullptr;
    unsigned thread_count = 0, finished = 0, at_barrier = 0;
    std::vector<Fiber*> ready;
    std::vector<unsigned char> dynamic_shared, fences = std::vector<unsigned char>(fence_bytes, fence);
    unsigned long long random = 0;
    std::string failure;
};

Scheduler scheduler;

unsigned random_below(unsigned bound) {
    // splitmix64
    unsigned long long x = scheduler.random += 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    x ^= x >> 31;
    return unsigned((x >> 32) * bound >> 32);
}

std::string text(Index i) {
    return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string text(Place place) { return std::string(place.file) + ":" + std::to_string(place.line); }

void fail(const std::string& why) {
    if (!scheduler.failure.empty()) return;
    const Launch& launch = *scheduler.launch;
    scheduler.failure = "kernel " + std::string(launch.kernel->name) + ", block " + text(scheduler.running.block) +
                        " of " + text(launch.grid) + ", " + std::to_string(scheduler.thread_count) +
                        " threads: " + why;
}

const char* name(WarpOperation operation) {
    switch (operation) {
        case WarpOperation::Synchronize: return "__syncwarp";
        case WarpOperation::Shuffle: return "a shuffle";
        default: return "a vote";
    }
}

std::string hexadecimal(unsigned mask) {
    char digits[16];
    snprintf(digits, sizeof digits, "%08x", mask);
    return digits;
}

// How many threads are where, for the text of an error.
std::string whereabouts() {
    std::vector<std::pair<std::string, unsigned>> groups;
    for (unsigned i = 0; i < scheduler.thread_count; i++) {
        const Fiber& fiber = scheduler.fibers[i];
        std::string where = "have ended";
        if (fiber.state == State::AtBarrier) where = "wait at __syncthreads (" + text(fiber.place) + ")";
        if (fiber.state == State::InWarp) {
            where = std::string("wait in ") + name(fiber.operation) + " (" + text(fiber.place) + ", mask " +
                    hexadecimal(fiber.mask) + ")";
        }
        size_t at = 0;
        while (at < groups.size() && groups[at].first != where) at++;
        if (at == groups.size()) groups.push_back({where, 0});
        groups[at].second++;
    }
    std::string result;
    for (const auto& [where, count] : groups) {
        result += (result.empty() ? "" : ", ") + std::to_string(count) + " " + where;
    }
    return result;
}

// ---- What a running thread calls

void leave(State state, Place place) {
    Fiber& fiber = *scheduler.current;
    fiber.state = state;
    fiber.place = place;
    fiber.context.switch_to(scheduler.main);
}

void block_barrier(Place place) { leave(State::AtBarrier, place); }

unsigned long long warp(WarpOperation operation, unsigned mask, unsigned long long value, unsigned source,
                        Place place) {
    Fiber& fiber = *scheduler.current;
    fiber.operation = operation;
    fiber.mask = mask;
    fiber.value = value;
    fiber.source = source;
    leave(State::InWarp, place);
    return fiber.result;
}

// A GPU promises no more than that the lane itself is among them.
unsigned active_lanes() { return 1u << scheduler.running.lane; }

void trap(Place place, const char* why) {
    fail(std::string(why) + " at " + text(place) + " in thread " + text(scheduler.current->thread));
    leave(State::Finished, place);
}

void thread_body() {
    scheduler.launch->kernel->call(scheduler.launch->arguments);
    leave(State::Finished, {"", 0});
}

// ---- Waking those who wait

// Lets the lanes of `mask` go on if all of them that have not ended wait with this mask.
void wake_lanes(unsigned warp_number, unsigned mask) {
    Warp& warp = scheduler.warps[warp_number];
    unsigned present = mask & warp.alive, ballot = 0;
    if ((present & ~warp.waiting) || !present) return;
    Fiber* lanes = &scheduler.fibers[warp_number * 32];
    const Fiber& one = lanes[__builtin_ctz(present)];
    for (unsigned rest = present; rest; rest &= rest - 1) {
        const Fiber& fiber = lanes[__builtin_ctz(rest)];
        if (fiber.mask != mask) return;
        if (fiber.operation != one.operation) {
            return fail("lanes of one warp are in different operations of mask " + hexadecimal(mask) + ": " +
                        name(one.operation) + " (" + text(one.place) + ") and " + name(fiber.operation) + " (" +
                        text(fiber.place) + ")");
        }
        ballot |= unsigned(fiber.value & 1) << fiber.number % 32;
    }
    // A lane that does not take part has no value to give: on a GPU, anything may come.
    constexpr unsigned long long nothing = 0xCBCBCBCBCBCBCBCBull;
    for (unsigned rest = present; rest; rest &= rest - 1) {
        Fiber& fiber = lanes[__builtin_ctz(rest)];
        bool given = fiber.source < 32 && present >> fiber.source & 1;
        if (fiber.operation == WarpOperation::Shuffle) fiber.result = given ? lanes[fiber.source].value : nothing;
        if (fiber.operation == WarpOperation::Ballot) fiber.result = ballot;
        fiber.state = State::Ready;
        scheduler.ready.push_back(&fiber);
    }
    warp.waiting &= ~present;
}

// After a thread has stopped running.
void settle(Fiber& fiber) {
    unsigned lane = fiber.number % 32, number = fiber.number / 32;
    Warp& warp = scheduler.warps[number];
    if (fiber.state == State::InWarp) {
        if (!(fiber.mask >> lane & 1)) {
            return fail("thread " + text(fiber.thread) + " is not in the mask " + hexadecimal(fiber.mask) + " of " +
                        name(fiber.operation) + " that it calls (" + text(fiber.place) + ")");
        }
        warp.waiting |= 1u << lane;
        wake_lanes(number, fiber.mask);
    } else if (fiber.state == State::AtBarrier) {
        scheduler.at_barrier++;
    } else if (fiber.state == State::Finished) {
        scheduler.finished++;
        warp.alive &= ~(1u << lane);
        // Others may have waited for this lane only.
        for (unsigned rest = warp.waiting; rest; rest &= rest - 1) {
            wake_lanes(number, scheduler.fibers[number * 32 + unsigned(__builtin_ctz(rest))].mask);
        }
    }
}

// Nobody can run: the barrier opens, or the kernel is wrong.
void open_barrier() {
    if (scheduler.at_barrier + scheduler.finished < scheduler.thread_count) {
        return fail("deadlock: " + whereabouts());
    }
    if (scheduler.finished > 0) return fail("a barrier is not reached by all threads: " + whereabouts());
    const Place first = scheduler.fibers[0].place;
    for (unsigned i = 0; i < scheduler.thread_count; i++) {
        Fiber& fiber = scheduler.fibers[i];
        if (fiber.place.line != first.line || strcmp(fiber.place.file, first.file) != 0) {
            return fail("threads wait at different barriers: " + whereabouts());
        }
    }
    for (unsigned i = 0; i < scheduler.thread_count; i++) {
        scheduler.fibers[i].state = State::Ready;
        scheduler.ready.push_back(&scheduler.fibers[i]);
    }
    scheduler.at_barrier = 0;
}

// ---- A block, and all of them

void make_stacks() {
    if (scheduler.stacks) return;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = mmap(nullptr, threads_at_most * stack_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) abort();
    scheduler.stacks = static_cast<unsigned char*>(memory);
    for (unsigned i = 0; i < threads_at_most; i++) {
        mprotect(scheduler.stacks + i * stack_bytes, page_bytes, PROT_NONE);
    }
}

void begin_block() {
    const Launch& launch = *scheduler.launch;
    size_t shared_bytes = size_t(launch.kernel->shared_end - launch.kernel->shared_begin);
    if (shared_bytes > 0) memset(launch.kernel->shared_begin, garbage, shared_bytes);
    memset(scheduler.running.dynamic_shared, garbage, launch.dynamic_shared_bytes);
    memset(scheduler.running.dynamic_shared + launch.dynamic_shared_bytes, fence, fence_bytes);
    scheduler.finished = scheduler.at_barrier = 0;
    scheduler.ready.clear();
    for (unsigned first = 0; first < scheduler.thread_count; first += 32) {
        unsigned lanes = scheduler.thread_count - first;
        scheduler.warps[first / 32] = {lanes < 32 ? (1u << lanes) - 1 : 0xffffffffu, 0};
    }
    for (unsigned i = 0; i < scheduler.thread_count; i++) {
        Fiber& fiber = scheduler.fibers[i];
        unsigned char* stack = scheduler.stacks + i * stack_bytes;
        // What a thread that never came to its end left behind there.
        if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(stack + page_bytes, stack_bytes - page_bytes);
        // Stacks that begin at the same place of a page share few lines of the cache.
        fiber.context.begin(stack + stack_bytes - i % 16 * 128, thread_body);
        fiber.number = i;
        fiber.thread = {i % launch.block.x, i / launch.block.x % launch.block.y, i / (launch.block.x * launch.block.y)};
        fiber.state = State::Ready;
        scheduler.ready.push_back(&fiber);
    }
}

// Takes one of those who can run.
Fiber* choose(bool greedy) {
    std::vector<Fiber*>& ready = scheduler.ready;
    // Greedily, a warp runs ahead of the others as far as it can.
    if (!greedy) std::swap(ready[random_below(unsigned(ready.size()))], ready.back());
    Fiber* fiber = ready.back();
    ready.pop_back();
    return fiber;
}

void resume(Fiber& fiber) {
    scheduler.current = &fiber;
    scheduler.running.thread = fiber.thread;
    scheduler.running.lane = fiber.number % 32;
    scheduler.main.switch_to(fiber.context);
    settle(fiber);
}

void run_block(Index block) {
    scheduler.running.block = block;
    begin_block();
    bool ordered = scheduler.launch->seed == 0;
    bool greedy = random_below(2) == 1;
    std::vector<Fiber*> round;
    if (greedy) {
        for (unsigned i = scheduler.thread_count; i > 1; i--) {
            std::swap(scheduler.ready[i - 1], scheduler.ready[random_below(i)]);
        }
    }
    while (scheduler.failure.empty() && scheduler.finished < scheduler.thread_count) {
        if (scheduler.ready.empty()) {
            open_barrier();
        } else if (ordered) {
            round.clear();
            round.swap(scheduler.ready);
            for (size_t i = 0; i < round.size() && scheduler.failure.empty(); i++) resume(*round[i]);
        } else {
            resume(*choose(greedy));
        }
    }
    const unsigned char* end = scheduler.running.dynamic_shared + scheduler.launch->dynamic_shared_bytes;
    if (memcmp(end, scheduler.fences.data(), fence_bytes) != 0) {
        fail("it writes behind its " + std::to_string(scheduler.launch->dynamic_shared_bytes) +
             " bytes of dynamic shared memory");
    }
}

// Blocks in an order that looks random: numbers from a random one on, in steps of a size that meets each once.
void run_blocks() {
    const Launch& launch = *scheduler.launch;
    unsigned long long count = (unsigned long long)launch.grid.x * launch.grid.y * launch.grid.z;
    unsigned long long step = 1, at = 0;
    if (launch.seed != 0) {
        unsigned bound = unsigned(count < 0xffffffffull ? count : 0xffffffffull);
        at = random_below(bound);
        step = 1 + random_below(bound);
        while (std::gcd(step, count) != 1) step++;
    }
    for (unsigned long long done = 0; done < count && scheduler.failure.empty(); done++) {
        unsigned long long plane = at / launch.grid.x;
        run_block({unsigned(at % launch.grid.x), unsigned(plane % launch.grid.y), unsigned(plane / launch.grid.y)});
        at = (at + step) % count;
    }
}

// ---- Addresses that a kernel must not touch

thread_local sigjmp_buf* escape;
thread_local void* bad_address;
struct sigaction former_segv, former_bus;

void on_bad_address(int signal, siginfo_t* information, void*) {
    if (escape) {
        bad_address = information->si_addr;
        siglongjmp(*escape, 1);
    }
    // Not of a kernel. The instruction runs again, and whoever was asked before is asked.
    sigaction(signal, signal == SIGSEGV ? &former_segv : &former_bus, nullptr);
}

// Turns a fault within a kernel into an error of its launch. AddressSanitizer says more, where it is there.
Outcome run_caught() {
    if (__asan_unpoison_memory_region) {
        run_blocks();
        return scheduler.failure.empty() ? Outcome::Done : Outcome::Failed;
    }
    struct sigaction action = {};
    action.sa_sigaction = on_bad_address;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &former_segv);
    sigaction(SIGBUS, &action, &former_bus);
    sigjmp_buf here;
    Outcome outcome = Outcome::Done;
    if (sigsetjmp(here, 1) == 0) {
        escape = &here;
        run_blocks();
        if (!scheduler.failure.empty()) outcome = Outcome::Failed;
    } else {
        char address[32];
        snprintf(address, sizeof address, "%p", bad_address);
        fail("thread " + text(scheduler.current->thread) + " touches the address " + address +
             ", which is not its own");
        outcome = Outcome::BadAddress;
    }
    escape = nullptr;
    sigaction(SIGSEGV, &former_segv, nullptr);
    sigaction(SIGBUS, &former_bus, nullptr);
    return outcome;
}

}  // namespace

Outcome run(const Launch& launch, std::string& why) {
    make_stacks();
    scheduler.launch = &launch;
    scheduler.thread_count = launch.block.x * launch.block.y * launch.block.z;
    scheduler.random = launch.seed;
    scheduler.failure.clear();
    // As aligned as a GPU's: a vector type may be put at its beginning.
    scheduler.dynamic_shared.resize(launch.dynamic_shared_bytes + 128 + fence_bytes);
    size_t begin = reinterpret_cast<size_t>(scheduler.dynamic_shared.data());
    Running& running = scheduler.running;
    running.dynamic_shared = reinterpret_cast<unsigned char*>((begin + 127) / 128 * 128);
    running.block_size = launch.block;
    running.grid_size = launch.grid;
    running.block_barrier = block_barrier;
    running.warp = warp;
    running.active_lanes = active_lanes;
    running.trap = trap;
    launch.kernel->bind(&running);
    Outcome outcome = run_caught();
    why = scheduler.failure;
    return outcome;
}

}  // namespace kiln_fake
