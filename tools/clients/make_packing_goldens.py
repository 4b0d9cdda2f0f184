#!/usr/bin/env python3
"""Writes testdata/packing/*.safetensors: one layer each, packed by a client.

    python3 tools/clients/make_packing_goldens.py testdata/packing

A file has the planes of a layer "model.layers.0.mlp.up_proj" as the client's
own functions write them, under the client's names; "expected", the weights
that the client's own functions read back from them; "scales", where they are
quantized in turn, as they were before; and in its metadata
"quantization_config" as JSON, "client" with its version, and "packing", our
name of it. The clients' model loaders are not involved.
"""

import json
import os
import sys
import types

import bitsandbytes
import bitsandbytes.functional as bnb
import compressed_tensors
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import (
    QuantizationArgs, QuantizationConfig, QuantizationScheme)
from compressed_tensors.quantization.utils import (
    calculate_qparams, generate_gparam)
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import (
    Fp8Dequantize, Fp8Quantize)

LAYER = "model.layers.0.mlp.up_proj"


def weights(rows, cols, seed=11):
  generator = torch.Generator().manual_seed(seed)
  w = torch.randn(rows, cols, generator=generator)
  w *= torch.exp(0.5 * torch.randn(rows, 1, generator=generator))
  return (0.05 * w).to(torch.bfloat16)


def save(folder, name, packing, client, config, planes, expected,
         scales=None):
  tensors = {k: v.detach().clone().contiguous() for k, v in planes.items()}
  tensors["expected"] = expected.detach().clone().contiguous()
  if scales is not None:
    tensors["scales"] = scales
  path = os.path.join(folder, name + ".safetensors")
  save_file(tensors, path, metadata={
      "format": "pt", "packing": packing, "client": client,
      "quantization_config": json.dumps(config)})
  os.chmod(path, 0o644)


# compressed-tensors.

