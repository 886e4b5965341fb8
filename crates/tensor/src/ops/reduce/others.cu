// The product of all other elements of a group: of those before each and those after it. A thread goes through a group twice,
// which is slow where there are few groups.

KERNEL __launch_bounds__(256)
    others(i64 groups, i64 each, kiln::Walk<RANK, 1> walk, const T* x, f64* before, T* y) {
    for (i64 group = THREAD; group < groups; group += THREADS) {
        // In double: a product may leave single precision on the way and come back.
        f64 product = 1.0;
        for (i64 i = 0; i < each; i++) {
            i64 at;
            walk.at(group * each + i, &at);
            before[i * groups + group] = product;
            product *= kiln::load<f64>(x[at]);
        }
        product = 1.0;
        for (i64 i = each - 1; i >= 0; i--) {
            i64 at;
            walk.at(group * each + i, &at);
            y[at] = kiln::store<T>(before[i * groups + group] * product);
            product *= kiln::load<f64>(x[at]);
        }
    }
}
