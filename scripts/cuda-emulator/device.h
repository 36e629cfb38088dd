// CUDA's language for a C++ compiler, as far as the kernels here and candle's use it: what threads are told, what they
// wait for, numbers of 16 and 8 bits. `card.h` says what the card does for them; `compile.sh` takes away what is no C++.
#pragma once
#include <assert.h>
#include <stdint.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "card.h"

#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#define threadIdx (emulated_here->thread)
#define blockIdx (emulated_here->block)
#define blockDim (emulated_here->threads)
#define gridDim (emulated_here->blocks)

// The arguments of a kernel: `pack` copies them from where the launch points to, `run` calls the kernel with them.
namespace emulated {
template <typename... A> size_t pack(void (*)(A...), void **from, void *to) {
    typedef std::tuple<A...> All;
    if (to) {
        size_t k = 0;
        (void)k;
        new (to) All{*(A *)from[k++]...};
    }
    return sizeof(All);
}
template <typename... A> void run(void (*kernel)(A...), const void *packed) {
    std::apply(kernel, *(const std::tuple<A...> *)packed);
}
template <typename V> V swap(unsigned mask, V value, unsigned from) {
    static_assert(sizeof(V) <= 8, "a shuffle of more than 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(V));
    bits = emulated_shuffle(mask, bits, from);
    memcpy(&value, &bits, sizeof(V));
    return value;
}
inline unsigned lane() { return emulated_here->thread.x % 32; }
} // namespace emulated

inline void __syncthreads() { emulated_barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { emulated_shuffle(mask, 0, emulated::lane()); }
inline void __threadfence() {}
template <typename V> V __shfl_sync(unsigned mask, V value, int from, int = 32) {
    return emulated::swap(mask, value, from % 32);
}
template <typename V> V __shfl_xor_sync(unsigned mask, V value, int apart, int = 32) {
    return emulated::swap(mask, value, emulated::lane() ^ apart);
}
template <typename V> V __shfl_down_sync(unsigned mask, V value, int apart, int = 32) {
    unsigned from = emulated::lane() + apart;
    return emulated::swap(mask, value, from < 32 ? from : emulated::lane());
}

template <typename V> V __ldg(const V *x) { return *x; }
inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { return __uint_as_float(x); }
inline int __float_as_int(float x) { return __float_as_uint(x); }
inline double __longlong_as_double(long long x) { double y; memcpy(&y, &x, 8); return y; }
inline long long __double_as_longlong(double x) { long long y; memcpy(&y, &x, 8); return y; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / ::sqrt(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * ::erfc(-x * 0.70710678118654752440); }
inline unsigned __umulhi(unsigned x, unsigned y) { return (uint64_t)x * y >> 32; }
template <typename X, typename Y> auto min(X x, Y y) { return x < y ? x : y; }
template <typename X, typename Y> auto max(X x, Y y) { return x > y ? x : y; }
using std::isinf;
using std::isnan;
using std::signbit;

// One thread runs at a time, and only gives way where it waits: atomic as they are.
template <typename V, typename W> V atomicAdd(V *to, W by) { V old = *to; *to = old + (V)by; return old; }
template <typename V, typename W> V atomicMax(V *to, W by) { V old = *to; *to = old < (V)by ? (V)by : old; return old; }
template <typename V, typename W> V atomicMin(V *to, W by) { V old = *to; *to = (V)by < old ? (V)by : old; return old; }
template <typename V, typename W> V atomicExch(V *to, W by) { V old = *to; *to = by; return old; }
template <typename V, typename W> V atomicCAS(V *to, W if_this, W by) { V old = *to; if (old == (V)if_this) *to = by; return old; }

struct float2 { float x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
struct alignas(16) float4 { float x, y, z, w; };

#include "numbers.h"
