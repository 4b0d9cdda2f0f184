#!/usr/bin/env python3
"""Times Narrow beside llama.cpp's tools: same machine, same model, same threads, one run.

    tools/bench_versus_llama.py --narrow bazel-bin/converter/narrow --model DIR --text wiki.test.raw \\
        --quantize "llama-quantize" --perplexity "llama-perplexity" \\
        --converter "python3 llama.cpp/convert_hf_to_gguf.py" [--threads 2] [--repeat 3] [--chunks 8]

1. Conversion of the model directory to Q4_K_M: `narrow convert` beside the converter script and llama-quantize in turn,
   wall seconds, least of --repeat runs; the tensor data of both files are compared byte for byte.
2. Perplexity of the model in 16 bits: tokens a second of `narrow perplexity` in fast and exact precision beside
   llama-perplexity on the converter's file. Both are told the same threads and windows. Time is from the end of
   tokenizing to the result, by each tool's own clock.
3. With --codecs "bazel-bin/kernels/quant/versus_ggml --ggml=SHARED_OBJECT": every encoder and decoder on one thread
   beside ggml's, bytes compared; its own lines are printed.
Needs the Python package gguf for the comparison.
"""
import argparse
import json
import pathlib
import re
import shlex
import subprocess
import tempfile
import time


def run(command):
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}\nfailed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - start, done.stdout + done.stderr


def log_seconds(log, words):
    """The time stamp (minutes.seconds.milliseconds.microseconds) of llama.cpp's log line that has these words."""
    minutes, seconds, milli, micro = re.search(rf"^(\d+)\.(\d+)\.(\d+)\.(\d+) .*{words}", log, re.MULTILINE).groups()
    return 60 * int(minutes) + int(seconds) + int(milli) / 1e3 + int(micro) / 1e6


def same_tensors(a, b):
    import gguf
    left = {t.name: t for t in gguf.GGUFReader(a).tensors}
    right = {t.name: t for t in gguf.GGUFReader(b).tensors}
    differ = [n for n in left if n not in right or left[n].tensor_type != right[n].tensor_type
              or left[n].data.tobytes() != right[n].data.tobytes()]
    return not differ and left.keys() == right.keys()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("narrow", "model", "text", "quantize", "perplexity", "converter"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--codecs", default="")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--chunks", default="8")
    args = parser.parse_args()
    result = {"model": pathlib.Path(args.model).name, "threads": int(args.threads)}
    with tempfile.TemporaryDirectory() as folder:
        base, theirs, ours = (f"{folder}/{n}.gguf" for n in ("base", "theirs", "ours"))
        times = {"converter": [], "quantize": [], "narrow": []}
        for _ in range(args.repeat):
            times["converter"].append(run(shlex.split(args.converter) + [args.model, "--outfile", base])[0])
            times["quantize"].append(run(shlex.split(args.quantize) + [base, theirs, "Q4_K_M", args.threads])[0])
            times["narrow"].append(run([args.narrow, "convert", args.model, "--to", "Q4_K_M", "--out", ours, "-q",
                                        "--threads", args.threads])[0])
        least = {name: min(t) for name, t in times.items()}
        two_steps = least["converter"] + least["quantize"]
        result["convert_q4_k_m"] = {**least, "two_steps": two_steps, "ratio": two_steps / least["narrow"],
                                    "same_tensors": same_tensors(ours, theirs)}

        rates = {"llama": [], "fast": [], "exact": []}
        for _ in range(args.repeat):
            text = run(shlex.split(args.perplexity) + ["-m", base, "-f", args.text, "-c", "512", "-t", args.threads,
                                                       "-tb", args.threads, "--chunks", args.chunks])[1]
            seconds = log_seconds(text, "Final estimate") - log_seconds(text, "calculating perplexity")
            rates["llama"].append(512 * int(args.chunks) / seconds)
            for precision in ("fast", "exact"):
                report = f"{folder}/report.json"
                run([args.narrow, "perplexity", args.model, "--text", args.text, "--chunks", args.chunks, "--precision",
                     precision, "--threads", args.threads, "--json", report])
                rates[precision].append(json.loads(pathlib.Path(report).read_text())["models"][0]["tokens_per_second"])
        best = {name: max(r) for name, r in rates.items()}
        result["perplexity_tokens_per_second"] = {**best, "fast_ratio": best["fast"] / best["llama"],
                                                  "exact_ratio": best["exact"] / best["llama"]}
    print(json.dumps(result, indent=2))
    if args.codecs:
        print(run(shlex.split(args.codecs))[1], end="")


if __name__ == "__main__":
    main()
