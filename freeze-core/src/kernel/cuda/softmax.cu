// Softmax of rows, and the cross-entropy of rows of logits.

// The largest element of a row, and the sum of the exponentials of all less that one, in one pass: what a thread has
// is scaled whenever it finds a larger element. Four are fetched at a time.
static __device__ A exponentials(const T *__restrict__ x, size len, unsigned by_warp, A &most) {
    const A least = -(A)1e308 * 10;
    A found = least, sum = 0;
    const unsigned step = lanes(by_warp);
    for (size i = own_lane(by_warp); i < len; i += 4 * step) {
        A four[4], top = found;
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            size at = i + k * (size)step;
            four[k] = at < len ? load(x[at]) : least;
            top = larger(top, four[k]);
        }
        if (top > found) {
            sum *= power_of_e(found - top);
            found = top;
        }
#pragma unroll
        for (unsigned k = 0; k < 4; k++)
            if (four[k] != least) sum += power_of_e(four[k] - found); // its exponential is 0; that of a NaN is not
    }
    most = row_max(found, by_warp);
    return row_sum(sum * power_of_e(found - most), by_warp);
}

extern "C" __global__ void softmax(size rows, size len, unsigned by_warp, const T *__restrict__ x, T *__restrict__ y) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    x += row * len;
    y += row * len;
    A most;
    A scale = 1 / exponentials(x, len, by_warp, most);
    ALONG(i, len) y[i] = store(power_of_e(load(x[i]) - most) * scale);
}

// y * (grad - sum(grad * y))
extern "C" __global__ void softmax_back(size rows, size len, unsigned by_warp, const T *__restrict__ y,
                                        const T *__restrict__ grad, T *__restrict__ dx) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    y += row * len;
    grad += row * len;
    dx += row * len;
    A sum = 0;
    ALONG(i, len) sum += load(y[i]) * load(grad[i]);
    A dot = row_sum(sum, by_warp);
    ALONG(i, len) dx[i] = store(load(y[i]) * (load(grad[i]) - dot));
}

// Of each row the largest logit, the sum of the exponentials, the loss and the weight of the label. A label that is
// no class has NaN for both, an ignored one 0. The label's class counts `kept` times its weight and every class
// `spread` times, which together is `shares`.
extern "C" __global__ void losses(size rows, size classes, unsigned by_warp, size ignored, unsigned ignores,
                                  double kept, double spread,
                                  double shares, const double *__restrict__ weights, const T *__restrict__ x,
                                  const long long *__restrict__ labels, double *__restrict__ found) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    size label = labels[row];
    x += row * classes;
    found += 4 * row;
    bool counts = !(ignores && label == ignored);
    if (!counts || label >= classes) {
        if (own_lane(by_warp) == 0) {
            found[0] = 0;
            found[1] = 1;
            found[2] = found[3] = counts ? root(-1.0) : 0;
        }
        return;
    }
    A most;
    double sum = exponentials(x, classes, by_warp, most), smooth = 0;
    if (spread != 0) {
        A all = 0;
        ALONG(i, classes) all += (load(x[i]) - most) * (A)(weights ? weights[i] * spread : spread);
        smooth = shares * logarithm(sum) - (double)row_sum(all, by_warp);
    }
    if (own_lane(by_warp) == 0) {
        double weight = weights ? weights[label] : 1;
        found[0] = most;
        found[1] = sum;
        found[2] = weight * kept * (logarithm(sum) + (double)most - (double)load(x[label])) + smooth;
        found[3] = weight;
    }
}

// By one block: the sum of all losses divided by that of the weights, and the latter.
extern "C" __global__ void mean_loss(size rows, const double *__restrict__ found, A *loss, double *total) {
    double sum = 0, weight = 0;
    for (size row = threadIdx.x; row < rows; row += blockDim.x) {
        sum += found[4 * row + 2];
        weight += found[4 * row + 3];
    }
    sum = block_sum(sum);
    weight = block_sum(weight);
    if (threadIdx.x == 0) {
        *loss = (A)(sum / weight);
        *total = weight;
    }
}

extern "C" __global__ void losses_back(size rows, size classes, unsigned by_warp, size ignored, unsigned ignores,
                                       double kept, double spread,
                                       double shares, const double *__restrict__ weights, const T *__restrict__ x,
                                       const long long *__restrict__ labels, const double *__restrict__ found,
                                       const double *__restrict__ total, const A *__restrict__ grad,
                                       T *__restrict__ dx) {
    size row = own_row(by_warp);
    if (row >= rows) return;
    size label = labels[row];
    x += row * classes;
    dx += row * classes;
    if (ignores && label == ignored) {
        ALONG(i, classes) dx[i] = store(0);
        return;
    }
    double sum = found[4 * row + 1];
    A most = (A)found[4 * row], factor = *grad / (A)*total;
    // Of a label that is no class the total is NaN, and so is all of this.
    double own = (weights && label < classes ? weights[label] : 1) * kept;
    A scale = factor * (A)(own + shares) / (A)sum, even = factor * (A)spread;
    const double *uneven = spread != 0 ? weights : 0;
    ALONG(i, classes) {
        A smooth = uneven ? factor * (A)(uneven[i] * spread) : even;
        dx[i] = store(power_of_e(load(x[i]) - most) * scale - smooth);
    }
    // Then the label's, by the thread that has written it.
    if (label < classes && label % lanes(by_warp) == own_lane(by_warp)) {
        double power = power_of_e(load(x[label]) - most), smooth = weights ? weights[label] * spread : spread;
        dx[label] = store((A)((double)*grad / *total * (power / sum * (own + shares) - own - smooth)));
    }
}
