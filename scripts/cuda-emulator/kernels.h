// How files of kernels become libraries.
#pragma once
#include <string>

// The library made of a file, with what `macros` defines; nothing, and why in `log`, if it does not compile.
std::string compiled(const std::string &source, const std::string &macros, std::string &log);
// A file that holds this text.
std::string write_source(const std::string &text);
