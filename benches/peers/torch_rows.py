"""Rows of PyTorch, one operation at a time."""

import torch
import torch.nn.functional as F
from rows import GRADIENTS, SIZE, Rows

ROWS = Rows()
R = torch.randn


def prepare(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def row(f, x, gradients=None):
    """`f` of tensors: forward, or forward and backward with a gradient of the result that is given."""
    if not gradients:

        def forward():
            with torch.no_grad():
                return f(*x)

        return forward
    x = [t.detach().requires_grad_() for t in x]
    g = torch.randn_like(f(*x))
    return lambda: torch.autograd.grad(f(*x), x, g)


def whole(n, most):
    return torch.randint(0, most, (n,))




@ROWS(rf"matmul/f32{GRADIENTS}-{SIZE}")
def matmul(gradients, size):
    m, k, n = size
    return row(torch.matmul, [R(m, k), R(k, n)], gradients)


@ROWS(rf"matmul/f32-left-transposed-{SIZE}")
def left_transposed(size):
    m, k, n = size
    return row(lambda a, b: a.t() @ b, [R(k, m), R(k, n)])


@ROWS(rf"matmul/f32-right-transposed-{SIZE}")
def right_transposed(size):
    m, k, n = size
    return row(lambda a, b: a @ b.t(), [R(m, k), R(n, k)])


@ROWS(rf"matmul/bf16-{SIZE}")
def matmul_of_half(size):
    m, k, n = size
    return row(torch.matmul, [R(m, k).bfloat16(), R(k, n).bfloat16()])


@ROWS(rf"matmul/f32-batch-{SIZE}")
def matmul_of_batch(size):
    b, m, k, n = size
    return row(lambda a, b: a @ b.transpose(1, 2), [R(b, m, k), R(b, n, k)])


def layouts(make):
    """Images as PyTorch has them at first, and with channels last, as Kiln has them."""
    return {"channels first": make(torch.contiguous_format), "channels last": make(torch.channels_last)}


@ROWS(rf"conv2d/(same|valid|depthwise){GRADIENTS}-{SIZE}-{SIZE}")
def conv2d(kind, gradients, image, filters):
    (n, h, w, c), (o,) = image, filters
    groups = c if kind == "depthwise" else 1
    padding = 0 if kind == "valid" else 1

    def make(layout):
        x = R(n, c, h, w).contiguous(memory_format=layout)
        weights = R(o, c // groups, 3, 3).contiguous(memory_format=layout)
        return row(lambda x, w: F.conv2d(x, w, padding=padding, groups=groups), [x, weights], gradients)

    return layouts(make)


@ROWS(rf"conv2d/channels-first-{SIZE}-{SIZE}")
def conv2d_channels_first(image, filters):
    x, weights = R(image), R(filters[0], image[1], 3, 3)
    return row(lambda x, w: F.conv2d(x, w, padding=1), [x, weights])


ELEMENTWISE = {
    "relu": torch.relu,
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


@ROWS(rf"elementwise/([a-z_]+){GRADIENTS}-{SIZE}")
def unary(name, gradients, size):
    return row(ELEMENTWISE[name], [R(size)], gradients)


@ROWS(rf"elementwise/(add|mul)-{SIZE}")
def binary(name, size):
    return row(getattr(torch, name), [R(size), R(size)])


@ROWS(rf"elementwise/add-(row|column|channels){GRADIENTS}-{SIZE}")
def add_broadcast(kind, gradients, size):
    other = [size[0], 1] if kind == "column" else [size[-1]]
    return row(torch.add, [R(size), R(other)], gradients)


@ROWS(rf"elementwise/add-transposed-{SIZE}")
def add_transposed(size):
    return row(lambda x, y: x + y.t(), [R(size), R(size)])


@ROWS(rf"elementwise/exp-transposed-{SIZE}")
def exp_transposed(size):
    return row(lambda x: torch.exp(x.t()), [R(size)])


AXES = {"last": -1, "first": 0, "middle": 1, "all": None}


@ROWS(rf"reduce/(sum|max|argmax|mean){GRADIENTS}-(last|first|middle|all)-{SIZE}")
def reduce(name, gradients, which, size):
    f = {"sum": torch.sum, "max": torch.amax, "argmax": torch.argmax, "mean": torch.mean}[name]
    axis = AXES[which]
    return row((lambda x: f(x)) if axis is None else (lambda x: f(x, dim=axis)), [R(size)], gradients)


@ROWS(rf"reduce/sum-transposed-{SIZE}")
def sum_transposed(size):
    return row(lambda x: x.t().sum(1), [R(size[::-1])])


@ROWS(rf"rearrange/transpose-copy-{SIZE}")
def transpose_copy(size):
    return row(lambda x: x.t().contiguous(), [R(size)])


@ROWS(rf"rearrange/channels-first-copy-{SIZE}")
def channels_first_copy(size):
    return row(lambda x: x.permute(0, 3, 1, 2).contiguous(), [R(size)])


@ROWS(rf"rearrange/heads-copy-{SIZE}")
def heads_copy(size):
    return row(lambda x: x.permute(0, 2, 1, 3).contiguous(), [R(size)])


@ROWS(rf"rearrange/concat-last-{SIZE}-twice")
def concat_last(size):
    return row(lambda x, y: torch.cat([x, y], 1), [R(size), R(size)])


@ROWS(rf"order/cumsum{GRADIENTS}-(last|first)-{SIZE}")
def cumsum(gradients, which, size):
    return row(lambda x: x.cumsum(AXES[which]), [R(size)], gradients)


@ROWS(rf"order/sort-last-{SIZE}")
def sort(size):
    # Equal elements keep their order, as Kiln's do.
    return row(lambda x: x.sort(dim=-1, stable=True), [R(size)])


@ROWS(rf"order/(bincount|histogram|unique)-{SIZE}")
def counting(name, size):
    x, numbers = R(size), whole(size[0], 1000)
    calls = {
        "bincount": lambda: torch.bincount(numbers, minlength=1000),
        "histogram": lambda: torch.histogram(x, 100),
        "unique": lambda: torch.unique(numbers, return_inverse=True, return_counts=True),
    }
    return calls[name]


@ROWS(rf"linalg/(cholesky|eigh|qr|solve|svd)-{SIZE}")
def linalg(name, size):
    x = R(size)
    if name in ("cholesky", "eigh"):
        x = x @ x.T + torch.eye(size[0])
    others = {"solve": [R(size)], "svd": [False]}.get(name, [])
    return row(lambda *x: getattr(torch.linalg, name)(*x), [x, *others])


@ROWS(rf"order/topk-{SIZE}-{SIZE}")
def topk(k, size):
    return row(lambda x: x.topk(k[0]), [R(size)])


@ROWS(rf"softmax/(softmax|log_softmax){GRADIENTS}-(last|first)-{SIZE}")
def softmax(name, gradients, which, size):
    return row(lambda x: getattr(torch, name)(x, AXES[which]), [R(size)], gradients)


@ROWS(rf"softmax/softmax-transposed-{SIZE}")
def softmax_transposed(size):
    return row(lambda x: torch.softmax(x.t(), 1), [R(size)])


@ROWS(rf"softmax/cross_entropy{GRADIENTS}-{SIZE}")
def cross_entropy(gradients, size):
    labels = whole(*size)
    # Kiln's row without gradients is the loss of each sample.
    return row(lambda x: F.cross_entropy(x, labels, reduction="mean" if gradients else "none"), [R(size)], gradients)


@ROWS(rf"norm/layer_norm{GRADIENTS}-{SIZE}")
def layer_norm(gradients, size):
    last = size[-1:]
    return row(lambda x, w, b: F.layer_norm(x, last, w, b), [R(size), R(last), R(last)], gradients)


@ROWS(rf"norm/batch_norm{GRADIENTS}-{SIZE}")
def batch_norm(gradients, size):
    n, h, w, c = size

    def make(layout):
        x = R(n, c, h, w).contiguous(memory_format=layout)
        return row(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [x, R(c), R(c)], gradients)

    return layouts(make)


@ROWS(rf"pool/(max|average){GRADIENTS}-{SIZE}")
def pool(kind, gradients, size):
    n, h, w, c = size
    f = F.max_pool2d if kind == "max" else F.avg_pool2d
    return layouts(lambda layout: row(lambda x: f(x, 2), [R(n, c, h, w).contiguous(memory_format=layout)], gradients))


@ROWS(rf"indexing/embedding{GRADIENTS}-{SIZE}-of-{SIZE}")
def embedding(gradients, count, table):
    index = whole(count[0], table[0])
    return row(lambda t: F.embedding(index, t), [R(table)], gradients)


@ROWS(rf"indexing/index_select-{SIZE}-of-{SIZE}")
def index_select(count, table):
    data = torch.zeros(table)
    batches = [whole(count[0], table[0]) for _ in range(256)]
    state = [0]

    def next_batch():
        state[0] = (state[0] + 1) % len(batches)
        return data.index_select(0, batches[state[0]])

    return next_batch


@ROWS(rf"random/(uniform|normal)-{SIZE}")
def random(kind, size):
    f = torch.rand if kind == "uniform" else torch.randn
    return lambda: f(size)


@ROWS(rf"random/dropout{GRADIENTS}-{SIZE}")
def dropout(gradients, size):
    return row(lambda x: F.dropout(x, 0.5, True), [R(size)], gradients)


@ROWS(rf"optimizer/(adam|adamw|sgd|sgd-momentum)-{SIZE}")
def optimizer(name, size):
    p = R(size).requires_grad_()
    p.grad = R(size)
    make = {
        "adam": lambda: torch.optim.Adam([p], 1e-3, fused=True),
        "adamw": lambda: torch.optim.AdamW([p], 1e-3, fused=True),
        "sgd": lambda: torch.optim.SGD([p], 1e-2, fused=True),
        "sgd-momentum": lambda: torch.optim.SGD([p], 1e-3, momentum=0.9, fused=True),
    }
    return make[name]().step


@ROWS(rf"attention/causal{GRADIENTS}-{SIZE}")
def attention(gradients, size):
    f = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
    return row(f, [R(size), R(size), R(size)], gradients)


@ROWS(rf"recurrent/lstm{GRADIENTS}-{SIZE}")
def lstm(gradients, size):
    layer = torch.nn.LSTM(size[-1], size[-1], bias=False, batch_first=True)
    if not gradients:
        return row(lambda x: layer(x)[0], [R(size)])
    x = R(size).requires_grad_()
    operands = [x, *layer.parameters()]
    g = R(size)
    return lambda: torch.autograd.grad(layer(x)[0], operands, g)


@ROWS("overhead/add-0d")
def add_numbers():
    return row(torch.add, [R([]), R([])])


@ROWS("overhead/add-0d-(recorded|gradients)-([0-9]+)-times")
def add_many(kind, times):
    x, y = R([]).requires_grad_(), R([])

    def recorded():
        z = x
        for _ in range(times[0]):
            z = z + y
        return z

    return recorded if kind == "recorded" else lambda: torch.autograd.grad(recorded(), x)


@ROWS(rf"overhead/add-{SIZE}")
def add_few(size):
    return row(torch.add, [R(size), R(size)])


@ROWS(rf"overhead/linear-gradients-{SIZE}")
def linear(size):
    m, k, n = size
    x, w, labels = R(m, k), R(k, n).requires_grad_(), whole(m, n)
    return lambda: torch.autograd.grad(F.cross_entropy(x @ w, labels), w)
