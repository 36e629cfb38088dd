#!/usr/bin/env python3
"""Writes the embedded subset of Fashion-MNIST: the first images of each class, in file order.

    examples/data/make_subset.py                 # fetches Debian's package into a temporary folder
    examples/data/make_subset.py FOLDER          # takes the four published IDX files from FOLDER

The output is the same on every run: no random choice, no time stamp in the gzip header.
Needs python3 alone; without FOLDER also apt and dpkg, not root.
"""

import gzip
import pathlib
import struct
import subprocess
import sys
import tempfile

PACKAGE = "dataset-fashion-mnist"
PER_CLASS = {"train": 260, "t10k": 70}
CLASSES = 10
LIMIT = 1_500_000  # bytes that all four files may take in the repository
HERE = pathlib.Path(__file__).resolve().parent


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[1]) if len(sys.argv) == 2 else fetch(scratch)
        total = sum(subset(folder, split, count) for split, count in PER_CLASS.items())
    print(f"{total} bytes in all, {LIMIT} allowed")
    if total > LIMIT:
        sys.exit("the subset is too large: lower PER_CLASS")


def fetch(scratch):
    """The folder of the IDX files: the installed package's, or that of one unpacked in `scratch`."""
    listed = subprocess.run(["dpkg", "-L", PACKAGE], capture_output=True, text=True)
    root = pathlib.Path("/")
    if listed.returncode != 0:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=scratch, check=True)
        deb = next(pathlib.Path(scratch).glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", deb, scratch], check=True)
        root = pathlib.Path(scratch)
    found = next(root.glob("usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz"), None)
    if found is None:
        sys.exit(f"{PACKAGE} holds no train-images-idx3-ubyte.gz; give the folder by hand")
    return found.parent


def subset(folder, split, per_class):
    """Writes the images and labels of one split; returns the bytes written."""
    images = read(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read(folder / f"{split}-labels-idx1-ubyte.gz")
    magic, count, rows, columns = struct.unpack(">4I", images[:16])
    assert (magic, rows, columns) == (0x803, 28, 28), "not an IDX file of 28 x 28 images"
    assert struct.unpack(">2I", labels[:8]) == (0x801, count), "labels do not fit the images"
    size = rows * columns

    taken = [0] * CLASSES
    chosen = []
    for index, label in enumerate(labels[8:]):
        if taken[label] < per_class:
            taken[label] += 1
            chosen.append(index)
    assert taken == [per_class] * CLASSES, "too few images of a class"

    pixels = b"".join(images[16 + i * size : 16 + (i + 1) * size] for i in chosen)
    header = struct.pack(">4I", 0x803, len(chosen), rows, columns)
    written = write(f"{split}-images-idx3-ubyte.gz", header + pixels)
    header = struct.pack(">2I", 0x801, len(chosen))
    written += write(f"{split}-labels-idx1-ubyte.gz", header + bytes(labels[8 + i] for i in chosen))
    return written


def read(path):
    with gzip.open(path) as file:
        return file.read()


def write(name, content):
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    (HERE / name).write_bytes(packed)
    print(f"{name}: {len(content)} bytes, {len(packed)} packed")
    return len(packed)


if __name__ == "__main__":
    main()
