#!/usr/bin/env python3
"""Makes hard_blocks.inc: what ggml gives for the weights of k_quants_test.cc.

    pip install xllamacpp==2026.10.11549 numpy
    kernels/quant/k/make_hard_blocks.py > kernels/quant/k/hard_blocks.inc
"""
import importlib.metadata
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools"))
import make_quant_goldens as goldens  # noqa: E402

N_ROWS, N_COLS = 40, 512

# As HardWeight in k_quants_test.cc.
WEIGHTS = [
    ("kPlateau", lambda row, col, n: -1.0 + n * 2.0 ** (-44 + row % 12)),
    ("kSpread", lambda row, col, n: n * 2.0 ** (-30 + (col // 16 * 7 + row * 5) % 24)),
    ("kSparse", lambda row, col, n: n * 2.0**-20 if n % 16 == 0 else 0.0),
    ("kFaint", lambda row, col, n: n * 2.0 ** (-70 + row % 8 + col // 16 % 8)),
]


def make_weights(index):
    generator = goldens.Generator(3000 + index)
    formula = WEIGHTS[index][1]
    values = [[formula(row, col, generator.normal()) for col in range(N_COLS)] for row in range(N_ROWS)]
    return np.array(values, dtype=np.float32)


def main():
    goldens.N_ROWS = N_ROWS
    library = goldens.load_ggml()
    version = importlib.metadata.version("xllamacpp")
    print(f"// kernels/quant/k/make_hard_blocks.py, with xllamacpp {version}.")
    print("//")
    print("// NARROW_HARD_BLOCKS(type, weights, importance, FNV-1a of the blocks' bytes)")
    kinds = [("kNone", "none"), ("kVaried", "varied"), ("kWithZeros", "with_zeros")]
    for name, number, block, block_bytes, *_ in goldens.TYPES:
        if not name.endswith("_k"):
            continue
        for index, (weights_name, _) in enumerate(WEIGHTS):
            for kind, kind_name in kinds:
                encoded = goldens.encode(library, number, N_ROWS * N_COLS // block * block_bytes, make_weights(index),
                                         goldens.make_importance(kind_name))
                print(f"NARROW_HARD_BLOCKS({name.upper()}, {weights_name}, {kind},\n"
                      f"                   0x{goldens.hash_of(encoded):016x})")


if __name__ == "__main__":
    main()
