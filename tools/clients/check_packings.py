#!/usr/bin/env python3
"""Loads directories of `narrow quantize` with the clients of their formats.

  check_packings.py FOLDER [FOLDER ...] --text FILE [--narrow BIN] [--chunks N]
      [--dtype float32|bfloat16|float16] [--overlay FOLDER ...] [--json OUT]

Each folder is loaded by transformers with the back end that its
quantization_config asks for. It must load without missing and unexpected
keys, and give the log-probabilities that `narrow perplexity --precision exact`
gives for the same tokens: the table shows the mean and the largest absolute
difference over all scored tokens. As a control the same weights, decoded by
narrow to a dense model, can be run by the client (--dense FOLDER, one for
each): what the client's arithmetic alone makes of them. Exit code 1 if keys
are missing, or if the mean difference of any folder is above --tolerance.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def parse_arguments():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument("folders", nargs="+")
  parser.add_argument("--text", required=True)
  parser.add_argument("--narrow", default="bazel-bin/converter/narrow")
  parser.add_argument("--chunks", type=int, default=4)
  parser.add_argument("--context", type=int, default=256)
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--dense", nargs="*", default=[])
  parser.add_argument("--overlay", nargs="*", default=[],
                      help="folders of further packages, appended")
  parser.add_argument("--prepend", nargs="*", default=[],
                      help="folders of packages that replace others")
  parser.add_argument("--tolerance", type=float, default=1e-2)
  parser.add_argument("--json", default="")
  return parser.parse_args()


def narrow_scores(args, folder):
  with tempfile.TemporaryDirectory() as scratch:
    path = os.path.join(scratch, "report.json")
    subprocess.run([
        args.narrow, "perplexity", folder, "--text", args.text, "--chunks",
        str(args.chunks), "--context", str(args.context), "--precision",
        "exact", "--token-scores", "--json", path, "-q"
    ], check=True, stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
      return json.load(file)


def load(folder, dtype, config):
  """The model, and the keys that did not match."""
  import torch
  from transformers import AutoModelForCausalLM

  try:
    from transformers.utils import logging
    logging.disable_progress_bar()
  except ImportError:
    pass
  options = {"dtype": getattr(torch, dtype), "output_loading_info": True}
  method = config.get("quant_method")
  if method == "compressed-tensors":
    from transformers import CompressedTensorsConfig
    groups = config.get("config_groups", {})
    if len(groups) == 1:  # the client cannot decompress several
      options["quantization_config"] = CompressedTensorsConfig(
          run_compressed=False, dequantize=True)
  elif method == "gptq":
    from transformers import GPTQConfig
    options["device_map"] = "cpu"
    options["quantization_config"] = GPTQConfig(
        bits=config["bits"], backend="torch")
  elif method in ("awq", "bitsandbytes", "hqq"):
    options["device_map"] = "cpu"
  elif method == "fp8":
    options["dtype"] = torch.bfloat16  # what the client decodes to
  try:
    return AutoModelForCausalLM.from_pretrained(folder, **options)
  except TypeError:  # an older client calls it otherwise
    options["torch_dtype"] = options.pop("dtype")
    return AutoModelForCausalLM.from_pretrained(folder, **options)


def client_nll(model, windows):
  import torch

  model.eval()
  result = []
  with torch.no_grad():
    for window in windows:
      ids = torch.tensor([window["ids"]])
      logits = model(ids).logits[0].float()
      log_probs = torch.log_softmax(logits, -1)
      first = window["first_scored"]
      targets = ids[0, first:]
      rows = log_probs[first - 1:-1]
      result += (-rows.gather(1, targets[:, None])[:, 0]).tolist()
  return result


def exact_bitsandbytes(model, config, dtype):
  if config.get("load_in_8bit"):
    return model.dequantize().to(dtype)
  import bitsandbytes.functional
  import torch

  for parent in list(model.modules()):
    for name, module in list(parent.named_children()):
      if type(module).__name__ != "Linear4bit":
        continue
      state = module.weight.quant_state
      state.dtype = dtype
      dense = torch.nn.Linear(1, 1, bias=False)
      weight = bitsandbytes.functional.dequantize_4bit(
          module.weight.data, state)
      dense.weight = torch.nn.Parameter(weight.to(dtype), requires_grad=False)
      dense.bias = module.bias
      setattr(parent, name, dense)
  model.is_loaded_in_4bit = False
  for tensor in list(model.parameters()) + list(model.buffers()):
    if tensor.is_floating_point():
      tensor.data = tensor.data.to(dtype)
  return model


def difference(ours, theirs):
  gaps = [abs(a - b) for a, b in zip(ours, theirs)]
  assert len(ours) == len(theirs)
  return sum(gaps) / len(gaps), max(gaps)


def check(args, folder, dense):
  import torch

  with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
    config = json.load(file).get("quantization_config", {})
  report = narrow_scores(args, folder)
  ours = report["models"][0]["token_nll"]
  model, info = load(folder, args.dtype, config)
  # Scales of activations have no place in a model that is decompressed.
  unexpected = [k for k in info["unexpected_keys"]
                if not k.endswith(("input_scale", "input_global_scale"))]
  missing = list(info["missing_keys"])
  row = {}
  if config.get("quant_method") == "bitsandbytes":
    # This client's layers compute in bfloat16 or round their inputs to 8
    # bits, which is no part of the file; shown beside.
    row["as configured"] = difference(
        ours, client_nll(model, report["window_tokens"]))[0]
    # A forward pass on the CPU changes what 4-bit layers hold.
    model, _ = load(folder, args.dtype, config)
    model = exact_bitsandbytes(model, config, getattr(torch, args.dtype))
  if config.get("quant_method") == "fp8":
    model = model.to(getattr(torch, args.dtype))
  theirs = client_nll(model, report["window_tokens"])
  mean, largest = difference(ours, theirs)
  row |= {"folder": folder, "method": config.get("quant_method"),
         "format": config.get("format"), "missing": len(missing),
         "unexpected": len(unexpected), "mean": mean, "max": largest,
         "nll": sum(ours) / len(ours)}
  del model
  if dense:
    model, _ = load(dense, args.dtype, {})
    row["control"] = difference(ours, client_nll(
        model, report["window_tokens"]))[0]
  return row


def main():
  args = parse_arguments()
  sys.path[:0] = args.prepend
  sys.path += args.overlay
  rows = []
  for i, folder in enumerate(args.folders):
    dense = args.dense[i] if i < len(args.dense) else ""
    try:
      row = check(args, folder, dense)
      row["ok"] = (row["missing"] == 0 and row["unexpected"] == 0 and
                   row["mean"] <= args.tolerance)
    except Exception as error:  # one client's failure stops no other check
      row = {"folder": folder, "ok": False, "error": f"{type(error).__name__}: "
             f"{error}"[:400]}
    rows.append(row)
    print("%-8s %s %s" % ("ok" if row["ok"] else "DIFFERS", folder, "  ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in row.items() if k not in ("folder", "ok"))), flush=True)
  if args.json:
    with open(args.json, "w", encoding="utf-8") as file:
      json.dump(rows, file, indent=1)
  sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
  main()
