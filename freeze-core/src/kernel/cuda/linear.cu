// What a product has added to it.

// Adds a bias to each row, in place.
extern "C" __global__ void add_to_rows(size n, size len, T *y, const T *bias) {
    // Division of 32 bits is much cheaper, and there are rarely more elements.
    if (n <= 0xffffffffu) {
        EACH(i, n) y[i] = store(load(y[i]) + load(bias[(unsigned)i % (unsigned)len]));
    } else {
        EACH(i, n) y[i] = store(load(y[i]) + load(bias[i % len]));
    }
}
