// The updates of all parameters of one type as one launch. Numbers travel as doubles and are rounded once to the type
// that arithmetic runs in, as on the CPU.

// Elements that one block reads.
static const size PER_BLOCK = 8192;
// Groups of four elements that a thread reads before it writes, so that enough are under way to fill the memory's
// lanes.
static const unsigned AHEAD = 2;

// Four elements, which one instruction reads or writes where a parameter is `whole`: made of such groups, all aligned.
template <typename V> struct __align__(4 * sizeof(V)) Four {
    V v[4];
};

template <bool WHOLE, typename V> static __device__ Four<V> read(const V *from, size left) {
    Four<V> four;
    if (WHOLE) return *(const Four<V> *)from;
    for (unsigned k = 0; k < 4; k++) four.v[k] = k < left ? from[k] : (V)0;
    return four;
}

template <bool WHOLE, typename V> static __device__ void write(V *to, const Four<V> &four, size left) {
    if (WHOLE) {
        *(Four<V> *)to = four;
        return;
    }
    for (unsigned k = 0; k < 4 && k < left; k++) to[k] = four.v[k];
}

// A parameter in the table. Its blocks begin with `first`; `set` counts the sets of numbers. The state holds
// `moments` rows and, behind them, a master weight for each element if there are any.
struct Parameter {
    T *theta;
    const T *grad;
    A *state;
    size n, first;
    unsigned moments, has_master, set, unused;
};

// The parameter that this block belongs to.
static __device__ Parameter own(const long long *table, size count) {
    __shared__ size found;
    const Parameter *parameters = (const Parameter *)table;
    if (threadIdx.x == 0) {
        size low = 0, high = count - 1;
        while (low < high) {
            size middle = (low + high + 1) / 2;
            if (parameters[middle].first <= blockIdx.x) low = middle;
            else high = middle - 1;
        }
        found = low;
    }
    __syncthreads();
    return parameters[found];
}

// Behind the last of a block's elements, which begin with `start`.
static __device__ size end_of(const Parameter &t, size start) {
    return start + PER_BLOCK < t.n ? start + PER_BLOCK : t.n;
}

// What is done to a gradient first: scaled, then cut off at plus and minus `bound`.
struct Change {
    A scale, bound;
    __device__ A of(A g) const {
        g = g * scale;
        return g > bound ? bound : g < -bound ? -bound : g;
    }
};

// The parameter to count with: its master weight where that rounds to what is stored.
static __device__ A recalled(T theta, A master, bool has_master) {
    return has_master && store(master) == theta ? master : load(theta);
}

struct Adam {
    static const unsigned NUMBERS = 10, MOMENTS = 2;
    A b1, c1, b2, c2, scale_m, scale_v, eps, lr, keep, penalty;
    __device__ Adam(const double *x)
        : b1(x[0]), c1(x[1]), b2(x[2]), c2(x[3]), scale_m(x[4]), scale_v(x[5]), eps(x[6]), lr(x[7]), keep(x[8]),
          penalty(x[9]) {}
    __device__ A step(A p, A g, A *moments, unsigned) const {
        g = g + penalty * p;
        moments[0] = moments[0] * b1 + g * c1;
        moments[1] = moments[1] * b2 + g * g * c2;
        return p * keep - moments[0] * scale_m / (root(moments[1] * scale_v) + eps) * lr;
    }
};

// Goes along `direct * g + carried * b`; without moments there is no `b`.
struct Sgd {
    static const unsigned NUMBERS = 5, MOMENTS = 1;
    A factor, direct, carried, lr, penalty;
    __device__ Sgd(const double *x) : factor(x[0]), direct(x[1]), carried(x[2]), lr(x[3]), penalty(x[4]) {}
    __device__ A step(A p, A g, A *moments, unsigned kept) const {
        g = g + penalty * p;
        A along = g;
        if (kept) {
            moments[0] = moments[0] * factor + g;
            along = direct * g + carried * moments[0];
        }
        return p - along * lr;
    }
};

