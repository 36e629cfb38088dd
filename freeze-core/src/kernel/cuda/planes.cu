// Normalisation of [batch, channels, len] by statistics of sets of planes: batch norm, group norm.
//
// Sums run over [rows, units, run], once for each unit: over the rows and a run of neighbouring elements in each. A
// unit is a channel (rows are the batch, a run is a plane), or one set or plane alone (of one row). A block adds up
// one of gridDim.y pieces of a unit, in packs of W elements that are read at once: each thread in the type of
// arithmetic, the threads in double.
//
// `group` is 0 where the set of a plane is its channel, and otherwise how many neighbouring planes are a set.
// `moments` are the mean of each set, then one over the standard deviation of each.

template <int W> struct alignas(W * sizeof(T)) Part {
    T of[W];
};

// Runs what is written with W for packs of `width` elements.
#define BY_WIDTH(width, ...)                                                                                          \
    if (width == PACK) {                                                                                              \
        const int W = PACK;                                                                                           \
        __VA_ARGS__;                                                                                                  \
    } else if (width == PACK / 2) {                                                                                   \
        const int W = PACK / 2;                                                                                       \
        __VA_ARGS__;                                                                                                  \
    } else {                                                                                                          \
        const int W = 1;                                                                                              \
        __VA_ARGS__;                                                                                                  \
    }

// A thread's way through a block's piece of a unit.
template <int W> struct Way {
    size units, unit, run, row, at, step_rows, step, left;

    __device__ Way(size rows, size units, size run) : units(units), unit(blockIdx.x), run(run) {
        size packs = rows * run / W, each = (packs + gridDim.y - 1) / gridDim.y, first = blockIdx.y * each;
        size end = first + each < packs ? first + each : packs, mine = first + threadIdx.x;
        left = mine < end ? (end - mine + blockDim.x - 1) / blockDim.x : 0;
        row = mine / (run / W), at = mine % (run / W) * W;
        step_rows = blockDim.x / (run / W), step = blockDim.x % (run / W) * W;
    }

    // Where the next pack begins.
    __device__ size next() {
        size here = (row * units + unit) * run + at;
        row += step_rows, at += step, left--;
        if (at >= run) at -= run, row++;
        return here;
    }
};

template <int W> static __device__ Part<W> read(const T *x, size at) { return *(const Part<W> *)(x + at); }

// The sums of d and d * d, d being x less the unit's first element, or x itself.
template <int W>
static __device__ void add_up(size rows, size units, size run, const T *x, bool about_zero, double &sum,
                              double &square) {
    const int MANY = 16 / W;
    A shift = about_zero ? 0 : load(x[blockIdx.x * run]);
    Way<W> way(rows, units, run);
    while (way.left >= MANY) {
        Part<W> packs[MANY];
#pragma unroll
        for (int i = 0; i < MANY; i++) packs[i] = read<W>(x, way.next());
        A part = 0, apart = 0;
#pragma unroll
        for (int i = 0; i < 16; i++) part += load(packs[i / W].of[i % W]) - shift;
        // About the mean of these few first, so that the squares are small.
        A mean = part / 16;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            A d = load(packs[i / W].of[i % W]) - shift - mean;
            apart += d * d;
        }
        sum += part;
        square += apart + (double)part * part / 16;
    }
    while (way.left) {
        Part<W> pack = read<W>(x, way.next());
#pragma unroll
        for (int i = 0; i < W; i++) {
            double d = load(pack.of[i]) - shift;
            sum += d;
            square += d * d;
        }
    }
}

// What is kept of a set, of `count` elements: for the kernels in double, for the caller in the type of arithmetic.
static __device__ void keep(size set, size sets, double count, double shift, double sum, double square,
                            bool about_zero, double eps, double *moments, A *mean, A *variance) {
    double middle = 0;
    if (!about_zero) {
        middle = shift + sum / count;
        square -= sum * sum / count;
        if (square < 0) square = 0; // only by rounding
    }
    mean[set] = middle;
    variance[set] = square / count;
    moments[set] = middle;
    moments[sets + set] = 1 / sqrt(square / count + eps);
}

// The moments of each unit. If there are several pieces, `parts` gets two sums for each.
extern "C" __global__ void moments_of_units(size rows, size units, size run, unsigned width,
                                            const T *__restrict__ x, unsigned about_zero, double eps,
                                            double *parts, double *moments, A *mean, A *variance) {
    double sum = 0, square = 0;
    BY_WIDTH(width, add_up<W>(rows, units, run, x, about_zero, sum, square));
    sum = block_sum(sum), square = block_sum(square);
    if (threadIdx.x) return;
    size unit = blockIdx.x;
    if (gridDim.y > 1) {
        double *part = parts + (unit * gridDim.y + blockIdx.y) * 2;
        part[0] = sum, part[1] = square;
        return;
    }
    keep(unit, units, rows * run, load(x[unit * run]), sum, square, about_zero, eps, moments, mean, variance);
}

