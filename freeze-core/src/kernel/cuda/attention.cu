// The softmax of attention's scores, and its backward. A block for each row, whose scores are those of a query.

// How many keys a query sees.
static __device__ size seen_by(size query, size queries, size keys, unsigned causal) {
    if (!causal) return keys;
    size seen = query + 1 + keys;
    seen = seen > queries ? seen - queries : 0;
    return seen < keys ? seen : keys;
}

// The scores of a row, mostly in registers: each is read once where there are at most `HELD` for a thread.
template <int HELD> struct Row {
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
        for (int k = 0; k < HELD; k++) {
            size i = threadIdx.x + k * (size)blockDim.x;
            if (i < seen) f(i, held[k]);
        }
        for (size i = threadIdx.x + HELD * (size)blockDim.x; i < seen; i += blockDim.x) {
            A x = read(i);
            f(i, x);
        }
    }
    __device__ void run(size keys) {
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            size i = threadIdx.x + k * (size)blockDim.x;
            held[k] = i < seen ? read(i) : 0;
        }
        A most = -1.0 / 0.0;
        each([&](size, A &x) { most = larger(most, x); });
        most = block_max(most);
        if (most == (A)(-1.0 / 0.0)) most = 0;
        A sum = 0;
        each([&](size, A &x) { sum += x = power_of_e(x - most); });
        sum = block_sum(sum);
        // A row that sees nothing is zeros.
        A share = sum == 0 ? 0 : 1 / sum;
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            size i = threadIdx.x + k * (size)blockDim.x;
            if (i < keys) scores[i] = store(i < seen ? held[k] * share : 0);
        }
        for (size i = threadIdx.x + HELD * (size)blockDim.x; i < keys; i += blockDim.x) {
            scores[i] = store(i < seen ? power_of_e(read(i) - most) * share : 0);
        }
    }
};

// Turns the scores `[batch, heads, queries, keys]` into probabilities, in place: scaled, with what the bias adds,
// which has a step for each dimension but the last.
extern "C" __global__ void probabilities(size heads, size queries, size keys, T *scores, double scale, unsigned causal,
                                         const T *bias, size batch_step, size head_step, size query_step) {
    size row = blockIdx.x, query = row % queries, head = row / queries % heads, batch = row / queries / heads;
    if (bias) bias += batch * batch_step + head * head_step + query * query_step;
    size seen = seen_by(query, queries, keys, causal);
    if (keys <= 4 * blockDim.x) {
        Row<4> held = {{}, scores + row * keys, bias, (A)scale, seen};
        held.run(keys);
    } else {
        Row<16> held = {{}, scores + row * keys, bias, (A)scale, seen};
        held.run(keys);
    }
}

// Turns the gradients of the probabilities `p` into those of the products of queries and keys, in place.
extern "C" __global__ void through_softmax(size queries, size keys, const T *p, T *grads, double scale,
                                           unsigned causal) {
    size row = blockIdx.x, seen = seen_by(row % queries, queries, keys, causal);
    p += row * keys;
    grads += row * keys;
    A dot = 0;
    for (size i = threadIdx.x; i < seen; i += blockDim.x) dot += load(p[i]) * load(grads[i]);
    dot = block_sum(dot);
    for (size i = threadIdx.x; i < keys; i += blockDim.x) {
        grads[i] = store(i < seen ? load(p[i]) * (load(grads[i]) - dot) * (A)scale : 0);
    }
}
