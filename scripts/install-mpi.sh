#!/bin/sh
# What the feature `mpi` is built with and runs on: an MPI library with mpirun and mpicc, and libclang, by which its
# bindings are made. Installs nothing where all of it is there; otherwise Debian's and Ubuntu's packages, as root or by
# sudo. Exit code 1 where that cannot be done.
set -eu

has_mpi() { command -v mpirun >/dev/null && command -v mpicc >/dev/null; }

has_libclang() { # where bindgen looks first
    [ -n "${LIBCLANG_PATH:-}" ] || ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang*.so /usr/lib/*/libclang-[0-9]*.so* \
        2>/dev/null | grep -q .
}

elsewhere() {
    cat >&2 <<'TEXT'
install-mpi: install an MPI library (with mpirun and mpicc) and libclang by hand:
    Fedora: dnf install openmpi-devel clang-devel, and then: module load mpi
    macOS: brew install open-mpi llvm, and then: export LIBCLANG_PATH="$(brew --prefix llvm)/lib"
    a cluster: module load its MPI, and set LIBCLANG_PATH to the folder of libclang.so
TEXT
    exit 1
}

if ! has_mpi || ! has_libclang; then
    command -v apt-get >/dev/null || elsewhere
    if [ "$(id -u)" = 0 ]; then
        root=
    elif [ -t 0 ]; then
        root=sudo
    else
        root="sudo -n" # nobody is there to give a password
    fi
    [ -z "$root" ] || command -v sudo >/dev/null || elsewhere
    $root apt-get update -qq || echo "install-mpi: apt-get update failed, going on with the lists that are there" >&2
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openmpi-bin libopenmpi-dev libclang-dev || elsewhere
fi
mpirun --version | head -1
