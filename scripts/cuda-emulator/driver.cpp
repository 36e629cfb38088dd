// The driver of emulated cards, libcuda.so.1: devices, contexts, modules and launches.
#include <dlfcn.h>
#include <signal.h>
#include <string.h>

#include <memory>

#include "driver.h"
#include "kernels.h"

namespace {
struct Context {
    int card;
};
Context contexts[16];
thread_local Context *current;

struct Module {
    void *library;
    int card;
};
struct Function {
    std::string name;
    size_t (*pack)(void **from, void *to);
    void (*run)(const void *packed);
    int card;
};

void on_fault(int signal, siginfo_t *info, void *) {
    if (const char *kernel = running()) fail("`%s` reads or writes %p, which is no memory of the card", kernel, info->si_addr);
    ::signal(signal, SIG_DFL);
}

// What of a device is not 0.
int attribute(int which) {
    switch (which) {
        case 1: return 1024;         // threads of a block
        case 2: case 3: return 1024; // and along a dimension
        case 4: return 64;
        case 5: return 0x7fffffff; // blocks
        case 6: case 7: return 65535;
        case 8: return 48 << 10; // bytes that a block shares
        case 10: return 32;      // threads of a warp
        case 16: return 4;       // multiprocessors
        case 39: return 2048;    // their threads
        case 75: return 9;       // compute capability
        case 115: return 1;      // memory pools
        default: return 0;
    }
}
} // namespace

int current_card() { return current ? current->card : 0; }

extern "C" {
int cuInit(unsigned) {
    static bool done = false;
    if (!done) {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, 0);
        done = true;
    }
    return cards() ? OK : NO_DEVICE;
}
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = cards(), OK; }
int cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= cards()) return INVALID_DEVICE;
    return *device = ordinal, OK;
}
int cuDeviceGetAttribute(int *value, int which, int) { return *value = attribute(which), OK; }
int cuDeviceGetName(char *name, int len, int) { return snprintf(name, len, "emulated card"), OK; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = pool_of(device).limit, OK; }
int cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, device + 1, 16), OK; }
int cuDevicePrimaryCtxRetain(Context **context, int device) {
    contexts[device].card = device;
    return *context = &contexts[device], OK;
}
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxSetCurrent(Context *context) { return current = context, OK; }
int cuCtxGetCurrent(Context **context) { return *context = current, OK; }
int cuCtxGetDevice(int *device) { return *device = current_card(), OK; }

int cuGetErrorName(int error, const char **name) {
    switch (error) {
        case OK: return *name = "CUDA_SUCCESS", OK;
        case INVALID_VALUE: return *name = "CUDA_ERROR_INVALID_VALUE", OK;
        case OUT_OF_MEMORY: return *name = "CUDA_ERROR_OUT_OF_MEMORY", OK;
        case NO_DEVICE: return *name = "CUDA_ERROR_NO_DEVICE", OK;
        case INVALID_DEVICE: return *name = "CUDA_ERROR_INVALID_DEVICE", OK;
        case NOT_READY: return *name = "CUDA_ERROR_NOT_READY", OK;
        case CAPTURE_UNSUPPORTED: return *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", OK;
        default: return *name = "CUDA_ERROR_UNKNOWN", OK;
    }
}
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

// What the compilers of this folder make says where the library is, or the file that it is made of.
int cuModuleLoadData(Module **module, const char *image) {
    if (strncmp(image, "emulated ", 9)) return INVALID_IMAGE;
    std::string path = image + 9;
    path.resize(path.find('\n'));
    std::string log;
    if (path.substr(path.size() - 3) == ".cu") path = compiled(path, "", log);
    if (path.empty()) fail("%s", log.c_str());
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("%s", dlerror());
    return *module = new Module{library, current_card()}, OK;
}
int cuModuleUnload(Module *module) { return delete module, OK; }
int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    void *pack = dlsym(module->library, (std::string(name) + "__pack").c_str());
    void *run = dlsym(module->library, (std::string(name) + "__run").c_str());
    if (!pack || !run) return NOT_FOUND;
    *function = new Function{name, (size_t(*)(void **, void *))pack, (void (*)(const void *))run, module->card};
    return OK;
}
int cuFuncGetAttribute(int *value, int, Function *) { return *value = 0, OK; }
int cuFuncSetAttribute(Function *, int, int) { return OK; }
int cuFuncSetCacheConfig(Function *, int) { return OK; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Function *, int, size_t) { return *blocks = 2, OK; }

int cuLaunchKernel(Function *function, unsigned bx, unsigned by, unsigned bz, unsigned tx, unsigned ty, unsigned tz,
                   unsigned shared_bytes, Stream *stream, void **arguments, void **) {
    if (!bx || !by || !bz || !tx || !ty || !tz) return refused("a launch of nothing");
    if (bx > 0x7fffffff || by > 65535 || bz > 65535) return refused("so many blocks");
    if ((size_t)tx * ty * tz > 1024 || tz > 64) return refused("so many threads");
    if (shared_bytes > 48 << 10) return refused("so many shared bytes");
    if (function->card != card_of(stream)) return refused("a kernel of another card", INVALID_HANDLE);
    if (idle() && !is_captured(stream)) return OK;
    auto launch = std::make_shared<Launch>();
    *launch = {function->name, function->run, std::vector<char>(function->pack(arguments, 0)),
               {bx, by, bz}, {tx, ty, tz}, shared_bytes};
    function->pack(arguments, launch->packed.data());
    for (size_t k = 0; k + 8 <= launch->packed.size(); k += 8) {
        uint64_t word;
        memcpy(&word, &launch->packed[k], 8);
        int card = owner(word, 1);
        if (card >= 0 && card != function->card) fail("`%s` is given memory of another card", function->name.c_str());
        note_use(word, next_of(stream));
    }
    return submit(stream, {KERNEL, [launch] { run(*launch); }});
}
}
