// Rows of a table by their numbers, and the sum of gradients where they came from.

// The number at a place of whole numbers of one of three types, those of which there are; NOWHERE for those that
// have no row.
#define NOWHERE 0xffffffffu

static __device__ unsigned number(size place, size entries, const long long *wide,
                                  const unsigned *middle, const unsigned char *narrow) {
    size row = wide ? (size)wide[place] : middle ? (size)middle[place] : (size)narrow[place];
    return row >= entries ? NOWHERE : (unsigned)row;
}

// A block for each place.
extern "C" __global__ void gather(size len, size entries, const long long *wide, const unsigned *middle,
                                  const unsigned char *narrow, const T *__restrict__ table, T *__restrict__ y) {
    unsigned row = number(blockIdx.x, entries, wide, middle, narrow);
    y += blockIdx.x * len;
#pragma unroll 4
    for (size i = threadIdx.x; i < len; i += blockDim.x) y[i] = row == NOWHERE ? (T)0 : table[row * len + i];
}

// Places in the order of their rows, and those of one row in their own order: a row's number above the place's, of
// which no two are equal. First tiles of as many as a block has threads, at most 1024 and a power of 2, in order.
extern "C" __global__ void tiles(size n, size entries, const long long *wide, const unsigned *middle,
                                 const unsigned char *narrow, long long *sorted) {
    __shared__ size all[1024];
    size place = blockIdx.x * (size)blockDim.x + threadIdx.x;
    all[threadIdx.x] = place < n ? (size)number(place, entries, wide, middle, narrow) << 32 | place : ~(size)0;
    // Batcher's bitonic sort.
    for (unsigned run = 2; run <= blockDim.x; run *= 2) {
        for (unsigned apart = run / 2; apart; apart /= 2) {
            __syncthreads();
            unsigned other = threadIdx.x ^ apart;
            if (other > threadIdx.x) {
                size a = all[threadIdx.x], b = all[other];
                if ((a > b) == !(threadIdx.x & run)) {
                    all[threadIdx.x] = b;
                    all[other] = a;
                }
            }
        }
    }
    __syncthreads();
    if (place < n) sorted[place] = all[threadIdx.x];
}

// The first in an ordered list from `from` to `to` that is not below `value`.
static __device__ size bound(const long long *list, size from, size to, size value) {
    while (from < to) {
        size middle = from + (to - from) / 2;
        if ((size)list[middle] < value) from = middle + 1;
        else to = middle;
    }
    return from;
}

// All tiles of `tile` in one order: before each lie those of each tile that are smaller.
extern "C" __global__ void merge(size n, size tile, const long long *__restrict__ tiles,
                                 long long *__restrict__ sorted) {
    EACH(i, n) {
        size value = tiles[i], own = i / tile, before = i % tile;
        for (size other = 0, from = 0; from < n; other++, from += tile)
            if (other != own) before += bound(tiles, from, from + tile < n ? from + tile : n, value) - from;
        sorted[before] = value;
    }
}

#define ROW(at) (unsigned)((size)sorted[at] >> 32)
#define BATCH 8

// The sums of each row's gradients, in order. A block takes `piece` places in the order of `sorted`, and writes the
// sums of those rows that have no others. What belongs to the row of an earlier piece goes to the first of its two
// rows of `parts`, the beginning of a row that later ones continue to the second.
extern "C" __global__ void scatter(size n, size len, size piece, const long long *__restrict__ sorted,
                                   const T *__restrict__ grad, double *__restrict__ parts,
                                   T *__restrict__ table) {
    size column = blockIdx.y * (size)blockDim.x + threadIdx.x;
    size start = blockIdx.x * piece, end = start + piece < n ? start + piece : n;
    if (column >= len) return;
    unsigned row = ROW(start);
    bool begins = start == 0 || ROW(start - 1) != row;
    double sum = 0;
    for (size at = start; at < end; at += BATCH) {
        A held[BATCH];
        unsigned rows[BATCH];
#pragma unroll
        for (unsigned k = 0; k < BATCH; k++) {
            if (at + k >= end) continue;
            size both = sorted[at + k];
            rows[k] = (unsigned)(both >> 32);
            held[k] = load(grad[(both & 0xffffffffu) * len + column]);
        }
#pragma unroll
        for (unsigned k = 0; k < BATCH; k++) {
            if (at + k >= end) continue;
            if (rows[k] != row) {
                if (begins) table[row * len + column] = store((A)sum);
                else parts[blockIdx.x * 2 * len + column] = sum;
                row = rows[k];
                begins = true;
                sum = 0;
            }
            sum += held[k];
        }
    }
    bool ends = end == n || ROW(end) != row;
    if (row == NOWHERE) return;
    if (begins && ends) table[row * len + column] = store((A)sum);
    else parts[(blockIdx.x * (size)2 + begins) * len + column] = sum;
}

// The sums of rows that several pieces have: by the block of the piece that a row begins in.
extern "C" __global__ void scatter_parts(size n, size len, size piece, const long long *__restrict__ sorted,
                                         const double *__restrict__ parts, T *__restrict__ table) {
    size column = blockIdx.y * (size)blockDim.x + threadIdx.x;
    size start = blockIdx.x * piece, end = start + piece;
    if (column >= len || end >= n) return;
    unsigned row = ROW(end - 1);
    bool begins = start == 0 || ROW(start - 1) != row;
    if (row == NOWHERE || ROW(end) != row || !begins) return;
    size last = (bound(sorted, end, n, (size)row + 1 << 32) - 1) / piece;
    double sum = parts[(blockIdx.x * (size)2 + 1) * len + column];
#pragma unroll 8
    for (size at = blockIdx.x + (size)1; at <= last; at++) sum += parts[at * 2 * len + column];
    table[row * len + column] = store((A)sum);
}
