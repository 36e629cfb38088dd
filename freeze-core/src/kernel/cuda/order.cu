// Rows in another order, and points of the plane turned by the angles of their positions.

// `i / by`, and what is left of `i`: in 32 bits where that is enough, which takes a fourth of the time.
static __device__ size divided(size i, size by, size &rest) {
    if ((i | by) >> 32) {
        rest = i % by;
        return i / by;
    }
    unsigned quotient = (unsigned)i / (unsigned)by;
    rest = (unsigned)i - quotient * (unsigned)by;
    return quotient;
}

// [.., first, second, len] as [.., second, first, len].
extern "C" __global__ void swap(size n, size first, size second, size len, const T *__restrict__ x,
                                T *__restrict__ y) {
    EACH(i, n) {
        size column, of_first, of_second;
        size sample = divided(divided(divided(i, len, column), first, of_first), second, of_second);
        y[i] = x[((sample * first + of_first) * second + of_second) * len + column];
    }
}

// Rows of `half` points, whose coordinates are in the first and the second half of 2 * half elements, turned by the
// angles of their positions: cosines and sines are rows of `half`. Rows are [.., heads, length], or [.., length, heads]
// where `x`, or `y`, is by length. A thread takes a point at one position of all heads; `n` are those of all samples.
extern "C" __global__ void turn(size n, size half, size heads, size length, unsigned x_by_length,
                                unsigned y_by_length, double sign, const T *__restrict__ x,
                                const A *__restrict__ cosines, const A *__restrict__ sines, T *__restrict__ y) {
    EACH(i, n) {
        size point, position;
        size sample = divided(divided(i, half, point), length, position);
        A c = cosines[position * half + point], s = sines[position * half + point] * (A)sign;
        // The row of the first head, where the position comes first and where it does not.
        size early = (sample * length + position) * heads, late = sample * heads * length + position;
        const T *from = x + (x_by_length ? early : late) * 2 * half + point;
        T *to = y + (y_by_length ? early : late) * 2 * half + point;
        size x_apart = (x_by_length ? 1 : length) * 2 * half, y_apart = (y_by_length ? 1 : length) * 2 * half;
#pragma unroll 4
        for (size head = 0; head < heads; head++) {
            A u = load(from[head * x_apart]), v = load(from[head * x_apart + half]);
            to[head * y_apart] = store(u * c - v * s);
            to[head * y_apart + half] = store(u * s + v * c);
        }
    }
}
