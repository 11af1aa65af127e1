"""The one thing that pyproject.toml can't say: which cffi module to build."""

from setuptools import setup

setup(cffi_modules=["poolhttp/_native_build.py:ffibuilder"])
