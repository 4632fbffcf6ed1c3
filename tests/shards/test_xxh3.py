import numpy as np
import pytest
import xxhash

from clet.shards.xxh3 import MIN_BYTES, hashed


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_it_is_the_library_s_hash_at_every_length_and_the_largest_id_of_whole_blocks(dtype):
    rng = np.random.default_rng(1)
    sizes = [*range(MIN_BYTES, 1400, 7), 2047, 3000, 3333, 2048, 2049, 4096, 65_536, 100_001]
    seen = 0
    for size in sizes:
        data = rng.integers(0, 256, size + 100, dtype=np.uint8)
        first = data[8:72].copy()
        elsewhere = data.copy()
        elsewhere[8:72] = 0
        elsewhere.flags.writeable = False
        peak = np.zeros(64 // np.dtype(dtype).itemsize, dtype)
        digest, begin, end = hashed(elsewhere, 8, size, first, 108, size - 50, peak)
        assert int(digest) == xxhash.xxh3_64_intdigest(data[8 : 8 + size]), size
        if end > begin:
            seen += 1
            assert begin >= 108 and end <= size - 50
            assert peak.max() == data[begin:end].view(dtype).max(), size
    assert seen >= 3
