#!/bin/sh
# The tests of tests/cuda on a card that has neither compiler nor network.
#
#   scripts/cuda-check.sh build          here, without a card: makes .cuda/packed
#   .cuda/packed/cuda-check.sh run LOGS  on the card: runs every test, leaves its words in LOGS
#
# `build` needs Rust, gcc, python3 with pip, and xz. It fetches the compiler of CUDA 13.0 from PyPI
# into .cuda (270 MB); cards of compute capability 9.0 are meant unless CUDA_COMPUTE_CAP says
# otherwise. Where card and toolkit are at hand, none of this is needed: cargo test --features cuda
# --test cuda.
set -eu

fetch() { # what nvcc is made of: newer ones write code that a driver for 13.0 refuses
    [ -x "$CUDA_HOME/bin/nvcc" ] || python3 -m pip install -q --no-deps --target .cuda/toolkit \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96
    cargo fetch --locked -q
    sources=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-0.19.*/src | sort -V | tail -1)
    stand_in driver libcuda.so.1 libcuda
    stand_in nvrtc libnvrtc.so.13 libnvrtc
    stand_in curand libcurand.so.10 libcurand
    stand_in cublas libcublas.so.13 libcublas
    stand_in cublaslt libcublasLt.so.13 libcublasLt
    ln -sf libcudart.so.13 "$CUDA_HOME/lib/libcudart.so"
}

stand_in() { # cudarc's module, the library's name, its name for the linker: every symbol, no code
    grep -ohE 'fn (cu|nvrtc)[A-Za-z0-9_]+' "$sources/$1/sys/mod.rs" |
        awk '{print "void "$2"(void){}"}' | sort -u |
        gcc -shared -fPIC -w -Wl,-soname,"$2" -x c -o "$CUDA_HOME/lib/$3.so" -
}

build() {
    cd "$(dirname "$0")/.."
    export CUDA_HOME="$PWD/.cuda/toolkit/nvidia/cu13" NVCC="$PWD/scripts/cuda-nvcc.sh"
    export PATH="$CUDA_HOME/bin:$PATH" CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-90}"
    export NVCC_APPEND_FLAGS=--compress-mode=size CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/cuda}"
    fetch
    mkdir -p .cuda/packed
    cargo build --test cuda --features cuda --message-format=json-render-diagnostics \
        >.cuda/messages.json
    binary=$(sed -nE 's/.*"name":"cuda".*"executable":"([^"]+)".*/\1/p' .cuda/messages.json)
    strip -o .cuda/cuda-test "$binary"
    xz -6 -T0 -f -c .cuda/cuda-test >.cuda/packed/cuda-test.xz
    cp scripts/cuda-check.sh .cuda/packed
    ls -l .cuda/packed
}

run() {
    logs=${1:?where the logs go}
    mkdir -p "$logs"
    test=$(mktemp)
    python3 -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' "$(dirname "$0")/cuda-test.xz" "$test"
    chmod +x "$test"
    LD_LIBRARY_PATH=$(find /opt /usr \( -name 'libcublas.so.13*' -o -name 'libcurand.so.10*' \
        -o -name 'libcudart.so.13*' -o -name 'libnvrtc.so.13*' -o -name libcuda.so.1 \) \
        -not -path '*/stubs/*' -not -path '*/compat/*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
    export LD_LIBRARY_PATH RUST_BACKTRACE=1
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$logs/card.txt"
    status=0
    "$test" --test-threads=4 --nocapture >"$logs/tests.txt" 2>&1 || status=$?
    grep -E '^test ' "$logs/tests.txt" || true
    "$test" --ignored --nocapture --test-threads=1 2>&1 | tee "$logs/figures.txt"
    return $status
}

case ${1-} in
    build) build ;;
    run) run "${2-}" ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
