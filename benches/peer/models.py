"""The models of `benches/layers` in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


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
    def __init__(self, last, width=1024):
        super().__init__()
        self.linear, self.last = nn.Linear(width, width), last

    def forward(self, xs):
        ys = self.linear(xs)
        return ys if self.last else F.relu(ys)


class Embed(nn.Module):
    def __init__(self, size=256, sequence=64):
        super().__init__()
        self.tokens = nn.Embedding(256, size)
        self.positions = nn.Parameter(torch.randn(sequence, size))

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


def mlp(width=1024):
    return [Hidden(index == 11, width) for index in range(12)]


def convnet():
    widths = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64))
    return [Stem()] + [Block(*sizes) for sizes in widths] + [Classifier()]


def transformer(layers=6, size=256, heads=4, sequence=64):
    inner = [Encoder(size, heads) for _ in range(layers)]
    return [Embed(size, sequence)] + inner + [nn.LayerNorm(size), nn.Linear(size, 256)]
