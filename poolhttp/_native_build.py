"""Builds ``poolhttp._native`` from ``_native.c`` with cffi in API mode.

Lives here: compiler flags and the declaration of the C interface (read from ``_native.h``, so that
it stands in one place). setuptools calls it through ``cffi_modules`` in setup.py.

``CFLAGS`` adds compiler flags, as in ``CFLAGS="-Werror" pip install .``.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-fstack-protector-strong"]


def declarations() -> str:
    """Return the C declarations of ``_native.h`` in the subset of C that cffi parses."""
    text = (HERE / "_native.h").read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


ffibuilder = FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "poolhttp._native",
    '#include "_native.h"',
    sources=["poolhttp/_native.c"],
    depends=["poolhttp/_native.h"],
    include_dirs=[str(HERE)],
    extra_compile_args=FLAGS,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
