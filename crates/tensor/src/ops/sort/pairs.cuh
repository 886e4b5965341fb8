// What is sorted: keys with where each stood. No two pairs are equal in both, or their order does not matter.

struct __align__(16) Pair {
    u64 key;
    i64 at;
};
