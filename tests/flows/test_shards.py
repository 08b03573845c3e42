"""Our shards are plain Zarr: zarr-python reads what we write, we read what it writes, and damage is found."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from flows.steps.cubes.cell_store import arrays_digest, create_array
from flows.steps.cubes.shards import BrokenShard, decode_shard, encode_shard
from products.template import ArrayTemplate

SIDE = 1536
LAYERS = ("a", "b", "c")
TEMPLATES = {
    "features": ArrayTemplate("features", "feature", LAYERS, "float32", float("nan")),
    "accounts": ArrayTemplate("accounts", "cause", LAYERS, "uint16", 0),
    "classes": ArrayTemplate("classes", None, (), "uint8", 255),
}


def content_of(array: ArrayTemplate) -> np.ndarray:
    shape = array.shape(SIDE)
    rng = np.random.default_rng(4)
    made = (rng.integers(0, 200, shape) + np.arange(SIDE) // 64).astype(array.dtype)
    if array.dtype == "float32":
        made[..., :700, :700] = np.nan
    return made


def shard_file(folder: Path, array: ArrayTemplate) -> Path:
    return folder.joinpath(array.name, "c", *("0" for _ in array.dims))


@pytest.mark.parametrize("name", list(TEMPLATES))
@pytest.mark.parametrize("threads", [1, 3])
def test_zarr_reads_what_we_write(tmp_path: Path, name: str, threads: int) -> None:
    array, content = TEMPLATES[name], content_of(TEMPLATES[name])
    group = zarr.create_group(tmp_path, zarr_format=3)
    create_array(group, array, content.shape, content.shape, SIDE)
    file = shard_file(tmp_path, array)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(encode_shard(array, content, threads)))

    read = zarr.open_group(tmp_path, mode="r")[name]
    assert isinstance(read, zarr.Array)
    np.testing.assert_array_equal(read[...], content)
    np.testing.assert_array_equal(decode_shard(array, file.read_bytes(), content.shape, threads), content)


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_we_read_what_zarr_writes(tmp_path: Path, name: str) -> None:
    array, content = TEMPLATES[name], content_of(TEMPLATES[name])
    group = zarr.create_group(tmp_path, zarr_format=3)
    create_array(group, array, content.shape, content.shape, SIDE)[...] = content

    np.testing.assert_array_equal(
        decode_shard(array, shard_file(tmp_path, array).read_bytes(), content.shape, 2), content
    )


def test_threads_change_no_byte() -> None:
    array, content = TEMPLATES["features"], content_of(TEMPLATES["features"])

    assert b"".join(encode_shard(array, content, 1)) == b"".join(encode_shard(array, content, 4))
    assert arrays_digest({"features": content}, 1) == arrays_digest({"features": content}, 4)


def test_the_digest_sees_one_number_a_name_and_a_shape() -> None:
    content = content_of(TEMPLATES["accounts"])
    other = content.copy()
    other[0, 2, 5, 7] += 1
    digests = [arrays_digest({"accounts": c}) for c in (content, other, content[:, :2], content.astype("uint32"))]

    assert len({*digests, arrays_digest({"amounts": content})}) == 5


def test_damage_is_named() -> None:
    array, content = TEMPLATES["accounts"], content_of(TEMPLATES["accounts"])
    shard = b"".join(encode_shard(array, content, 1))
    with pytest.raises(BrokenShard, match="a shard of 10 bytes"):
        decode_shard(array, shard[:10], content.shape, 1)
    with pytest.raises(BrokenShard, match="index of a shard has another checksum"):
        decode_shard(array, shard[:-30] + b"x" + shard[-29:], content.shape, 1)
    with pytest.raises(BrokenShard, match="chunk 0 of accounts cannot be decoded"):
        decode_shard(array, shard[:16] + b"\xff" * 40 + shard[56:], content.shape, 1)
    with pytest.raises(BrokenShard, match="chunk 0 of accounts holds 4294967295 bytes, expected 524288"):
        decode_shard(array, b"\xff" * 40 + shard[40:], content.shape, 1)


def test_the_chunks_are_compressed_as_the_metadata_say(tmp_path: Path) -> None:
    array = TEMPLATES["features"]
    made = create_array(zarr.create_group(tmp_path, zarr_format=3), array, array.shape(SIDE), array.shape(SIDE), SIDE)
    compressor = made.compressors[0]

    assert isinstance(compressor, BloscCodec)
    assert (compressor.cname.value, compressor.clevel, compressor.shuffle.value) == ("lz4", 5, "shuffle")
