// Numbers of 16 bits, which count in f32 and are rounded to nearest, and the names of those of 8 bits.
#pragma once

namespace emulated {
// IEEE 754's binary16.
inline float from_half(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    // A half's exponent begins 112 later than a float's; the product gives numbers without a leading one, too.
    float size = __uint_as_float(rest << 13) * __uint_as_float((127 + 112) << 23);
    return __uint_as_float(sign | __float_as_uint(size));
}
inline uint16_t to_half(float x) {
    uint32_t bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return sign | 0x7e00;
    if (rest >= 0x477ff000) return sign | 0x7c00; // rounds to 2^16 or more
    if (rest < 0x38800000) { // less than 2^-14: a multiple of 2^-24, to which this sum is rounded
        float sum = __uint_as_float(rest) + 0.5f;
        return sign | (__float_as_uint(sum) - 0x3f000000);
    }
    return sign | ((rest + 0xfff + (rest >> 13 & 1)) >> 13) - (112 << 10);
}
inline float from_bfloat(uint16_t bits) { return __uint_as_float((uint32_t)bits << 16); }
inline uint16_t to_bfloat(float x) {
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
} // namespace emulated

#define EMULATED_NUMBER(TYPE, PAIR, LOAD, STORE)                                                       \
    struct TYPE {                                                                                      \
        uint16_t bits;                                                                                 \
        TYPE() = default;                                                                              \
        template <typename V, typename = std::enable_if_t<std::is_arithmetic_v<V>>>                    \
        TYPE(V x) : bits(STORE((float)x)) {}                                                           \
        operator float() const { return LOAD(bits); }                                                  \
        TYPE &operator+=(TYPE y) { return *this = TYPE((float)*this + (float)y); }                     \
        TYPE &operator-=(TYPE y) { return *this = TYPE((float)*this - (float)y); }                     \
        TYPE &operator*=(TYPE y) { return *this = TYPE((float)*this * (float)y); }                     \
        TYPE &operator/=(TYPE y) { return *this = TYPE((float)*this / (float)y); }                     \
    };                                                                                                 \
    struct PAIR { TYPE x, y; };                                                                        \
    inline TYPE operator+(TYPE x, TYPE y) { return x += y; }                                           \
    inline TYPE operator-(TYPE x, TYPE y) { return x -= y; }                                           \
    inline TYPE operator*(TYPE x, TYPE y) { return x *= y; }                                           \
    inline TYPE operator/(TYPE x, TYPE y) { return x /= y; }                                           \
    inline TYPE operator-(TYPE x) { return TYPE(-(float)x); }                                          \
    inline PAIR __hadd2(PAIR a, PAIR b) { return {a.x + b.x, a.y + b.y}; }                             \
    inline PAIR __hmul2(PAIR a, PAIR b) { return {a.x * b.x, a.y * b.y}; }                             \
    inline bool __hisnan(TYPE x) { return std::isnan((float)x); }                                      \
    inline TYPE __habs(TYPE x) { return TYPE(fabsf(x)); }                                              \
    inline TYPE __hmax_nan(TYPE x, TYPE y) { return __hisnan(x) || (float)x >= (float)y ? x : y; }     \
    inline TYPE __hmin_nan(TYPE x, TYPE y) { return __hisnan(x) || (float)x <= (float)y ? x : y; }     \
    inline TYPE hsqrt(TYPE x) { return TYPE(sqrtf(x)); }                                               \
    inline TYPE hcos(TYPE x) { return TYPE(cosf(x)); }                                                 \
    inline TYPE hsin(TYPE x) { return TYPE(sinf(x)); }                                                 \
    inline TYPE hlog(TYPE x) { return TYPE(logf(x)); }                                                 \
    inline TYPE hexp(TYPE x) { return TYPE(expf(x)); }

EMULATED_NUMBER(__half, __half2, emulated::from_half, emulated::to_half)
EMULATED_NUMBER(__nv_bfloat16, __nv_bfloat162, emulated::from_bfloat, emulated::to_bfloat)

inline float __half2float(__half x) { return x; }
inline __half __float2half(float x) { return x; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) { __half x; x.bits = bits; return x; }
inline float __bfloat162float(__nv_bfloat16 x) { return x; }
inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }

// Numbers of 8 bits have names only: a kernel that meets one ends the process.
enum emulated_fp8 { __NV_E4M3 };
struct __nv_fp8_e4m3 {
    uint8_t __x;
    __nv_fp8_e4m3() = default;
    template <typename V> explicit __nv_fp8_e4m3(V) { __builtin_trap(); }
    __nv_fp8_e4m3 &operator+=(__nv_fp8_e4m3) { __builtin_trap(); }
};
inline __half __nv_cvt_fp8_to_halfraw(uint8_t, emulated_fp8) { __builtin_trap(); }
#define EMULATED_FP8(OP) inline __nv_fp8_e4m3 operator OP(__nv_fp8_e4m3, __nv_fp8_e4m3) { __builtin_trap(); }
#define EMULATED_FP8_TEST(OP) inline bool operator OP(__nv_fp8_e4m3, __nv_fp8_e4m3) { __builtin_trap(); }
EMULATED_FP8(+) EMULATED_FP8(-) EMULATED_FP8(*) EMULATED_FP8(/)
EMULATED_FP8_TEST(<) EMULATED_FP8_TEST(>) EMULATED_FP8_TEST(<=) EMULATED_FP8_TEST(>=) EMULATED_FP8_TEST(==) EMULATED_FP8_TEST(!=)
