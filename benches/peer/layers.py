"""The models of `benches/layers` in PyTorch, driven line by line by `cargo bench --bench layers_mimalloc -- --peer`.

Each line on stdin names a model, a depth and a number of steps; the answer is the median seconds of a step's
forward, backward and update, and of the step. The models stay between lines.
"""

import time

import torch
import torch.nn.functional as F
from torch import nn
from turns import take


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, xs):
        return self.norm(self.conv(xs))


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = ConvNorm(3, 16, 3, 1)

    def forward(self, xs):
        return F.relu(self.step(xs))


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3, 1)
        self.shortcut = None if inputs == outputs else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, xs):
        ys = self.second(F.relu(self.first(xs)))
        return F.relu(ys + (xs if self.shortcut is None else self.shortcut(xs)))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, xs):
        return self.linear(xs.mean((2, 3)))


class Hidden(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.linear, self.last = nn.Linear(1024, 1024), last

    def forward(self, xs):
        ys = self.linear(xs)
        return ys if self.last else F.relu(ys)


class Embed(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(256, 256)
        self.positions = nn.Parameter(torch.randn(64, 256))

    def forward(self, xs):
        return self.tokens(xs) + self.positions


class Encoder(nn.Module):
    def __init__(self, size=256, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.key, self.value, self.mix = (nn.Linear(size, size) for _ in range(4))
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def attend(self, xs):
        rows, sequence, size = xs.shape

        def split(ys):
            return ys.view(rows, sequence, self.heads, size // self.heads).transpose(1, 2)

        query, key, value = split(self.query(xs)), split(self.key(xs)), split(self.value(xs))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.mix(mixed.transpose(1, 2).reshape(rows, sequence, size))

    def forward(self, xs):
        xs = xs + self.attend(self.norm1(xs))
        return xs + self.down(F.gelu(self.up(self.norm2(xs)), approximate="tanh"))


MODELS = {
    "mlp": (
        lambda: [Hidden(index == 11) for index in range(12)],
        lambda: (torch.randn(64, 1024), torch.randint(1024, (64,))),
    ),
    "convnet": (
        lambda: [Stem()]
        + [Block(*sizes) for sizes in ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64))]
        + [Classifier()],
        lambda: (torch.randn(32, 3, 32, 32), torch.randint(10, (32,))),
    ),
    "transformer": (
        lambda: [Embed()] + [Encoder() for _ in range(6)] + [nn.LayerNorm(256), nn.Linear(256, 256)],
        lambda: (torch.randint(256, (16, 64)), torch.randint(256, (1024,))),
    ),
}

DEPTHS = {
    "nothing": lambda stages: range(0),
    "25 %": lambda stages: range(stages // 4),
    "50 %": lambda stages: range(stages // 2),
    "75 %": lambda stages: range(stages * 3 // 4),
    "all but last": lambda stages: range(stages - 1),
    "all but ends": lambda stages: range(1, stages - 1),
}


class Contestant:
    def __init__(self, model, depth):
        make, data = MODELS[model]
        self.stages = nn.ModuleList(make()).train()
        self.inputs, self.targets = data()
        for index in DEPTHS[depth](len(self.stages)):
            self.stages[index].requires_grad_(False)
        trained = [param for param in self.stages.parameters() if param.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        hidden = self.inputs
        for stage in self.stages:
            hidden = stage(hidden)
        loss = F.cross_entropy(hidden.flatten(0, -2), self.targets)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        self.optimizer.step()
        end = time.perf_counter()
        return forward - start, backward - forward, end - backward, end - start


class Attention:
    """Forward and backward of attention alone, of 1024 places in all, or of 2048 in one sequence."""

    def __init__(self, sequence):
        shape = (max(1, 1024 // sequence), 4, sequence, 64)
        self.operands = [torch.randn(shape, requires_grad=True) for _ in range(3)]

    def step(self):
        start = time.perf_counter()
        for operand in self.operands:
            operand.grad = None
        loss = F.scaled_dot_product_attention(*self.operands, is_causal=True).sum()
        forward = time.perf_counter()
        loss.backward()
        end = time.perf_counter()
        return forward - start, end - forward, 0.0, end - start


def contestant(model, depth):
    return Attention(int(depth)) if model == "attention" else Contestant(model, depth)


take(f"PyTorch {torch.__version__}", contestant)
