#!/bin/sh
# The tests of tests/cuda and the benchmark benches/cuda on a card that has neither compiler nor network.
#
#   scripts/cuda-check.sh build           here, without a card: makes .cuda/packed
#   .cuda/packed/cuda-check.sh run LOGS   on the card: runs the tests and the benchmark, leaves words and figures in
#                                         LOGS; what is whole there is not run again, so that it may be stopped
#   .cuda/packed/cuda-check.sh run LOGS tests | bench [NAME]
#                                         one of both; of the benchmark one model, such as mlp
#
# `build` needs Rust, gcc, python3 with pip, and xz. It fetches the compiler of CUDA 13.0 from PyPI into .cuda
# (270 MB); cards of compute capability 9.0 are meant unless CUDA_COMPUTE_CAP says otherwise. `run` needs the driver,
# cuBLAS, cuDNN 9, cuRAND and NVRTC of CUDA 13, and, to compare with it, a python3 that has PyTorch. Where card and
# toolkit are at hand, none of this is needed: cargo test --features cuda --test cuda.
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
    stand_in cudnn libcudnn.so.9 libcudnn
    ln -sf libcudart.so.13 "$CUDA_HOME/lib/libcudart.so"
}

kernels() { # what NVRTC will compile on the card
    for file in freeze-core/src/kernel/cuda/*.cu; do
        for type in F32 F64 F16 BF16; do
            [ "${file##*/}" != prelude.cu ] || continue
            cat freeze-core/src/kernel/cuda/prelude.cu "$file" >.cuda/kernels.cu
            nvcc -diag-suppress 128,177,549 -D P=$type -arch="sm_$CUDA_COMPUTE_CAP" -ptx -o .cuda/kernels.ptx \
                .cuda/kernels.cu
        done
    done
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
    kernels
    mkdir -p .cuda/packed
    cargo build --release --features cudnn --test cuda --bench cuda \
        --message-format=json-render-diagnostics >.cuda/messages.json
    for kind in test bench; do
        binary=$(sed -nE 's/.*"kind":\["'$kind'"\].*"name":"cuda".*"executable":"([^"]+)".*/\1/p' .cuda/messages.json)
        strip -o .cuda/cuda-$kind "$binary"
        xz -6 -T0 -f -c .cuda/cuda-$kind >.cuda/packed/cuda-$kind.xz
    done
    cp scripts/cuda-check.sh benches/peer/cuda.py benches/peer/models.py .cuda/packed
    ls -l .cuda/packed
}

unpack() {
    python3 -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"))' "$here/cuda-$1.xz" "$unpacked/cuda-$1"
    chmod +x "$unpacked/cuda-$1"
}

tests() { # in pieces of a module, each of which is kept when it has passed
    unpack test
    # What the loader says where a library is missing, too.
    listed=$("$unpacked/cuda-test" --list 2>&1) || { echo "the tests cannot start: $listed"; return 1; }
    modules=$(echo "$listed" | sed -nE 's/^([a-z_]+)::.*: test$/\1/p' | sort -u)
    [ -n "$modules" ] || { echo "there are no tests: $listed"; return 1; }
    failed=0
    for module in $modules; do
        [ ! -e "$logs/tests/$module.passed" ] || continue
        mkdir -p "$logs/tests"
        # Bytes are counted for the whole process.
        threads=8
        [ "$module" != steady ] || threads=1
        if "$unpacked/cuda-test" "$module::" --test-threads=$threads --nocapture >"$logs/tests/$module.txt" 2>&1; then
            touch "$logs/tests/$module.passed"
        else
            failed=1
        fi
        grep -hE '^test |panicked|faults|^[a-z].*: (result|gradient|the card|a panic)' "$logs/tests/$module.txt" || true
    done
    return $failed
}

bench() { # each model's table once; in TF32, too, where only the products differ
    unpack bench
    export PEER_PYTHON="${PEER_PYTHON:-$(command -v python3)}" PEER_FOLDER="$here"
    for model in ${1:-optimizers mlp-1024 mlp-4096 convnet transformer-6 transformer-12}; do
        for numbers in ${NUMBERS:-f32 tf32}; do
            [ ! -s "$logs/$model-$numbers.txt" ] || continue
            [ "$model-$numbers" != optimizers-tf32 ] || continue
            "$unpacked/cuda-bench" "$model" $numbers >"$logs/$model-$numbers.part" 2>&1 || { cat "$logs/$model-$numbers.part"; return 1; }
            mv "$logs/$model-$numbers.part" "$logs/$model-$numbers.txt"
            cat "$logs/$model-$numbers.txt"
        done
    done
}

run() {
    logs=${1:?where the logs go}
    here=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$logs"
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    LD_LIBRARY_PATH=$(find /opt /usr \( -name 'libcublas.so.13*' -o -name 'libcurand.so.10*' \
        -o -name 'libcudart.so.13*' -o -name 'libnvrtc.so.13*' -o -name 'libcudnn.so.9*' -o -name libcuda.so.1 \) \
        -not -path '*/stubs/*' -not -path '*/compat/*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
    export LD_LIBRARY_PATH RUST_BACKTRACE=0
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$logs/card.txt"
    status=0
    case ${2-all} in
        tests) tests || status=$? ;;
        bench) bench "${3-}" || status=$? ;;
        all) tests || status=$?; bench || status=$? ;;
    esac
    return $status
}

case ${1-} in
    build) build ;;
    run) run "${2-}" "${3-all}" "${4-}" ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