// The moments of each unit from the sums of its pieces; a block of 32 threads for each.
extern "C" __global__ void moments_of_parts(size rows, size units, size run, size pieces, const T *x,
                                            unsigned about_zero, double eps, const double *parts, double *moments,
                                            A *mean, A *variance) {
    size unit = blockIdx.x;
    double sum = 0, square = 0;
    for (size i = threadIdx.x; i < pieces; i += blockDim.x) {
        sum += parts[(unit * pieces + i) * 2];
        square += parts[(unit * pieces + i) * 2 + 1];
    }
    sum = block_sum(sum), square = block_sum(square);
    if (threadIdx.x) return;
    keep(unit, units, rows * run, load(x[unit * run]), sum, square, about_zero, eps, moments, mean, variance);
}

// The moments where they are given.
extern "C" __global__ void constants(size sets, const A *mean, const A *variance, double eps, double *moments) {
    EACH(set, sets) {
        moments[set] = mean[set];
        moments[sets + set] = 1 / sqrt(variance[set] + eps);
    }
}

// What normalises a plane: (x - center) * scale + offset. `rest` is what `center` lacks of the mean.
struct Terms {
    A center, scale, offset;
    double rest, rstd, weight;

    __device__ Terms(size plane, size channels, size group, size sets, const T *w, const T *b,
                     const double *moments) {
        size channel = plane % channels, set = group ? plane / group : channel;
        double mean = moments[set];
        rstd = moments[sets + set], weight = w ? load(w[channel]) : 1;
        center = mean, rest = mean - center;
        double exact = rstd * weight;
        scale = exact, offset = (b ? load(b[channel]) : 0) - rest * exact;
    }

    __device__ A of(A x) const { return (x - center) * scale + offset; }
};

static __device__ A rectified(A x) { return x < 0 ? 0 : x; }

// The gradient where `y` is not below 0; elsewhere 0 times it, so that what is not finite shows.
static __device__ A passed(A y, A grad) { return (y >= 0 ? (A)1 : (A)0) * grad; }

// Each pack of W elements that are neighbours: `whole(at, terms)` for whole packs in one plane, `one(at, terms)` for
// each element of others.
template <int W, typename TermsOf, typename Whole, typename One>
static __device__ void each_pack(size n, size len, TermsOf terms_of, Whole whole, One one) {
    EACH(pack, (n + W - 1) / W) {
        size start = pack * W, plane = start / len, at = start - plane * len;
        auto terms = terms_of(plane);
        if (start + W <= n && at + W <= len) {
            whole(start, terms);
            continue;
        }
#pragma unroll 1
        for (size i = start; i < n && i < start + W; i++, at++) {
            if (at == len) at = 0, terms = terms_of(++plane);
            one(i, terms);
        }
    }
}

template <int W>
static __device__ void normalize_packs(size n, size len, size channels, size group, size sets,
                                       const T *__restrict__ x, const T *__restrict__ residual, const T *weight,
                                       const T *bias, const double *moments, bool rectifies, T *__restrict__ y) {
    auto made = [&](const Terms &terms, T x, T residual_or_zero) {
        A made = terms.of(load(x));
        if (residual) made += load(residual_or_zero);
        return store(rectifies ? rectified(made) : made);
    };
    each_pack<W>(
        n, len, [&](size plane) { return Terms(plane, channels, group, sets, weight, bias, moments); },
        [&](size at, const Terms &terms) {
            Part<W> from = read<W>(x, at), more = {}, to;
            if (residual) more = read<W>(residual, at);
#pragma unroll
            for (int i = 0; i < W; i++) to.of[i] = made(terms, from.of[i], more.of[i]);
            *(Part<W> *)(y + at) = to;
        },
        [&](size at, const Terms &terms) { y[at] = made(terms, x[at], residual ? residual[at] : 0); });
}

// Normalised, weighted, plus a bias, then plus `residual`, rectified if asked for. `wide`: packs of 16 bytes.
extern "C" __global__ void normalize(size n, size len, size channels, size group, size sets, unsigned wide,
                                     const T *__restrict__ x, const T *__restrict__ residual, const T *weight,
                                     const T *bias, const double *moments, unsigned rectifies, T *__restrict__ y) {
    if (wide) normalize_packs<PACK>(n, len, channels, group, sets, x, residual, weight, bias, moments, rectifies, y);
    else normalize_packs<1>(n, len, channels, group, sets, x, residual, weight, bias, moments, rectifies, y);
}

