"""Rows of NumPy: products, elements, folds and order, forward."""

import numpy
from rows import SIZE, Rows

ROWS = Rows()
RANDOM = numpy.random.default_rng(0)


def prepare(threads):
    # Its products take what the environment says; all else is one thread.
    del threads


def R(*size):
    size = size[0] if size and isinstance(size[0], list) else size
    return RANDOM.standard_normal(size, dtype=numpy.float32)


def row(f, *x):
    return lambda: f(*x)


@ROWS(rf"matmul/f32-{SIZE}")
def matmul(size):
    m, k, n = size
    return row(numpy.matmul, R(m, k), R(k, n))


@ROWS(rf"matmul/f32-left-transposed-{SIZE}")
def left_transposed(size):
    m, k, n = size
    return row(lambda a, b: a.T @ b, R(k, m), R(k, n))


@ROWS(rf"matmul/f32-right-transposed-{SIZE}")
def right_transposed(size):
    m, k, n = size
    return row(lambda a, b: a @ b.T, R(m, k), R(n, k))


@ROWS(rf"matmul/f32-batch-{SIZE}")
def matmul_of_batch(size):
    b, m, k, n = size
    return row(lambda a, b: a @ b.transpose(0, 2, 1), R(b, m, k), R(b, n, k))


@ROWS(rf"elementwise/(exp|tanh)-{SIZE}")
def unary(name, size):
    return row(getattr(numpy, name), R(size))


@ROWS(rf"elementwise/relu-{SIZE}")
def relu(size):
    return row(lambda x: numpy.maximum(x, 0), R(size))


@ROWS(rf"elementwise/(add|mul)-{SIZE}")
def binary(name, size):
    return row(numpy.add if name == "add" else numpy.multiply, R(size), R(size))


@ROWS(rf"elementwise/add-(row|column|channels)-{SIZE}")
def add_broadcast(kind, size):
    return row(numpy.add, R(size), R([size[0], 1] if kind == "column" else [size[-1]]))


@ROWS(rf"elementwise/add-transposed-{SIZE}")
def add_transposed(size):
    return row(lambda x, y: x + y.T, R(size), R(size))


AXES = {"last": -1, "first": 0, "middle": 1, "all": None}


@ROWS(rf"reduce/(sum|max|argmax)-(last|first|middle|all)-{SIZE}")
def reduce(name, which, size):
    return row(lambda x: getattr(numpy, name)(x, axis=AXES[which]), R(size))


@ROWS(rf"reduce/sum-transposed-{SIZE}")
def sum_transposed(size):
    return row(lambda x: x.T.sum(1), R(size[::-1]))


@ROWS(rf"rearrange/transpose-copy-{SIZE}")
def transpose_copy(size):
    return row(lambda x: numpy.ascontiguousarray(x.T), R(size))


@ROWS(rf"order/cumsum-(last|first)-{SIZE}")
def cumsum(which, size):
    return row(lambda x: numpy.cumsum(x, AXES[which]), R(size))


@ROWS(rf"order/sort-last-{SIZE}")
def sort(size):
    # The positions, and the elements in that order, as Kiln gives both.
    def f(x):
        order = numpy.argsort(x, -1, kind="stable")
        return numpy.take_along_axis(x, order, -1), order

    return row(f, R(size))


@ROWS(rf"order/(bincount|histogram|unique)-{SIZE}")
def counting(name, size):
    x, numbers = R(size), RANDOM.integers(0, 1000, size)
    calls = {
        "bincount": lambda: numpy.bincount(numbers, minlength=1000),
        "histogram": lambda: numpy.histogram(x, 100),
        "unique": lambda: numpy.unique(numbers, return_inverse=True, return_counts=True),
    }
    return calls[name]


@ROWS(rf"linalg/(cholesky|eigh|qr|solve|svd)-{SIZE}")
def linalg(name, size):
    x = R(size)
    if name in ("cholesky", "eigh"):
        x = x @ x.T + numpy.eye(size[0], dtype=numpy.float32)
    others = {"solve": [R(size)], "svd": [False]}.get(name, [])
    return row(getattr(numpy.linalg, name), x, *others)


@ROWS(rf"random/uniform-{SIZE}")
def uniform(size):
    return lambda: RANDOM.random(size, dtype=numpy.float32)


@ROWS(rf"random/normal-{SIZE}")
def normal(size):
    return lambda: RANDOM.standard_normal(size, dtype=numpy.float32)


@ROWS("overhead/add-0d")
def add_numbers():
    return row(numpy.add, R([]), R([]))


@ROWS(rf"overhead/add-{SIZE}")
def add_few(size):
    return row(numpy.add, R(size), R(size))
