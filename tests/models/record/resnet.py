"""ResNet by transformers, whose tensors are renamed as torchvision has them. Needs torch and transformers."""

import re

import torch
from images import case, drawn, scatter
from transformers import ResNetConfig, ResNetForImageClassification

RULES = [
    (r"^resnet\.embedder\.embedder\.convolution", "conv1"),
    (r"^resnet\.embedder\.embedder\.normalization", "bn1"),
    (r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)", lambda m: f"layer{int(m[1]) + 1}.{m[2]}"),
    (r"\.layer\.(\d+)\.convolution", lambda m: f".conv{int(m[1]) + 1}"),
    (r"\.layer\.(\d+)\.normalization", lambda m: f".bn{int(m[1]) + 1}"),
    (r"\.shortcut\.convolution", ".downsample.0"),
    (r"\.shortcut\.normalization", ".downsample.1"),
    (r"^classifier\.1", "fc"),
]


def torchvision(name):
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def record(name, seed, train, channels=3, **sizes):
    config = ResNetConfig(num_channels=channels, embedding_size=4, num_labels=3, **sizes)
    model = ResNetForImageClassification(config)
    scatter(model, seed)
    pixels, labels = drawn((3, channels, 40, 32), seed + 1), torch.tensor([0, 2, 1])
    case(name, model, pixels, labels, train=train, rename=torchvision)


BASIC = dict(layer_type="basic", hidden_sizes=[4, 8, 8, 12], depths=[2, 1, 2, 1])
BOTTLENECK = dict(layer_type="bottleneck", hidden_sizes=[16, 16, 24, 32], depths=[1, 2, 1, 1])

record("resnet_basic", 1, False, **BASIC)
record("resnet_basic_train", 3, True, channels=1, **BASIC)
record("resnet_bottleneck", 5, True, channels=1, **BOTTLENECK)
# The image is halved where the paper halves it, and once more.
halves = dict(downsample_in_bottleneck=True, downsample_in_first_stage=True)
record("resnet_paper", 7, False, channels=1, **BOTTLENECK, **halves)
