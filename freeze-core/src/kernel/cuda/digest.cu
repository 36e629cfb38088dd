// Digests of rows of bytes: as `digest.rs` defines them, in pieces of words, each a block's.

static __device__ size word(const unsigned char *row, size i, size width) {
    const unsigned char *at = row + 8 * i;
    if (8 * i + 8 <= width && (size)at % 8 == 0) return *(const size *)at;
    size word = 0;
    for (unsigned k = 0; k < 8; k++)
        if (8 * i + k < width) word |= (size)at[k] << 8 * k;
    return word;
}

extern "C" __global__ void digest(size width, size pieces, size piece, const unsigned char *__restrict__ bytes,
                                  long long *__restrict__ sums) {
    const unsigned char *row = bytes + blockIdx.x / pieces * width;
    size start = blockIdx.x % pieces * piece, end = (width + 7) / 8;
    if (start + piece < end) end = start + piece;
    size words = 0, products = 0;
#pragma unroll 8
    for (size i = start + threadIdx.x; i < end; i += blockDim.x) {
        size own = word(row, i, width), mixed = own ^ (i + 1) * 0x9e3779b97f4a7c15ull;
        words += own;
        products += (mixed & 0xffffffffu) * (mixed >> 32);
    }
    words = block_sum(words);
    products = block_sum(products);
    if (threadIdx.x) return;
    sums[2 * (size)blockIdx.x] = (long long)words;
    sums[2 * (size)blockIdx.x + 1] = (long long)products;
}
