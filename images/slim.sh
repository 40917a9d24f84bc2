#!/bin/sh
# Takes out of an environment what no command of motifk8s needs: 0.8 of 2.1 GB.
# The tests run in the slimmed image, so that what is missed is noticed.
set -eu
cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# To compile extensions of TensorFlow and of CUDA against: headers, sources, static libraries.
rm -rf tensorflow/include tensorflow/xla_aot_runtime_src nvidia/*/include
find . \( -name '*.a' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pyi' \
  -o -name '*.c' -o -name '*.cpp' \) -delete

# TensorFlow names libclang as a requirement, but only its own build imports it.
rm -rf clang
# Converts models between compilers; nothing imports it.
rm -f tensorflow/compiler/mlir/stablehlo/stablehlo_extension.so

# The libraries' own tests and examples. (TensorFlow's API has modules named test: those stay.)
for name in h5py matplotlib numpy pandas scipy sklearn; do
  find $name -type d -name tests -prune -exec rm -rf {} +
done
rm -rf logomaker/examples logomaker/tutorials matplotlib/mpl-data/sample_data

# What Biopython needs to read the answers of NCBI's servers, which nobody asks.
rm -rf Bio/Entrez/DTDs Bio/Entrez/XSDs

# The description of every AWS service; ours are the object store and the ways to log in.
find botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name 'sso*' ! -name sts ! -name signin -exec rm -rf {} +

# The asynchronous half of the Kubernetes client, and what it alone needs.
rm -rf kubernetes/aio aiohappyeyeballs aiohttp aiohttp_retry aiosignal frozenlist multidict \
  propcache yarl

# Symbols for debuggers: a quarter of TensorFlow. Not in *.libs, which patchelf has rewritten and
# strip would break, and not CUDA's, which are stripped.
find . -name '*.so*' -type f ! -path './*.libs/*' ! -path './nvidia/*' \
  -exec strip --strip-unneeded {} +
