#!/usr/bin/env bash
# PyTorch for the CPU, in target/peer, for `cargo bench --bench layers_mimalloc -- --peer` and `--bench bert`. Needs
# Python 3.10 to 3.12 and gcc. The wheel of PyPI is linked with CUDA's libraries: those that it only loads are
# replaced by empty ones, which saves 3 GB of downloads. A Python that has PyTorch already is named by PEER_PYTHON.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p target/peer
python3 -m venv target/peer/venv
. target/peer/venv/bin/activate
pip install -q --no-deps torch==2.6.0 nvidia-cuda-runtime-cu12==12.4.127 nvidia-cuda-cupti-cu12==12.4.127 \
    nvidia-nvtx-cu12==12.4.127
pip install -q sympy==1.13.1 typing_extensions filelock networkx jinja2 fsspec numpy
pip install -q transformers==5.24.0
python benches/peer/stand_ins.py target/peer
site=$(echo "$PWD"/target/peer/venv/lib/python3.*/site-packages/nvidia)
cat > target/peer/python <<SH
#!/bin/sh
export CUDA_VISIBLE_DEVICES= \
    LD_LIBRARY_PATH="$PWD/target/peer/lib:$site/cuda_runtime/lib:$site/cuda_cupti/lib:$site/nvtx/lib"
exec "$PWD/target/peer/venv/bin/python" "\$@"
SH
chmod +x target/peer/python
target/peer/python -c 'import torch; print("PyTorch", torch.__version__)'