// The sums of g and g * (x - center), g being the gradient, or what passes the rectifier of it, which `through`
// gets if it is there.
template <int W>
static __device__ void add_up_gradient(size rows, size units, size run, const T *x, const T *residual,
                                       const T *grad, bool rectifies, const Terms &terms, T *through, double &sum,
                                       double &product) {
    const int MANY = W < 8 ? 4 : 2;
    A part = 0, with_x = 0;
    Way<W> way(rows, units, run);
    auto add = [&](const Part<W> &x, const Part<W> &g, const Part<W> &more, size at) {
        Part<W> to;
#pragma unroll
        for (int i = 0; i < W; i++) {
            A from = load(x.of[i]), by = load(g.of[i]);
            if (rectifies) by = passed(terms.of(from) + (residual ? load(more.of[i]) : 0), by);
            part += by;
            with_x += by * (from - terms.center);
            to.of[i] = store(by);
        }
        if (through) *(Part<W> *)(through + at) = to;
    };
    while (way.left >= MANY) {
        size at[MANY];
        Part<W> xs[MANY], grads[MANY], more[MANY] = {};
#pragma unroll
        for (int i = 0; i < MANY; i++) {
            at[i] = way.next();
            xs[i] = read<W>(x, at[i]), grads[i] = read<W>(grad, at[i]);
            if (residual) more[i] = read<W>(residual, at[i]);
        }
#pragma unroll
        for (int i = 0; i < MANY; i++) add(xs[i], grads[i], more[i], at[i]);
        sum += part, product += with_x, part = 0, with_x = 0;
    }
    while (way.left) {
        size at = way.next();
        Part<W> more = {};
        if (residual) more = read<W>(residual, at);
        add(read<W>(x, at), read<W>(grad, at), more, at);
    }
    sum += part, product += with_x;
}

// For each piece of a unit, which is a channel or, if there are groups, a plane: the sums of the gradient and of its
// products with the normalised input.
extern "C" __global__ void gradient_sums(size rows, size units, size run, unsigned width, size channels, size group,
                                         size sets, const T *__restrict__ x, const T *__restrict__ residual,
                                         const T *weight, const T *bias, const double *moments,
                                         const T *__restrict__ grad, unsigned rectifies, T *__restrict__ through,
                                         double *parts) {
    Terms terms(blockIdx.x, channels, group, sets, weight, bias, moments);
    double sum = 0, product = 0;
    BY_WIDTH(width, add_up_gradient<W>(rows, units, run, x, residual, grad, rectifies, terms, through, sum,
                                       product));
    sum = block_sum(sum), product = block_sum(product);
    if (threadIdx.x) return;
    double *part = parts + (blockIdx.x * (size)gridDim.y + blockIdx.y) * 2;
    part[0] = sum, part[1] = (product - terms.rest * sum) * terms.rstd;
}

// The sums of pieces: with the weights over each of `sets` sets of `members` units, for the gradient of the input,
// in the first blocks; over `rows` units `channels` apart, which are the gradients of bias and weight, in a block for
// each channel. Each of the three only if it is asked for.
extern "C" __global__ void gradient_of_parts(size sets, size members, size rows, size channels, size pieces,
                                             const T *weight, const double *parts, double *of_sets, T *of_weight,
                                             T *of_bias) {
    size block = blockIdx.x, first = of_sets ? sets : 0;
    bool is_set = block < first;
    size channel = block - first, count = (is_set ? members : rows) * pieces;
    double sum = 0, product = 0;
    for (size i = threadIdx.x; i < count; i += blockDim.x) {
        size unit = is_set ? block * members + i / pieces : i / pieces * channels + channel;
        double w = is_set && weight ? load(weight[unit % channels]) : 1;
        sum += w * parts[(unit * pieces + i % pieces) * 2];
        product += w * parts[(unit * pieces + i % pieces) * 2 + 1];
    }
    sum = block_sum(sum), product = block_sum(product);
    if (threadIdx.x) return;
    if (is_set) {
        of_sets[block * 2] = sum, of_sets[block * 2 + 1] = product;
        return;
    }
    if (of_weight) of_weight[channel] = store(product);
    if (of_bias) of_bias[channel] = store(sum);
}

// The terms of a plane for the gradient of its elements: (x - center) * slope + g * factor + rest.
struct Slopes {
    Terms terms;
    A slope, factor, rest;

    __device__ Slopes(const Terms &terms, size set, double count, const double *of_sets, bool about_zero)
        : terms(terms), slope(0), factor(terms.rstd * terms.weight), rest(0) {
        if (!of_sets) return;
        double exact = -terms.rstd * terms.rstd * of_sets[set * 2 + 1] / count;
        double mean = about_zero ? 0 : -terms.rstd * of_sets[set * 2] / count;
        slope = exact, rest = mean - terms.rest * exact;
    }
};