def blocks_of(w, args):
  """The weights as [scale rows, scale columns, weights]."""
  rows, cols = w.shape
  if args.strategy == "tensor":
    return w.reshape(1, 1, -1)
  if args.strategy == "channel":
    return w.reshape(rows, 1, cols)
  if args.strategy == "block":
    r, c = args.block_structure
    padded = torch.nn.functional.pad(w, (0, -cols % c, 0, -rows % r))
    return padded.reshape(padded.shape[0] // r, r, padded.shape[1] // c,
                          c).transpose(1, 2).flatten(2)
  return w.reshape(rows, cols // args.group_size, args.group_size)


def compressed(folder, name, fmt, weight_args, input_args=None, rows=16,
               cols=128):
  w = weights(rows, cols)
  scheme = QuantizationScheme(
      targets=["Linear"], format=fmt, weights=QuantizationArgs(**weight_args),
      input_activations=QuantizationArgs(**input_args) if input_args else None)
  args = scheme.weights
  state = {"weight": w}
  global_scale = None
  blocks = blocks_of(w, args)
  low, high = blocks.amin(-1), blocks.amax(-1)
  if args.strategy == "tensor_group":
    global_scale = generate_gparam(w.min(), w.max())
    state["weight_global_scale"] = global_scale.reshape(1)
  scale, zero = calculate_qparams(low, high, args, global_scale=global_scale)
  if args.strategy == "tensor":
    scale, zero = scale.reshape(1), zero.reshape(1)
  state["weight_scale"] = scale
  state["weight_zero_point"] = zero
  packer = BaseCompressor.get_value_from_registry(fmt)
  packed = packer.compress(state, scheme)
  expected = packer.decompress(dict(packed), scheme)["weight"]
  if input_args and input_args.get("dynamic") is False:
    packed["input_scale"] = torch.tensor([0.0123], dtype=torch.bfloat16)
  if input_args and input_args.get("dynamic") == "local":
    packed["input_global_scale"] = torch.tensor([537.5])
  config = QuantizationConfig(
      config_groups={"group_0": scheme}, format=fmt, ignore=["lm_head"],
      quantization_status="compressed").to_dict()
  save(folder, "compressed_tensors_" + name, "compressed-tensors",
       f"compressed-tensors {compressed_tensors.__version__}",
       json.loads(json.dumps(config, default=str)),
       {f"{LAYER}.{k}": v for k, v in packed.items()}, expected)


def all_compressed(folder):
  for bits in range(2, 9):
    sym = dict(num_bits=bits, type="int", symmetric=True)
    asym = dict(num_bits=bits, type="int", symmetric=False)
    compressed(folder, f"int{bits}_g32", "pack-quantized",
               dict(sym, strategy="group", group_size=32))
    compressed(folder, f"int{bits}_asymmetric_rows", "pack-quantized",
               dict(asym, strategy="channel"), rows=20, cols=96)
  compressed(folder, "int4_asymmetric_g64", "pack-quantized",
             dict(num_bits=4, type="int", symmetric=False, strategy="group",
                  group_size=64))
  int8 = dict(num_bits=8, type="int", symmetric=True)
  dynamic = dict(int8, strategy="token", dynamic=True)
  compressed(folder, "w8a8_rows", "int-quantized",
             dict(int8, strategy="channel"), dynamic)
  compressed(folder, "w8a8_tensor", "int-quantized",
             dict(int8, strategy="tensor"),
             dict(int8, strategy="tensor", dynamic=False))
  compressed(folder, "w8a8_g64", "int-quantized",
             dict(int8, strategy="group", group_size=64), dynamic)
  fp8 = dict(num_bits=8, type="float", symmetric=True)
  token = dict(fp8, strategy="token", dynamic=True)
  compressed(folder, "fp8_rows", "float-quantized",
             dict(fp8, strategy="channel"), token)
  compressed(folder, "fp8_tensor_static", "float-quantized",
             dict(fp8, strategy="tensor"),
             dict(fp8, strategy="tensor", dynamic=False))
  compressed(folder, "fp8_alone", "naive-quantized",
             dict(fp8, strategy="channel"))
  compressed(folder, "fp8_blocks", "float-quantized",
             dict(fp8, strategy="block", block_structure=[16, 32]),
             dict(fp8, strategy="group", group_size=128, dynamic=True),
             rows=40, cols=96)
  nvfp4 = dict(num_bits=4, type="float", symmetric=True,
               strategy="tensor_group", group_size=16,
               scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)
  compressed(folder, "nvfp4", "nvfp4-pack-quantized", nvfp4,
             dict(nvfp4, dynamic="local"))
  compressed(folder, "nvfp4a16", "nvfp4-pack-quantized", nvfp4)
  mx = dict(type="float", symmetric=True, strategy="group", group_size=32,
            scale_dtype=torch.uint8, zp_dtype=torch.uint8)
  compressed(folder, "mxfp4", "mxfp4-pack-quantized", dict(mx, num_bits=4))
  compressed(folder, "mxfp8", "mxfp8-quantized", dict(mx, num_bits=8))


# bitsandbytes.

def all_bitsandbytes(folder):
  client = f"bitsandbytes {bitsandbytes.__version__}"
  for kind in ("nf4", "fp4"):
    # 300 scales under double quantization, more than one nested block; and a
    # last block that is short.
    for block, nested, rows, cols in ((64, False, 16, 128),
                                      (32, True, 75, 128),
                                      (128, False, 5, 77),
                                      (4096, False, 36, 128)):
      w = weights(rows, cols)
      packed, state = bnb.quantize_4bit(w, blocksize=block, quant_type=kind,
                                        compress_statistics=nested)
      unnested = None
      if nested:
        unnested = bnb.quantize_4bit(w, blocksize=block,
                                     quant_type=kind)[1].absmax
      planes = {f"{LAYER}.weight": packed}
      for key, value in state.as_dict(packed=True).items():
        planes[f"{LAYER}.weight.{key}"] = value
      config = dict(quant_method="bitsandbytes", load_in_4bit=True,
                    load_in_8bit=False, bnb_4bit_quant_type=kind,
                    bnb_4bit_use_double_quant=nested,
                    bnb_4bit_compute_dtype="bfloat16",
                    bnb_4bit_quant_storage="uint8")
      # In float32: the rounding to bfloat16 differs among its kernels.
      table, scales = state.code, state.absmax
      if nested:
        scales = bnb.dequantize_blockwise(state.absmax, state.state2)
        scales = scales + state.offset
      codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1)
      values = table[codes.flatten().long()][:w.numel()]
      expected = values * scales.repeat_interleave(block)[:w.numel()]
      read = bnb.dequantize_4bit(packed, state)
      error = (read.float().flatten() - expected).abs().max()
      assert error <= 0.004 * expected.abs().max(), error
      save(folder, f"bitsandbytes_{kind}_{block}" + "_nested" * nested,
           "bitsandbytes", client, config, planes, expected.reshape(w.shape),
           unnested)
  w = weights(16, 128)
  codes, scales, _ = bnb.int8_vectorwise_quant(w.to(torch.float16))
  save(folder, "bitsandbytes_int8", "bitsandbytes", client,
       dict(quant_method="bitsandbytes", load_in_8bit=True),
       {f"{LAYER}.weight": codes, f"{LAYER}.SCB": scales,
        f"{LAYER}.weight_format": torch.tensor(0, dtype=torch.uint8)},
       bnb.int8_vectorwise_dequant(codes, scales))


# FP8 of transformers.

def all_fp8(folder):
  for name, block, fmt in (("blocks", [16, 32], "float"),
                           ("blocks_ue8m0", [16, 32], "ue8m0"),
                           ("tensor", None, "float")):
    w = weights(32, 96)
    settings = types.SimpleNamespace(weight_block_size=block, scale_fmt=fmt)
    quantizer = types.SimpleNamespace(quantization_config=settings)
    key = f"{LAYER}.weight"
    planes = Fp8Quantize(quantizer).convert({key: w})
    scale = planes[f"{LAYER}.weight_scale_inv"]
    expected = Fp8Dequantize(quantizer).convert(
        {"weight": planes[key], "weight_scale_inv": scale})["weight"]
    if block is None:
      planes[f"{LAYER}.weight_scale_inv"] = scale.reshape(())
    config = dict(quant_method="fp8", activation_scheme="dynamic",
                  fmt="e4m3", weight_block_size=block)
    if fmt != "float":
      config["scale_fmt"] = fmt
    save(folder, "fp8_" + name, "fp8",
         f"transformers {transformers.__version__}", config, planes, expected)


def main():
  folder = sys.argv[1]
  os.makedirs(folder, exist_ok=True)
  all_compressed(folder)
  all_bitsandbytes(folder)
  all_fp8(folder)


if __name__ == "__main__":
  main()
