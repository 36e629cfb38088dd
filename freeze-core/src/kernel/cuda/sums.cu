// Sums of the columns of a matrix of `rows` rows of `len` elements, and of its products with normalised rows. A
// block of 256 threads takes `across` columns, a power of 2, and as many rows at a time as are left of its threads.
// Strips of `per` rows are added up by blocks of their own, and then their sums.

// The sum of what the threads of a column have, for the first `across` threads, in an order that does not change.
static __device__ double of_column(double value, unsigned across) {
    __shared__ double all[256];
    __syncthreads(); // what is there may still be read
    all[threadIdx.x] = value;
    for (unsigned half = blockDim.x / 2; half >= across; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) all[threadIdx.x] += all[threadIdx.x + half];
    }
    return all[threadIdx.x];
}

static __device__ void keep(double sum, size column, size strip, size len, A *parts, T *sums) {
    if (parts) parts[strip * len + column] = (A)sum;
    else sums[column] = store((A)sum);
}

// `sums` are those of `grad`, `scaled` those of its products with the normalised `x`; either is null where it is
// not wanted, and `x` with the latter. With `parts` their strips go there.
extern "C" __global__ void columns(size rows, size len, size per, unsigned across, const T *__restrict__ grad,
                                   const T *__restrict__ x, const A *__restrict__ stats, A *parts, T *sums,
                                   T *scaled) {
    size column = blockIdx.x * (size)across + threadIdx.x % across;
    size from = blockIdx.y * per + threadIdx.x / across, to = (blockIdx.y + 1) * per;
    unsigned step = blockDim.x / across;
    if (to > rows) to = rows;
    A sum = 0, product = 0;
    if (column < len && x) {
#pragma unroll 4
        for (size row = from; row < to; row += step) {
            A g = load(grad[row * len + column]);
            const A *of = stats + 3 * row;
            sum += g;
            product += g * ((load(x[row * len + column]) - of[0]) * of[1] + of[2]);
        }
    } else if (column < len) {
#pragma unroll 8
        for (size row = from; row < to; row += step) sum += load(grad[row * len + column]);
    }
    bool mine = threadIdx.x < across && column < len;
    if (sums) {
        double all = of_column(sum, across);
        if (mine) keep(all, column, blockIdx.y, len, parts, sums);
    }
    if (scaled) {
        double all = of_column(product, across);
        // The strips of the one lie behind those of the other.
        size strip = (sums ? gridDim.y : 0) + (size)blockIdx.y;
        if (mine) keep(all, column, strip, len, parts, scaled);
    }
}

// The sums of all strips: `first` of the first ones, `second`, if there are as many more, of the others.
extern "C" __global__ void fold(size strips, size len, unsigned across, const A *__restrict__ parts, T *first,
                                T *second) {
    size column = blockIdx.x * (size)across + threadIdx.x % across;
    parts += blockIdx.y * strips * len;
    double sum = 0;
    if (column < len) {
#pragma unroll 8
        for (size strip = threadIdx.x / across; strip < strips; strip += blockDim.x / across)
            sum += parts[strip * len + column];
    }
    sum = of_column(sum, across);
    if (threadIdx.x < across && column < len) (blockIdx.y ? second : first)[column] = store((A)sum);
}
