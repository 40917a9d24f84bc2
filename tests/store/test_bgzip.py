"""Files are those of bgzip: Biopython reads them by block, and any gzip as a whole."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from Bio import bgzf

from motifk8s.data.genome import BGZIP_END
from motifk8s.store.bgzip import BLOCK, compress

TEXTS = {
    "empty": "",
    "letter": "a",
    "two bytes": "é\n" * BLOCK,
    "rows": "chr1\t1\t2\n" * 50_000,
    "noise": "".join(random.Random(1).choices([chr(i) for i in range(32, 0x2500)], k=200_000)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_round_trip(tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    data = b"".join(compress([text]))
    assert gzip.decompress(data) == text.encode()
    assert data.endswith(BGZIP_END)
    assert data == b"".join(compress(text[i : i + 777] for i in range(0, len(text), 777)))
    path = tmp_path / "x.gz"
    path.write_bytes(data)
    with path.open("rb") as file:
        blocks = [*bgzf.BgzfBlocks(file)]
    sizes = [block[3] for block in blocks]
    assert sizes[-1] == 0 and sum(sizes) == len(text.encode())
    assert all(size == BLOCK for size in sizes[:-2])
    with bgzf.BgzfReader(str(path), "rb") as reader:
        if len(blocks) > 2:  # from the second block on
            reader.seek(bgzf.make_virtual_offset(blocks[1][0], 5))
            assert reader.read(100) == text.encode()[BLOCK + 5 : BLOCK + 105]
