#!/usr/bin/env bash
# Gets the full Fashion-MNIST by Debian's package dataset-fashion-mnist into examples/study/data, which git
# ignores, and prints the folder for `--images`. Installs nothing.
set -euo pipefail
data=$(cd "$(dirname "$0")" && pwd)/data
folder=$data/usr/share/datasets/fashion-mnist
if [ ! -f "$folder/train-images-idx3-ubyte.gz" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
        echo "fetch.sh needs apt-get and dpkg-deb; else put the four published IDX files into a folder" >&2
        exit 1
    }
    mkdir -p "$data"
    cd "$data"
    apt-get download dataset-fashion-mnist >&2
    dpkg-deb -x dataset-fashion-mnist_*.deb .
    rm dataset-fashion-mnist_*.deb
fi
echo "$folder"
