"""python install.py DIR option...: makes the virtual environment DIR, in which this interpreter's pip installs.

It is pip as it lies here, whatever its version, and yet sees nothing but DIR: neither `pip --python`, which came
late, nor what else is installed here gets in its way. It ends as pip does.
"""
import os
import shutil
import subprocess
import sys


def main():
    target, options = sys.argv[1], sys.argv[2:]
    pip = find_pip()
    make_environment(target)
    # Of the set's own disk: a temporary directory in memory may be too small for large packages.
    scratch = os.path.join(target, ".installing")
    os.mkdir(scratch)
    os.symlink(pip, os.path.join(scratch, "pip"))
    command = [os.path.join(target, "bin", "python"), "-I", os.path.join(scratch, "pip"), "install"]
    try:
        code = subprocess.call(command + options, env=dict(os.environ, TMPDIR=scratch))
    finally:
        shutil.rmtree(scratch)
    sys.exit(code if code >= 0 else 128 - code)


def find_pip():
    try:
        import pip
    except ImportError:
        fail("has no pip, which installs packages: install it (Debian's package: python3-pip)")
    # Older ones install what does not fit together.
    if [int(part) for part in pip.__version__.split(".")[:2]] < [20, 3]:
        fail("has pip " + pip.__version__ + ", and 20.3 or newer is needed to install packages")
    return os.path.dirname(os.path.abspath(pip.__file__))


def make_environment(target):
    try:
        import venv
    except ImportError:
        fail("has no module venv, which makes a place for packages (Debian's package: python3-venv)")
    venv.create(target, symlinks=True)


def fail(lack):
    sys.exit("the interpreter " + sys.executable + " " + lack)


main()
