"""The models of `benches/layers` in PyTorch, driven line by line by `cargo bench --bench layers_mimalloc -- --peer`.

Each line on stdin names a model, a depth and a number of steps; the answer is the median seconds of a step's
forward, backward and update, and of the step. The models stay between lines.
"""

import time

import torch
import torch.nn.functional as F
from models import convnet, mlp, transformer
from torch import nn
from turns import take


MODELS = {
    "mlp": (mlp, lambda: (torch.randn(64, 1024), torch.randint(1024, (64,)))),
    "convnet": (convnet, lambda: (torch.randn(32, 3, 32, 32), torch.randint(10, (32,)))),
    "transformer": (transformer, lambda: (torch.randint(256, (16, 64)), torch.randint(256, (1024,)))),
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
