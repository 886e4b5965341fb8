"""Operations of other libraries, under the names of Kiln's rows (benches/ops). `cargo xtask bench --peers` runs this beside them.

ops.py --installed                             which libraries this Python has: a line of JSON
ops.py --library torch --threads 2 NAME ...    a line of JSON for each of these rows that the library's file has

A library's rows are in a file of its own, `torch_rows.py` and so on: patterns of names, each with a function that makes what is measured.
Shapes are read from the names, so that they stand in one place.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time

LIBRARIES = ("torch", "jax", "numpy")

# As long as Kiln's side has: 0.1 s to warm up, 20 samples in 0.4 s.
WARM_S = 0.1
SAMPLES = 20
SAMPLES_S = 0.4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--library", choices=LIBRARIES)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.installed:
        print(json.dumps([[library, version(library)] for library in LIBRARIES]))
        return
    limit_threads(options.threads)
    library = importlib.import_module(f"{options.library}_rows")
    library.prepare(options.threads)
    for name in options.names:
        made = library.ROWS.make(name)
        if made is None:
            continue
        # Of several ways to do the same, such as layouts of images, the fastest counts.
        ways = made if isinstance(made, dict) else {"": made}
        times = {way: measure(f) for way, f in ways.items()}
        way = min(times, key=times.get)
        print(json.dumps({"name": name, "nanoseconds": 1e9 * times[way], "way": way}), flush=True)


def version(library):
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def limit_threads(threads):
    """Before a library is loaded, for some ask how many processors there are and listen to nothing else."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if threads < len(allowed):
            os.sched_setaffinity(0, allowed[:threads])


def measure(f):
    """Seconds of one run: the median of samples of as many runs as fill their time."""
    runs, began = 0, time.perf_counter()
    while runs < 2 or time.perf_counter() - began < WARM_S:
        f()
        runs += 1
    each = (time.perf_counter() - began) / runs
    inner = max(1, round(SAMPLES_S / SAMPLES / each))
    samples = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        for _ in range(inner):
            f()
        samples.append((time.perf_counter() - began) / inner)
    return statistics.median(samples)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    main()
