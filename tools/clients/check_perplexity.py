#!/usr/bin/env python3
"""Compares `narrow perplexity` with transformers in float32, window by window.

  check_perplexity.py MODEL_DIR --text FILE [--chunks N] [--gguf FILE]

Both score the same windows by the same protocol; the table shows the mean
negative log-likelihood of each window on both sides. With --gguf, narrow
measures that file, and transformers runs MODEL_DIR with the weights that the
gguf package decodes from it. Exit code 1 if the perplexities differ by more
than --tolerance (a fraction).
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile


def parse_arguments():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument("model", help="Hugging Face model directory")
  parser.add_argument("--text", required=True)
  parser.add_argument("--gguf", help="measure this file's weights instead")
  parser.add_argument("--narrow", default="bazel-bin/converter/narrow")
  parser.add_argument("--chunks", type=int, default=8)
  parser.add_argument("--context", type=int, default=512)
  parser.add_argument("--stride", type=int, default=0,
                      help="Hugging Face protocol; 0: llama.cpp's")
  parser.add_argument("--precision", default="exact",
                      choices=["exact", "fast"])
  parser.add_argument("--tolerance", type=float, default=5e-4)
  return parser.parse_args()


def run_narrow(args):
  """The report of narrow's first and only model."""
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "report.json")
    command = [
        args.narrow, "perplexity", args.gguf or args.model, "--text",
        args.text, "--chunks", str(args.chunks), "--context",
        str(args.context), "--precision", args.precision, "--json", path
    ]
    if args.stride:
      command += ["--stride", str(args.stride)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
      return json.load(file)


def decoded_weights(path, model):
  """GGUF tensors by the names that `model` has for them."""
  import gguf
  import numpy as np
  import torch

  reader = gguf.GGUFReader(path)
  tensors = {t.name: t for t in reader.tensors}
  config = model.config
  arch = reader.get_field("general.architecture").contents()
  arch_id = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
  names = gguf.get_tensor_name_map(arch_id, config.num_hidden_layers)

  weights = {}
  for name, old in model.state_dict().items():
    if name == "lm_head.weight" and config.tie_word_embeddings:
      continue
    gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if gguf_name not in tensors:
      sys.exit(f"{path} has no tensor for {name}; this client knows dense "
               "models with one tensor a matrix")
    tensor = tensors[gguf_name]
    new = np.array(gguf.dequantize(tensor.data, tensor.tensor_type),
                   dtype=np.float32)
    # The converter turns pairs (i, i + d/2) of a head into (2i, 2i + 1) for
    # the Llama family, and stores Gemma's norms with their one.
    if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
      heads = (config.num_attention_heads if ".q_proj." in name
               else config.num_key_value_heads)
      new = new.reshape(heads, -1, 2, *new.shape[1:]).swapaxes(1, 2)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
      new = new - 1
    weights[name] = torch.from_numpy(
        np.ascontiguousarray(new.reshape(old.shape)))
  return weights


def plan_windows(n_tokens, args):
  """(begin, end, first scored token) of each window, all in the text."""
  windows = []
  if not args.stride:
    for begin in range(0, n_tokens - args.context + 1, args.context):
      windows.append((begin, begin + args.context,
                      begin + args.context // 2 + 1))
  else:
    done = 0
    for begin in range(0, n_tokens, args.stride):
      if done == n_tokens:
        break
      end = min(begin + args.context, n_tokens)
      windows.append((begin, end, max(done, begin + 1)))
      done = end
  return windows[:args.chunks] if args.chunks > 0 else windows


def run_transformers(args, window_bos):
  """Sum of negative log-likelihoods and count of tokens, by window."""
  import torch
  import transformers

  model = transformers.AutoModelForCausalLM.from_pretrained(
      args.model, dtype=torch.float32, attn_implementation="eager").eval()
  if args.gguf:
    missing = model.load_state_dict(decoded_weights(args.gguf, model),
                                    strict=False)
    assert not missing.unexpected_keys, missing
  tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
  with open(args.text, encoding="utf-8", newline="") as file:
    text = file.read()
  if args.stride:
    ids = tokenizer(text)["input_ids"]
  else:
    ids = tokenizer(text.removesuffix("\n"),
                    add_special_tokens=False)["input_ids"]
    if window_bos:
      ids = [tokenizer.bos_token_id] + ids
  ids = torch.tensor(ids)

  results = []
  with torch.inference_mode():
    for begin, end, first in plan_windows(len(ids), args):
      window = ids[begin:end].clone()
      if window_bos:
        window[0] = tokenizer.bos_token_id
      logits = model(window[None]).logits[0, first - begin - 1:-1].double()
      nll = torch.nn.functional.cross_entropy(
          logits, window[first - begin:], reduction="sum")
      results.append((float(nll), end - first))
  return results, len(ids)


def main():
  args = parse_arguments()
  report = run_narrow(args)
  ours = report["models"][0]
  theirs, n_tokens = run_transformers(
      args, report["settings"]["windows_begin_with_bos"])
  if report["text"]["tokens"] != n_tokens:
    print(f"tokens of the text: narrow {report['text']['tokens']}, "
          f"transformers {n_tokens}")
  assert len(theirs) == len(ours["windows"]), (len(theirs),
                                               len(ours["windows"]))

  print(f"{'window':>6} {'tokens':>6} {'narrow':>12} {'transformers':>12} "
        f"{'difference':>11}")
  for i, ((nll, count), window) in enumerate(zip(theirs, ours["windows"])):
    assert count == window["tokens_scored"], (i, count, window)
    print(f"{i:6} {count:6} {window['mean_nll']:12.6f} {nll / count:12.6f} "
          f"{window['mean_nll'] - nll / count:11.2e}")
  n_scored = sum(count for _, count in theirs)
  perplexity = math.exp(sum(nll for nll, _ in theirs) / n_scored)
  difference = ours["perplexity"] / perplexity - 1
  ok = abs(difference) <= args.tolerance
  print(f"perplexity: narrow {ours['perplexity']:.6f}, transformers "
        f"{perplexity:.6f}, difference {100 * difference:+.5f} % "
        f"({'within' if ok else 'MORE THAN'} {100 * args.tolerance:g} %)")
  return 0 if ok else 1


if __name__ == "__main__":
  sys.exit(main())
