#!/usr/bin/env python3
"""Compares the importance matrices of two GGUF files, column by column.

  compare_imatrix.py OURS THEIRS [--tolerance 1e-3]

Prints how many counts differ, the tensors whose sums of squares differ most
(largest, median and 99th percentile of the relative differences of columns,
and the share of columns beyond the tolerance), and the same over all. Exit
code 1 if names or counts differ.
"""

import argparse
import sys

import gguf
import numpy as np


def read(path):
  return {
      tensor.name: np.asarray(tensor.data, dtype=np.float64).ravel()
      for tensor in gguf.GGUFReader(path).tensors
  }


def names_of(tensors):
  return {n[:-len(".in_sum2")] for n in tensors if n.endswith(".in_sum2")}


def main():
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument("ours")
  parser.add_argument("theirs")
  parser.add_argument("--tolerance", type=float, default=1e-3)
  args = parser.parse_args()
  ours, theirs = read(args.ours), read(args.theirs)
  failed = names_of(ours) != names_of(theirs)
  if failed:
    print("only in one:", sorted(names_of(ours) ^ names_of(theirs)))
  rows, beyond, n_columns = [], 0, 0
  for name in sorted(names_of(ours) & names_of(theirs)):
    a, b = ours[name + ".in_sum2"], theirs[name + ".in_sum2"]
    counts = ours[name + ".counts"], theirs[name + ".counts"]
    if a.shape != b.shape or not np.array_equal(*counts):
      print(name, "counts", counts[0].tolist(), counts[1].tolist())
      failed = True
      continue
    relative = np.abs(a - b) / np.maximum(np.abs(b), 1e-30)
    beyond += int((relative > args.tolerance).sum())
    n_columns += relative.size
    rows.append((relative.max(), np.median(relative),
                 np.percentile(relative, 99), name))
  for most, median, high, name in sorted(rows, reverse=True)[:6]:
    print(f"{name}: largest {most:.2e}, median {median:.2e}, 99 % {high:.2e}")
  if rows:
    print(f"{len(rows)} tensors, {n_columns} columns: {beyond} "
          f"({100 * beyond / n_columns:.2f} %) beyond {args.tolerance:g}; "
          f"median of medians {np.median([row[1] for row in rows]):.2e}")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
