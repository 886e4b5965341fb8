// What only values of targets show. T is their type, REPORTED that in which one is told.

KERNEL __launch_bounds__(256) class_ids(i64 n, i64 classes, i64 ignored, const T* labels, i64* ids, void* counts, int counts_some,
                                        kiln::Faults faults) {
    for (i64 i = THREAD; i < n; i += THREADS) {
        f64 label = kiln::load<f64>(labels[i]);
        i64 id = kiln::load<i64>(labels[i]);
        bool is_ignored = counts_some && id == ignored;
        if (label != (f64)id || (!is_ignored && (id < 0 || id >= classes)))
            kiln::fault(faults, i, kiln::load<REPORTED>(labels[i]));
        // An id that is none must not lead whoever reads it outside.
        ids[i] = is_ignored || id < 0 || id >= classes ? 0 : id;
        if (counts_some) ((bool*)counts)[i] = !is_ignored;
    }
}

KERNEL __launch_bounds__(256) probabilities(i64 n, const T* targets, kiln::Faults faults) {
    for (i64 i = THREAD; i < n; i += THREADS) {
        f64 target = kiln::load<f64>(targets[i]);
        if (!(target >= 0.0 && target <= 1.0)) kiln::fault(faults, i, target);
    }
}
