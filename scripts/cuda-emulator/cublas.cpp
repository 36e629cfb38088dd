// Products of matrices on emulated cards, libcublas.so.13: those that candle asks for, in f32 or f64, whose operands
// are rounded first where the call allows less.
#include "driver.h"
#include "elements.h"

namespace {
enum { COMPUTE_16F = 64, COMPUTE_FAST_16BF = 75, COMPUTE_FAST_TF32 = 77, INVALID = 7 };

struct Blas {
    Stream *stream;
};

struct Matrix {
    int type, lead;
    bool turned;
    // Rows are those of the matrix as it is used.
    size_t place(size_t row, size_t column) const {
        return (turned ? column + row * (size_t)lead : row + column * (size_t)lead) * size_of(type);
    }
    bool fits(size_t rows, size_t columns) const { return (size_t)lead >= std::max<size_t>(1, turned ? columns : rows); }
    // Whether it lies in a card's memory.
    bool there(const void *at, size_t rows, size_t columns) const {
        if (!rows || !columns) return true;
        return owner((uint64_t)at, place(rows - 1, columns - 1) + size_of(type)) >= 0;
    }
};

// A product of many matrices of these sizes and kinds.
struct Product {
    size_t m, n, k;
    double alpha, beta;
    Matrix a, b, c;
    int compute;

    template <typename A> void run(const char *a_at, const char *b_at, char *c_at) const {
        auto rounded = [=](A x) -> A {
            if (compute == COMPUTE_FAST_TF32) return to_tf32(x);
            if (compute == COMPUTE_FAST_16BF) return emulated::from_bfloat(emulated::to_bfloat(x));
            return x;
        };
        std::vector<A> left(m * k), column(m);
        for (size_t p = 0; p < k; p++)
            for (size_t i = 0; i < m; i++) left[p * m + i] = rounded(load<A>(a_at + a.place(i, p), a.type));
        for (size_t j = 0; j < n; j++) {
            std::fill(column.begin(), column.end(), A(0));
            for (size_t p = 0; p < k; p++) {
                const A x = rounded(load<A>(b_at + b.place(p, j), b.type));
                const A *from = &left[p * m];
                for (size_t i = 0; i < m; i++) column[i] += from[i] * x;
            }
            for (size_t i = 0; i < m; i++) {
                char *to = c_at + c.place(i, j);
                A sum = (A)alpha * column[i];
                store<A>(to, c.type, beta == 0 ? sum : sum + (A)beta * load<A>(to, c.type));
            }
        }
    }
    void run(const void *a_at, const void *b_at, void *c_at) const {
        if (!a.there(a_at, m, k) || !b.there(b_at, k, n) || !c.there(c_at, m, n))
            fail("a product of matrices that are no memory of a card");
        if (c.type == F64) run<double>((const char *)a_at, (const char *)b_at, (char *)c_at);
        else run<float>((const char *)a_at, (const char *)b_at, (char *)c_at);
    }
};

// With the numbers as the call gives them; false if cuBLAS refuses it.
bool prepare(Product &product, int m, int n, int k, const void *alpha, const void *beta, Matrix a, Matrix b, Matrix c,
             int count, int compute) {
    auto scalar = [=](const void *at) -> double {
        if (compute == COMPUTE_16F) return emulated::from_half(*(const uint16_t *)at);
        return c.type == F64 ? *(const double *)at : *(const float *)at;
    };
    product = {(size_t)m, (size_t)n, (size_t)k, scalar(alpha), scalar(beta), a, b, c, compute};
    return m >= 0 && n >= 0 && k >= 0 && count >= 0 && a.fits(m, k) && b.fits(k, n) && c.fits(m, n);
}
} // namespace

