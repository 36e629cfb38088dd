// Convolutions on emulated cards, libcudnn.so.9: sums in the order in which they are written down, in f32 or f64.
#include "driver.h"
#include "elements.h"

namespace {
struct Handle {
    Stream *stream;
};
struct Array {
    Type type;
    size_t sizes[4];
    size_t count() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
};
struct Convolution {
    long long padding[2], stride[2], dilation[2];
    size_t groups = 1;
    int math = 0;
};
// Of an algorithm that is proposed.
struct Proposed {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};
enum { BAD_PARAM = 2000, WORKSPACE = 64, FMA_MATH = 3 };

Type type_of(int told) { return told == 1 ? F64 : told == 2 ? F16 : told == 9 ? BF16 : F32; }

int propose(const Convolution *conv, int *count, Proposed *found) {
    found[0] = {1, 0, 0, WORKSPACE, 1, conv->math, {}};
    return *count = 1, 0;
}

// Calls `each` with the places in input, weight and result of what is multiplied.
template <typename F> void each_product(const Array &x, const Array &w, const Array &y, const Convolution &conv, F each) {
    const size_t in_group = w.sizes[1], out_group = y.sizes[1] / conv.groups;
    for (size_t n = 0; n < y.sizes[0]; n++)
        for (size_t to = 0; to < y.sizes[1]; to++)
            for (size_t row = 0; row < y.sizes[2]; row++)
                for (size_t column = 0; column < y.sizes[3]; column++)
                    for (size_t c = 0; c < in_group; c++)
                        for (size_t down = 0; down < w.sizes[2]; down++)
                            for (size_t along = 0; along < w.sizes[3]; along++) {
                                long long i = row * conv.stride[0] - conv.padding[0] + down * conv.dilation[0];
                                long long j = column * conv.stride[1] - conv.padding[1] + along * conv.dilation[1];
                                if (i < 0 || j < 0 || i >= (long long)x.sizes[2] || j >= (long long)x.sizes[3]) continue;
                                size_t from = to / out_group * in_group + c;
                                each(((n * x.sizes[1] + from) * x.sizes[2] + i) * x.sizes[3] + j,
                                     ((to * in_group + c) * w.sizes[2] + down) * w.sizes[3] + along,
                                     ((n * y.sizes[1] + to) * y.sizes[2] + row) * y.sizes[3] + column);
                            }
}

enum Pass { FORWARD, INPUT, WEIGHT };

template <typename A>
void compute(Pass pass, const char *one, const char *two, char *result, Array x, Array w, Array y, Convolution conv) {
    const bool rounds = x.type == F32 && conv.math != FMA_MATH;
    auto read = [&](const char *from, size_t at) {
        A value = load<A>(from + at * size_of(x.type), x.type);
        return rounds ? (A)to_tf32(value) : value;
    };
    const size_t count = (pass == FORWARD ? y : pass == INPUT ? x : w).count();
    std::vector<A> sums(count);
    each_product(x, w, y, conv, [&](size_t at_x, size_t at_w, size_t at_y) {
        if (pass == FORWARD) sums[at_y] += read(one, at_x) * read(two, at_w);
        else if (pass == INPUT) sums[at_x] += read(one, at_w) * read(two, at_y);
        else sums[at_w] += read(one, at_x) * read(two, at_y);
    });
    for (size_t k = 0; k < count; k++) store<A>(result + k * size_of(x.type), x.type, sums[k]);
}

int convolve(Handle *handle, Pass pass, const Array &first, const void *one, const Array &second, const void *two,
             const Array &third, void *result, const Array &x, const Array &w, const Array &y, const Convolution &conv,
             void *space, size_t bytes) {
    const Array *arrays[] = {&first, &second, &third};
    const void *places[] = {one, two, result};
    for (int k = 0; k < 3; k++)
        if (owner((uint64_t)places[k], arrays[k]->count() * size_of(arrays[k]->type)) < 0) return BAD_PARAM;
    if (bytes < WORKSPACE || owner((uint64_t)space, bytes) < 0) return BAD_PARAM;
    if (x.type != w.type || x.type != y.type) return BAD_PARAM;
    note_uses(handle->stream, {one, two, result, space});
    return submit(handle->stream, {KERNEL, [=] {
        memset(space, 0, WORKSPACE);
        auto run = x.type == F64 ? compute<double> : compute<float>;
        run(pass, (const char *)one, (const char *)two, (char *)result, x, w, y, conv);
    }});
}

int set(Array *array, int type, int a, int b, int c, int d) {
    *array = {type_of(type), {(size_t)a, (size_t)b, (size_t)c, (size_t)d}};
    return 0;
}
} // namespace

