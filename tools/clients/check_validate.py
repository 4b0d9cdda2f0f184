#!/usr/bin/env python3
"""Compares `narrow validate` with transformers in float32, figure by figure.

  check_validate.py MODEL_DIR --gguf FILE --text FILE [--chunks N]

The candidate is a GGUF file; transformers runs MODEL_DIR as it is and with the
weights that the gguf package decodes from the file, on the same windows, and
the figures are taken in float64 from the logits of both. Exit code 1 if any
figure differs by more than --tolerance: absolutely for shares and nats,
relatively for perplexities.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import check_perplexity

SHARES = [0, 0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100]


def parse_arguments():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument("model", help="Hugging Face model directory")
  parser.add_argument("--gguf", required=True, help="the candidate")
  parser.add_argument("--text", required=True)
  parser.add_argument("--narrow", default="bazel-bin/converter/narrow")
  parser.add_argument("--chunks", type=int, default=4)
  parser.add_argument("--context", type=int, default=512)
  parser.add_argument("--stride", type=int, default=0,
                      help="Hugging Face protocol; 0: llama.cpp's")
  parser.add_argument("--tolerance", type=float, default=1e-4)
  return parser.parse_args()


def run_narrow(args):
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "report.json")
    command = [
        args.narrow, "validate", args.model, args.gguf, "--text", args.text,
        "--chunks", str(args.chunks), "--context", str(args.context), "--json",
        path
    ]
    if args.stride:
      command += ["--stride", str(args.stride)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as file:
      return json.load(file)


def load_models(args):
  import torch
  import transformers

  models = []
  for path in (None, args.gguf):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="eager").eval()
    if path:
      missing = model.load_state_dict(
          check_perplexity.decoded_weights(path, model), strict=False)
      assert not missing.unexpected_keys, missing
    models.append(model)
  return models


def run_transformers(args, window_bos):
  """Of every scored token: losses of both, divergence, same top token."""
  import torch
  import transformers

  models = load_models(args)
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
  rows = []
  with torch.inference_mode():
    for begin, end, first in check_perplexity.plan_windows(len(ids), args):
      window = ids[begin:end].clone()
      if window_bos:
        window[0] = tokenizer.bos_token_id
      target = window[first - begin:, None]
      logits = [m(window[None]).logits[0, first - begin - 1:-1]
                for m in models]
      for i in range(len(target)):  # a row in float64 at a time
        p, q = (torch.log_softmax(x[i].double(), -1) for x in logits)
        rows.append((float(-p[target[i]]), float(-q[target[i]]),
                     float((p.exp() * (p - q)).sum()),
                     float(p.argmax() == q.argmax())))
  return rows


def figures(rows):
  import numpy as np

  p, q, kl, same = np.array(rows).T
  dp = np.exp(-q) - np.exp(-p)
  result = {
      "perplexity": np.exp(q.mean()),
      "reference_perplexity": np.exp(p.mean()),
      "log_perplexity_ratio": (q - p).mean(),
      "kl_divergence": kl.mean(),
      "delta_p": dp.mean(),
      "rms_delta_p": np.sqrt((dp**2).mean()),
      "same_top": same.mean(),
  }
  for share in SHARES:
    result[f"kl_divergence_percentiles {share:g}"] = np.percentile(kl, share)
    result[f"delta_p_percentiles {share:g}"] = np.percentile(dp, share)
  return result


def main():
  args = parse_arguments()
  report = run_narrow(args)
  ours = report["candidates"][0]["texts"][0]
  rows = run_transformers(args, report["texts"][0]["windows_begin_with_bos"])
  assert len(rows) == ours["tokens_scored"], (len(rows), ours["tokens_scored"])
  worst = 0
  print(f"{'':34} {'narrow':>13} {'transformers':>13} {'difference':>11}")
  for name, theirs in figures(rows).items():
    group, _, share = name.partition(" ")
    value = ours[group][share] if share else ours[group]["value"]
    difference = value - theirs
    if group in ("perplexity", "reference_perplexity"):
      difference /= theirs
    worst = max(worst, abs(difference))
    print(f"{name:34} {value:13.7f} {theirs:13.7f} {difference:11.2e}")
  ok = worst <= args.tolerance
  print(f"greatest difference {worst:.2e} "
        f"({'within' if ok else 'MORE THAN'} {args.tolerance:g})")
  return 0 if ok else 1


if __name__ == "__main__":
  sys.exit(main())