extern "C" {
int cublasCreate_v2(Blas **made) { return *made = new Blas{}, 0; }
int cublasDestroy_v2(Blas *blas) { return delete blas, 0; }
int cublasSetStream_v2(Blas *blas, Stream *stream) { return blas->stream = stream, 0; }
int cublasSetMathMode(Blas *, int) { return 0; }
int cublasSetPointerMode_v2(Blas *, int) { return 0; }

int cublasGemmStridedBatchedEx(Blas *blas, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const char *a,
                               int a_type, int lda, long long a_step, const char *b, int b_type, int ldb,
                               long long b_step, const void *beta, char *c, int c_type, int ldc, long long c_step,
                               int count, int compute, int) {
    Product product;
    Matrix left = {a_type, lda, turn_a != 0}, right = {b_type, ldb, turn_b != 0}, to = {c_type, ldc, false};
    if (!prepare(product, m, n, k, alpha, beta, left, right, to, count, compute)) return INVALID;
    note_uses(blas->stream, {a, b, c});
    return submit(blas->stream, {KERNEL, [=] {
        for (int e = 0; e < count; e++)
            product.run(a + e * a_step * size_of(a_type), b + e * b_step * size_of(b_type), c + e * c_step * size_of(c_type));
    }});
}

// cuBLAS chooses a kernel by sizes alone: where `k` elements are whole words of tensor cores, matrices have to be, too.
void check_place(const void *at, int type, int k, int compute) {
    const bool halves = type == F16 || type == BF16;
    if (!halves && compute != COMPUTE_FAST_TF32) return;
    const int sixteen = halves ? 8 : 4;
    if ((k % sixteen == 0 && (size_t)at % 16) || (halves && k % 2 == 0 && (size_t)at % 4))
        fail("a product over %d elements of a matrix at %p, where a card may fault", k, at);
}

// The addresses lie on the card, and are read when the product is made.
int cublasGemmBatchedEx(Blas *blas, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void **a,
                        int a_type, int lda, const void **b, int b_type, int ldb, const void *beta, void **c, int c_type,
                        int ldc, int count, int compute, int) {
    Product product;
    Matrix left = {a_type, lda, turn_a != 0}, right = {b_type, ldb, turn_b != 0}, to = {c_type, ldc, false};
    if (!prepare(product, m, n, k, alpha, beta, left, right, to, count, compute)) return INVALID;
    for (const void *all : {(const void *)a, (const void *)b, (const void *)c})
        if (owner((uint64_t)all, count * sizeof(void *)) < 0) return INVALID;
    note_uses(blas->stream, {a, b, c});
    const Mark own = next_of(blas->stream);
    return submit(blas->stream, {KERNEL, [=] {
        for (int e = 0; e < count; e++) {
            for (const void *matrix : {a[e], b[e], (const void *)c[e]}) note_use((uint64_t)matrix, own);
            check_place(a[e], a_type, k, compute);
            check_place(b[e], b_type, k, compute);
            product.run(a[e], b[e], c[e]);
        }
    }});
}

int cublasDgemmStridedBatched(Blas *blas, int turn_a, int turn_b, int m, int n, int k, const double *alpha,
                              const double *a, int lda, long long a_step, const double *b, int ldb, long long b_step,
                              const double *beta, double *c, int ldc, long long c_step, int count) {
    return cublasGemmStridedBatchedEx(blas, turn_a, turn_b, m, n, k, alpha, (const char *)a, F64, lda, a_step,
                                      (const char *)b, F64, ldb, b_step, beta, (char *)c, F64, ldc, c_step, count, 70, 0);
}

int cublasGemmEx(Blas *blas, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void *a, int a_type,
                 int lda, const void *b, int b_type, int ldb, const void *beta, void *c, int c_type, int ldc, int compute,
                 int) {
    return cublasGemmStridedBatchedEx(blas, turn_a, turn_b, m, n, k, alpha, (const char *)a, a_type, lda, 0,
                                      (const char *)b, b_type, ldb, 0, beta, (char *)c, c_type, ldc, 0, 1, compute, 0);
}
}
