// Kernels that the emulated card has to run, and faults that it has to find: `check.sh` says which is which.

extern "C" __global__ void turned(float *x, unsigned n) {
    __shared__ float all[64];
    unsigned i = threadIdx.x;
    all[i] = blockIdx.x * 100 + i;
    __syncthreads();
    if (blockIdx.x * 64 + i < n) x[blockIdx.x * 64 + i] = all[63 - i];
}

extern "C" __global__ void shuffled(float *x, unsigned n) {
    float sum = threadIdx.x;
    for (int apart = 16; apart; apart >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    x[blockIdx.x * 64 + threadIdx.x] = sum;
}

// Turned without a barrier.
extern "C" __global__ void races(float *x, unsigned n) {
    __shared__ float all[64];
    all[threadIdx.x] = threadIdx.x;
    x[blockIdx.x * 64 + threadIdx.x] = all[63 - threadIdx.x];
}

extern "C" __global__ void unwritten(float *x, unsigned n) {
    if (threadIdx.x < 63) x[blockIdx.x * 64 + threadIdx.x] = 1;
}

extern "C" __global__ void behind(float *x, unsigned n) {
    for (unsigned i = threadIdx.x; i <= n; i += 64) x[i] = 1;
}

extern "C" __global__ void outside(float *x, unsigned n) { x[n + 4096 + threadIdx.x] = 1; }

extern "C" __global__ void apart(float *x, unsigned n) {
    x[blockIdx.x * 64 + threadIdx.x] = 1;
    if (threadIdx.x == 63) __syncthreads();
    else x[threadIdx.x] = __shfl_sync(0xffffffffu, 1.f, 0);
}

extern "C" __global__ void shared_behind(float *x, unsigned n) {
    __shared__ float all[64];
    all[threadIdx.x + 1] = 1;
    __syncthreads();
    x[blockIdx.x * 64 + threadIdx.x] = 1;
}
