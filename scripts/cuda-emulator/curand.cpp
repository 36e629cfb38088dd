// Random numbers on emulated cards, libcurand.so.10: other numbers than a card's, of the same distributions.
#include <random>

#include "driver.h"

struct Generator {
    std::mt19937_64 draws;
    Stream *stream = 0;
};

template <typename V, typename D> int fill(Generator *own, V *to, size_t count, D distribution) {
    if (count && owner((uint64_t)to, count * sizeof(V)) < 0) return 102;
    note_uses(own->stream, {to});
    return submit(own->stream, {KERNEL, [=]() mutable {
        for (size_t k = 0; k < count; k++) to[k] = distribution(own->draws);
    }});
}

template <typename V> int normal(Generator *own, V *to, size_t count, V mean, V deviation) {
    if (count % 2) return 105; // as on a card, which makes them in pairs
    return fill(own, to, count, std::normal_distribution<V>(mean, deviation));
}

extern "C" {
int curandCreateGenerator(Generator **made, int) { return *made = new Generator, 0; }
int curandDestroyGenerator(Generator *own) { return delete own, 0; }
int curandSetStream(Generator *own, Stream *stream) { return own->stream = stream, 0; }
int curandSetPseudoRandomGeneratorSeed(Generator *own, unsigned long long seed) { return own->draws.seed(seed), 0; }
int curandSetGeneratorOffset(Generator *, unsigned long long) { return 0; }
int curandGenerateUniform(Generator *own, float *to, size_t count) {
    return fill(own, to, count, std::uniform_real_distribution<float>(0, 1));
}
int curandGenerateUniformDouble(Generator *own, double *to, size_t count) {
    return fill(own, to, count, std::uniform_real_distribution<double>(0, 1));
}
int curandGenerateNormal(Generator *own, float *to, size_t count, float mean, float deviation) {
    return normal(own, to, count, mean, deviation);
}
int curandGenerateNormalDouble(Generator *own, double *to, size_t count, double mean, double deviation) {
    return normal(own, to, count, mean, deviation);
}
}
