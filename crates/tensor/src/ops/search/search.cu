// Where numbers stand among sorted ones: for each as many steps as the row's length has bits.

struct Search {
    i64 count, length, each;
};

// `each` values belong to a row; with a single row all do. The place is before or behind equal ones.
KERNEL __launch_bounds__(256) search(Search s, const T* sorted, const T* values, i64* y) {
    for (i64 i = THREAD; i < s.count; i += THREADS) {
        const T* row = sorted + i / s.each * s.length;
        const u64 value = rank(values[i]);
        i64 low = 0, high = s.length;
        while (low < high) {
            i64 middle = low + (high - low) / 2;
            u64 there = rank(row[middle]);
            if (RIGHT ? there <= value : there < value) low = middle + 1;
            else high = middle;
        }
        y[i] = low;
    }
}
