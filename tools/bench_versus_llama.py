#!/usr/bin/env python3
"""Times Narrow beside llama.cpp's tools: same machine, same model, same threads, one run.

    tools/bench_versus_llama.py --narrow bazel-bin/converter/narrow --model DIR --text wiki.test.raw \\
        --llama /usr/bin --converter "python3 llama.cpp/convert_hf_to_gguf.py" --sections convert,perplexity
    tools/bench_versus_llama.py --narrow bazel-bin/converter/narrow --gguf model-bf16.gguf --text wiki.valid.raw \\
        --llama /usr/bin --imatrix imatrix.gguf --types Q4_K_M,IQ3_XXS --sections types,imatrix

--llama is a folder, or a command that the tools' names follow. Sections, each with --threads (2) and --repeat (3):
convert     The model directory to Q4_K_M: `narrow convert` beside the converter script and llama-quantize in turn, wall
            seconds, least of the runs; the tensor data of both files are compared byte for byte.
perplexity  Tokens a second over --chunks windows (8), in fast and exact precision, beside llama-perplexity on a 16-bit
            file; best of the runs. Time is from the end of tokenizing to the result, by each tool's own clock.
types       --gguf to each of --types with --imatrix: `narrow convert` beside llama-quantize, wall and processor seconds of
            the whole process, least of the runs; the files are compared byte for byte.
imatrix     An importance matrix of --chunks windows beside llama-imatrix --no-ppl on --gguf, wall and processor seconds
            of the whole process, least of the runs.
codecs      --codecs "bazel-bin/kernels/quant/versus_ggml --ggml=SHARED_OBJECT": every encoder and decoder on one thread
            beside ggml's, bytes compared; its own lines are printed.
Needs the Python package gguf for the first section.
"""
import argparse
import filecmp
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess
import tempfile
import time


def run(command):
    """Wall seconds and output; fails with the command's own words."""
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}\nfailed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - start, done.stdout + done.stderr


def cost(command):
    """Wall and processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, _ = run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_costs(theirs, ours, repeat):
    """Least costs of two commands run in turn, and how many times less ours are."""
    costs = [(cost(theirs), cost(ours)) for _ in range(repeat)]
    least = {f"{who}_{what}": min(c[i][j] for c in costs)
             for i, who in enumerate(("llama", "narrow")) for j, what in enumerate(("wall", "cpu"))}
    return {**least, "wall_ratio": least["llama_wall"] / least["narrow_wall"],
            "cpu_ratio": least["llama_cpu"] / least["narrow_cpu"]}


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


def bench_convert(args, tool, folder):
    base, theirs, ours = (f"{folder}/{n}.gguf" for n in ("base", "theirs", "ours"))
    times = {"converter": [], "quantize": [], "narrow": []}
    for _ in range(args.repeat):
        times["converter"].append(run(shlex.split(args.converter) + [args.model, "--outfile", base])[0])
        times["quantize"].append(run(tool("llama-quantize") + [base, theirs, "Q4_K_M", args.threads])[0])
        times["narrow"].append(run([args.narrow, "convert", args.model, "--to", "Q4_K_M", "--out", ours, "-q", "--no-manifest", "--threads",
                                    args.threads])[0])
    least = {name: min(t) for name, t in times.items()}
    two_steps = least["converter"] + least["quantize"]
    return {**least, "two_steps": two_steps, "ratio": two_steps / least["narrow"], "same_tensors": same_tensors(ours, theirs)}


def bench_perplexity(args, tool, folder):
    base = args.gguf or f"{folder}/base.gguf"
    rates = {"llama": [], "fast": [], "exact": []}
    for _ in range(args.repeat):
        text = run(tool("llama-perplexity") + ["-m", base, "-f", args.text, "-c", "512", "-t", args.threads, "-tb",
                                               args.threads, "--chunks", args.chunks])[1]
        seconds = log_seconds(text, "Final estimate") - log_seconds(text, "calculating perplexity")
        rates["llama"].append(512 * int(args.chunks) / seconds)
        for precision in ("fast", "exact"):
            report = f"{folder}/report.json"
            run([args.narrow, "perplexity", args.model or base, "--text", args.text, "--chunks", args.chunks, "--precision",
                 precision, "--threads", args.threads, "--json", report])
            rates[precision].append(json.loads(pathlib.Path(report).read_text())["models"][0]["tokens_per_second"])
    best = {name: max(r) for name, r in rates.items()}
    return {**best, "fast_ratio": best["fast"] / best["llama"], "exact_ratio": best["exact"] / best["llama"]}


def bench_types(args, tool, folder):
    theirs, ours = f"{folder}/theirs.gguf", f"{folder}/ours.gguf"
    imatrix = ["--imatrix", args.imatrix] if args.imatrix else []
    result = {}
    for name in args.types.split(","):
        result[name] = compare_costs(
            tool("llama-quantize") + ["--allow-requantize"] + imatrix + [args.gguf, theirs, name, args.threads],
            [args.narrow, "convert", args.gguf, "--to", name, "--allow-requantize", "--no-manifest"] + imatrix +
            ["--out", ours, "-q", "--threads", args.threads], args.repeat)
        result[name]["same_bytes"] = filecmp.cmp(theirs, ours, shallow=False)
        print(name, json.dumps(result[name]), flush=True)
    return result


def bench_imatrix(args, tool, folder):
    window = ["-f", args.text, "-c", "512", "--chunks", args.chunks, "-t", args.threads]
    return {precision: compare_costs(
        tool("llama-imatrix") + ["-m", args.gguf, "--no-ppl", "-tb", args.threads, "-o", f"{folder}/theirs-imatrix.gguf"] + window,
        [args.narrow, "imatrix", "-m", args.gguf, "-q", "--precision", precision, "-o", f"{folder}/{precision}.gguf"] + window,
        args.repeat) for precision in ("fast", "exact")}


SECTIONS = {"convert": bench_convert, "perplexity": bench_perplexity, "types": bench_types, "imatrix": bench_imatrix}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("narrow", "llama", "sections"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("model", "gguf", "text", "converter", "imatrix", "types", "codecs"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--chunks", default="8")
    args = parser.parse_args()

    def tool(name):
        return [os.path.join(args.llama, name)] if os.path.isdir(args.llama) else shlex.split(args.llama) + [name]

    result = {"model": pathlib.Path(args.model or args.gguf).name, "threads": int(args.threads)}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sections.split(","):
            if name != "codecs":
                result[name] = SECTIONS[name](args, tool, folder)
    print(json.dumps(result, indent=2))
    if "codecs" in args.sections.split(","):
        print(run(shlex.split(args.codecs))[1], end="")


if __name__ == "__main__":
    main()
