"""Build: write the stubs and the kernels' Cython source from the formulas, and compile it once for each instruction-set level.

Everything compiled is optional. Where there is no compiler the package installs without, says so, and works over Numba or NumPy.
With FASTACT_BUILD_EXTENSION=0 in the environment nothing is compiled, and with 1 everything must be: what can't be is an error. With
FASTACT_BUILD_LEVELS=v4 (or v3,v4 ...) only these levels' kernels are: a third of the work, while one works on them.
"""

import os
import pathlib
import platform
import sys
import tempfile
import types

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = pathlib.Path(__file__).parent
CY = pathlib.Path("fastact", "_cy")

# Never fast-math: NaN handling would go. No contraction: every level with FMA gives the same bits.
# Without errno and traps gcc may turn selects into blends.
GCC = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# Kernels: every formula is inlined, however long, since a call in the loop would stop SIMD. And blends that share a comparison
# must not be taken apart into branches first: they would come back as twice the masks. Instructions are moved apart as far as registers reach:
# without that limit tiles spill (gelu of float16: 1.64 ns a number against 1.23). Loops begin with a line of the cache: what a cheap one
# takes would else change by 15% with whatever lies before it, and gcc leaves out those it thinks are rare (selu's pair: 0.43 ns against 0.35).
# Loops of 16 are left as they are: tiles taken apart before they are vectorized stay scalar, and the two loops of a fission, over 16 vectors with AVX-512,
# would be more than the processor keeps decoded (tanh's pair: 0.49 ns against 0.40). And no link-time optimization, whatever CFLAGS say: it would lose
# the zero that primitives.h defines in assembler.
GCC_KERNELS = [
    "-DCYTHON_INLINE=inline __attribute__((always_inline))", "-fno-thread-jumps", "-fschedule-insns", "-fsched-pressure", "-falign-loops=64",
    "--param=align-loop-iterations=1", "--param=align-threshold=65536", "--param=max-completely-peel-times=14", "-fno-lto", "-g0",
]  # fmt: skip
# Row kernels pass blocks through local arrays. A copy turned into a memcpy comes back as moves of 16 bytes, which keep the arrays in memory
# (a third of the time of rows of 64); and loops of 8 numbers that are taken apart before they are vectorized stay scalar.
GCC_ROWS = ["-fno-tree-loop-distribute-patterns", "--param=max-completely-peel-times=6"]
MSVC = ["/O2", "/fp:precise"]


def levels(msvc):
    """The instruction-set levels to compile for, with their flags."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        if msvc:
            return {"v2": [], "v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]}
        flags = {level: [f"-march=x86-64-{level}"] for level in ("v2", "v3", "v4")}
        flags["v4"].append("-mprefer-vector-width=512")  # the default of 256 bits leaves half the lanes idle
        return flags
    return {"base": []}


class BuildOptional(build_ext):
    """Compile what can be compiled, and say what could not."""

    failed = ()

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        self.failed = []
        msvc = self.compiler.compiler_type == "msvc"
        for extension in self.extensions:
            level = extension.name.rpartition("_")[2]
            extension.extra_compile_args = list(MSVC if msvc else GCC) + levels(msvc).get(level, [])
            if level in levels(msvc) and not msvc:
                extension.extra_compile_args += GCC_KERNELS + (GCC_ROWS if ".rows_" in extension.name else [])
            if extension.language == "c++":
                extension.extra_compile_args.append("/std:c++17" if msvc else "-std=c++17")
        super().build_extensions()
        self.extensions = [e for e in self.extensions if e not in self.failed]

    def build_extension(self, extension):
        try:
            super().build_extension(extension)
        except Exception as error:  # every compiler fails in its own way
            if os.environ.get("FASTACT_BUILD_EXTENSION") == "1":
                raise
            self.failed.append(extension)
            # In one piece: other extensions are compiled at the same time.
            sys.stderr.write(f"fastact: {extension.name} was not compiled ({error}); the package works without it\n")


def write(path, text):
    """Write a generated file, unless it is as it should be: then nothing is compiled anew."""
    if not (HERE / path).exists() or (HERE / path).read_text(encoding="utf-8") != text:
        (HERE / path).write_text(text, encoding="utf-8")


def compile_a_line():
    """Raise ImportError where no compiler of C++ works: to find that out behind the making of the kernels' source takes minutes."""
    from distutils.ccompiler import new_compiler  # setuptools brings it
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "line.cpp")
        source.write_text("int line() { return 0; }\n")
        try:
            compiler.compile([str(source)], output_dir=folder, extra_postargs=["-std=c++17"])
        except Exception as error:  # every compiler fails in its own way
            raise ImportError(f"no compiler of C++ works: {error}") from None


def extensions():
    """The extension modules, their generated source written; none where Cython or NumPy's headers are missing."""
    package = types.ModuleType("fastact")  # the generators, without importing what is not built yet
    package.__path__ = [str(HERE / "fastact")]
    sys.modules["fastact"] = package
    try:
        import numpy

        from fastact import stubs

        write(pathlib.Path("fastact", "__init__.pyi"), stubs.stub())
        if os.environ.get("FASTACT_BUILD_EXTENSION") == "0":
            raise ImportError("FASTACT_BUILD_EXTENSION=0 is set")
        from Cython.Build import cythonize

        if os.name == "posix":  # elsewhere a build may choose among compilers
            compile_a_line()
    except ImportError as error:
        if os.environ.get("FASTACT_BUILD_EXTENSION") == "1":
            raise
        print(f"fastact: nothing is compiled ({error}); the package works without", file=sys.stderr)
        return []
    from fastact._cy import generate, generate_rows

    found, rows = [], generate_rows.generate()
    for stem in ("kernels", "rows"):
        for level in levels(sys.platform == "win32"):
            if level not in os.environ.get("FASTACT_BUILD_LEVELS", level).split(","):
                continue
            path = CY / f"{stem}_{level}.pyx"
            write(path, generate.generate(level) if stem == "kernels" else rows)
            depends = [str(CY / name) for name in ("primitives.h", "convert.h", "stages.h", "turn.h")]
            found.append(Extension(f"fastact._cy.{stem}_{level}", [str(path)], depends=depends))
    found.append(
        Extension(
            "fastact._cy.frontend",
            [str(CY / name) for name in ("frontend.pyx", "executor.cpp", "pipeline.cpp", "rows.cpp", "pool.cpp")],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            depends=[
                str(CY / name)
                for name in (
                    "executor.hpp",
                    "pipeline.hpp",
                    "pipeline.pxi",
                    "rows.hpp",
                    "rows.pxi",
                    "flags.hpp",
                    "pool.hpp",
                    "convert.h",
                    "stages.h",
                )
            ],
            language="c++",
        )
    )
    return cythonize(found, nthreads=0, quiet=True, include_path=[str(HERE / CY)])


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOptional})
