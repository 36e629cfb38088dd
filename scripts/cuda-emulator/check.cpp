// Runs a kernel of `check.cu` on 128 numbers, in two blocks of 64 threads, and prints their sum. With a further word in
// another stream than reads them, which waits for the first if the word is `waits`.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuModuleLoadData(void **, const char *);
int cuModuleGetFunction(void **, void *, const char *);
int cuMemAlloc_v2(uint64_t *, size_t);
int cuMemFree_v2(uint64_t);
int cuMemcpyDtoH_v2(void *, uint64_t, size_t);
int cuStreamCreate(void **, unsigned);
int cuStreamSynchronize(void *);
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
}

int main(int count, char **arguments) {
    void *context, *module, *kernel, *stream = 0;
    char image[4096];
    uint64_t memory;
    unsigned n = 128;
    float numbers[128], sum = 0;
    snprintf(image, sizeof(image), "emulated %s\n", arguments[1]);
    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context)) return 1;
    if (cuModuleLoadData(&module, image) || cuModuleGetFunction(&kernel, module, arguments[2])) return 2;
    if (cuMemAlloc_v2(&memory, sizeof(numbers))) return 3;
    void *values[] = {&memory, &n};
    if (count > 3 && cuStreamCreate(&stream, 1)) return 6;
    if (cuLaunchKernel(kernel, 2, 1, 1, 64, 1, 1, 0, stream, values, 0)) return 4;
    if (count > 3 && !strcmp(arguments[3], "waits") && cuStreamSynchronize(stream)) return 7;
    if (cuMemcpyDtoH_v2(numbers, memory, sizeof(numbers)) || cuMemFree_v2(memory)) return 5;
    for (int k = 0; k < 128; k++) sum += numbers[k] * (k + 1);
    printf("%.0f\n", sum);
}
