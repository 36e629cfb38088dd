// The fused updates. Every number travels as a double and is rounded once to the type the arithmetic runs in, as
// on the CPU.

// What both kernels do to a gradient first: scale it, then cut it off at plus and minus `bound`.
static __device__ A mapped(A g, A scale, A bound) {
    g = g * scale;
    return g > bound ? bound : g < -bound ? -bound : g;
}

// The parameter to count with: its master weight where that rounds to what is stored. `master` is
// null where there is none.
static __device__ A recalled(const T *theta,
                                           const A *master, size i) {
    if (master && store(master[i]) == theta[i]) return master[i];
    return load(theta[i]);
}

static __device__ void keep_as(T *theta, A *master, size i,
                               A p) {
    theta[i] = store(p);
    if (master) master[i] = p;
}

extern "C" __global__ void adam(size n, T *theta, const T *grad,
                            A *state, unsigned moments, unsigned has_master,
                            double scale, double bound, double b1, double c1, double b2, double c2,
                            double scale_m, double scale_v, double eps, double lr, double keep,
                            double penalty) {
    A *master = has_master ? state + moments * n : 0;
    EACH(i, n) {
        A p = recalled(theta, master, i);
        A g = mapped(load(grad[i]), (A)scale, (A)bound) + (A)penalty * p;
        A m = state[i] * (A)b1 + g * (A)c1;
        A v = state[n + i] * (A)b2 + g * g * (A)c2;
        state[i] = m;
        state[n + i] = v;
        p = p * (A)keep - m * (A)scale_m / (root(v * (A)scale_v) + (A)eps) * (A)lr;
        keep_as(theta, master, i, p);
    }
}

// Goes along `direct * g + carried * b`; without moments there is no `b`.
extern "C" __global__ void sgd(size n, T *theta, const T *grad,
                           A *state, unsigned moments, unsigned has_master,
                           double scale, double bound, double factor, double direct, double carried,
                           double lr, double penalty) {
    A *master = has_master ? state + moments * n : 0;
    EACH(i, n) {
        A p = recalled(theta, master, i);
        A g = mapped(load(grad[i]), (A)scale, (A)bound) + (A)penalty * p;
        A along = g;
        if (moments) {
            A b = state[i] * (A)factor + g;
            state[i] = b;
            along = (A)direct * g + (A)carried * b;
        }
        keep_as(theta, master, i, p - along * (A)lr);
    }
}

// Raises the flag if an element is infinite or NaN: the difference from itself is not zero then.
extern "C" __global__ void look(size n, const T *grad, unsigned *flag) {
    bool odd = false;
    EACH(i, n) {
        A g = load(grad[i]);
        odd |= !(g - g == 0);
    }
    if (odd) *flag = 1;
}

