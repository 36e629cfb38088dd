// Files of kernels as libraries, which `compile.sh`, in the folder that CUDA_EMULATOR names, makes once: they are kept in
// the folder EMULATED_KERNELS, by what they are made of.
#include "kernels.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <mutex>
#include <sstream>

namespace {
std::string read(const std::string &path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// All files that a pattern names, with their names.
std::string all(const std::string &pattern) {
    std::string texts;
    glob_t found = {};
    if (glob(pattern.c_str(), 0, 0, &found) == 0)
        for (size_t k = 0; k < found.gl_pathc; k++) texts += found.gl_pathv[k] + read(found.gl_pathv[k]);
    globfree(&found);
    return texts;
}

std::string kept(const std::string &of) {
    char name[20];
    snprintf(name, sizeof(name), "%016zx", std::hash<std::string>()(of));
    const char *folder = getenv("EMULATED_KERNELS");
    mkdir(folder, 0777);
    return std::string(folder) + "/" + name;
}
} // namespace

std::string write_source(const std::string &text) {
    std::string path = kept(text) + ".cu", own = path + std::to_string(getpid());
    std::ofstream(own) << text;
    rename(own.c_str(), path.c_str());
    return path;
}

std::string compiled(const std::string &source, const std::string &macros, std::string &log) {
    static std::mutex alone;
    std::lock_guard<std::mutex> guard(alone);
    std::string tools = getenv("CUDA_EMULATOR"), folder = source.substr(0, source.rfind('/'));
    std::string made_of = read(source) + macros + all(folder + "/*.cuh") + all(tools + "/*.h") + read(tools + "/compile.sh");
    std::string base = kept(made_of), library = base + ".so", words = base + "." + std::to_string(getpid());
    if (access(library.c_str(), R_OK) == 0) return library;
    std::string command = tools + "/compile.sh " + source + " " + library + macros + " 2>" + words;
    int status = system(command.c_str());
    log = read(words);
    unlink(words.c_str());
    return status == 0 ? library : "";
}
