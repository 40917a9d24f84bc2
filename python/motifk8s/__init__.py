"""Which architectures make the filters of a CNN learn whole motifs: run such studies anywhere."""
