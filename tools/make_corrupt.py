#!/usr/bin/env python3
"""Writes testdata/corrupt: small damaged files and what must be said of them.

    python3 tools/make_corrupt.py testdata/corrupt

Each case is a file, or a folder, and a row of containers.tsv: its path, the
status code, and the words that the message must hold, separated by '|'.
Needs nothing but Python. Every defect found later gets a case here.
"""

import json
import os
import struct
import sys

LOSS, UNIMPL = "DATA_LOSS", "UNIMPLEMENTED"
MISSING, ARGUMENT = "NOT_FOUND", "INVALID_ARGUMENT"

# --- GGUF --------------------------------------------------------------------

U8, U16, U32, I32, F32, BOOL, STRING, ARRAY = 0, 2, 4, 5, 6, 7, 8, 9


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n % 2**64)


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return u64(len(s)) + s


def key(name, kind, value):
    return text(name) + struct.pack("<i", kind) + value


def info(name, dims, kind, offset):
    return (text(name) + u32(len(dims)) + b"".join(u64(d) for d in dims)
            + struct.pack("<i", kind) + u64(offset))


ARCH = key("general.architecture", STRING, text("llama"))
NAMES = key("names", ARRAY, u32(STRING) + u64(2) + text("a") + text("bc"))
A = info("a.weight", [8, 2], 0, 0)      # 64 bytes
B = info("b.weight", [32], 8, 64)       # 34 bytes of q8_0, padded to 64


def gguf(keys=(ARCH, NAMES), infos=(A, B), n_keys=None, n_infos=None,
         version=3, magic=b"GGUF", alignment=32, data=bytes(range(128))):
    head = (magic + u32(version)
            + u64(len(infos) if n_infos is None else n_infos)
            + u64(len(keys) if n_keys is None else n_keys)
            + b"".join(keys) + b"".join(infos))
    return head + bytes(-len(head) % alignment) + data


