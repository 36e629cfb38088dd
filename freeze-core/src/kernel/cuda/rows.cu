// Norms of rows of `len` elements. All is added up in A, a few numbers a thread and then by halves.

// The normalised element is (x - stats[0]) * stats[1] + stats[2]: a mean in A alone is off by up to half a unit in
// its last place, which the last number mends.
static __device__ A normal(A x, const A *stats) { return (x - stats[0]) * stats[1] + stats[2]; }

// The mean in a first pass, the variance about it in a second.
extern "C" __global__ void normalize(size rows, size len, unsigned by_warp, unsigned centered, double eps,
                                     const T *__restrict__ x, const T *__restrict__ weight,
                                     const T *__restrict__ bias, T *__restrict__ y, A *__restrict__ all_stats) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    x += row * len;
    y += row * len;
    A stats[3] = {0, 0, 0};
    if (centered) {
        A sum = 0;
        ALONG(i, len) sum += load(x[i]);
        stats[0] = row_sum(sum, by_warp) / (A)len;
    }
    A rest = 0, square = 0;
    ALONG(i, len) {
        A apart = load(x[i]) - stats[0];
        rest += apart;
        square += apart * apart;
    }
    A off = centered ? row_sum(rest, by_warp) / (A)len : 0;
    A variance = row_sum(square, by_warp) / (A)len - off * off;
    stats[1] = 1 / root((variance < 0 ? 0 : variance) + (A)eps);
    stats[2] = -off * stats[1];
    ALONG(i, len) {
        A scaled = normal(load(x[i]), stats) * load(weight[i]);
        y[i] = store(bias ? scaled + load(bias[i]) : scaled);
    }
    if (own_lane(by_warp) == 0)
        for (unsigned k = 0; k < 3; k++) all_stats[row * 3 + k] = stats[k];
}

// With h = grad * weight and means over the row: dx = scale * (h - mean(h) - normal * mean(h * normal)), without
// mean(h) where the mean was not removed.
extern "C" __global__ void normalize_back(size rows, size len, unsigned by_warp, unsigned centered,
                                          const T *__restrict__ x, const T *__restrict__ weight,
                                          const T *__restrict__ grad, const A *__restrict__ all_stats,
                                          T *__restrict__ dx) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    x += row * len;
    grad += row * len;
    dx += row * len;
    A stats[3];
    for (unsigned k = 0; k < 3; k++) stats[k] = all_stats[row * 3 + k];
    A sum = 0, product = 0;
    ALONG(i, len) {
        A h = load(grad[i]) * load(weight[i]);
        sum += h;
        product += h * normal(load(x[i]), stats);
    }
    A offset = centered ? -stats[1] * row_sum(sum, by_warp) / (A)len : 0;
    A slope = -stats[1] * row_sum(product, by_warp) / (A)len;
    ALONG(i, len) {
        A h = load(grad[i]) * load(weight[i]);
        dx[i] = store(h * stats[1] + normal(load(x[i]), stats) * slope + offset);
    }
}
