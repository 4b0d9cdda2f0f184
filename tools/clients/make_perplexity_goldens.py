#!/usr/bin/env python3
"""Writes testdata/perplexity/tiny-llama.json: transformers' scores by window.

  make_perplexity_goldens.py testdata/tiny-llama \
      testdata/text/wikitext2-sample.txt testdata/perplexity/tiny-llama.json
"""

import argparse
import json
import sys

import check_perplexity
import torch
import transformers

# Context, stride (0: llama.cpp's protocol), windows (-1: all).
CASES = [(512, 0, -1), (512, 256, -1), (512, 512, -1), (100, 33, 50)]


def main():
  model, text, out = sys.argv[1:]
  cases = []
  for context, stride, chunks in CASES:
    args = argparse.Namespace(model=model, text=text, gguf=None,
                              context=context, stride=stride, chunks=chunks)
    # The vocabulary of tiny-llama asks for BOS.
    windows, n_tokens = check_perplexity.run_transformers(args, not stride)
    cases.append(dict(context=context, stride=stride, chunks=chunks,
                      text_tokens=n_tokens,
                      windows=[dict(nll_sum=nll, tokens_scored=count)
                               for nll, count in windows]))
  with open(out, "w", encoding="utf-8") as file:
    json.dump(dict(
        command="tools/clients/make_perplexity_goldens.py",
        transformers=transformers.__version__, torch=torch.__version__,
        cases=cases), file, indent=1)
    file.write("\n")


if __name__ == "__main__":
  main()
