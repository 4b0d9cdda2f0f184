#!/usr/bin/env python3
"""Makes testdata/quant: what ggml's own quantizers give for the weights of kernels/quant/test_weights.h.

    pip install xllamacpp==2026.10.11549 numpy
    tools/make_quant_goldens.py testdata/quant

For each type of TYPES:
  <type>.bin     the encoded rows, 3 x 512 weights a case: distributions in the order of test_weights.h, and within each
                 the importance kinds none, varied, with_zeros (none alone for types without importance, not none for
                 types that require some), but for the cases of aborts.txt
  aborts.txt     a line "<type> <distribution> <importance kind>" for each case in which ggml ends the process
  decoded.txt    a line "<type> <FNV-1a hash, 64 bits, of the decoded floats' bytes>" for 64 blocks of arbitrary bytes with
                 finite scales

xllamacpp carries a baseline build of ggml, so its arithmetic has no fused multiply-add.
"""
import ctypes
import importlib.metadata
import importlib.util
import math
import mmap
import os
import pathlib
import struct
import sys

import numpy as np

N_ROWS, N_COLS = 3, 512

# name, ggml's number, weights a block, bytes a block, kinds of importance, offsets of half-precision fields, decoder.
NONE, ANY, SOME = ("none",), ("none", "varied", "with_zeros"), ("varied", "with_zeros")
TYPES = [
    ("f16", 1, 1, 2, NONE, [0], "ggml_fp16_to_fp32_row"),
    ("bf16", 30, 1, 2, NONE, [], "ggml_bf16_to_fp32_row"),
    ("q8_0", 8, 32, 34, NONE, [0], "dequantize_row_q8_0"),
    ("q4_0", 2, 32, 18, ANY, [0], "dequantize_row_q4_0"),
    ("q4_1", 3, 32, 20, ANY, [0, 2], "dequantize_row_q4_1"),
    ("q5_0", 6, 32, 22, ANY, [0], "dequantize_row_q5_0"),
    ("q5_1", 7, 32, 24, ANY, [0, 2], "dequantize_row_q5_1"),
    ("q2_k", 10, 256, 84, ANY, [80, 82], "dequantize_row_q2_K"),
    ("q3_k", 11, 256, 110, ANY, [108], "dequantize_row_q3_K"),
    ("q4_k", 12, 256, 144, ANY, [0, 2], "dequantize_row_q4_K"),
    ("q5_k", 13, 256, 176, ANY, [0, 2], "dequantize_row_q5_K"),
    ("q6_k", 14, 256, 210, ANY, [208], "dequantize_row_q6_K"),
    ("iq3_xxs", 18, 256, 98, ANY, [0], "dequantize_row_iq3_xxs"),
    ("iq3_s", 21, 256, 110, ANY, [0], "dequantize_row_iq3_s"),
    ("iq1_s", 19, 256, 50, SOME, [0], "dequantize_row_iq1_s"),
    ("iq1_m", 29, 256, 56, ANY, [52, 54], "dequantize_row_iq1_m"),
    ("iq4_nl", 20, 32, 18, ANY, [0], "dequantize_row_iq4_nl"),
    ("iq4_xs", 23, 256, 136, ANY, [0], "dequantize_row_iq4_xs"),
    ("tq1_0", 34, 256, 54, NONE, [52], "dequantize_row_tq1_0"),
    ("tq2_0", 35, 256, 66, NONE, [64], "dequantize_row_tq2_0"),
    ("q1_0", 41, 128, 18, NONE, [0], "dequantize_row_q1_0"),
    ("q2_0", 42, 64, 18, NONE, [0], "dequantize_row_q2_0"),
    ("mxfp4", 39, 32, 17, NONE, [], "dequantize_row_mxfp4"),
    ("nvfp4", 40, 64, 36, NONE, [], "dequantize_row_nvfp4"),
    ("iq2_xxs", 16, 256, 66, SOME, [0], "dequantize_row_iq2_xxs"),
    ("iq2_xs", 17, 256, 74, SOME, [0], "dequantize_row_iq2_xs"),
    ("iq2_s", 22, 256, 82, ANY, [0], "dequantize_row_iq2_s"),
]


