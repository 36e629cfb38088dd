// Elements of arrays whose type is known when the emulated libraries run; the numbers are those of cuBLAS.
#pragma once
#include "device.h"

enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };

inline size_t size_of(int type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }

template <typename A> A load(const char *at, int type) {
    switch (type) {
        case F32: return *(const float *)at;
        case F64: return *(const double *)at;
        case F16: return emulated::from_half(*(const uint16_t *)at);
        default: return emulated::from_bfloat(*(const uint16_t *)at);
    }
}

template <typename A> void store(char *at, int type, A x) {
    switch (type) {
        case F32: *(float *)at = x; break;
        case F64: *(double *)at = x; break;
        case F16: *(uint16_t *)at = emulated::to_half(x); break;
        default: *(uint16_t *)at = emulated::to_bfloat(x);
    }
}

// To 10 bits of mantissa, ties to even.
inline float to_tf32(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7f800000) == 0x7f800000) return x;
    return __uint_as_float((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}
