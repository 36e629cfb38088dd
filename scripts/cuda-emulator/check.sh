#!/bin/sh
# Checks that the emulated card computes what is right, and finds what is wrong: check.sh TOOLKIT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
toolkit=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CUDA_EMULATOR="$here" EMULATED_KERNELS="$work" LD_LIBRARY_PATH="$toolkit/lib"
g++ -w -o "$work/check" "$here/check.cpp" -L "$toolkit/lib" -lcuda

expect() { # kernel, order, what is printed or said, and whether the kernel has a stream of its own
    said=$(EMULATED_ORDER=$2 "$work/check" "$here/check.cu" "$1" ${4-} 2>&1) || true
    case $said in
        *"$3"*) ;;
        *) echo "the emulated card, running \`$1\` $2: expected \"$3\", found \"$said\"" && exit 1 ;;
    esac
}
for order in forward backward; do
    expect turned $order 833984
    expect shuffled $order 9370624
    expect unwritten $order nan
    expect behind $order "something wrote behind 512 bytes"
    expect outside $order "no memory of the card"
    expect apart $order "wait for others that wait elsewhere"
    expect turned $order 833984 waits
    expect turned $order "another stream may still use" races
    expect shared_behind $order "writes behind what its block shares"
done
# Without the barrier half of a block reads what nobody has written, whichever thread comes first.
expect races forward nan
expect races backward nan
