"""Compile what the commands import, into PYTHONPYCACHEPREFIX.

A pod cannot keep what it compiles, so without bytecode each start would take 10 s more. Compiling
everything would be 170 MB; what is imported is 110.
"""

import importlib
import py_compile
import sys

PACKAGES = """
    argo_workflows bioframe boto3 h5py jinja2 keras kubernetes logomaker matplotlib.pyplot
    matplotlib.backends.backend_svg pandas pyfaidx pyjaspar rich.progress rich.table ruamel.yaml
    sklearn.metrics tensorflow
"""

for package in PACKAGES.split():
    importlib.import_module(package)
sys.modules["boto3"].client("s3", region_name="none")  # imports more
for name, module in list(sys.modules.items()):
    path = getattr(module, "__file__", None) or ""
    if path.endswith(".py") and name != "__main__":
        # Unchecked: nobody changes the sources in an image, and looking takes time.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(path, doraise=True, invalidation_mode=mode)
