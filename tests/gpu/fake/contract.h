// What a compiled kernel and the fake driver know of each other. Both include this file; neither needs a header of CUDA
// or of the standard library, so that kernels compile fast and see no more names than a real GPU compiler gives them.
#pragma once

namespace kiln_fake {

struct Index {
    unsigned x, y, z;
};

// Operations of a warp. All lanes of a mask arrive with the same one, and the scheduler computes every lane's
// result when the last has arrived: a lane waits once, not once before and once after the exchange.
enum class WarpOperation : int { Synchronize, Shuffle, Ballot };

struct Place {
    const char* file;
    int line;
};

// What a running thread sees of itself. The scheduler sets it before it switches to the thread.
struct Running {
    Index thread, block, block_size, grid_size;
    unsigned lane;
    unsigned char* dynamic_shared;

    void (*block_barrier)(Place place);
    // `source` is the lane that a shuffle reads; for other operations it has no meaning.
    unsigned long long (*warp)(WarpOperation operation, unsigned mask, unsigned long long value, unsigned source,
                               Place place);
    unsigned (*active_lanes)();
    // Ends the launch with an error. It does not return.
    void (*trap)(Place place, const char* why);
};

// What the library of a kernel exports for each of them, as the symbol NAME_kiln_kernel.
struct Kernel {
    const char* name;
    unsigned argument_count;
    const unsigned* argument_bytes;
    unsigned thread_limit;  // of __launch_bounds__; 1024 without
    void (*call)(void** arguments);
    // Tells the library where the state of the running thread is.
    void (*bind)(Running* running);
    // The variables in __shared__ memory, which are static variables here: one block runs at a time. They are those of
    // all kernels of the library, as a compiler does not tell whose each one is.
    unsigned char *shared_begin, *shared_end;
    bool alone;  // whether they are this kernel's

    unsigned static_shared_bytes() const { return alone ? unsigned(shared_end - shared_begin) : 0; }
};

}  // namespace kiln_fake
