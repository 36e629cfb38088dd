// The compiler of emulated cards, libnvrtc.so.13.
#include <string.h>

#include "kernels.h"

struct Program {
    std::string source, log, image;
};

extern "C" {
int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, 0; }
int nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char **, const char **) {
    return *program = new Program{source}, 0;
}
int nvrtcDestroyProgram(Program **program) { return delete *program, *program = 0, 0; }

int nvrtcCompileProgram(Program *program, int count, const char **options) {
    std::string macros;
    for (int k = 0; k < count; k++)
        if (strncmp(options[k], "--define-macro=", 15) == 0) macros += std::string(" -D ") + (options[k] + 15);
    std::string library = compiled(write_source(program->source), macros, program->log);
    if (library.empty()) return 6;
    program->image = "emulated " + library + "\n";
    return 0;
}

int nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, 0; }
int nvrtcGetProgramLog(Program *program, char *log) { return strcpy(log, program->log.c_str()), 0; }
int nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->image.size() + 1, 0; }
int nvrtcGetPTX(Program *program, char *image) { return strcpy(image, program->image.c_str()), 0; }
const char *nvrtcGetErrorString(int code) { return code == 0 ? "NVRTC_SUCCESS" : "NVRTC_ERROR_COMPILATION"; }
}
