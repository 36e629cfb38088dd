#!/bin/sh
# Compiles a file of CUDA kernels for the emulated card: a library with the kernels and, for each, how it is called.
#   compile.sh FILE.cu LIBRARY.so [-D NAME=VALUE ...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
file=$1 library=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/include"
for header in cuda_fp16.h cuda_bf16.h cuda_fp8.h; do : >"$work/include/$header"; done
mkdir -p "$work/include/cuda/std"
echo "namespace cuda { namespace std = ::std; }" >"$work/include/cuda/std/limits"
g++ -std=c++17 -w -E -include "$here/device.h" -I "$work/include" -I "$(dirname "$file")" "$@" -x c++ "$file" >"$work/plain"
name='([A-Za-z_][A-Za-z0-9_]*)'
type='([^;]*[^A-Za-z0-9_;])'
sed -E \
    -e "s/extern +__shared__ +$type$name *\[\] *;/\1 *\2 = (\1 *)emulated_dynamic_shared();/g" \
    -e "s/__shared__ +$type$name *((\[[^]]*\])*) *;/typedef \1 \2__type\3; static char \2__key; \2__type \&\2 = *(\2__type *)emulated_shared(\&\2__key, sizeof(\2__type));/g" \
    -e 's/asm\("cvt.f32.f16[^;]*;" : "=f"\(y\) : "h"\(x\)\);/y = emulated::from_half(x);/' \
    -e 's/asm\("cvt.rn.f16.f32[^;]*;" : "=h"\(y\) : "f"\(x\)\);/y = emulated::to_half(x);/' \
    -e 's/\b__global__\b//g' "$work/plain" >"$work/kernels.ii"
grep -oE '__global__ +void +[A-Za-z0-9_]+' "$work/plain" | sed -E 's/.* //' | sort -u | while read -r kernel; do
    echo "extern \"C\" unsigned long ${kernel}__pack(void **from, void *to) { return emulated::pack($kernel, from, to); }"
    echo "extern \"C\" void ${kernel}__run(const void *packed) { emulated::run($kernel, packed); }"
done >>"$work/kernels.ii"
g++ -std=c++17 -w -O2 -ffp-contract=off -fno-strict-aliasing -fno-gnu-unique -fPIC -shared -Wl,-Bsymbolic \
    -x c++-cpp-output "$work/kernels.ii" -o "$work/library.so"
mv "$work/library.so" "$library"
