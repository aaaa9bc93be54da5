"""Builds the one optional extension; without a C compiler the install succeeds and the portable tiers run."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel


class LimitedWheel(bdist_wheel):
    """Tag the wheel abi3 only when the extension was really built."""

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return ("cp311", "abi3", platform) if python.startswith("cp") else (python, abi, platform)


sources = sorted(str(path) for path in Path("native").rglob("*.c"))
setup(
    cmdclass={"bdist_wheel": LimitedWheel},
    ext_modules=[
        Extension(
            "fewer._native",
            sources=sources,
            depends=sorted(str(path) for path in Path("native").rglob("*.h")),
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3", "-std=c11", "-fno-math-errno", "-fvisibility=hidden"],
            py_limited_api=True,
            optional=True,
        )
    ],
)
