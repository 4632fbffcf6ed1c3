import hashlib

import numpy as np
import pytest

from clet import seeds
from clet.shards.lineage import MANY, InclusionProof, inclusion_proof, merkle_root, merkle_root_of, verify_inclusion
from clet.shards.sha256 import digests


def rfc_6962(leaves):
    """The definition of RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + rfc_6962(leaves[:split]) + rfc_6962(leaves[split:])).digest()


def ids(count):
    return [hashlib.sha256(b"%d" % i).digest()[:16] for i in range(count)]


@pytest.mark.parametrize("count", [*range(20), 63, 64, 65])
def test_root_is_that_of_rfc_6962_over_the_sorted_unique_ids(count):
    assert merkle_root(reversed(ids(count) * 2)) == rfc_6962(sorted(ids(count)))


@pytest.mark.parametrize("count", [0, 1, 5, MANY - 1, MANY, MANY + 1, 777, 1024, 1025])
def test_root_is_the_same_hashed_side_by_side(count):
    leaves = np.frombuffer(b"".join(ids(count)), np.uint8).reshape(-1, 16)
    assert merkle_root_of(np.concatenate((leaves[::-1], leaves[:3]))) == rfc_6962(sorted(ids(count)))


@pytest.mark.parametrize("length", [0, 1, 16, 17, 55, 56, 63, 64, 65, 119, 120, 128])
def test_digests_side_by_side_are_those_of_hashlib(length):
    messages = seeds.numpy_generator(length, "tests/sha256").integers(0, 256, (37, length)).astype(np.uint8)
    assert [row.tobytes() for row in digests(messages)] == [hashlib.sha256(row.tobytes()).digest() for row in messages]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13, 33])
def test_every_leaf_has_a_proof_that_holds_for_it_alone(count):
    leaves, root = ids(count), merkle_root(ids(count))
    for leaf in leaves:
        proof = inclusion_proof(leaves, leaf)
        assert verify_inclusion(root, leaf, proof)
        assert len(proof.path) <= count.bit_length()
        assert not verify_inclusion(root, bytes(16), proof)
        assert not verify_inclusion(bytes(32), leaf, proof)
        for other in leaves:
            assert other == leaf or not verify_inclusion(root, other, proof)


def test_a_bent_proof_fails():
    leaves = ids(11)
    root, leaf = merkle_root(leaves), leaves[4]
    proof = inclusion_proof(leaves, leaf)
    for bent in (
        InclusionProof(proof.index ^ 1, proof.size, proof.path),
        InclusionProof(proof.index, 1, proof.path),
        InclusionProof(proof.index, proof.size, proof.path[:-1]),
        InclusionProof(proof.index, proof.size, (*proof.path, bytes(32))),
        InclusionProof(proof.index, proof.size, (bytes(32), *proof.path[1:])),
        InclusionProof(99, proof.size, proof.path),
    ):
        assert not verify_inclusion(root, leaf, bent)


def test_an_inner_node_cannot_pass_as_a_leaf():
    pair = [bytes(16), bytes([1]) * 16]
    node = hashlib.sha256(b"\1" + b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in pair)).digest()
    assert merkle_root(pair) == node
    with pytest.raises(ValueError):
        merkle_root([node])


def test_an_absent_id_has_no_proof():
    with pytest.raises(KeyError):
        inclusion_proof(ids(5), bytes(16))
