#!/bin/sh
# Makes the libraries of the emulated driver in a folder, as a toolkit has them: make.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/lib" "$1/bin" "$1/include"
lib=$(cd "$1" && pwd)/lib
ln -sf "$here/nvcc" "$1/bin/nvcc"
sources=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19.*/src | sort -V | tail -1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

library() { # cudarc's module, the library's name, its name for the linker, its files
    module=$1 name=$2 short=$3
    shift 3
    # Whatever else cudarc knows of a library says that it is not there.
    {
        echo '#include <stdio.h>'
        echo '#include <unistd.h>'
        echo 'static void none(const char *name) { fputs("the emulated card: there is no ", stderr), fputs(name, stderr), _exit(70); }'
        grep -ohE 'fn (cu|nvrtc|nccl)[A-Za-z0-9_]+' "$sources/$module/sys/mod.rs" | sort -u |
            awk '{print "__attribute__((weak)) void "$2"(void) { none(\""$2"\"); }"}'
    } >"$work/$short.c"
    gcc -c -fPIC -w -o "$work/$short.o" "$work/$short.c"
    (cd "$here" && g++ -std=c++17 -O2 -fPIC -shared -w -Wl,-soname,"$name" -o "$lib/$name" "$@" "$work/$short.o" -ldl)
    ln -sf "$name" "$lib/$short.so"
}

library driver libcuda.so.1 libcuda card.cpp memory.cpp driver.cpp streams.cpp kernels.cpp
library nvrtc libnvrtc.so.13 libnvrtc nvrtc.cpp "$lib/libcuda.so.1"
library curand libcurand.so.10 libcurand curand.cpp "$lib/libcuda.so.1"
library cublas libcublas.so.13 libcublas cublas.cpp -O3 "$lib/libcuda.so.1"
library cublaslt libcublasLt.so.13 libcublasLt
library cudnn libcudnn.so.9 libcudnn cudnn.cpp -O3 "$lib/libcuda.so.1"
library nccl libnccl.so.2 libnccl nccl.cpp "$lib/libcuda.so.1"
printf '#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 10\n' >"$1/include/cudnn_version.h"
gcc -shared -fPIC -x c /dev/null -Wl,-soname,libcudart.so.13 -o "$lib/libcudart.so.13"
ln -sf libcudart.so.13 "$lib/libcudart.so"