def gguf_cases():
    good = gguf()
    yield "empty.gguf", b"", LOSS, "0 bytes|too short for GGUF"
    yield "magic.gguf", gguf(magic=b"GGUX"), LOSS, "does not begin with 'GGUF'"
    yield "version0.gguf", gguf(version=0), LOSS, "version 0"
    yield "version1.gguf", gguf(version=1), UNIMPL, "version 1|not supported"
    yield "version4.gguf", gguf(version=4), UNIMPL, "version 4|not supported"
    yield ("big-endian.gguf", gguf(version=3 << 24), UNIMPL,
           "big-endian|offset 8")
    # Places: inside the magic, after the version, in a count, a key's length,
    # a key, a string, an array, a tensor's name, its sizes, its offset.
    for at in (3, 8, 20, 30, 40, 60, 110, 140, 160, 178):
        words = ("too short" if at < 4
                 else "the file ends inside the number of" if at == 8
                 else "room for|truncated" if at < 140
                 else "the file ends inside|are left")
        yield f"cut-{at}.gguf", good[:at], LOSS, words
    yield ("cut-in-padding.gguf", good[:len(good) - 128 - 3], LOSS,
           "needs 64 bytes|truncated")
    yield ("cut-in-data.gguf", good[:-31], LOSS,
           "'b.weight'|q8_0 [32] needs 34 bytes|truncated")
    yield ("many-tensors.gguf", gguf(n_infos=2**40), LOSS,
           "number of tensors is 1099511627776|room for")
    yield ("negative-tensors.gguf", gguf(n_infos=-1), LOSS,
           "number of tensors is -1")
    yield ("many-keys.gguf", gguf(n_keys=2**62), LOSS, "number of keys is")
    yield ("negative-keys.gguf", gguf(n_keys=-2**63), LOSS,
           "number of keys is -9223372036854775808")
    yield ("one-key-more.gguf", gguf(n_keys=3), LOSS,
           "the file ends inside a tensor's name")
    yield ("one-key-fewer.gguf", gguf(n_keys=1), LOSS, "'names'|dimensions")
    yield ("long-key.gguf", gguf(keys=[u64(2**63) + b"abc"]), LOSS,
           "a key: needs 9223372036854775808 bytes")
    yield ("nameless-key.gguf", gguf(keys=[key("", U8, b"\1")]), LOSS,
           "key without a name")
    yield ("duplicate-key.gguf", gguf(keys=[ARCH, ARCH]), LOSS,
           "duplicate key 'general.architecture'")
    yield ("value-type-13.gguf", gguf(keys=[key("k", 13, b"\1")]), LOSS,
           "key 'k' has unknown value type 13")
    yield ("value-type-negative.gguf", gguf(keys=[key("k", -1, b"\1")]), LOSS,
           "unknown value type -1")
    yield ("boolean-2.gguf", gguf(keys=[key("k", BOOL, b"\2")]), LOSS,
           "'k'|boolean of value 2")
    yield ("long-string.gguf", gguf(keys=[key("k", STRING, u64(2**40))]),
           LOSS, "'k'|needs 1099511627776 bytes")
    yield ("nested-array.gguf",
           gguf(keys=[key("k", ARRAY, u32(ARRAY) + u64(1) + u32(U8) + u64(1)
                          + b"\1")]), UNIMPL, "'k' is an array of arrays")
    yield ("array-of-unknown.gguf",
           gguf(keys=[key("k", ARRAY, u32(77) + u64(1) + b"\1")]), LOSS,
           "unknown value type 77")
    yield ("long-array.gguf",
           gguf(keys=[key("k", ARRAY, u32(F32) + u64(2**61))]), LOSS,
           "length of key 'k' is 2305843009213693952|room for")
    yield ("long-string-array.gguf",
           gguf(keys=[key("k", ARRAY, u32(STRING) + u64(1000))]), LOSS,
           "length of key 'k' is 1000|room for")
    for n in (0, 48):
        yield (f"alignment-{n}.gguf",
               gguf(keys=[key("general.alignment", U32, u32(n))]), LOSS,
               f"general.alignment is {n}, not a power of two")
    yield ("alignment-type.gguf",
           gguf(keys=[key("general.alignment", I32, u32(32))]), LOSS,
           "general.alignment is not a u32")
    yield ("alignment-larger.gguf",
           gguf(keys=[key("general.alignment", U32, u32(128))], alignment=128,
                data=bytes(256)), LOSS,
           "'b.weight'|offset 64|end at 128")
    yield ("long-name.gguf", gguf(infos=[info("n" * 64, [8, 2], 0, 0)]), LOSS,
           "a name of 64 bytes, 1 to 63")
    yield ("nameless-tensor.gguf", gguf(infos=[info("", [8, 2], 0, 0)]), LOSS,
           "a name of 0 bytes")
    yield ("name-of-bytes.gguf",
           gguf(infos=[info(b"\n\xff\0", [8, -1], 0, 0)]), LOSS, "\\n\\xff")
    yield ("duplicate-tensor.gguf", gguf(infos=[A, A]), LOSS,
           "duplicate tensor 'a.weight'")
    yield ("five-dimensions.gguf",
           gguf(infos=[info("t", [1, 1, 1, 1, 1], 0, 0)]), LOSS,
           "'t' has 5 dimensions, at most 4")
    yield ("negative-size.gguf", gguf(infos=[info("t", [8, -2], 0, 0)]), LOSS,
           "'t'|negative size in shape [-2, 8]")
    yield ("size-overflow.gguf",
           gguf(infos=[info("t", [2**40, 2**40], 0, 0)]), LOSS,
           "'t'|more than 2^62 elements")
    yield ("byte-overflow.gguf", gguf(infos=[info("t", [2**61], 28, 0)]), LOSS,
           "'t'|more than 2^62 bytes")
    yield ("retired-type.gguf", gguf(infos=[info("t", [32], 4, 0)]), UNIMPL,
           "'t' has element type 4|retired")
    yield ("unknown-type.gguf", gguf(infos=[info("t", [32], 99, 0)]), UNIMPL,
           "element type 99|unknown")
    yield ("negative-type.gguf", gguf(infos=[info("t", [32], -1, 0)]), UNIMPL,
           "element type -1")
    yield ("half-block.gguf", gguf(infos=[info("t", [40], 8, 0)]), LOSS,
           "'t'|rows of 40 weights|blocks of 32")
    b = "b.weight", [32], 8
    yield ("offset-hole.gguf", gguf(infos=[A, info(*b, 96)]), LOSS,
           "'b.weight'|data offset 96|end at 64")
    yield ("offset-overlap.gguf", gguf(infos=[A, info(*b, 32)]), LOSS,
           "data offset 32|end at 64")
    yield ("offset-unaligned.gguf", gguf(infos=[A, info(*b, 65)]), LOSS,
           "data offset 65|end at 64")
    yield ("offset-negative.gguf", gguf(infos=[A, info(*b, -32)]), LOSS,
           "data offset 18446744073709551584|end at 64")
    yield ("offset-first.gguf",
           gguf(infos=[info("a.weight", [8, 2], 0, 64)]), LOSS,
           "data offset 64|end at 0")
    yield ("data-huge.gguf", gguf(infos=[info("t", [2**50], 0, 0)]), LOSS,
           "needs 4503599627370496 bytes|truncated")


