// The softmax of attention's scores, and its backward. A row has the scores of a query. What of it the threads of a
// team hold in registers, `HELD` for each, is read once; of longer rows the rest is read again.

// How many keys a query sees.
static __device__ size seen_by(size query, size queries, size keys, unsigned causal) {
    if (!causal) return keys;
    size seen = query + 1 + keys;
    seen = seen > queries ? seen - queries : 0;
    return seen < keys ? seen : keys;
}

// The threads that have a row in common: a warp, which need not wait for others, or a block.
template <bool WARP> struct Team {
    static __device__ size row() { return WARP ? (blockIdx.x * (size)blockDim.x + threadIdx.x) / 32 : blockIdx.x; }
    static __device__ unsigned rank() { return WARP ? threadIdx.x % 32 : threadIdx.x; }
    static __device__ unsigned count() { return WARP ? 32 : blockDim.x; }
    // The `k`th element of a thread.
    static __device__ size at(int k) { return rank() + k * (size)count(); }
    static __device__ A sum(A x) {
        for (int apart = WARP ? 16 : 0; apart; apart >>= 1) x += __shfl_xor_sync(0xffffffffu, x, apart);
        return WARP ? x : block_sum(x);
    }
    static __device__ A most(A x) {
        for (int apart = WARP ? 16 : 0; apart; apart >>= 1) x = larger(x, __shfl_xor_sync(0xffffffffu, x, apart));
        return WARP ? x : block_max(x);
    }
};

template <bool WARP, int HELD> struct Scores : Team<WARP> {
    A held[HELD];
    T *scores;
    const T *bias;
    A scale;
    size seen;

    __device__ A read(size i) {
        A x = load(scores[i]) * scale;
        return bias ? x + load(bias[i]) : x;
    }
    template <typename F> __device__ void each(F f) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (this->at(k) < seen) f(held[k]);
        for (size i = this->at(HELD); i < seen; i += this->count()) {
            A x = read(i);
            f(x);
        }
    }
    __device__ void run(size keys) {
#pragma unroll
        for (int k = 0; k < HELD; k++) held[k] = this->at(k) < seen ? read(this->at(k)) : 0;
        const A least = -(A)1e308 * 10;
        A most = least, sum = 0;
        each([&](A &x) { most = larger(most, x); });
        most = Team<WARP>::most(most);
        if (most == least) most = 0;
        each([&](A &x) { sum += x = power_of_e(x - most); });
        sum = Team<WARP>::sum(sum);
        // A row that sees nothing is zeros.
        A share = sum == 0 ? 0 : 1 / sum;
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            size i = this->at(k);
            if (i < keys) scores[i] = store(i < seen ? held[k] * share : 0);
        }
        for (size i = this->at(HELD); i < keys; i += this->count()) {
            scores[i] = store(i < seen ? power_of_e(read(i) - most) * share : 0);
        }
    }
};

// The sizes and steps of a call.
struct Call {
    size rows, heads, queries, keys, batch_step, head_step, query_step;
    unsigned causal;
};

template <bool WARP, int HELD>
static __device__ void softmax(const Call &call, T *scores, A scale, const T *bias) {
    size row = Team<WARP>::row();
    if (row >= call.rows) return;
    size query = row % call.queries, head = row / call.queries;
    if (bias) {
        bias += head / call.heads * call.batch_step + head % call.heads * call.head_step + query * call.query_step;
    }
    Scores<WARP, HELD> of_row;
    of_row.scores = scores + row * call.keys;
    of_row.bias = bias;
    of_row.scale = scale;
    of_row.seen = seen_by(query, call.queries, call.keys, call.causal);
    of_row.run(call.keys);
}

// Turns the scores `[batch, heads, queries, keys]` into probabilities, in place: scaled, with what the bias adds,
// which has a step for each dimension but the last.
extern "C" __global__ void probabilities(unsigned by_warp, size rows, size heads, size queries, size keys,
                                         unsigned causal, T *scores, double scale, const T *bias, size batch_step,
                                         size head_step, size query_step) {
    Call call = {rows, heads, queries, keys, batch_step, head_step, query_step, causal};
    if (by_warp && keys <= 4 * 32) softmax<true, 4>(call, scores, (A)scale, bias);
    else if (by_warp) softmax<true, 16>(call, scores, (A)scale, bias);
    else softmax<false, 16>(call, scores, (A)scale, bias);
}

template <bool WARP, int HELD>
static __device__ void softmax_back(const Call &call, const T *p, T *grads, A scale) {
    typedef Team<WARP> Us;
    size row = Us::row(), keys = call.keys;
    if (row >= call.rows) return;
    size seen = seen_by(row % call.queries, call.queries, keys, call.causal);
    p += row * keys;
    grads += row * keys;
    A of_p[HELD], of_grads[HELD], dot = 0;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size i = Us::at(k);
        of_p[k] = i < seen ? load(p[i]) : 0;
        of_grads[k] = i < seen ? load(grads[i]) : 0;
    }
#pragma unroll
    for (int k = 0; k < HELD; k++) dot += of_p[k] * of_grads[k];
    for (size i = Us::at(HELD); i < seen; i += Us::count()) dot += load(p[i]) * load(grads[i]);
    dot = Us::sum(dot);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size i = Us::at(k);
        if (i < keys) grads[i] = store(i < seen ? of_p[k] * (of_grads[k] - dot) * scale : 0);
    }
    for (size i = Us::at(HELD); i < keys; i += Us::count()) {
        grads[i] = store(i < seen ? load(p[i]) * (load(grads[i]) - dot) * scale : 0);
    }
}

// Turns the gradients of the probabilities `p` into those of the products of queries and keys, in place.
extern "C" __global__ void through_softmax(unsigned by_warp, size rows, size queries, size keys, unsigned causal,
                                           const T *p, T *grads, double scale) {
    Call call = {rows, 0, queries, keys, 0, 0, 0, causal};
    if (by_warp && keys <= 4 * 32) softmax_back<true, 4>(call, p, grads, (A)scale);
    else if (by_warp) softmax_back<true, 16>(call, p, grads, (A)scale);
    else softmax_back<false, 8>(call, p, grads, (A)scale);
}
