#!/usr/bin/env python3
"""Makes kernels/quant/lattice/grids.inc: the points of the lattices that IQ1, IQ2 and IQ3 choose from.

    pip install xllamacpp==2026.10.11549 numpy
    tools/make_lattice_grids.py > kernels/quant/lattice/grids.inc

Every index is put into blocks of its type, these are decoded by ggml, and the magnitudes of a grid become level numbers 0, 1, ... in
rising order. A point is one number: level i times n_levels^i, summed over its coordinates.
"""
import importlib.metadata
import struct

import numpy as np

from make_quant_goldens import decode, load_ggml


def iq2_xxs(points):
    """d = 8, then for 32 weights: four indices, signs and scale 0: values are (1/2) / 4 of d."""
    groups = [bytes(points[i:i + 4]) + bytes(4) for i in range(0, 32, 4)]
    return struct.pack("<e", 8) + b"".join(groups)


def iq2_xs(points):
    return struct.pack("<e32H", 8, *points) + bytes(8)


def iq2_s(points):
    high = [sum((points[i + j] >> 8) << 2 * j for j in range(4)) for i in range(0, 32, 4)]
    return struct.pack("<e", 8) + bytes(p & 255 for p in points) + bytes(32) + bytes(high) + bytes(8)


def iq1_s(points):
    high = [sum((points[i + j] >> 8) << 3 * j for j in range(4)) for i in range(0, 32, 4)]
    return struct.pack("<e", 1) + bytes(p & 255 for p in points) + struct.pack("<8H", *high)


def iq3_xxs(points):
    return struct.pack("<e", 4) + bytes(points) + bytes(32)


def iq3_s(points):
    high = [sum((points[i + j] >> 8) << j for j in range(8)) for i in range(0, 64, 8)]
    return struct.pack("<e", 1) + bytes(p & 255 for p in points) + bytes(high) + bytes(36)


# name, dimension, points, block of indices, decoder.
GRIDS = [
    ("Iq2Xxs", 8, 256, iq2_xxs, "dequantize_row_iq2_xxs"),
    ("Iq2Xs", 8, 512, iq2_xs, "dequantize_row_iq2_xs"),
    ("Iq2S", 8, 1024, iq2_s, "dequantize_row_iq2_s"),
    ("Iq1", 8, 2048, iq1_s, "dequantize_row_iq1_s"),
    ("Iq3Xxs", 4, 256, iq3_xxs, "dequantize_row_iq3_xxs"),
    ("Iq3S", 4, 512, iq3_s, "dequantize_row_iq3_s"),
]


def main():
    library = load_ggml()
    print("// clang-format off")
    print("// Made by: tools/make_lattice_grids.py > kernels/quant/lattice/grids.inc")
    print(f"// from the decoders of xllamacpp {importlib.metadata.version('xllamacpp')}.")
    print("// NARROW_GRID(name, coordinates, levels, points, numbers of the points)")
    for name, dim, n_points, block, decoder in GRIDS:
        per_block = 256 // dim
        data = b"".join(block(list(range(i, i + per_block))) for i in range(0, n_points, per_block))
        values = np.frombuffer(decode(library, decoder, data, n_points * dim), dtype=np.float32)
        magnitudes, levels = np.unique(values, return_inverse=True)
        weights = len(magnitudes)**np.arange(dim)
        numbers = (levels.reshape(n_points, dim) * weights).sum(axis=1)
        assert len(set(numbers)) == n_points
        print(f"\n// Values of the levels as decoded: {', '.join(f'{m:g}' for m in magnitudes)}.")
        print(f"NARROW_GRID({name}, {dim}, {len(magnitudes)}, {n_points},")
        for i in range(0, n_points, 16):
            end = ")" if i + 16 >= n_points else ","
            print("    " + ", ".join(f"{n}" for n in numbers[i:i + 16]) + end)


if __name__ == "__main__":
    main()
