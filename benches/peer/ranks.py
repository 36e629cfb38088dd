"""DistributedDataParallel with gloo on the models of `benches/ranks.rs`: the same lines, as one rank of
`benches/peer/ranks.sh`. A step alone is one under `no_sync`; bytes are those of the buckets that are reduced."""

import statistics
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from models import mlp, transformer
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

STEPS = 7
sent = 0


def counted(state, bucket):
    global sent
    sent += bucket.buffer().nbytes
    return allreduce_hook(state, bucket)


def step(model, optimizer, inputs, targets):
    dist.barrier()
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(inputs).flatten(0, -2), targets).backward()
    optimizer.step()
    return time.perf_counter() - start


def measure(name, make, frozen, inputs, targets):
    global sent
    stages = nn.Sequential(*make())
    for stage in list(stages)[:frozen]:
        stage.requires_grad_(False)
    model = DistributedDataParallel(stages)
    model.register_comm_hook(None, counted)
    trained = [param for param in stages.parameters() if param.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    alone, together = [], []
    for _ in range(STEPS + 2):
        with model.no_sync():
            alone.append(step(model, optimizer, inputs, targets))
        sent = 0
        together.append(step(model, optimizer, inputs, targets))
    if dist.get_rank() == 0:
        label = {0: "nothing", len(stages) - 1: "all but last"}.get(frozen, "50 %")
        times = [statistics.median(times[2:]) for times in (alone, together)]
        print(name, label, "gloo", *times, sent, sep="\t", flush=True)


torch.set_num_threads(1)
dist.init_process_group("gloo")
ranks = dist.get_world_size()
rows = 64 // ranks
for frozen in (0, 6, 11):
    measure("mlp", mlp, frozen, torch.randn(rows, 1024), torch.randint(1024, (rows,)))
rows = 16 // ranks
for frozen in (0, 4, 8):
    measure("transformer", transformer, frozen, torch.randint(256, (rows, 64)), torch.randint(256, (rows * 64,)))
dist.destroy_process_group()