def shard(no, count, total, infos, data, keys=()):
    return gguf(keys=[*keys, key("split.no", U16, struct.pack("<H", no)),
                      key("split.count", U16, struct.pack("<H", count)),
                      key("split.tensors.count", I32, u32(total))],
                infos=infos, data=data)


def split_cases():
    """Name of the case, its files, the file to open, code, words."""
    a = info("a", [8], 0, 0)
    b = info("b", [8], 0, 0)
    data = bytes(32)

    def pair(first, second):
        return {"m-00001-of-00002.gguf": first,
                "m-00002-of-00002.gguf": second}

    one = shard(0, 2, 2, [a], data, [ARCH])
    two = shard(1, 2, 2, [b], data)
    opened = "m-00001-of-00002.gguf"
    yield ("split-missing", {opened: one}, opened, MISSING,
           "m-00002-of-00002.gguf|shard 2 of 2 is missing")
    yield ("split-first-missing", {"m-00002-of-00002.gguf": two},
           "m-00002-of-00002.gguf", MISSING, "shard 1 of 2 is missing")
    yield ("split-cyclic", pair(one, one), opened, LOSS,
           "split.no is 0, expected 1|m-00002-of-00002.gguf")
    yield ("split-count", pair(one, shard(1, 3, 2, [b], data)), opened, LOSS,
           "split.count is 3, expected 2")
    yield ("split-no-key", pair(one, gguf(keys=[], infos=[b], data=data)),
           opened, LOSS, "split.no is missing, expected 1")
    yield ("split-tensors", pair(shard(0, 2, 3, [a], data), two), opened,
           LOSS, "split.tensors.count is 3, expected 2")
    yield ("split-duplicate", pair(one, shard(1, 2, 2, [a], data)), opened,
           LOSS, "duplicate tensor 'a'")
    yield ("split-renamed", {"model.gguf": one}, "model.gguf", ARGUMENT,
           "one of 2 shards|name does not end in")
    yield ("split-damaged", pair(one, two[:-1]), opened, LOSS,
           "'b'|truncated|m-00002-of-00002.gguf")
    yield ("several-gguf", {"a.gguf": gguf(), "b.gguf": gguf()}, "", ARGUMENT,
           "several GGUF files|a.gguf, b.gguf")


# --- safetensors ---------------------------------------------------------------


