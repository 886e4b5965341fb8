"""Rows of JAX, each compiled by itself. What it costs to call a compiled function, some microseconds, is in them."""

import jax
import jax.numpy as jnp
import numpy
from rows import GRADIENTS, SIZE, Rows

ROWS = Rows()
RANDOM = numpy.random.default_rng(0)


def prepare(threads):
    # It takes as many threads as the process may use processors.
    del threads
    jax.config.update("jax_platforms", "cpu")


def R(*size):
    size = size[0] if size and isinstance(size[0], (list, tuple)) else size
    return jnp.asarray(RANDOM.standard_normal(size, dtype=numpy.float32))


def row(f, x, gradients=None):
    if gradients:
        g = jnp.ones_like(f(*x))

        # With the result of the way forward, which would otherwise be left out where the gradient does not need it.
        def both(x, g):
            y, back = jax.vjp(f, *x)
            return y, back(g)

        compiled = jax.jit(both)
        return lambda: jax.block_until_ready(compiled(x, g))
    compiled = jax.jit(f)
    return lambda: jax.block_until_ready(compiled(*x))


def whole(n, most):
    return jnp.asarray(RANDOM.integers(0, most, n, dtype=numpy.int32))


@ROWS(rf"matmul/f32{GRADIENTS}-{SIZE}")
def matmul(gradients, size):
    m, k, n = size
    return row(jnp.matmul, [R(m, k), R(k, n)], gradients)


@ROWS(rf"matmul/f32-left-transposed-{SIZE}")
def left_transposed(size):
    m, k, n = size
    return row(lambda a, b: a.T @ b, [R(k, m), R(k, n)])


@ROWS(rf"matmul/f32-right-transposed-{SIZE}")
def right_transposed(size):
    m, k, n = size
    return row(lambda a, b: a @ b.T, [R(m, k), R(n, k)])


@ROWS(rf"matmul/bf16-{SIZE}")
def matmul_of_half(size):
    m, k, n = size
    return row(jnp.matmul, [R(m, k).astype(jnp.bfloat16), R(k, n).astype(jnp.bfloat16)])


@ROWS(rf"matmul/f32-batch-{SIZE}")
def matmul_of_batch(size):
    b, m, k, n = size
    return row(lambda a, b: a @ b.transpose(0, 2, 1), [R(b, m, k), R(b, n, k)])


