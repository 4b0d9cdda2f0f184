#!/usr/bin/env python3
"""Writes testdata/containers: tiny files of the published implementations.

Needs the packages gguf (0.19.0 was used), safetensors (0.8.0), torch, numpy:

    python3 tools/make_container_goldens.py testdata/containers
"""

import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

V = gguf.GGUFValueType

SCALARS = [
    (V.UINT8, 255), (V.INT8, -128), (V.UINT16, 65535), (V.INT16, -32768),
    (V.UINT32, 2**32 - 1), (V.INT32, -2**31), (V.FLOAT32, 0.1),
    (V.BOOL, True), (V.STRING, "caf\u00e9"), (V.UINT64, 2**64 - 1),
    (V.INT64, -2**63), (V.FLOAT64, 0.1)]


def make_gguf(path):
    writer = gguf.GGUFWriter(path, "golden")
    for kind, value in SCALARS:
        name = kind.name.lower()
        writer.add_key_value(f"one.{name}", value, kind)
        other = {V.BOOL: False, V.STRING: ""}.get(kind, 1)
        writer.add_key_value(f"two.{name}", [value, other], V.ARRAY, kind)
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    writer.add_tensor("matrix.weight", matrix)
    writer.add_tensor("vector", np.array([1, -2, 0.5], dtype=np.float16))
    rows = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    blocks = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blocks.weight", blocks,
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("cube", np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_safetensors(path):
    save_file({
        "model.embed.weight": torch.arange(6).reshape(2, 3).to(torch.bfloat16),
        "bias": torch.tensor([1.0, -2.0, 0.5]),
        "half": torch.tensor([[1.5], [2.5]], dtype=torch.float16),
        "scalar": torch.tensor(7, dtype=torch.int64),
        "flags": torch.tensor([True, False, True]),
        "eight": torch.tensor([1.0, -2.0], dtype=torch.float8_e4m3fn),
        "empty": torch.zeros((0, 4)),
        "caf\u00e9": torch.tensor([1], dtype=torch.uint8),
    }, path, metadata={"format": "pt"})


if __name__ == "__main__":
    make_gguf(f"{sys.argv[1]}/tiny.gguf")
    make_safetensors(f"{sys.argv[1]}/tiny.safetensors")
