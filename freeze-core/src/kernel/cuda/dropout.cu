// Dropout, whose mask each pass draws anew: 8 rounds of ChaCha (Bernstein, 2008) in the stream of the CPU's
// generator, a word of 32 bits for each element.

static __device__ unsigned turned(unsigned x, int by) { return x << by | x >> (32 - by); }

static __device__ void quarter(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
    a += b; d = turned(d ^ a, 16);
    c += d; b = turned(b ^ c, 12);
    a += b; d = turned(d ^ a, 8);
    c += d; b = turned(b ^ c, 7);
}

// Which of a block's 16 words are at least `bound`, a bit for each.
static __device__ unsigned kept_of(size block, const unsigned *key, unsigned bound) {
    unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,
                          key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7],
                          (unsigned)block, (unsigned)(block >> 32), 0, 0};
    unsigned x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) x[i] = start[i];
#pragma unroll
    for (int rounds = 0; rounds < 8; rounds += 2) {
        quarter(x[0], x[4], x[8], x[12]);
        quarter(x[1], x[5], x[9], x[13]);
        quarter(x[2], x[6], x[10], x[14]);
        quarter(x[3], x[7], x[11], x[15]);
        quarter(x[0], x[5], x[10], x[15]);
        quarter(x[1], x[6], x[11], x[12]);
        quarter(x[2], x[7], x[8], x[13]);
        quarter(x[3], x[4], x[9], x[14]);
    }
    unsigned kept = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) kept |= (unsigned)(x[i] + start[i] >= bound) << i;
    return kept;
}

// The elements that are kept, scaled, and zeros for the others; element `i` goes by the word at `position + i`.
// Each thread draws 16 words, a warp's are of neighbouring elements. `y` may be `x`.
extern "C" __global__ void dropped(size n, const T *x, unsigned k0, unsigned k1, unsigned k2, unsigned k3, unsigned k4,
                                   unsigned k5, unsigned k6, unsigned k7, size position, unsigned bound, double scale,
                                   T *y) {
    unsigned key[8] = {k0, k1, k2, k3, k4, k5, k6, k7};
    unsigned lane = threadIdx.x % 32;
    size before = position % 16, words = before + n, step = (size)gridDim.x * blockDim.x * 16;
    // All threads of a block go round as often.
    for (size start = blockIdx.x * (size)blockDim.x * 16; start < words; start += step) {
        size first = start + threadIdx.x / 32 * 512;
        unsigned kept = kept_of(position / 16 + first / 16 + lane, key, bound);
#pragma unroll
        for (unsigned k = 0; k < 16; k++) {
            unsigned bits = __shfl_sync(0xffffffffu, kept, 2 * k + lane / 16);
            size word = first + 32 * k + lane;
            if (word < before || word >= words) continue;
            size i = word - before;
            y[i] = bits >> lane % 16 & 1 ? store(load(x[i]) * (A)scale) : store(0);
        }
    }
}