// Sums over the elements of a block: of the gradient's absolute values and squares, the update's, the parameter's,
// and of the update's share of the parameter.
struct Tally {
    double sums[7];
    __device__ void add(A g, A before, A after) {
        double by = fabs((double)after - (double)before);
        sums[0] += fabs((double)g), sums[1] += (double)g * g;
        sums[2] += by, sums[3] += by * by;
        sums[4] += fabs((double)after), sums[5] += (double)after * after;
        if (before != 0) sums[6] += by / fabs((double)before);
    }
};

// Whether a parameter is made of groups of four that are aligned, and so are its gradient and state.
static __device__ bool whole(const Parameter &t) {
    size odd = ((size)t.theta | (size)t.grad) % (4 * sizeof(T)) | (size)t.state % (4 * sizeof(A)) | t.n % 4;
    return odd == 0;
}

// What one thread has in hand.
template <typename Rule> struct Hand {
    Four<T> theta, grad;
    Four<A> moments[Rule::MOMENTS], master;
};

template <typename Rule, bool MEASURED, bool WHOLE>
static __device__ void update(const Parameter &t, const Rule &rule, const Change &change, Tally &tally) {
    A *master = t.state + t.moments * t.n;
    const size start = (blockIdx.x - t.first) * PER_BLOCK, end = end_of(t, start), apart = 4 * blockDim.x;
    for (size at = start + 4 * threadIdx.x; at < end; at += AHEAD * apart) {
        Hand<Rule> hands[AHEAD];
#pragma unroll
        for (unsigned k = 0; k < AHEAD; k++) {
            size i = at + k * apart;
            if (i >= end) continue;
            hands[k].theta = read<WHOLE>(t.theta + i, end - i);
            hands[k].grad = read<WHOLE>(t.grad + i, end - i);
            for (unsigned m = 0; m < Rule::MOMENTS; m++)
                if (m < t.moments) hands[k].moments[m] = read<WHOLE>(t.state + m * t.n + i, end - i);
            if (t.has_master) hands[k].master = read<WHOLE>(master + i, end - i);
        }
#pragma unroll
        for (unsigned k = 0; k < AHEAD; k++) {
            size i = at + k * apart;
            if (i >= end) continue;
            Hand<Rule> &hand = hands[k];
#pragma unroll
            for (unsigned e = 0; e < 4; e++) {
                A moments[Rule::MOMENTS], g = change.of(load(hand.grad.v[e]));
                for (unsigned m = 0; m < Rule::MOMENTS; m++) moments[m] = hand.moments[m].v[e];
                T before = hand.theta.v[e];
                A p = recalled(before, hand.master.v[e], t.has_master);
                p = rule.step(p, g, moments, t.moments);
                hand.theta.v[e] = store(p), hand.master.v[e] = p;
                for (unsigned m = 0; m < Rule::MOMENTS; m++) hand.moments[m].v[e] = moments[m];
                if (MEASURED && i + e < end) tally.add(g, load(before), load(hand.theta.v[e]));
            }
            write<WHOLE>(t.theta + i, hand.theta, end - i);
            for (unsigned m = 0; m < Rule::MOMENTS; m++)
                if (m < t.moments) write<WHOLE>(t.state + m * t.n + i, hand.moments[m], end - i);
            if (t.has_master) write<WHOLE>(master + i, hand.master, end - i);
        }
    }
}

template <typename Rule, bool MEASURED>
static __device__ void update_all(size count, const long long *table, const double *numbers, double scale,
                                  double bound, const double *factor, const unsigned *stop, double *tallies) {
    if (stop && *stop) return;
    const Parameter t = own(table, count);
    const Rule rule(numbers + t.set * Rule::NUMBERS);
    const Change change = {(A)(factor ? *factor : scale), (A)bound};
    Tally tally = {};
    if (whole(t)) update<Rule, MEASURED, true>(t, rule, change, tally);
    else update<Rule, MEASURED, false>(t, rule, change, tally);
    for (unsigned k = 0; MEASURED && k < 7; k++) {
        double sum = block_sum(tally.sums[k]);
        if (threadIdx.x == 0) tallies[blockIdx.x * 7 + k] = sum;
    }
}