extern "C" {
size_t cudnnGetVersion(void) { return 91400; }
const char *cudnnGetErrorString(int) { return "an error of the emulated cuDNN"; }
int cudnnCreate(Handle **made) { return *made = new Handle{}, 0; }
int cudnnDestroy(Handle *handle) { return delete handle, 0; }
int cudnnSetStream(Handle *handle, Stream *stream) { return handle->stream = stream, 0; }

int cudnnCreateTensorDescriptor(Array **made) { return *made = new Array{}, 0; }
int cudnnDestroyTensorDescriptor(Array *array) { return delete array, 0; }
int cudnnSetTensor4dDescriptor(Array *array, int, int type, int n, int c, int h, int w) { return set(array, type, n, c, h, w); }
int cudnnCreateFilterDescriptor(Array **made) { return *made = new Array{}, 0; }
int cudnnDestroyFilterDescriptor(Array *array) { return delete array, 0; }
int cudnnSetFilter4dDescriptor(Array *array, int type, int, int k, int c, int h, int w) { return set(array, type, k, c, h, w); }

int cudnnCreateConvolutionDescriptor(Convolution **made) { return *made = new Convolution, 0; }
int cudnnDestroyConvolutionDescriptor(Convolution *conv) { return delete conv, 0; }
int cudnnSetConvolution2dDescriptor(Convolution *conv, int top, int left, int down, int along, int dilation_down,
                                    int dilation_along, int, int) {
    *conv = {{top, left}, {down, along}, {dilation_down, dilation_along}};
    return 0;
}
int cudnnSetConvolutionGroupCount(Convolution *conv, int groups) { return conv->groups = groups, 0; }
int cudnnSetConvolutionMathType(Convolution *conv, int math) { return conv->math = math, 0; }

int cudnnGetConvolutionForwardAlgorithm_v7(Handle *, Array *, Array *, Convolution *conv, Array *, int, int *count, Proposed *found) {
    return propose(conv, count, found);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, Array *, Array *, Convolution *conv, Array *, int, int *count, Proposed *found) {
    return propose(conv, count, found);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, Array *, Array *, Convolution *conv, Array *, int, int *count, Proposed *found) {
    return propose(conv, count, found);
}
int cudnnGetConvolutionForwardWorkspaceSize(Handle *, Array *, Array *, Convolution *, Array *, int, size_t *bytes) {
    return *bytes = WORKSPACE, 0;
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *, Array *, Array *, Convolution *, Array *, int, size_t *bytes) {
    return *bytes = WORKSPACE, 0;
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *, Array *, Array *, Convolution *, Array *, int, size_t *bytes) {
    return *bytes = WORKSPACE, 0;
}

int cudnnConvolutionForward(Handle *handle, const void *, Array *x, const void *from, Array *w, const void *by,
                            Convolution *conv, int, void *space, size_t bytes, const void *, Array *y, void *to) {
    return convolve(handle, FORWARD, *x, from, *w, by, *y, to, *x, *w, *y, *conv, space, bytes);
}
int cudnnConvolutionBackwardData(Handle *handle, const void *, Array *w, const void *by, Array *y, const void *grad,
                                 Convolution *conv, int, void *space, size_t bytes, const void *, Array *x, void *to) {
    return convolve(handle, INPUT, *w, by, *y, grad, *x, to, *x, *w, *y, *conv, space, bytes);
}
int cudnnConvolutionBackwardFilter(Handle *handle, const void *, Array *x, const void *from, Array *y, const void *grad,
                                   Convolution *conv, int, void *space, size_t bytes, const void *, Array *w, void *to) {
    return convolve(handle, WEIGHT, *x, from, *y, grad, *w, to, *x, *w, *y, *conv, space, bytes);
}
}
