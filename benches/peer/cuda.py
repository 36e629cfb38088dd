"""The models of `benches/cuda` in PyTorch on a card, driven line by line by `cargo bench --features cudnn --bench cuda`.

Each line on stdin names a model, the number of its stages that are frozen, a number of steps, and whether the model is
compiled; the answer is the milliseconds of a step's forward, backward and update, each waited for, of steps in a row, and
the megabytes of tensors at most.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from models import convnet, mlp, transformer
from torch import nn

torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = sys.argv[1] == "tf32"
torch.backends.cudnn.benchmark = True
CARD = torch.device("cuda")


def made(name):
    kind, *sizes = name.split("-")
    sizes = [int(size) for size in sizes]
    if kind == "mlp":
        width, rows = sizes
        return mlp(width), torch.randn(rows, width), torch.randint(width, (rows,))
    if kind == "convnet":
        (rows,) = sizes
        return convnet(), torch.randn(rows, 3, 32, 32), torch.randint(10, (rows,))
    layers, size, heads, sequence, rows = sizes
    inputs, targets = torch.randint(256, (rows, sequence)), torch.randint(256, (rows * sequence,))
    return transformer(layers, size, heads, sequence), inputs, targets


class Contestant:
    def __init__(self, name, frozen, compiled):
        stages, inputs, targets = made(name)
        self.inputs, self.targets = inputs.to(CARD), targets.to(CARD)
        self.net = nn.Sequential(*stages).to(CARD).train()
        for stage in self.net[:frozen]:
            stage.requires_grad_(False)
        trained = [param for param in self.net.parameters() if param.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
        self.forward = torch.compile(self.net) if compiled else self.net

    def step(self, after_part=lambda: None):
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.forward(self.inputs).flatten(0, -2), self.targets)
        after_part()
        loss.backward()
        after_part()
        self.optimizer.step()
        del loss
        after_part()

    def turn(self, steps):
        for _ in range(5):
            self.step()
        torch.cuda.reset_peak_memory_stats()
        parts = []
        for _ in range(steps):
            moments = [now()]
            self.step(lambda: moments.append(now()))
            parts.append([after - before for before, after in zip(moments, moments[1:])])
        peak = torch.cuda.max_memory_allocated() / 1e6
        start = now()
        for _ in range(steps):
            self.step()
        step = (now() - start) / steps
        return [1e3 * statistics.median(part) for part in zip(*parts)] + [1e3 * step, peak]


def now():
    torch.cuda.synchronize()
    return time.perf_counter()


print(f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}", flush=True)
asked, contestant = None, None
for line in sys.stdin:
    name, frozen, steps, compiled = line.rstrip("\n").split("\t")
    if asked != (name, frozen, compiled):
        asked, contestant = (name, frozen, compiled), None
        torch.cuda.empty_cache()
        contestant = Contestant(name, int(frozen), compiled == "1")
    print(*contestant.turn(int(steps)), sep="\t", flush=True)