extern "C" __global__ void adam(size count, const long long *table, const double *numbers, double scale, double bound,
                                const double *factor, const unsigned *stop) {
    update_all<Adam, false>(count, table, numbers, scale, bound, factor, stop, 0);
}

extern "C" __global__ void adam_measured(size count, const long long *table, const double *numbers, double scale,
                                         double bound, const double *factor, const unsigned *stop, double *tallies) {
    update_all<Adam, true>(count, table, numbers, scale, bound, factor, stop, tallies);
}

extern "C" __global__ void sgd(size count, const long long *table, const double *numbers, double scale, double bound,
                               const double *factor, const unsigned *stop) {
    update_all<Sgd, false>(count, table, numbers, scale, bound, factor, stop, 0);
}

extern "C" __global__ void sgd_measured(size count, const long long *table, const double *numbers, double scale,
                                        double bound, const double *factor, const unsigned *stop, double *tallies) {
    update_all<Sgd, true>(count, table, numbers, scale, bound, factor, stop, tallies);
}

// Adds up what the blocks of each parameter have measured: a block for each.
extern "C" __global__ void fold_tallies(size count, const long long *table, size blocks, const double *tallies,
                                        double *sums) {
    const Parameter *parameters = (const Parameter *)table;
    size first = parameters[blockIdx.x].first;
    size end = blockIdx.x + 1 < count ? parameters[blockIdx.x + 1].first : blocks;
    for (unsigned k = 0; k < 7; k++) {
        double own = 0;
        for (size block = first + threadIdx.x; block < end; block += blockDim.x) own += tallies[block * 7 + k];
        own = block_sum(own);
        if (threadIdx.x == 0) sums[blockIdx.x * 7 + k] = own;
    }
}

// Calls `take` with each element of this block's part of a gradient.
template <typename F> static __device__ void of_gradient(const Parameter &t, F take) {
    const size start = (blockIdx.x - t.first) * PER_BLOCK, end = end_of(t, start);
    if ((size)t.grad % (4 * sizeof(T)) == 0 && t.n % 4 == 0) {
#pragma unroll 4
        for (size i = start + 4 * threadIdx.x; i < end; i += 4 * blockDim.x) {
            Four<T> four = read<true>(t.grad + i, 4);
            for (unsigned k = 0; k < 4; k++) take(load(four.v[k]));
        }
    } else {
        for (size i = start + threadIdx.x; i < end; i += blockDim.x) take(load(t.grad[i]));
    }
}

// Raises the flag if an element of a gradient is infinite or NaN: the difference from itself is not zero then.
extern "C" __global__ void look(size count, const long long *table, unsigned *stop) {
    const Parameter t = own(table, count);
    bool odd = false;
    of_gradient(t, [&](A g) { odd |= !(g - g == 0); });
    if (odd) *stop = 1;
}

// The sum of squares of each block's part of a gradient.
extern "C" __global__ void squares(size count, const long long *table, double *sums) {
    const Parameter t = own(table, count);
    double sum = 0;
    of_gradient(t, [&](A g) { sum += (double)g * g; });
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// From the sums of all blocks: the norm of all gradients, the factor that brings it down to `bound`, and the flag if
// an element is infinite or NaN. One block.
extern "C" __global__ void fold_squares(size blocks, const double *sums, double bound, double *norm_and_factor,
                                        unsigned *stop) {
    double sum = 0;
    for (size block = threadIdx.x; block < blocks; block += blockDim.x) sum += sums[block];
    sum = block_sum(sum);
    if (threadIdx.x) return;
    double norm = sqrt(sum);
    norm_and_factor[0] = norm;
    norm_and_factor[1] = norm > bound ? bound / norm : 1;
    if (!(norm - norm == 0)) *stop = 1;
}
