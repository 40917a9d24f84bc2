#!/bin/sh
# Deletes files that no command of motifk8s needs from an environment: 0.8 of 2.1 GB.
# The tests also run in the image, so a test fails if a needed file is deleted.
set -eu
cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Headers, sources and static libraries, which only compilers need.
rm -rf tensorflow/include tensorflow/xla_aot_runtime_src nvidia/*/include
find . \( -name '*.a' -o -name '*.h' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pyi' \
  -o -name '*.c' -o -name '*.cpp' \) -delete

# TensorFlow requires libclang, but only its build imports it.
rm -rf clang
# It converts models between compilers; nothing imports it.
rm -f tensorflow/compiler/mlir/stablehlo/stablehlo_extension.so

# Tests and examples of the libraries. (Modules of TensorFlow's API that are named test are kept.)
for name in h5py matplotlib numpy pandas scipy sklearn; do
  find $name -type d -name tests -prune -exec rm -rf {} +
done
rm -rf logomaker/examples logomaker/tutorials matplotlib/mpl-data/sample_data

# Biopython needs these only for answers of NCBI's servers, which motifk8s does not use.
rm -rf Bio/Entrez/DTDs Bio/Entrez/XSDs

# Descriptions of AWS services. Only object store and logins are needed.
find botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name 'sso*' ! -name sts ! -name signin -exec rm -rf {} +

# The asynchronous part of the Kubernetes client, and packages that only it needs.
rm -rf kubernetes/aio aiohappyeyeballs aiohttp aiohttp_retry aiosignal frozenlist multidict \
  propcache yarl

# Symbols for debuggers, a quarter of TensorFlow. Libraries in *.libs are skipped, because patchelf
# has rewritten them and strip would break them. CUDA's libraries are already stripped.
find . -name '*.so*' -type f ! -path './*.libs/*' ! -path './nvidia/*' \
  -exec strip --strip-unneeded {} +
