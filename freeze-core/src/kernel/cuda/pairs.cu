// Functions of two tensors. `a` is whole, the element of `b` that goes with one of `a` is that of its run: `b` has
// `count` elements, each of which goes with `run` neighbours, again and again.

// The index of an element's run, from one element of a thread to its next without a division.
struct Runs {
    size place, index, run, count, more_places, more_indices;
    __device__ Runs(size run, size count) : run(run), count(count) {
        size first = blockIdx.x * (size)blockDim.x + threadIdx.x, step = (size)gridDim.x * blockDim.x;
        place = first % run;
        index = first / run % count;
        more_places = step % run;
        more_indices = step / run % count;
    }
    __device__ void next() {
        place += more_places;
        index += more_indices;
        if (place >= run) {
            place -= run;
            index++;
        }
        if (index >= count) index -= count;
    }
};

struct Sum {
    static __device__ A value(A a, A b) { return a + b; }
};

struct RectifiedSum {
    static __device__ A value(A a, A b) { return a + b < 0 ? 0 : a + b; }
    // 0 times what is not finite shows.
    static __device__ A gradient(A a, A b, A grad) { return (a + b >= 0 ? (A)1 : (A)0) * grad; }
};

struct Product {
    static __device__ A value(A a, A b) { return a * b; }
};

struct Sloped {
    static __device__ A value(A a, A b) { return a > 0 ? a : a * b; }
    static __device__ A gradient(A a, A b, A grad) { return a > 0 ? grad : grad * b; }
};

template <typename F> struct Value {
    enum { GRAD = 0 };
    static __device__ A of(A a, A b, A) { return F::value(a, b); }
};

template <typename F> struct Gradient {
    enum { GRAD = 1 };
    static __device__ A of(A a, A b, A grad) { return F::gradient(a, b, grad); }
};

// By packs where a pack of `a` goes with a pack of `b`, or with one element.
template <typename F>
static __device__ void each(size n, const T *a, const T *b, size run, size count, const T *grad, T *y) {
    bool aligned = packs(a) && packs(y) && (!F::GRAD || packs(grad));
    bool many = run == 1 && count % PACK == 0 && packs(b), one = run % PACK == 0;
    if (aligned && (many || one)) {
        Runs runs(many ? 1 : run / PACK, many ? count / PACK : count);
        EACH(i, n / PACK) {
            Pack of_a = pack(a, i), of_b, by, to;
            if (many) of_b = pack(b, runs.index);
            A all = many ? 0 : load(b[runs.index]);
            if (F::GRAD) by = pack(grad, i);
#pragma unroll
            for (int k = 0; k < PACK; k++) {
                to.x[k] = store(F::of(load(of_a.x[k]), many ? load(of_b.x[k]) : all, F::GRAD ? load(by.x[k]) : 0));
            }
            put(y, i, to);
            runs.next();
        }
        return;
    }
    Runs runs(run, count);
    EACH(i, n) {
        y[i] = store(F::of(load(a[i]), load(b[runs.index]), F::GRAD ? load(grad[i]) : 0));
        runs.next();
    }
}

extern "C" __global__ void pairs(unsigned function, size n, const T *a, const T *b, size run, size count, T *y) {
    switch (function) {
    case 0: return each<Value<Sum>>(n, a, b, run, count, 0, y);
    case 1: return each<Value<RectifiedSum>>(n, a, b, run, count, 0, y);
    case 2: return each<Value<Product>>(n, a, b, run, count, 0, y);
    default: return each<Value<Sloped>>(n, a, b, run, count, 0, y);
    }
}

// The gradient of `a`; for a rectified sum of what either goes into.
extern "C" __global__ void pair_gradients(unsigned function, size n, const T *a, const T *b, size run, size count,
                                          const T *grad, T *dx) {
    switch (function) {
    case 1: return each<Gradient<RectifiedSum>>(n, a, b, run, count, grad, dx);
    default: return each<Gradient<Sloped>>(n, a, b, run, count, grad, dx);
    }
}

// 0 times a number that is not finite is NaN, which is kept.
static __device__ A below(A x, A grad) { return (x > 0 ? (A)0 : x) * grad; }

static __device__ void keep(double sum, size at, double *sums, T *dw) {
    if (sums) sums[at] = sum;
    else dw[at] = store((A)sum);
}

// The gradient of each slope of `x[samples, slopes, run]`: `parts` sums of as many neighbouring samples' elements
// for each, into `sums[parts, slopes]`; with one part into `dw`. A block for each sum, for long runs.
extern "C" __global__ void slopes_by_block(size samples, size slopes, size run, size parts, const T *x, const T *grad,
                                           double *sums, T *dw) {
    size slope = blockIdx.x % slopes, part = blockIdx.x / slopes;
    size n = samples * run, len = (n + parts - 1) / parts, start = part * len, end = start + len < n ? start + len : n;
    A sum = 0;
    size i = start + threadIdx.x, sample = i / run, place = i % run;
    for (; i < end; i += blockDim.x) {
        size at = (sample * slopes + slope) * run + place;
        sum += below(load(x[at]), load(grad[at]));
        for (place += blockDim.x; place >= run; place -= run) sample++;
    }
    double all = block_sum((double)sum);
    if (threadIdx.x == 0) keep(all, part * slopes + slope, sums, dw);
}

// The same by a thread for each sum, for short runs.
extern "C" __global__ void slopes_by_thread(size samples, size slopes, size run, size parts, const T *x, const T *grad,
                                            double *sums, T *dw) {
    size len = (samples + parts - 1) / parts;
    EACH(i, slopes * parts) {
        size slope = i % slopes, start = i / slopes * len, end = start + len < samples ? start + len : samples;
        double sum = 0;
        for (size sample = start; sample < end; sample++) {
            for (size place = 0; place < run; place++) {
                size at = (sample * slopes + slope) * run + place;
                sum += below(load(x[at]), load(grad[at]));
            }
        }
        keep(sum, i, sums, dw);
    }
}

extern "C" __global__ void slopes_of_parts(size slopes, size parts, const double *sums, T *dw) {
    EACH(i, slopes) {
        double sum = 0;
        for (size part = 0; part < parts; part++) sum += sums[part * slopes + i];
        dw[i] = store((A)sum);
    }
}
