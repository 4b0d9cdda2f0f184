#!/usr/bin/env python3
"""Records size and CRC-32 of the GGUF files that llama.cpp's tools make of GGUF files, for converter/gguf_files_test.sh.

    make_gguf_goldens.py OUT.tsv --converter "COMMAND" --quantize "COMMAND" --split "COMMAND"

Run from the repository's root; the commands are convert_hf_to_gguf.py (as for make_file_goldens.py), llama-quantize and
llama-gguf-split. Rows: case, input (a directory, or a file of an earlier case), flags of `narrow convert`, file of the
case's folder, bytes, CRC-32 in hex.
"""
import argparse
import os
import shlex
import subprocess
import tempfile
import zlib

TINY, MIXTRAL = "testdata/tiny-llama", "testdata/arch/mixtral"
IMATRIX = "testdata/imatrix/tiny-llama-imatrix.gguf"
OVERRIDES = [
    "llama.context_length=int:8192", "general.name=str:Renamed", "llama.rope.freq_base=float:12345.5", "own.flag=bool:true",
    "own.number=int:7"
]


def quantize(file_type, flags=(), ours=None):
    """A step of llama-quantize, and the flags of narrow for it."""
    return (("quantize", list(flags), file_type), ["--to", file_type] + list(flags if ours is None else ours))


def split(*flags):
    return (("split", ["--split"] + list(flags), None), list(flags))


# name, input, [(step of llama.cpp, flags of narrow)], further flags of narrow
CASES = [
    ("copy", TINY, [quantize("COPY")], []),
    ("as-converted", TINY, [], ["--to", "COPY", "--keep-order"]),
    ("overridden", TINY, [quantize("Q4_K_M", [w for o in OVERRIDES for w in ("--override-kv", o)])], []),
    ("heads-overridden", TINY, [quantize("Q2_K", ["--override-kv", "llama.attention.head_count=int:16"])], []),
    ("pruned", TINY, [quantize("Q4_K_M", ["--prune-layers", "0,2"])], []),
    ("pruned-range", TINY, [quantize("Q3_K_L", ["--prune-layers", "1,2,3"], ["--prune-layers", "1-3"])], []),
    ("pruned-copy", TINY, [quantize("COPY", ["--prune-layers", "3"])], []),
    ("pruned-imatrix", TINY, [quantize("Q2_K", ["--prune-layers", "1", "--imatrix", IMATRIX])], []),
    ("pruned-experts", MIXTRAL, [quantize("Q8_0", ["--prune-layers", "0"])], []),
    ("by-tensors", TINY, [quantize("Q4_K_M"), split("--split-max-tensors", "9")], []),
    ("by-size", TINY, [quantize("Q8_0"), split("--split-max-size", "2M", "--no-tensor-first-split")], []),
    ("shards", TINY, [split("--split-max-tensors", "8", "--no-tensor-first-split")], ["--to", "COPY", "--keep-order"]),
    ("merged", "shards/m-00003-of-00006.gguf", [(("merge", [], None), [])], ["--to", "COPY", "--keep-order"]),
    ("merged-copy", "shards/m-00006-of-00006.gguf", [quantize("COPY")], []),
    ("kept-shards", "shards/m-00001-of-00006.gguf", [quantize("Q4_K_M", ["--keep-split", "--prune-layers", "2"])], []),
    ("split-again", "merged/m.gguf", [split("--split-max-tensors", "20")], ["--to", "COPY", "--keep-order"]),
    ("requantized", "by-tensors/m-00002-of-00005.gguf", [quantize("Q5_0", ["--allow-requantize"])], []),
]


def run(command, *args):
    subprocess.run(shlex.split(command) + list(args), check=True, capture_output=True)


def first_shard(path):
    """llama.cpp opens the first shard only."""
    head, dash, tail = path.rpartition("-of-")
    return f"{head[:-5]}00001{dash}{tail}" if dash else path


def make(case, folder, args):
    name, model, steps, _ = case
    os.makedirs(f"{folder}/{name}")
    if model.startswith("testdata/"):
        current = f"{folder}/base-{os.path.basename(model)}.gguf"
        if not os.path.exists(current):
            run(args.converter, model, "--outfile", current)
    else:
        current = first_shard(f"{folder}/{model}")
    if not steps:
        os.link(current, f"{folder}/{name}/m.gguf")
    for i, ((tool, flags, file_type), _) in enumerate(steps):
        last = i == len(steps) - 1
        result = f"{folder}/{name}/m.gguf" if last else f"{folder}/step.gguf"
        if tool == "quantize":
            run(args.quantize, *flags, current, result, file_type, "2")
        elif tool == "split":
            run(args.split, *flags, current, result[:-len(".gguf")])
        else:
            run(args.split, "--merge", current, result)
        current = result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--converter", required=True)
    parser.add_argument("--quantize", required=True)
    parser.add_argument("--split", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(args.out, "w") as out:
        print("# Made by tools/make_gguf_goldens.py with llama.cpp's converter, llama-quantize and llama-gguf-split 0.7.0.",
              file=out)
        for case in CASES:
            make(case, folder, args)
            flags = [flag for _, ours in case[2] for flag in ours] + case[3]
            for file in sorted(os.listdir(f"{folder}/{case[0]}")):
                data = open(f"{folder}/{case[0]}/{file}", "rb").read()
                print(case[0], case[1], " ".join(flags), file, len(data), f"{zlib.crc32(data):08x}", sep="\t", file=out)


if __name__ == "__main__":
    main()
