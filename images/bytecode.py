"""Compile the modules that the commands import, into PYTHONPYCACHEPREFIX.

A pod cannot keep bytecode, so without these files each start would take 10 s more. Bytecode of all
modules would take 170 MB; that of the imported ones takes 110 MB.
"""

import importlib
import py_compile
import sys

PACKAGES = """
    argo_workflows bioframe boto3 h5py jinja2 keras kubernetes logomaker matplotlib.pyplot
    matplotlib.backends.backend_svg pandas pyjaspar rich.progress rich.table ruamel.yaml
    sklearn.metrics tensorflow
"""

for package in PACKAGES.split():
    importlib.import_module(package)
sys.modules["boto3"].client("s3", region_name="none")  # imports further modules
for name, module in list(sys.modules.items()):
    path = getattr(module, "__file__", None) or ""
    if path.endswith(".py") and name != "__main__":
        # Unchecked, because sources in an image never change and a check takes time.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(path, doraise=True, invalidation_mode=mode)
