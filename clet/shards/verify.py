"""Reading a shard again from its first byte to its last, believing nothing.

Checked are: every frame's checksum and structure, that frames follow each other without gap, counts of header, footer
and manifest against what is there, tokens document by document, and the Merkle root recomputed from the document
table. Cost: two sequential reads; memory one frame and the document table.
"""

from __future__ import annotations

import os

import numpy as np

from clet.exits import InputError
from clet.shards.lineage import merkle_root
from clet.shards.manifest import ShardEntry
from clet.shards.reader import ShardReader

_COMPARED = ("lane", "num_windows", "num_tokens", "num_documents", "root", "fingerprint", "seq_len", "newest")


def verify_shard(entry: ShardEntry) -> ShardReader:
    """The reader of a shard found whole. Raises InputError naming the file and the frame or the number that differs."""
    path = entry.path
    if not os.path.exists(path):
        raise InputError(f"{path}: missing, though the manifest lists it; restore it from a copy")
    reader = entry.open(fingerprint=entry.fingerprint)
    for name in _COMPARED:
        if getattr(entry, name) != getattr(reader, name):
            raise InputError(f"{path}: {name} is {getattr(reader, name)}, the manifest says {getattr(entry, name)}")
    reader.check_layout()
    tokens = np.zeros(reader.num_documents, np.int64)
    masked = 0
    for windows in reader.all_windows():
        _, lengths, rows, spans = windows.layout
        np.add.at(tokens, rows, lengths)
        masked += int((spans[:, 1] - spans[:, 0]).sum())
    for what, found, told in (("tokens", int(tokens.sum()), reader.num_tokens), ("masked", masked, reader.num_masked)):
        if found != told:
            raise InputError(f"{path}: {found} {what} in its windows, its footer says {told}")
    documents = reader.documents()
    for row, document in enumerate(documents):
        if document["tokens"] != tokens[row]:
            raise InputError(f"{path}: document {document['id']} has {tokens[row]} tokens, not {document['tokens']}")
    root = merkle_root(bytes.fromhex(document["id"]) for document in documents).hex()
    if root != reader.root:
        raise InputError(f"{path}: its documents have Merkle root {root}, its footer says {reader.root}")
    return reader
