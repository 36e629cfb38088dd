// The softmax of attention's scores, and its backward. A row has the scores of a query. What of it the threads of a
// row hold in registers, `HELD` for each, is read once; of longer rows the rest is read again. A launch has rows that
// follow each other, from `first` on, of those of all heads of all batches.

// Where the matrices of `count` heads from `first` on are in four arrays: in each, `batch` and `head` lie between them
// and `shared` heads have one. The fifth has those of these heads alone, `apart` from each other. Of heads that share,
// `members` at a time, come first the first ones, then the second.
extern "C" __global__ void places(size first, size count, size heads, size members, T *a, size a_batch, size a_head,
                                  size a_shared, T *b, size b_batch, size b_head, size b_shared, T *c, size c_batch,
                                  size c_head, size c_shared, T *d, size d_batch, size d_head, size d_shared, T *own,
                                  size apart, long long *to) {
    EACH(i, count) {
        size batch = (first + i) / heads, head = (first + i) % heads, at = i % members * (count / members) + i / members;
        to[at] = (long long)(a + batch * a_batch + head / a_shared * a_head);
        to[count + at] = (long long)(b + batch * b_batch + head / b_shared * b_head);
        to[2 * count + at] = (long long)(c + batch * c_batch + head / c_shared * c_head);
        to[3 * count + at] = (long long)(d + batch * d_batch + head / d_shared * d_head);
        to[4 * count + at] = (long long)(own + i * apart);
    }
}

// How many keys a query sees.
static __device__ size seen_by(size query, size queries, size keys, unsigned causal) {
    if (!causal) return keys;
    size seen = query + 1 + keys;
    seen = seen > queries ? seen - queries : 0;
    return seen < keys ? seen : keys;
}

// The `k`th element of a thread of a row's.
template <bool WARP> static __device__ size at(int k) { return own_lane(WARP) + k * (size)lanes(WARP); }

template <bool WARP, int HELD> struct Scores {
    A held[HELD];
    T *scores;
    const T *bias;
    size seen;

    __device__ A read(size i) {
        A x = load(scores[i]);
        return bias ? x + load(bias[i]) : x;
    }
    template <typename F> __device__ void each(F f) {
#pragma unroll
        for (int k = 0; k < HELD; k++)
            if (at<WARP>(k) < seen) f(held[k]);
        for (size i = at<WARP>(HELD); i < seen; i += lanes(WARP)) {
            A x = read(i);
            f(x);
        }
    }
    __device__ void run(size keys) {
#pragma unroll
        for (int k = 0; k < HELD; k++) held[k] = at<WARP>(k) < seen ? read(at<WARP>(k)) : 0;
        const A least = -(A)1e308 * 10;
        A most = least, sum = 0;
        each([&](A &x) { most = larger(most, x); });
        most = row_max(most, WARP);
        if (most == least) most = 0;
        each([&](A &x) { sum += x = power_of_e(x - most); });
        sum = row_sum(sum, WARP);
        // A row that sees nothing is zeros.
        A share = sum == 0 ? 0 : 1 / sum;
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            size i = at<WARP>(k);
            if (i < keys) scores[i] = store(i < seen ? held[k] * share : 0);
        }
        for (size i = at<WARP>(HELD); i < keys; i += lanes(WARP)) {
            scores[i] = store(i < seen ? power_of_e(read(i) - most) * share : 0);
        }
    }
};

// The sizes and steps of a call.
struct Call {
    size rows, first, heads, queries, keys, batch_step, head_step, query_step;
    unsigned causal;
};

template <bool WARP, int HELD>
static __device__ void softmax(const Call &call, T *scores, const T *bias) {
    size row = own_row(WARP);
    if (row >= call.rows) return;
    size query = (call.first + row) % call.queries, head = (call.first + row) / call.queries;
    if (bias) {
        bias += head / call.heads * call.batch_step + head % call.heads * call.head_step + query * call.query_step;
    }
    Scores<WARP, HELD> of_row;
    of_row.scores = scores + row * call.keys;
    of_row.bias = bias;
    of_row.seen = seen_by(query, call.queries, call.keys, call.causal);
    of_row.run(call.keys);
}

// Turns scores, a row of keys for each query, into probabilities, in place, with what the bias adds, which has a step
// for each of batches, heads and queries.
extern "C" __global__ void probabilities(unsigned by_warp, size rows, size first, size queries, size keys,
                                         unsigned causal, T *scores, const T *bias, size heads, size batch_step,
                                         size head_step, size query_step) {
    Call call = {rows, first, heads, queries, keys, batch_step, head_step, query_step, causal};
    if (by_warp && keys <= 4 * 32) softmax<true, 4>(call, scores, bias);
    else if (by_warp) softmax<true, 16>(call, scores, bias);
    else softmax<false, 16>(call, scores, bias);
}

template <bool WARP, int HELD>
static __device__ void softmax_back(const Call &call, const T *p, T *grads, A scale) {
    size row = own_row(WARP), keys = call.keys;
    if (row >= call.rows) return;
    size seen = seen_by((call.first + row) % call.queries, call.queries, keys, call.causal);
    p += row * keys;
    grads += row * keys;
    A of_p[HELD], of_grads[HELD], dot = 0;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size i = at<WARP>(k);
        of_p[k] = i < seen ? load(p[i]) : 0;
        of_grads[k] = i < seen ? load(grads[i]) : 0;
    }
#pragma unroll
    for (int k = 0; k < HELD; k++) dot += of_p[k] * of_grads[k];
    for (size i = at<WARP>(HELD); i < seen; i += lanes(WARP)) dot += load(p[i]) * load(grads[i]);
    dot = row_sum(dot, WARP);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        size i = at<WARP>(k);
        if (i < keys) grads[i] = store(i < seen ? of_p[k] * (of_grads[k] - dot) * scale : 0);
    }
    for (size i = at<WARP>(HELD); i < keys; i += lanes(WARP)) {
        grads[i] = store(i < seen ? load(p[i]) * (load(grads[i]) - dot) * scale : 0);
    }
}

// Turns the gradients of the probabilities `p` into those of the products of queries and keys, in place.
extern "C" __global__ void through_softmax(unsigned by_warp, size rows, size first, size queries, size keys,
                                           unsigned causal, const T *p, T *grads, double scale) {
    Call call = {rows, first, 0, queries, keys, 0, 0, 0, causal};
    if (by_warp && keys <= 4 * 32) softmax_back<true, 4>(call, p, grads, (A)scale);
    else if (by_warp) softmax_back<true, 16>(call, p, grads, (A)scale);
    else softmax_back<false, 8>(call, p, grads, (A)scale);
}