class Generator:
    """The integer generator of test_weights.h."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 48

    def normal(self):
        return sum(self.next() for _ in range(4)) - 131070


def remainder(n, divisor):
    """As in C: with the sign of n."""
    return int(math.fmod(n, divisor))


def cut_to_bf16(value):
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


def not_finite(n):
    if n % 211 == 0:
        return math.nan
    if n % 199 == 0:
        return -math.inf if n < 0 else math.inf
    return n * 2.0**-20


DISTRIBUTIONS = [
    ("normal", lambda row, col, n: n * 2.0**-20),
    ("bf16", lambda row, col, n: cut_to_bf16(n * 2.0**-20)),
    ("outliers", lambda row, col, n: n * (2.0**-14 if n % 64 == 0 else 2.0**-20)),
    ("positive", lambda row, col, n: abs(n) * 2.0**-20),
    ("negative", lambda row, col, n: -abs(float(n)) * 2.0**-20),
    ("constant", lambda row, col, n: (row + 1 if row % 2 == 0 else -row) * 0.1875),
    ("zero", lambda row, col, n: (0.0 if n % 2 == 0 else -0.0) if col // 32 % 2 == 0 else n * 2.0**-20),
    ("one_hot", lambda row, col, n: n * 2.0**-20 if col % 32 == (col // 32 + row) % 32 else 0.0),
    ("grid", lambda row, col, n: remainder(n, 9) * 0.5),
    ("ramp", lambda row, col, n: (col - 100 * row) * 2.0**-8),
    ("subnormal", lambda row, col, n: n * 2.0**-140),
    ("tiny", lambda row, col, n: n * 2.0**-149),
    ("large", lambda row, col, n: n * 2.0**2),
    ("huge", lambda row, col, n: n * 2.0**100),
    ("not_finite", lambda row, col, n: not_finite(n)),
]


def make_weights(index):
    generator = Generator(1 + index)
    formula = DISTRIBUTIONS[index][1]
    values = [[formula(row, col, generator.normal()) for col in range(N_COLS)] for row in range(N_ROWS)]
    return np.array(values, dtype=np.float32)


def make_importance(kind):
    if kind == "none":
        return None
    generator = Generator(1000)
    values = []
    for col in range(N_COLS):
        mantissa, exponent, gap = 1 + generator.next(), generator.next() % 24, generator.next()
        zero = kind == "with_zeros" and (col // 16 % 2 == 0 or gap % 8 == 0)
        values.append(0.0 if zero else math.ldexp(mantissa, exponent - 30))
    return np.array(values, dtype=np.float32)


def load_ggml():
    folder = pathlib.Path(importlib.util.find_spec("xllamacpp").origin).parent
    library = ctypes.CDLL(str(next(folder.glob("xllamacpp*.so"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = (
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p])
    return library


def encode(library, number, n_bytes, weights, importance):
    """The bytes, or None if ggml aborts: it is called in a process of its own."""
    out = mmap.mmap(-1, n_bytes)
    child = os.fork()
    if child == 0:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        pointer = None if importance is None else importance.ctypes.data
        target = (ctypes.c_char * n_bytes).from_buffer(out)
        written = library.ggml_quantize_chunk(number, weights.ctypes.data, target, 0, N_ROWS, N_COLS, pointer)
        os._exit(0 if written == n_bytes else 1)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), status
    return out[:] if status == 0 else None


def arbitrary_blocks(block_bytes, half_fields):
    """64 blocks of generated bytes; halves have their top exponent bit cleared, so they are below 2 and finite."""
    generator = Generator(2000)
    blocks = bytearray(generator.next() & 0xFF for _ in range(64 * block_bytes))
    for block in range(64):
        for field in half_fields:
            blocks[block * block_bytes + field + 1] &= 0xBF
    return bytes(blocks)


def hash_of(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def decode(library, function, data, n_weights):
    source = np.frombuffer(data, dtype=np.uint8).copy()
    out = np.zeros(n_weights, dtype=np.float32)
    getattr(library, function)(
        ctypes.c_void_p(source.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(n_weights))
    return out.tobytes()


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    library = load_ggml()
    weights = [make_weights(index) for index in range(len(DISTRIBUTIONS))]
    hashes = [f"# tools/make_quant_goldens.py, xllamacpp {importlib.metadata.version('xllamacpp')}\n"]
    aborts = []
    for name, number, block, block_bytes, kinds, half_fields, decoder in TYPES:
        library.ggml_quantize_init(number)
        n_bytes = N_ROWS * N_COLS // block * block_bytes
        with open(folder / f"{name}.bin", "wb") as out:
            for (distribution, _), case in zip(DISTRIBUTIONS, weights):
                for kind in kinds:
                    encoded = encode(library, number, n_bytes, case, make_importance(kind))
                    if encoded is None:
                        aborts.append(f"{name} {distribution} {kind}\n")
                    else:
                        out.write(encoded)
        blocks = arbitrary_blocks(block_bytes, half_fields)
        hashes.append(f"{name} {hash_of(decode(library, decoder, blocks, 64 * block)):016x}\n")
    (folder / "decoded.txt").write_text("".join(hashes))
    (folder / "aborts.txt").write_text("".join(aborts))


if __name__ == "__main__":
    main()
