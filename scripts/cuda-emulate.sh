#!/bin/sh
# Runs what needs a CUDA card on an emulated one, which is slow and exact: kernels are compiled for the processor and
# their threads run in turn, so that the whole path of the code is run, from the launch to the last bit.
#
#   scripts/cuda-emulate.sh                  the tests of tests/cuda, twice: threads run first to last, then last to first
#   scripts/cuda-emulate.sh COMMAND [ARG...] a command with the emulated driver, such as
#                                            cargo test --features cudnn,nccl --test cuda attention
#
# It needs Rust and g++ for x86-64, and neither card nor toolkit. What it is made of is in
# scripts/cuda-emulator. The emulated driver heeds:
#   EMULATED_CARDS=2          how many cards there are
#   EMULATED_MEMORY_MB=4096   the memory of each
#   EMULATED_ORDER=backward   the last threads and blocks run first
#   EMULATED_IDLE=1           nothing is done, all memory is zeros: what remains is the host's part of a step, and the bytes
#   EMULATED_SAYS=1           why a call of the driver was refused
#
# A read or a write outside of the card's memory or behind an allocation, a block's threads that wait at different
# places, memory of another card: each ends the process with a word. What was never written reads as NaN. What only a
# card can show is not seen: its speed, its numbers' last bits where it fuses operations, and work that is not yet done
# when the host goes on.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/emulated"
mkdir -p "$CARGO_TARGET_DIR"
export CUDA_HOME="$CARGO_TARGET_DIR/toolkit" CUDA_EMULATOR="$root/scripts/cuda-emulator" CUDA_COMPUTE_CAP=90
cargo fetch --locked -q --manifest-path "$root/Cargo.toml"
"$CUDA_EMULATOR/make.sh" "$CUDA_HOME"
export NVCC="$root/scripts/cuda-nvcc.sh" PATH="$CUDA_HOME/bin:$PATH" EMULATED_KERNELS="$CARGO_TARGET_DIR/kernels"
export LD_LIBRARY_PATH="$CUDA_HOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
[ $# -eq 0 ] || exec "$@"
"$CUDA_EMULATOR/check.sh" "$CUDA_HOME"
cd "$root"
for order in forward backward; do
    EMULATED_ORDER=$order cargo test --features cudnn,nccl --test cuda -- --test-threads=1
done
