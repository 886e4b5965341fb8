// Kernels of which several calls can be one launch (`cuda/joined.rs`): written as JOINABLE(threads of a block, name, parameters…) { … },
// with AT for blockIdx and GRID for gridDim, in two dimensions. With CALLS defined, the kernel's one argument is a table of so many.

#ifndef CALLS

#define AT blockIdx
#define GRID gridDim
#define JOINABLE(threads, name, ...) KERNEL __launch_bounds__(threads) name(__VA_ARGS__)

#else

#undef THREAD
#undef THREADS
#define THREAD ((i64)AT.x * blockDim.x + threadIdx.x)
#define THREADS ((i64)GRID.x * blockDim.x)

namespace kiln {

template <class T> struct __align__(8) Slot { T value; };

template <class T, class... More> struct Arguments {
    Slot<T> first;
    Arguments<More...> more;
    template <auto KERNEL_OF, class... A> __device__ __forceinline__ void give(uint2 at, uint2 grid, A... before) const {
        more.template give<KERNEL_OF>(at, grid, before..., first.value);
    }
};
template <class T> struct Arguments<T> {
    Slot<T> first;
    template <auto KERNEL_OF, class... A> __device__ __forceinline__ void give(uint2 at, uint2 grid, A... before) const {
        KERNEL_OF(at, grid, before..., first.value);
    }
};

// A call: the first of its blocks, how many there are in each dimension, and its arguments.
template <class... P> struct Call {
    u32 first, x, y, none;
    Arguments<P...> arguments;
};

template <class KERNEL_TYPE> struct Calls;
template <class... P> struct Calls<void(uint2, uint2, P...)> {
    Call<P...> each[CALLS];
    // Finds the call of this block: the last that does not begin behind it. Where there is none, the first is behind all blocks.
    template <auto KERNEL_OF> __device__ __forceinline__ void run() const {
        int low = 0, high = CALLS;
        while (high - low > 1) {
            int middle = (low + high) / 2;
            if (each[middle].first <= blockIdx.x) low = middle;
            else high = middle;
        }
        const Call<P...>& call = each[low];
        u32 block = blockIdx.x - call.first;
        call.arguments.template give<KERNEL_OF>(make_uint2(block % call.x, block / call.x), make_uint2(call.x, call.y));
    }
};

}  // namespace kiln

#define JOINABLE(threads, name, ...) \
    INLINE void name##_call(uint2 AT, uint2 GRID, __VA_ARGS__); \
    KERNEL __launch_bounds__(threads) name(const __grid_constant__ kiln::Calls<decltype(name##_call)> calls) { \
        calls.template run<name##_call>(); \
    } \
    INLINE void name##_call(uint2 AT, uint2 GRID, __VA_ARGS__)

#endif
