// The fused updates for CUDA, compiled at run time by NVRTC, which has no headers: half precision is
// converted by hand. Every number travels as a double and is rounded once to the type the
// arithmetic runs in, as on the CPU.

typedef unsigned long long size;

struct Single { typedef float acc; };
struct Double { typedef double acc; };

struct F32 : Single {
    typedef float stored;
    static __device__ float load(float x) { return x; }
    static __device__ float store(float x) { return x; }
};

struct F64 : Double {
    typedef double stored;
    static __device__ double load(double x) { return x; }
    static __device__ double store(double x) { return x; }
};

struct F16 : Single {
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

struct BF16 : Single {
    typedef unsigned short stored;
    static __device__ float load(stored x) { return __uint_as_float((unsigned)x << 16); }
    // Rounds to nearest, ties to even; a NaN stays one.
    static __device__ stored store(float x) {
        unsigned bits = __float_as_uint(x);
        if ((bits & 0x7fffffffu) > 0x7f800000u) return (stored)(bits >> 16 | 0x40u);
        return (stored)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    }
};

static __device__ float root(float x) { return sqrtf(x); }
static __device__ double root(double x) { return sqrt(x); }

// What both kernels do to a gradient first: scale it, then cut it off at plus and minus `bound`.
template <typename A> static __device__ A mapped(A g, A scale, A bound) {
    g = g * scale;
    return g > bound ? bound : g < -bound ? -bound : g;
}

// The parameter to count with: its master weight where that rounds to what is stored. `master` is
// null where there is none.
template <typename P>
static __device__ typename P::acc recalled(const typename P::stored *theta,
                                           const typename P::acc *master, size i) {
    if (master && P::store(master[i]) == theta[i]) return master[i];
    return P::load(theta[i]);
}

template <typename P>
static __device__ void keep_as(typename P::stored *theta, typename P::acc *master, size i,
                               typename P::acc p) {
    theta[i] = P::store(p);
    if (master) master[i] = p;
}

#define EACH(i, n) \
    for (size i = blockIdx.x * (size)blockDim.x + threadIdx.x; i < n; i += (size)gridDim.x * blockDim.x)

template <typename P>
static __device__ void adam(size n, typename P::stored *theta, const typename P::stored *grad,
                            typename P::acc *state, unsigned moments, unsigned has_master,
                            double scale, double bound, double b1, double c1, double b2, double c2,
                            double scale_m, double scale_v, double eps, double lr, double keep,
                            double penalty) {
    typedef typename P::acc A;
    A *master = has_master ? state + moments * n : 0;
    EACH(i, n) {
        A p = recalled<P>(theta, master, i);
        A g = mapped<A>(P::load(grad[i]), (A)scale, (A)bound) + (A)penalty * p;
        A m = state[i] * (A)b1 + g * (A)c1;
        A v = state[n + i] * (A)b2 + g * g * (A)c2;
        state[i] = m;
        state[n + i] = v;
        p = p * (A)keep - m * (A)scale_m / (root(v * (A)scale_v) + (A)eps) * (A)lr;
        keep_as<P>(theta, master, i, p);
    }
}

// Goes along `direct * g + carried * b`; without moments there is no `b`.
template <typename P>
static __device__ void sgd(size n, typename P::stored *theta, const typename P::stored *grad,
                           typename P::acc *state, unsigned moments, unsigned has_master,
                           double scale, double bound, double factor, double direct, double carried,
                           double lr, double penalty) {
    typedef typename P::acc A;
    A *master = has_master ? state + moments * n : 0;
    EACH(i, n) {
        A p = recalled<P>(theta, master, i);
        A g = mapped<A>(P::load(grad[i]), (A)scale, (A)bound) + (A)penalty * p;
        A along = g;
        if (moments) {
            A b = state[i] * (A)factor + g;
            state[i] = b;
            along = (A)direct * g + (A)carried * b;
        }
        keep_as<P>(theta, master, i, p - along * (A)lr);
    }
}

// Raises the flag if an element is infinite or NaN: the difference from itself is not zero then.
template <typename P>
static __device__ void look(size n, const typename P::stored *grad, unsigned *flag) {
    bool odd = false;
    EACH(i, n) {
        typename P::acc g = P::load(grad[i]);
        odd |= !(g - g == 0);
    }
    if (odd) *flag = 1;
}

#define KERNELS(P, suffix)                                                                          \
    extern "C" __global__ void adam_##suffix(                                                       \
        size n, P::stored *theta, const P::stored *grad, P::acc *state, unsigned moments,           \
        unsigned master, double scale, double bound, double b1, double c1, double b2, double c2,    \
        double scale_m, double scale_v, double eps, double lr, double keep, double penalty) {       \
        adam<P>(n, theta, grad, state, moments, master, scale, bound, b1, c1, b2, c2, scale_m,      \
                scale_v, eps, lr, keep, penalty);                                                   \
    }                                                                                               \
    extern "C" __global__ void look_##suffix(size n, const P::stored *grad, unsigned *flag) {           \
        look<P>(n, grad, flag);                                                                     \
    }                                                                                               \
    extern "C" __global__ void sgd_##suffix(                                                        \
        size n, P::stored *theta, const P::stored *grad, P::acc *state, unsigned moments,           \
        unsigned master, double scale, double bound, double factor, double direct, double carried,  \
        double lr, double penalty) {                                                                \
        sgd<P>(n, theta, grad, state, moments, master, scale, bound, factor, direct, carried, lr,   \
               penalty);                                                                            \
    }

KERNELS(F32, f32)
KERNELS(F64, f64)
KERNELS(F16, f16)
KERNELS(BF16, bf16)