def tensor(dtype="F32", shape=(2, 2), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def safetensors(header, n_data=16, length=None):
    if not isinstance(header, (bytes, str)):
        header = json.dumps(header)
    header = header.encode() if isinstance(header, str) else header
    return u64(len(header) if length is None else length) + header + bytes(n_data)


def safetensors_cases():
    one = {"a": tensor()}
    good = safetensors(one)
    yield "empty", b"", LOSS, "0 bytes|too short for safetensors"
    yield "cut-7", good[:7], LOSS, "7 bytes|too short"
    yield "cut-8", good[:8], LOSS, "header length is 65|only 8 bytes"
    yield "cut-in-header", good[:30], LOSS, "header length is|truncated"
    yield ("cut-in-data", good[:-1], LOSS,
           "'a'|[0, 16]|15 bytes after the header|truncated")
    yield ("length-over-cap", safetensors(one, length=100000001), LOSS,
           "header length is 100000001, at most 100000000")
    yield ("length-huge", safetensors(one, length=2**64 - 1), LOSS,
           "header length is 18446744073709551615")
    yield ("length-over-file", safetensors(one, length=5000), LOSS,
           "header length is 5000|the file has only")
    yield "length-zero", safetensors(one, length=0), LOSS, "begin with '{'"
    yield "length-short", safetensors(one, length=20), LOSS, "not valid JSON"
    yield ("length-long", safetensors(one, length=70), LOSS, "not valid JSON")
    yield ("leading-space", safetensors(" " + json.dumps(one)), LOSS,
           "does not begin with '{'|offset 8")
    yield "array", safetensors("[]", 0), LOSS, "does not begin with '{'"
    yield ("json", safetensors('{"a": }'), LOSS,
           "not valid JSON|expected a value|line 1, column 7")
    yield "two-documents", safetensors("{} {}", 0), LOSS, "after the end"
    yield ("utf8", safetensors(b'{"\xff": 1}'), LOSS,
           "not valid JSON|not UTF-8|line 1, column 3")
    yield ("deep", safetensors('{"a": ' + "[" * 500 + "]" * 500 + "}"), LOSS,
           "deeper than 128")
    yield ("duplicate-tensor",
           safetensors('{"a": %s, "a": %s}' % ((json.dumps(tensor()),) * 2)),
           LOSS, "duplicate tensor 'a'")
    yield ("duplicate-field",
           safetensors('{"a": {"dtype": "F32", "dtype": "F32", "shape": [4], '
                       '"data_offsets": [0, 16]}}'), LOSS,
           "duplicate key 'dtype'|at a")
    yield ("metadata-number",
           safetensors({"__metadata__": {"n": 1}, **one}), LOSS,
           "expected a string, found a number|__metadata__.n")
    yield ("metadata-list", safetensors({"__metadata__": [], **one}), LOSS,
           "expected an object, found an array")
    yield ("metadata-duplicate",
           safetensors('{"__metadata__": {"x": "1", "x": "2"}}', 0), LOSS,
           "duplicate key 'x'")
    yield "tensor-number", safetensors({"a": 1}), LOSS, "expected an object"
    yield ("unknown-dtype", safetensors({"a": tensor("F128")}), UNIMPL,
           "unknown dtype 'F128'|at a.dtype")
    yield ("lower-case-dtype", safetensors({"a": tensor("f32")}), UNIMPL,
           "unknown dtype 'f32'")
    yield ("dtype-number", safetensors({"a": tensor(3)}), LOSS,
           "expected a string, found a number|a.dtype")
    for field in ("dtype", "shape", "data_offsets"):
        broken = tensor()
        del broken[field]
        yield (f"no-{field.replace('_', '-')}", safetensors({"a": broken}),
               LOSS, f"key '{field}' is missing|at a")
    yield ("shape-negative", safetensors({"a": tensor(shape=(-2, -2))}), LOSS,
           "negative number -2|a.shape[0]")
    yield ("shape-text", safetensors({"a": tensor(shape=("2",))}), LOSS,
           "expected an integer, found a string")
    yield ("shape-fraction", safetensors({"a": tensor(shape=(4.0,))}), LOSS,
           "expected an integer, found a number")
    yield ("shape-overflow", safetensors({"a": tensor(shape=(2**40, 2**40))}),
           LOSS, "'a'|more than 2^62 elements")
    yield ("shape-above-64-bits", safetensors({"a": tensor(shape=(10**30,))}),
           LOSS, "expected an integer")
    yield ("shape-wraps", safetensors({"a": tensor(shape=(2**62, 4, 2**62))}),
           LOSS, "'a'|more than 2^62")
    yield ("shape-unlike-bytes", safetensors({"a": tensor(shape=(2, 3))}),
           LOSS, "f32 [2, 3] needs 24 bytes, header gives 16")
    yield ("half-byte", safetensors({"a": tensor("F4", (31,), (0, 16))}), LOSS,
           "blocks of 2 that f4 needs")
    yield ("offsets-one", safetensors({"a": tensor(offsets=(0,))}), LOSS,
           "expected 2 offsets, found 1")
    yield ("offsets-three", safetensors({"a": tensor(offsets=(0, 16, 32))}),
           LOSS, "expected 2 offsets, found 3")
    yield ("offsets-reversed", safetensors({"a": tensor(offsets=(16, 0))}),
           LOSS, "'a'|[16, 0] do not lie within")
    yield ("offsets-negative", safetensors({"a": tensor(offsets=(-16, 0))}),
           LOSS, "negative number -16|a.data_offsets[0]")
    yield ("offsets-beyond",
           safetensors({"a": tensor(offsets=(2**62, 2**62 + 16))}), LOSS,
           "do not lie within the 16 bytes")
    pair = {"a": tensor(), "b": tensor(offsets=(16, 32))}
    yield ("overlap", safetensors({**pair, "b": tensor(offsets=(8, 24))}, 24),
           LOSS, "'b'|overlaps")
    yield ("same-place", safetensors({"a": tensor(), "b": tensor()}), LOSS,
           "'b'|overlaps")
    yield ("hole", safetensors({**pair, "b": tensor(offsets=(24, 40))}, 40),
           LOSS, "'b'|hole before it")
    yield ("hole-first", safetensors({"a": tensor(offsets=(8, 24))}, 24), LOSS,
           "'a'|hole before it")
    yield ("data-after-last", safetensors(pair, 40), LOSS,
           "the tensors end at offset|the file at")
    yield ("data-without-tensor", safetensors("{}", 4), LOSS,
           "the tensors end at offset 10, the file at 14")
    yield ("git-lfs", b"version https://git-lfs.github.com/spec/v1\n"
           b"oid sha256:0123\nsize 4976698672\n", LOSS, "Git LFS pointer")


def folder_cases():
    index = "model.safetensors.index.json"
    first, second = ("model-0000%d-of-00002.safetensors" % i for i in (1, 2))
    a, b = safetensors({"a": tensor()}), safetensors({"b": tensor()})

    def model(weight_map, **files):
        return {index: json.dumps({"metadata": {}, "weight_map": weight_map}),
                first: a, second: b, **files}

    good = {"a": first, "b": second}
    yield ("index-leads-out", model({**good, "b": "../secret.safetensors"}),
           "", LOSS, "'../secret.safetensors' is not a plain one|weight_map.b")
    yield ("index-absolute", model({**good, "b": "/etc/passwd"}), "", LOSS,
           "lead out of the model's folder")
    yield ("index-dots", model({**good, "b": ".."}), "", LOSS, "not a plain one")
    yield ("index-number", model({**good, "b": 2}), "", LOSS,
           "expected a string|weight_map.b")
    yield ("index-empty", model({}), "", LOSS, "names no tensor")
    yield ("index-duplicate",
           {index: '{"weight_map": {"a": "%s", "a": "%s"}}' % (first, second),
            first: a, second: b}, "", LOSS, "duplicate tensor 'a'")
    yield ("index-without-map", {index: "{}", first: a}, "", LOSS,
           "key 'weight_map' is missing")
    yield ("index-json", {index: '{"weight_map": {', first: a}, "", LOSS,
           "not valid JSON|index.json")
    yield ("index-missing-file", {index: model(good)[index], first: a}, "",
           MISSING, second + "|named by the index but missing")
    yield ("index-missing-tensor", model({**good, "c": first}), "", LOSS,
           f"tensor 'c' is not in {first}")
    yield ("index-wrong-file", model({"a": first, "b": first, "z": second}),
           "", LOSS, f"tensor 'b' is not in {first}|but in")
    yield ("index-duplicate-in-shards", {**model(good), second: a}, "", LOSS,
           "duplicate tensor 'a'")
    yield ("index-damaged-shard", {**model(good), second: b[:-1]}, index, LOSS,
           f"truncated|{second}")
    yield ("shards-incomplete", {first: a}, "", MISSING,
           f"file '{second}' is missing")
    yield ("pickles-only", {"pytorch_model.bin": b"PK\3\4", "config.json": "{}"},
           "", UNIMPL, "only PyTorch weights (pytorch_model.bin)|safetensors")
    yield ("consolidated-only", {"consolidated.safetensors": a}, "", UNIMPL,
           "consolidated.safetensors")
    yield ("nothing", {"config.json": "{}"}, "", MISSING,
           "no model.safetensors|no .gguf")


def other_cases():
    yield "zip.bin", b"PK\3\4 a zip", UNIMPL, "PyTorch or zip archive"
    yield "pickle.pt", b"\x80\x02}q\0.", UNIMPL, "Python pickle"
    yield "old.bin", b"tjgg\3\0\0\0", UNIMPL, "before GGUF"
    yield "text.txt", b"hello", UNIMPL, "neither safetensors nor GGUF"


# --- All -----------------------------------------------------------------------


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def main(root):
    rows = []
    for folder, ending, cases in (("gguf", "", gguf_cases()),
                                  ("safetensors", ".safetensors",
                                   safetensors_cases()),
                                  ("other", "", other_cases())):
        for name, content, code, words in cases:
            path = f"{folder}/{name}{ending}"
            write(f"{root}/{path}", content)
            rows.append((path, code, words))
    for folder, cases in (("gguf", split_cases()),
                          ("safetensors", folder_cases())):
        for name, files, opened, code, words in cases:
            path = f"{folder}/{name}"
            for file, content in files.items():
                write(f"{root}/{path}/{file}", content)
            rows.append((os.path.join(path, opened).rstrip("/"), code, words))
    with open(f"{root}/containers.tsv", "w") as manifest:
        for row in rows:
            manifest.write("\t".join(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
