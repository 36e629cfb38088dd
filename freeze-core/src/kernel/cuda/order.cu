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
// angles of their positions: cosines and sines are rows of `half`. [.., second, first] of them become
// [.., first, second]; the position is the first or the second number.
extern "C" __global__ void turn(size points, size half, size first, size second, unsigned by_first, double sign,
                                const T *__restrict__ x, const A *__restrict__ cosines, const A *__restrict__ sines,
                                T *__restrict__ y) {
    EACH(i, points) {
        size point, a, b;
        size row = divided(i, half, point);
        size sample = divided(divided(row, second, b), first, a);
        size angle = (by_first ? a : b) * half + point;
        A c = cosines[angle], s = sines[angle] * (A)sign;
        const T *from = x + ((sample * second + b) * first + a) * 2 * half + point;
        T *to = y + row * 2 * half + point;
        A u = load(from[0]), v = load(from[half]);
        to[0] = store(u * c - v * s);
        to[half] = store(u * s + v * c);
    }
}
