"""Empty libraries in place of those of CUDA that PyTorch's wheel is linked with; the CPU's code calls none of them."""

import glob
import os
import re
import subprocess
import sys

# The beginnings of functions' names, with the library that has them; the first that fits counts.
LIBRARIES = [
    ("cublasLt", "libcublasLt.so.12"),
    ("cublas", "libcublas.so.12"),
    ("cudnn", "libcudnn.so.9"),
    ("cufft", "libcufft.so.11"),
    ("curand", "libcurand.so.10"),
    ("cusolver", "libcusolver.so.11"),
    ("cusparseLt", "libcusparseLt.so.0"),
    ("cusparse", "libcusparse.so.12"),
    ("nccl", "libnccl.so.2"),
    ("nvrtc", "libnvrtc.so.12"),
    ("cu[A-Z]", "libcuda.so.1"),
]
VERSIONED = {"libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9", "libcufft.so.11", "libcusparse.so.12"}


def undefined(path):
    """The functions that a library expects of others."""
    listed = subprocess.run(["readelf", "-W", "--dyn-syms", path], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return {row[7].split("@")[0] for row in rows if len(row) > 7 and row[6] == "UND"}


def main(folder):
    torch = glob.glob(f"{folder}/venv/lib/python3.*/site-packages/torch")[0]
    paths = glob.glob(f"{torch}/lib/*.so*") + glob.glob(f"{torch}/_C*.so")
    wanted = {library: [] for _, library in LIBRARIES}
    for name in sorted(set().union(*map(undefined, paths))):
        library = next((library for start, library in LIBRARIES if re.match(start, name)), None)
        if library:
            wanted[library].append(name)
    os.makedirs(f"{folder}/lib", exist_ok=True)
    for library, names in wanted.items():
        source = "".join(f"int {name}(void) {{ return 999; }}\n" for name in names)
        options = [f"-Wl,-soname,{library}", "-o", f"{folder}/lib/{library}"]
        if library in VERSIONED:
            script = f"{folder}/lib/{library}.map"
            with open(script, "w", encoding="utf-8") as file:
                file.write(f"{library} {{ global: *; }};\n")
            options.insert(0, f"-Wl,--version-script={script}")
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-", *options], input=source, text=True, check=True)


main(sys.argv[1])
