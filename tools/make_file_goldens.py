#!/usr/bin/env python3
"""Records size and CRC-32 of whole files that llama.cpp's two steps make, for converter/files_test.

    make_file_goldens.py OUT.tsv --converter "COMMAND" --quantize "COMMAND"

Run from the repository's root. The converter's hash list does not know the vocabularies of testdata: COMMAND for it is
convert_hf_to_gguf.py made to answer `llama-bpe` for tiny-llama and `gpt-2` for the others (and to load tokenizers as
plain PreTrainedTokenizerFast). It is called as COMMAND DIR --outfile FILE. Rows: model, file type, importance matrix or
"-", bytes, CRC-32 in hex.
"""
import argparse
import os
import shlex
import subprocess
import tempfile
import zlib

TYPES = ("F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 Q3_K_L Q3_K_M Q3_K_S Q2_K").split()
SMALL_TYPES = "Q1_0 Q2_0 TQ1_0 TQ2_0 MXFP4_MOE IQ4_NL IQ4_XS IQ3_S IQ3_M".split()
IMPORTANCE_TYPES = "IQ4_NL IQ4_XS IQ3_M IQ3_S IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S".split()
IMATRIX = "testdata/imatrix/tiny-llama-imatrix.gguf"


def rows():
    for name in TYPES:
        yield "testdata/tiny-llama", name, "-"
    for name in TYPES[3:] + ["Q2_K_S"]:
        yield "testdata/tiny-llama", name, IMATRIX
    for family in "llama2 llama3 mistral mixtral qwen2 qwen3 gemma3_text".split():
        for name in ("Q8_0", "Q4_K_M", "Q3_K_M"):
            yield f"testdata/arch/{family}", name, "-"
    for name in SMALL_TYPES:
        yield "testdata/tiny-llama", name, "-"
    for name in IMPORTANCE_TYPES:
        yield "testdata/tiny-llama", name, IMATRIX
    for name in ("MXFP4_MOE", "IQ4_XS"):
        yield "testdata/arch/mixtral", name, "-"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--converter", required=True)
    parser.add_argument("--quantize", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(args.out, "w") as out:
        print("# Made by tools/make_file_goldens.py with llama.cpp's converter and llama-quantize 0.7.0.", file=out)
        for model, file_type, imatrix in rows():
            base, result = f"{folder}/{os.path.basename(model)}.gguf", f"{folder}/out.gguf"
            if not os.path.exists(base):
                subprocess.run(shlex.split(args.converter) + [model, "--outfile", base], check=True, capture_output=True)
            flags = ["--imatrix", imatrix] if imatrix != "-" else []
            subprocess.run(shlex.split(args.quantize) + flags + [base, result, file_type, "2"], check=True,
                           capture_output=True)
            data = open(result, "rb").read()
            print(model, file_type, imatrix, len(data), f"{zlib.crc32(data):08x}", sep="\t", file=out)


if __name__ == "__main__":
    main()
