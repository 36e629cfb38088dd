// Norms of rows of `len` elements, a block for each row. A thread adds up in A, a block in double.

// Each element of a row. Several are fetched at a time, or most of the time would be spent waiting for them.
#define ALONG(i, len) _Pragma("unroll 4") for (size i = threadIdx.x; i < len; i += blockDim.x)

// The normalised element is (x - stats[0]) * stats[1] + stats[2]: a mean in A alone is off by up to half a unit in
// its last place, which the last number mends.
static __device__ A normal(A x, const A *stats) { return (x - stats[0]) * stats[1] + stats[2]; }

// The mean in a first pass, the variance about it in a second.
extern "C" __global__ void normalize(size len, unsigned centered, double eps, const T *__restrict__ x,
                                const T *__restrict__ weight, const T *__restrict__ bias, T *__restrict__ y,
                                A *__restrict__ all_stats) {
    x += blockIdx.x * len;
    y += blockIdx.x * len;
    A stats[3] = {0, 0, 0};
    if (centered) {
        A sum = 0;
        ALONG(i, len) sum += load(x[i]);
        stats[0] = (A)(block_sum((double)sum) / len);
    }
    A rest = 0, square = 0;
    ALONG(i, len) {
        A apart = load(x[i]) - stats[0];
        rest += apart;
        square += apart * apart;
    }
    double off = centered ? block_sum((double)rest) / len : 0;
    double variance = block_sum((double)square) / len - off * off;
    double scale = 1 / root((variance < 0 ? 0 : variance) + eps);
    stats[1] = (A)scale;
    stats[2] = (A)(-off * scale);
    ALONG(i, len) {
        A scaled = normal(load(x[i]), stats) * load(weight[i]);
        y[i] = store(bias ? scaled + load(bias[i]) : scaled);
    }
    if (threadIdx.x < 3) all_stats[blockIdx.x * (size)3 + threadIdx.x] = stats[threadIdx.x];
}

// With h = grad * weight and means over the row: dx = scale * (h - mean(h) - normal * mean(h * normal)), without
// mean(h) where the mean was not removed.
extern "C" __global__ void normalize_back(size len, unsigned centered, const T *__restrict__ x,
                                     const T *__restrict__ weight, const T *__restrict__ grad,
                                     const A *__restrict__ all_stats, T *__restrict__ dx) {
    x += blockIdx.x * len;
    grad += blockIdx.x * len;
    dx += blockIdx.x * len;
    const A *stats = all_stats + blockIdx.x * (size)3;
    A sum = 0, product = 0;
    ALONG(i, len) {
        A h = load(grad[i]) * load(weight[i]);
        sum += h;
        product += h * normal(load(x[i]), stats);
    }
    double scale = stats[1];
    A offset = centered ? (A)(-scale * block_sum((double)sum) / len) : 0;
    A slope = (A)(-scale * block_sum((double)product) / len);
    ALONG(i, len) {
        A h = load(grad[i]) * load(weight[i]);
        dx[i] = store(h * stats[1] + normal(load(x[i]), stats) * slope + offset);
    }
}
