"""Takes turns with a benchmark: a line on stdin names a contestant in two words and a number of steps, and is answered
with the median seconds of each part of a step, after one that warms up."""

import statistics
import sys

import torch


def take(name, contestant):
    torch.set_num_threads(int(sys.argv[1]))
    contestants = {}
    print(name, flush=True)
    for line in sys.stdin:
        model, depth, steps = line.rstrip("\n").split("\t")
        if (model, depth) not in contestants:
            contestants[model, depth] = contestant(model, depth)
        one = contestants[model, depth]
        one.step()
        steps = [one.step() for _ in range(int(steps))]
        print(*(statistics.median(part) for part in zip(*steps)), sep="\t", flush=True)
