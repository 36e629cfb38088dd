// What all kernels share. A file of kernels is compiled once for each type of elements, `P`, by NVRTC, which has
// no headers: half precision is converted by hand.
//
// A kernel is `extern "C" __global__ void name(arguments)`. Its arguments are pointers to
//     T  stored elements     A  numbers that arithmetic runs in     double, long long, unsigned, unsigned char
// or single numbers of the types size, double and unsigned, which the launch compares with what it was given.

typedef unsigned long long size;

struct F32 {
    typedef float acc, stored;
    static __device__ float load(float x) { return x; }
    static __device__ float store(float x) { return x; }
};

struct F64 {
    typedef double acc, stored;
    static __device__ double load(double x) { return x; }
    static __device__ double store(double x) { return x; }
};

struct F16 {
    typedef float acc;
    typedef unsigned short stored;
    static __device__ float load(stored x) {
        float y;
        asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
        return y;
    }
    static __device__ stored store(float x) {
        stored y;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
        return y;
    }
};

struct BF16 {
    typedef float acc;
    typedef unsigned short stored;
    static __device__ float load(stored x) { return __uint_as_float((unsigned)x << 16); }
    // Rounds to nearest, ties to even; a NaN stays one.
    static __device__ stored store(float x) {
        unsigned bits = __float_as_uint(x);
        if ((bits & 0x7fffffffu) > 0x7f800000u) return (stored)(bits >> 16 | 0x40u);
        return (stored)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
};

typedef P::stored T;
typedef P::acc A;

static __device__ A load(T x) { return P::load(x); }
static __device__ T store(A x) { return P::store(x); }

static __device__ float root(float x) { return sqrtf(x); }
static __device__ double root(double x) { return sqrt(x); }
static __device__ float power_of_e(float x) { return expf(x); }
static __device__ double power_of_e(double x) { return exp(x); }
static __device__ float logarithm(float x) { return logf(x); }
static __device__ double logarithm(double x) { return log(x); }
static __device__ float larger(float x, float y) { return fmaxf(x, y); }
static __device__ double larger(double x, double y) { return fmax(x, y); }

// Each element, by a grid of any size.
#define EACH(i, n) \
    for (size i = blockIdx.x * (size)blockDim.x + threadIdx.x; i < n; i += (size)gridDim.x * blockDim.x)

// Neighbours as one load or store of 16 bytes: a thread with only a few bytes on their way leaves bandwidth unused.
enum { PACK = 16 / sizeof(T) };
struct alignas(16) Pack { T x[PACK]; };

static __device__ bool packs(const T *x) { return (size)x % sizeof(Pack) == 0; }
static __device__ const Pack &pack(const T *x, size i) { return ((const Pack *)x)[i]; }
static __device__ void put(T *x, size i, const Pack &pack) { ((Pack *)x)[i] = pack; }

// What a warp has in common: the sum of its threads' numbers, or the largest.
template <typename V> static __device__ V warp_sum(V value) {
    for (int apart = 16; apart; apart >>= 1) value += __shfl_xor_sync(0xffffffffu, value, apart);
    return value;
}

template <typename V> static __device__ V warp_max(V value) {
    for (int apart = 16; apart; apart >>= 1) value = larger(value, __shfl_xor_sync(0xffffffffu, value, apart));
    return value;
}

// What a block has in common. Its threads are a multiple of 32, all of which call this, and all get the result,
// which does not depend on when they come: the sum of each thread's number, or the largest.
template <typename V> static __device__ V block_sum(V value) {
    __shared__ V warps[32];
    value = warp_sum(value);
    __syncthreads(); // what is there may still be read
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    V sum = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++) sum += warps[warp];
    return sum;
}

template <typename V> static __device__ V block_max(V value) {
    __shared__ V warps[32];
    value = warp_max(value);
    __syncthreads(); // what is there may still be read
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    V most = warps[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) most = larger(most, warps[warp]);
    return most;
}

// Rows, each worked on by a warp, of many short rows, or by a block. A warp without a row returns at once.
static __device__ size own_row(unsigned by_warp) {
    return by_warp ? blockIdx.x * (size)(blockDim.x / 32) + threadIdx.x / 32 : blockIdx.x;
}

static __device__ unsigned own_lane(unsigned by_warp) { return by_warp ? threadIdx.x % 32 : threadIdx.x; }
static __device__ unsigned lanes(unsigned by_warp) { return by_warp ? 32 : blockDim.x; }

// Each element of a row. Several are fetched at a time, or most of the time would be spent waiting for them.
#define ALONG(i, len) \
    _Pragma("unroll 4") for (size i = own_lane(by_warp); i < len; i += lanes(by_warp))

// What the threads of a row have in common.
static __device__ A row_sum(A value, unsigned by_warp) { return by_warp ? warp_sum(value) : block_sum(value); }
static __device__ A row_max(A value, unsigned by_warp) { return by_warp ? warp_max(value) : block_max(value); }