@ROWS(rf"conv2d/(same|valid|depthwise){GRADIENTS}-{SIZE}-{SIZE}")
def conv2d(kind, gradients, image, filters):
    c, (o,) = image[-1], filters
    groups = c if kind == "depthwise" else 1
    padding = "VALID" if kind == "valid" else "SAME"

    def f(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=numbers, feature_group_count=groups)

    return row(f, [R(image), R(3, 3, c // groups, o)], gradients)


@ROWS(rf"conv2d/channels-first-{SIZE}-{SIZE}")
def conv2d_channels_first(image, filters):
    def f(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))

    return row(f, [R(image), R(filters[0], image[1], 3, 3)])


ELEMENTWISE = {
    "relu": jax.nn.relu,
    "exp": jnp.exp,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


@ROWS(rf"elementwise/([a-z_]+){GRADIENTS}-{SIZE}")
def unary(name, gradients, size):
    return row(ELEMENTWISE[name], [R(size)], gradients)


@ROWS(rf"elementwise/(add|mul)-{SIZE}")
def binary(name, size):
    return row(jnp.add if name == "add" else jnp.multiply, [R(size), R(size)])


@ROWS(rf"elementwise/add-(row|column|channels){GRADIENTS}-{SIZE}")
def add_broadcast(kind, gradients, size):
    other = [size[0], 1] if kind == "column" else [size[-1]]
    return row(jnp.add, [R(size), R(other)], gradients)


@ROWS(rf"elementwise/add-transposed-{SIZE}")
def add_transposed(size):
    return row(lambda x, y: x + y.T, [R(size), R(size)])


@ROWS(rf"elementwise/exp-transposed-{SIZE}")
def exp_transposed(size):
    return row(lambda x: jnp.exp(x.T), [R(size)])


AXES = {"last": -1, "first": 0, "middle": 1, "all": None}


@ROWS(rf"reduce/(sum|max|argmax|mean){GRADIENTS}-(last|first|middle|all)-{SIZE}")
def reduce(name, gradients, which, size):
    f = {"sum": jnp.sum, "max": jnp.max, "argmax": jnp.argmax, "mean": jnp.mean}[name]
    return row(lambda x: f(x, axis=AXES[which]), [R(size)], gradients)


@ROWS(rf"rearrange/transpose-copy-{SIZE}")
def transpose_copy(size):
    return row(lambda x: x.T, [R(size)])


@ROWS(rf"rearrange/channels-first-copy-{SIZE}")
def channels_first_copy(size):
    return row(lambda x: x.transpose(0, 3, 1, 2), [R(size)])


@ROWS(rf"rearrange/concat-last-{SIZE}-twice")
def concat_last(size):
    return row(lambda x, y: jnp.concatenate([x, y], 1), [R(size), R(size)])


@ROWS(rf"order/cumsum{GRADIENTS}-(last|first)-{SIZE}")
def cumsum(gradients, which, size):
    return row(lambda x: jnp.cumsum(x, AXES[which]), [R(size)], gradients)


@ROWS(rf"order/topk-{SIZE}-{SIZE}")
def topk(k, size):
    return row(lambda x: jax.lax.top_k(x, k[0]), [R(size)])


@ROWS(rf"softmax/(softmax|log_softmax){GRADIENTS}-(last|first)-{SIZE}")
def softmax(name, gradients, which, size):
    return row(lambda x: getattr(jax.nn, name)(x, AXES[which]), [R(size)], gradients)


@ROWS(rf"softmax/softmax-transposed-{SIZE}")
def softmax_transposed(size):
    return row(lambda x: jax.nn.softmax(x.T, 1), [R(size)])


@ROWS(rf"softmax/cross_entropy{GRADIENTS}-{SIZE}")
def cross_entropy(gradients, size):
    labels = whole(*size)

    def f(x):
        losses = jax.nn.logsumexp(x, axis=1) - jnp.take_along_axis(x, labels[:, None], 1)[:, 0]
        return losses.mean() if gradients else losses

    return row(f, [R(size)], gradients)


@ROWS(rf"norm/(layer|batch)_norm{GRADIENTS}-{SIZE}")
def norm(kind, gradients, size):
    axes = -1 if kind == "layer" else (0, 1, 2)

    def f(x, w, b):
        mean = x.mean(axes, keepdims=True)
        variance = jnp.square(x - mean).mean(axes, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w + b

    return row(f, [R(size), R(size[-1]), R(size[-1])], gradients)


@ROWS(rf"pool/max{GRADIENTS}-{SIZE}")
def max_pool(gradients, size):
    def f(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    return row(f, [R(size)], gradients)


@ROWS(rf"indexing/embedding{GRADIENTS}-{SIZE}-of-{SIZE}")
def embedding(gradients, count, table):
    index = whole(count[0], table[0])
    return row(lambda t: t[index], [R(table)], gradients)


@ROWS(rf"random/(uniform|normal)-{SIZE}")
def random(kind, size):
    key = jax.random.key(0)
    return row(lambda key: getattr(jax.random, kind)(key, size), [key])


@ROWS(rf"attention/causal{GRADIENTS}-{SIZE}")
def attention(gradients, size):
    b, h, t, e = size
    f = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    return row(f, [R(b, t, h, e) for _ in range(3)], gradients)


@ROWS(rf"overhead/linear-gradients-{SIZE}")
def linear(size):
    m, k, n = size
    x, w, labels = R(m, k), R(k, n), whole(m, n)

    def loss(w, x):
        logits = x @ w
        return (jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]).mean()

    compiled = jax.jit(jax.grad(loss))
    return lambda: jax.block_until_ready(compiled(w, x))


@ROWS(rf"overhead/add-(?:0d|{SIZE})")
def add_few(size):
    size = size or []
    return row(jnp.add, [R(size), R(size)])
