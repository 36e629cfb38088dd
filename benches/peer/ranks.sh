#!/usr/bin/env bash
# Two processes that train one model: ours over MPI, and PyTorch's DistributedDataParallel over gloo, of one thread each.
# They take turns, ROUNDS times (5); medians over the rounds. Needs MPI (scripts/install-mpi.sh) and PyTorch
# (benches/peer/setup.sh, or the Python that PEER_PYTHON names); says what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PEER_PYTHON:-target/peer/python}
command -v mpirun >/dev/null || { echo "skipped: no mpirun; scripts/install-mpi.sh installs one"; exit 0; }
"$python" -c 'import torch.distributed' 2>/dev/null || {
    echo "skipped: no PyTorch ($python); run benches/peer/setup.sh, or set PEER_PYTHON"
    exit 0
}
ours=$(cargo bench --features mpi --bench ranks --no-run --message-format=json-render-diagnostics |
    sed -nE 's/.*"kind":\["bench"\].*"executable":"([^"]+)".*/\1/p' | tail -1)
lines=$(mktemp -d)
trap 'rm -rf "$lines"' EXIT
export RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=${MASTER_PORT:-29517} WORLD_SIZE=2
for round in $(seq "${ROUNDS:-5}"); do
    mpirun --allow-run-as-root --oversubscribe --bind-to none -np 2 "$ours" >"$lines/$round"
    RANK=1 "$python" benches/peer/ranks.py &
    RANK=0 "$python" benches/peer/ranks.py >>"$lines/$round"
    wait $!
done
"$python" benches/peer/ranks_table.py "$lines"/*
