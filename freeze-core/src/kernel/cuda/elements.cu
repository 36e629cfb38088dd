// Functions of each element, alone or with one of another tensor, and their gradients. The formulas are those of the
// CPU (nn/ops/activation/functions.rs).

static __device__ float tangent(float x) { return tanhf(x); }
static __device__ double tangent(double x) { return tanh(x); }
static __device__ float error_function(float x) { return erff(x); }
static __device__ double error_function(double x) { return erf(x); }

// 1 / (1 + e^-x) as `over / under`, and `rest / under`, what it misses to 1. The argument of the exponential is at
// most 0, so that it cannot overflow.
struct Share {
    A over, rest, under;
    __device__ Share(A x) {
        bool above = x > 0;
        A power = power_of_e(above ? -x : x);
        over = above ? 1 : power;
        rest = above ? power : 1;
        under = 1 + power;
    }
};

static const double SQRT_2_OVER_PI = 0.79788456080286535588, SQRT_HALF = 0.70710678118654752440;
static const double CUBIC = 0.044715;

struct Rectified {
    static __device__ A value(A x) { return x < 0 ? 0 : x; }
    static __device__ A slope(A x) { return x >= 0 ? 1 : 0; }
};

struct TanhGelu {
    static __device__ Share gate(A x) {
        A inner = (A)SQRT_2_OVER_PI * x * (1 + (A)CUBIC * x * x);
        return Share(inner + inner);
    }
    static __device__ A value(A x) {
        Share share = gate(x);
        return x * share.over / share.under;
    }
    static __device__ A slope(A x) {
        Share share = gate(x);
        A gate = share.over / share.under;
        A twice_inner = (A)(2 * SQRT_2_OVER_PI) * (1 + (A)(3 * CUBIC) * x * x);
        return gate + x * gate * (1 - gate) * twice_inner;
    }
};

struct ErfGelu {
    static __device__ A value(A x) { return (error_function(x * (A)SQRT_HALF) + 1) * (A)0.5 * x; }
    static __device__ A slope(A x) {
        A density = (A)(0.5 * SQRT_2_OVER_PI) * power_of_e((A)-0.5 * x * x);
        return (A)0.5 * (1 + error_function(x * (A)SQRT_HALF)) + x * density;
    }
};

struct Swish {
    static __device__ A value(A x) {
        Share share(x);
        return x * share.over / share.under;
    }
    static __device__ A slope(A x) {
        Share share(x);
        A value = share.over / share.under;
        return value + x * value * (share.rest / share.under);
    }
};

struct Sigmoid {
    static __device__ A value(A x) {
        Share share(x);
        return share.over / share.under;
    }
    static __device__ A slope(A x) {
        Share share(x);
        return share.over / share.under * (share.rest / share.under);
    }
};

struct Tangent {
    static __device__ A value(A x) { return tangent(x); }
    static __device__ A slope(A x) {
        Share share(x + x);
        return 4 * (share.over / share.under) * (share.rest / share.under);
    }
};

template <typename F> static __device__ void each(size n, const T *x, T *y, F f) {
    size whole = packs(x) && packs(y) ? n / PACK : 0;
    EACH(i, whole) {
        Pack from = pack(x, i), to;
#pragma unroll
        for (int k = 0; k < PACK; k++) to.x[k] = store(f(load(from.x[k])));
        put(y, i, to);
    }
    x += whole * PACK;
    y += whole * PACK;
    EACH(i, n - whole * PACK) y[i] = store(f(load(x[i])));
}

template <typename F> static __device__ void each_value(size n, const T *x, T *y) {
    each(n, x, y, [](A x) { return F::value(x); });
}

template <typename F> static __device__ void each_slope(size n, const T *x, const T *grad, T *dx) {
    size whole = packs(x) && packs(grad) && packs(dx) ? n / PACK : 0;
    EACH(i, whole) {
        Pack from = pack(x, i), by = pack(grad, i), to;
#pragma unroll
        for (int k = 0; k < PACK; k++) to.x[k] = store(F::slope(load(from.x[k])) * load(by.x[k]));
        put(dx, i, to);
    }
    x += whole * PACK;
    grad += whole * PACK;
    dx += whole * PACK;
    EACH(i, n - whole * PACK) dx[i] = store(F::slope(load(x[i])) * load(grad[i]));
}

extern "C" __global__ void values(unsigned function, size n, const T *x, T *y) {
    switch (function) {
    case 0: return each_value<Rectified>(n, x, y);
    case 1: return each_value<TanhGelu>(n, x, y);
    case 2: return each_value<ErfGelu>(n, x, y);
    case 3: return each_value<Swish>(n, x, y);
    case 4: return each_value<Sigmoid>(n, x, y);
    default: return each_value<Tangent>(n, x, y);
    }
}

extern "C" __global__ void slopes(unsigned function, size n, const T *x, const T *grad, T *dx) {
    switch (function) {
    case 0: return each_slope<Rectified>(n, x, grad, dx);
    case 1: return each_slope<TanhGelu>(n, x, grad, dx);
    case 2: return each_slope<ErfGelu>(n, x, grad, dx);
    case 3: return each_slope<Swish>(n, x, grad, dx);
    case 4: return each_slope<Sigmoid>(n, x, grad, dx);
    default: return each_slope<Tangent>(n, x, grad, dx);
    }
}

// `keep * sum + factor * x`, in place.
extern "C" __global__ void add_scaled(size n, const T *x, double keep, double factor, T *sum) {
    A kept = (A)keep, by = (A)factor;
    size whole = packs(x) && packs(sum) ? n / PACK : 0;
    EACH(i, whole) {
        Pack from = pack(x, i), to = pack(sum, i);
#pragma unroll
        for (int k = 0; k < PACK; k++) to.x[k] = store(kept * load(to.x[k]) + by * load(from.x[k]));
        put(sum, i, to);
    }
    x += whole * PACK;
    sum += whole * PACK;
    EACH(i, n - whole * PACK) sum[i] = store(kept * load(sum[i]) + by * load(x[i]));
}

extern "C" __global__ void affine(size n, const T *x, double factor, double offset, T *y) {
    A by = (A)factor, more = (A)offset;
    each(n, x, y, [=](A x) { return x * by + more; });
}
