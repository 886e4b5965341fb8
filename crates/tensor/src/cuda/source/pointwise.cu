// How any pointwise operation runs. Before it stand `one`, made of its program, and macros for what differs: the operands,
// and whether they lie so that several elements are read at once.

JOINABLE(256, pointwise, i64 n, PARAMETERS) {
    SINGLES
#if WIDTH > 1
    for (i64 i = THREAD * WIDTH; i < n; i += THREADS * WIDTH) {
        if (i + WIDTH <= n) {
            READ_PACKS
#pragma unroll
            for (int k = 0; k < WIDTH; k++) ONE_OF_PACKS(k);
            WRITE_PACKS
        } else {
            for (i64 j = i; j < n; j++) {
                RESULTS
                ONE(j);
                WRITE(j)
            }
        }
    }
#else
    for (i64 i = THREAD; i < n; i += THREADS) {
        PLACE
        RESULTS
        ONE(i);
        WRITE(i)
    }
#endif
}
