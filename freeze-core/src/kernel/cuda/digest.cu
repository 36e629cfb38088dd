// Digests of rows of bytes, as `digest.rs` defines them: of each piece of words, which is a block's.

static __device__ size word(const unsigned char *row, size i, size width) {
    const unsigned char *at = row + 8 * i;
    if (8 * i + 8 <= width && (size)at % 8 == 0) return *(const size *)at;
    size word = 0;
    for (unsigned k = 0; k < 8; k++)
        if (8 * i + k < width) word |= (size)at[k] << 8 * k;
    return word;
}

static __device__ size key(size i) {
    size mixed = (i + 1) * 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
    return mixed ^ mixed >> 31;
}

static __device__ size product(size mixed) { return (mixed & 0xffffffffu) * (mixed >> 32); }

extern "C" __global__ void digest(size width, size pieces, size words, const unsigned char *__restrict__ bytes,
                                  long long *__restrict__ sums) {
    const unsigned char *row = bytes + blockIdx.x / pieces * width;
    size start = blockIdx.x % pieces * words, left = (width + 7) / 8 - start, first = 0, second = 0;
#pragma unroll 4
    for (size i = threadIdx.x; i < (left < words ? left : words); i += blockDim.x) {
        size own = word(row, start + i, width);
        first += product(own ^ key(i));
        second += product(own ^ key(words + i));
    }
    first = block_sum(first);
    second = block_sum(second);
    if (threadIdx.x) return;
    sums[2 * (size)blockIdx.x] = (long long)first;
    sums[2 * (size)blockIdx.x + 1] = (long long)second;
}