template <int W>
static __device__ void input_packs(size n, size len, size channels, size group, size sets, const T *__restrict__ x,
                                   const T *__restrict__ residual, const T *weight, const T *bias,
                                   const double *moments, const T *__restrict__ grad, bool rectifies,
                                   bool about_zero, const double *of_sets, T *__restrict__ through,
                                   T *__restrict__ dx) {
    bool needs_x = rectifies || of_sets;
    double count = (double)n / sets;
    auto gated = [&](const Slopes &by, A x, A more, A g) {
        return rectifies ? passed(by.terms.of(x) + more, g) : g;
    };
    auto made = [&](const Slopes &by, A x, A g) {
        A made = g * by.factor;
        return of_sets ? (x - by.terms.center) * by.slope + made + by.rest : made;
    };
    each_pack<W>(
        n, len,
        [&](size plane) {
            size set = group ? plane / group : plane % channels;
            Terms terms(plane, channels, group, sets, weight, bias, moments);
            return Slopes(terms, set, count, of_sets, about_zero);
        },
        [&](size at, const Slopes &by) {
            Part<W> from = {}, more = {}, g = read<W>(grad, at), to, kept;
            if (needs_x) from = read<W>(x, at);
            if (residual) more = read<W>(residual, at);
#pragma unroll
            for (int i = 0; i < W; i++) {
                A x = load(from.of[i]), open = gated(by, x, load(more.of[i]), load(g.of[i]));
                kept.of[i] = store(open);
                to.of[i] = store(made(by, x, open));
            }
            if (through) *(Part<W> *)(through + at) = kept;
            if (dx) *(Part<W> *)(dx + at) = to;
        },
        [&](size at, const Slopes &by) {
            A from = needs_x ? load(x[at]) : 0;
            A open = gated(by, from, residual ? load(residual[at]) : 0, load(grad[at]));
            if (through) through[at] = store(open);
            if (dx) dx[at] = store(made(by, from, open));
        });
}

// The gradient of the input, where the moments are constants if `of_sets` is null; `through` gets what passes the
// rectifier, the gradient of the residual. Each only if it is there.
extern "C" __global__ void gradient_of_input(size n, size len, size channels, size group, size sets, unsigned wide,
                                             const T *__restrict__ x, const T *__restrict__ residual,
                                             const T *weight, const T *bias, const double *moments,
                                             const T *__restrict__ grad, unsigned rectifies, unsigned about_zero,
                                             const double *of_sets, T *__restrict__ through, T *__restrict__ dx) {
    if (wide)
        input_packs<PACK>(n, len, channels, group, sets, x, residual, weight, bias, moments, grad, rectifies,
                          about_zero, of_sets, through, dx);
    else
        input_packs<1>(n, len, channels, group, sets, x, residual, weight, bias, moments, grad, rectifies,
                       about_zero, of_sets, through, dx);
}

template <int W> static __device__ void bias_packs(size n, size len, size channels, const T *bias, T *y) {
    each_pack<W>(
        n, len, [&](size plane) { return load(bias[plane % channels]); },
        [&](size at, A by) {
            Part<W> pack = read<W>(y, at);
#pragma unroll
            for (int i = 0; i < W; i++) pack.of[i] = store(load(pack.of[i]) + by);
            *(Part<W> *)(y + at) = pack;
        },
        [&](size at, A by) { y[at] = store(load(y[at]) + by); });
}

// Adds to each channel its bias.
extern "C" __global__ void add_to_channels(size n, size len, size channels, unsigned wide, const T *bias, T *y) {
    if (wide) bias_packs<PACK>(n, len, channels, bias, y);
    else bias_packs<1>(n, len, channels, bias, y);
}

// The sum of each piece of a unit, and that of its squares.
extern "C" __global__ void sums_of_units(size rows, size units, size run, unsigned width, const T *__restrict__ x,
                                         double *parts) {
    double sum = 0, square = 0;
    BY_WIDTH(width, add_up<W>(rows, units, run, x, true, sum, square));
    sum = block_sum(sum), square = block_sum(square);
    if (threadIdx.x) return;
    double *part = parts + (blockIdx.x * (size)gridDim.y + blockIdx.y) * 2;
    part[0] = sum, part[1] = square;
}

// Moves running statistics by a share of the way to a batch's; `mean` is null where none is kept.
extern "C" __global__ void move_running(size n, double kept, double share_of_mean, double share_of_variance,
                                        const A *of_mean, const A *of_variance, T *mean, T *variance) {
    EACH(i, n) {
        if (mean) mean[i] = store(load(mean[i]) * (A)kept + of_mean[i] * (A)share_of_mean);
        variance[i] = store(load(variance[i]) * (A)kept + of_variance[i] * (A)share_of_variance);
    }
}

// Two vectors one after the other.
extern "C" __global__ void join(size n, const T *first, const T *second, T *both) {
    EACH(i, n) both[i] = first[i], both[n + i] = second[i];
}
