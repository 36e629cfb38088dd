// Pooling over windows of planes. Rows and columns are counted in 32 bits, elements of tensors in 64.

// The sizes of planes, of their windows, and the distance between windows.
struct Windows {
    unsigned height, width, rows, columns, kernel_height, kernel_width, down, along;
};

// What every kernel takes of them, in this order.
#define WINDOWS {height, width, rows, columns, kernel_height, kernel_width, down, along}

// An element at a position of a plane of `width` columns.
struct Place {
    size plane;
    unsigned row, column;

    __device__ Place(size i, unsigned height, unsigned width) {
        size line = i / width;
        column = i - line * width, plane = line / height, row = line - plane * height;
    }
};

// The first element of an output's window.
static __device__ size corner(const Windows &w, const Place &out) {
    return (out.plane * w.height + (size)out.row * w.down) * w.width + (size)out.column * w.along;
}

// The windows that contain a position along an axis: those from `first` to `last`, which is less if there is none.
struct Range {
    long long first, last;

    __device__ Range(unsigned at, unsigned kernel, unsigned apart, unsigned outputs) {
        first = at < kernel ? 0 : (at - kernel) / apart + 1;
        last = at / apart < outputs ? at / apart : outputs - 1;
    }
};

static __device__ bool is_nan(A x) { return x != x; }

// The maximum of each window; NaN if it contains one.
extern "C" __global__ void max_of_windows(size n, unsigned height, unsigned width, unsigned rows, unsigned columns,
                                          unsigned kernel_height, unsigned kernel_width, unsigned down,
                                          unsigned along, const T *__restrict__ x, T *__restrict__ y) {
    Windows w = WINDOWS;
    EACH(i, n) {
        size start = corner(w, Place(i, rows, columns));
        A most = load(x[start]);
        for (unsigned line = 0; line < kernel_height; line++, start += width)
            for (unsigned k = 0; k < kernel_width; k++) {
                A value = load(x[start + k]);
                if (most < value || is_nan(value)) most = value;
            }
        y[i] = store(most);
    }
}

// The mean of each window, which is small.
extern "C" __global__ void mean_of_windows(size n, unsigned height, unsigned width, unsigned rows, unsigned columns,
                                           unsigned kernel_height, unsigned kernel_width, unsigned down,
                                           unsigned along, double scale, const T *__restrict__ x,
                                           T *__restrict__ y) {
    Windows w = WINDOWS;
    EACH(i, n) {
        size start = corner(w, Place(i, rows, columns));
        A sum = 0;
        for (unsigned line = 0; line < kernel_height; line++, start += width)
            for (unsigned k = 0; k < kernel_width; k++) sum += load(x[start + k]);
        y[i] = store(sum * (A)scale);
    }
}

// The mean of each window, which is large: a block for each.
extern "C" __global__ void mean_of_large(unsigned height, unsigned width, unsigned rows, unsigned columns,
                                         unsigned kernel_height, unsigned kernel_width, unsigned down,
                                         unsigned along, double scale, const T *__restrict__ x,
                                         T *__restrict__ y) {
    Windows w = WINDOWS;
    size start = corner(w, Place(blockIdx.x, rows, columns));
    unsigned line = threadIdx.x / kernel_width, k = threadIdx.x % kernel_width;
    double sum = 0;
    while (line < kernel_height) {
        sum += load(x[start + (size)line * width + k]);
        for (k += blockDim.x; k >= kernel_width; k -= kernel_width) line++;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = store(sum * scale);
}

// Whether none before the element at `row` and `column` of the window at `start` is its maximum, `most`.
static __device__ bool is_first(const T *x, size start, unsigned row, unsigned column, const Windows &w, A most) {
    for (unsigned line = 0; line <= row; line++, start += w.width) {
        unsigned end = line < row ? w.kernel_width : column;
        for (unsigned k = 0; k < end; k++) {
            A value = load(x[start + k]);
            if (value == most || is_nan(value) && is_nan(most)) return false;
        }
    }
    return true;
}

// For each element the gradients of the windows whose first maximum, or first NaN, it is. `y` are the maxima.
extern "C" __global__ void gradient_of_max(size n, unsigned height, unsigned width, unsigned rows, unsigned columns,
                                           unsigned kernel_height, unsigned kernel_width, unsigned down,
                                           unsigned along, const T *__restrict__ x, const T *__restrict__ y,
                                           const T *__restrict__ grad, T *__restrict__ dx) {
    Windows w = WINDOWS;
    EACH(i, n) {
        Place at(i, height, width);
        Range r(at.row, kernel_height, down, rows), c(at.column, kernel_width, along, columns);
        A value = load(x[i]), sum = 0;
        for (long long row = r.first; row <= r.last; row++)
            for (long long column = c.first; column <= c.last; column++) {
                size out = (at.plane * rows + row) * columns + column;
                A most = load(y[out]);
                if (value != most && !(is_nan(value) && is_nan(most))) continue;
                unsigned above = at.row - row * down, before = at.column - column * along;
                if (is_first(x, i - (size)above * width - before, above, before, w, most)) sum += load(grad[out]);
            }
        dx[i] = store(sum);
    }
}

// For each element its share of the gradients of the windows that contain it.
extern "C" __global__ void gradient_of_mean(size n, unsigned height, unsigned width, unsigned rows,
                                            unsigned columns, unsigned kernel_height, unsigned kernel_width,
                                            unsigned down, unsigned along, double scale,
                                            const T *__restrict__ grad, T *__restrict__ dx) {
    EACH(i, n) {
        Place at(i, height, width);
        Range r(at.row, kernel_height, down, rows), c(at.column, kernel_width, along, columns);
        A sum = 0;
        for (long long row = r.first; row <= r.last; row++)
            for (long long column = c.first; column <= c.last; column++)
                sum += load(grad[(at.plane * rows + row) * columns + column]) * (A)scale;
        dx[i] = store(sum);
    }
}
