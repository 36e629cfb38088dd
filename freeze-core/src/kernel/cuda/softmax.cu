// Softmax of rows, and the cross-entropy of rows of logits: a block for each row. A thread adds up in A, a block in
// double.

// Each element of a row. Several are fetched at a time, or most of the time would be spent waiting for them.
#define ALONG(i, len) _Pragma("unroll 4") for (size i = threadIdx.x; i < len; i += blockDim.x)

// The largest element of a row, and the sum of the exponentials of all less that one, in one pass: what a thread has
// is scaled whenever it finds a larger element. It takes four at a time, for the same reason.
static __device__ double exponentials(const T *__restrict__ x, size len, A &most) {
    const A least = -(A)1e308 * 10;
    A found = least, sum = 0;
    for (size i = threadIdx.x; i < len; i += 4 * blockDim.x) {
        A four[4], top = found;
#pragma unroll
        for (unsigned k = 0; k < 4; k++) {
            size at = i + k * (size)blockDim.x;
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
    most = block_max(found);
    return block_sum((double)(sum * power_of_e(found - most)));
}

extern "C" __global__ void softmax(size len, const T *__restrict__ x, T *__restrict__ y) {
    x += blockIdx.x * len;
    y += blockIdx.x * len;
    A most;
    A scale = (A)(1 / exponentials(x, len, most));
    ALONG(i, len) y[i] = store(power_of_e(load(x[i]) - most) * scale);
}

// y * (grad - sum(grad * y))
extern "C" __global__ void softmax_back(size len, const T *__restrict__ y, const T *__restrict__ grad,
                                        T *__restrict__ dx) {
    y += blockIdx.x * len;
    grad += blockIdx.x * len;
    dx += blockIdx.x * len;
    A sum = 0;
    ALONG(i, len) sum += load(y[i]) * load(grad[i]);
    A dot = (A)block_sum((double)sum);
    ALONG(i, len) dx[i] = store(load(y[i]) * (load(grad[i]) - dot));
}

// Of each row the largest logit, the sum of the exponentials, the loss and the weight of the label. A label that is
// no class has NaN for both, an ignored one 0. The label's class counts `kept` times its weight and every class
// `spread` times, which together is `shares`.
extern "C" __global__ void losses(size classes, size ignored, unsigned ignores, double kept, double spread,
                                  double shares, const double *__restrict__ weights, const T *__restrict__ x,
                                  const long long *__restrict__ labels, double *__restrict__ found) {
    size label = labels[blockIdx.x];
    x += blockIdx.x * classes;
    found += blockIdx.x * (size)4;
    bool counts = !(ignores && label == ignored);
    if (!counts || label >= classes) {
        if (threadIdx.x == 0) {
            found[0] = 0;
            found[1] = 1;
            found[2] = found[3] = counts ? root(-1.0) : 0;
        }
        return;
    }
    A most;
    double sum = exponentials(x, classes, most), smooth = 0;
    if (spread != 0) {
        A all = 0;
        ALONG(i, classes) all += (load(x[i]) - most) * (A)(weights ? weights[i] * spread : spread);
        smooth = shares * logarithm(sum) - block_sum((double)all);
    }
    if (threadIdx.x == 0) {
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
    ALONG(row, rows) {
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

extern "C" __global__ void losses_back(size classes, size ignored, unsigned ignores, double kept, double spread,
                                       double shares, const double *__restrict__ weights, const T *__restrict__ x,
                                       const long long *__restrict__ labels, const double *__restrict__ found,
                                       const double *__restrict__ total, const A *__restrict__ grad,
                                       T *__restrict__ dx) {
    size label = labels[blockIdx.x];
    x += blockIdx.x * classes;
    dx += blockIdx.x * classes;
    if (ignores && label == ignored) {
        ALONG(i, classes) dx[i] = store(0);
        return;
    }
    double sum = found[blockIdx.x * (size)4 + 1], factor = (double)*grad / *total;
    A most = (A)found[blockIdx.x * (size)4];
    // Of a label that is no class the total is NaN, and so is all of this.
    double own = (weights && label < classes ? weights[label] : 1) * kept;
    A scale = (A)(factor * (own + shares) / sum), even = (A)(factor * spread);
    const double *uneven = spread != 0 ? weights : 0;
    ALONG(i, classes) {
        A smooth = uneven ? (A)(factor * (uneven[i] * spread)) : even;
        dx[i] = store(power_of_e(load(x[i]) - most) * scale - smooth);
    }
    // Then the label's, by the thread that has written it.
    if (label < classes && label % blockDim.x == threadIdx.x) {
        double power = power_of_e(load(x[label]) - most), smooth = weights ? weights[label] * spread : spread;
        dx[label] = store((A)(factor * (power / sum * (own + shares) - own - smooth)));
    }
}
