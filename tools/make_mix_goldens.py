#!/usr/bin/env python3
"""Records which tensor type llama-quantize chooses for every tensor.

    pip install gguf numpy
    make_mix_goldens.py OUT.json VERSION -- COMMAND [ARG ...]

COMMAND runs llama-quantize; VERSION is what to record of it, since it prints none. For each synthetic model below (real names and layer counts, rows of a few hundred
weights), each file type, with and without an importance matrix, and some sets of flags, the script runs
`llama-quantize --dry-run` and stores the types it prints. OUT.json holds the models too, so that the test needs
nothing else: {"tool": version, "models": [{name, arch, keys, tensors: [[name, shape]]}],
"runs": [{model, file_type, importance, flags, types}]}; a run's types are one letter a tensor, the letter's place in
"letters" being the type's in "types", in the tool's order of tensors, which "order" gives as indices into the model's.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

FILE_TYPES = ("Q1_0 Q2_0 Q4_0 Q4_1 MXFP4_MOE Q5_0 Q5_1 IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M TQ1_0 TQ2_0 Q2_K Q2_K_S "
              "IQ3_XXS IQ3_S IQ3_M IQ3_XS Q3_K_S Q3_K_M Q3_K_L IQ4_NL IQ4_XS Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K Q8_0 F16 BF16 F32").split()
LETTERS = "".join(chr(c) for c in range(ord("A"), ord("z") + 1) if chr(c).isalpha())
FLAG_SETS = [["--pure"], ["--output-tensor-type", "q8_0", "--token-embedding-type", "q5_0"], ["--leave-output-tensor"],
             ["--tensor-type", "blk\\.[0-4]\\.(attn_v|ffn_down)=q5_k", "--tensor-type", "attn=q6_k"]]


def block(layer, cols, experts, fused, extra):
    rows = [("attn_norm.weight", [cols]), ("attn_output.weight", [2, cols]), ("ffn_norm.weight", [cols])]
    rows += [("attn_qkv.weight", [2, cols])] if fused else [(f"attn_{x}.weight", [2, cols]) for x in "qkv"]
    if experts:
        rows += [("ffn_gate_inp.weight", [experts, cols])]
        rows += [(f"ffn_{x}_exps.weight", [experts, 2, cols]) for x in ("gate", "up", "down")]
    else:
        rows += [(f"ffn_{x}.weight", [2, cols]) for x in (("up", "down") if fused else ("gate", "up", "down"))]
    return [(f"blk.{layer}.{name}", shape) for name, shape in rows + extra]


def model(name, arch, layers, heads, kv_heads, cols=256, experts=0, used=0, fused=False, tied=False, extra=(), keys=()):
    tensors = [("token_embd.weight", [8, cols]), ("output_norm.weight", [cols])]
    if not tied:
        tensors.append(("output.weight", [8, cols]))
    for layer in range(layers):
        tensors += block(layer, cols, experts, fused, list(extra))
    more = dict(keys)
    keys = {"block_count": layers, "context_length": 64, "embedding_length": cols, "feed_forward_length": 256,
            "attention.head_count": heads, "attention.head_count_kv": kv_heads}
    if experts:
        keys.update({"expert_count": experts, "expert_used_count": used})
    keys.update(more)
    return {"name": name, "arch": arch, "keys": keys, "tensors": [[n, s] for n, s in tensors]}


MLA_KEYS = [("leading_dense_block_count", 0), ("attention.kv_lora_rank", 64), ("expert_feed_forward_length", 256),
            ("expert_shared_count", 1), ("rope.dimension_count", 16), ("attention.key_length", 64),
            ("attention.value_length", 64), ("attention.q_lora_rank", 64)]

MODELS = [
    model("llama-mha", "llama", 24, 4, 4),
    model("llama-gqa4", "llama", 17, 16, 4),
    model("llama-70b", "llama", 80, 64, 8),
    model("mixtral", "llama", 16, 32, 8, experts=8, used=2),
    model("qwen3-moe", "qwen3moe", 18, 8, 4, experts=16, used=4),
    model("gemma3-tied", "gemma3", 18, 4, 1, tied=True, cols=640),
    model("phi3-fused", "phi3", 16, 8, 8, fused=True),
    model("falcon", "falcon", 16, 8, 8, fused=True),
    model("ragged-288", "llama", 9, 4, 4, cols=288),
    model("ragged-72", "llama", 8, 4, 4, cols=72, tied=True),
    model("llama-gqa8-40", "llama", 40, 16, 2),
    model("mixtral-32", "llama", 32, 32, 8, experts=8, used=2),
    model("qwen3-moe-48", "qwen3moe", 48, 32, 4, experts=128, used=8, keys=[("expert_feed_forward_length", 256)]),
    model("qwen2-72b", "qwen2", 80, 64, 8),
    model("gemma3-34", "gemma3", 34, 8, 4, tied=True),
    model("deepseek2-mla", "deepseek2", 33, 16, 16, experts=64, used=6, keys=MLA_KEYS,
          extra=[("attn_kv_b.weight", [2, 256]), ("attn_kv_a_mqa.weight", [2, 256]), ("attn_k_b.weight", [4, 2, 256]),
                 ("ffn_down_shexp.weight", [2, 256]), ("exp_probs_b.bias", [64])]),
]


def write_model(m, path):
    writer = gguf.GGUFWriter(path, m["arch"])
    for key, value in m["keys"].items():
        writer.add_uint32(f"{m['arch']}.{key}", value)
    writer.add_float32(f"{m['arch']}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32(f"{m['arch']}.attention.layer_norm_epsilon", 1e-5)
    writer.add_tokenizer_model("none")
    writer.add_uint32(f"{m['arch']}.vocab_size", 8)
    for name, shape in m["tensors"]:
        writer.add_tensor(name, np.ones(shape, dtype=np.float32 if len(shape) == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_imatrix(m, path):
    writer = gguf.GGUFWriter(path, "")
    writer.kv_data[0].pop("general.architecture", None)
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["synthetic"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, shape in m["tensors"]:
        if len(shape) > 1 and "_inp" not in name:
            n = shape[0] if len(shape) == 3 else 1
            writer.add_tensor(name + ".in_sum2", np.ones([n, shape[-1]], dtype=np.float32))
            writer.add_tensor(name + ".counts", np.ones([n, 1], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    split = sys.argv.index("--")
    out, version, command = sys.argv[1], sys.argv[2], sys.argv[split + 1:]
    golden = {"tool": version, "letters": LETTERS, "types": [], "models": MODELS, "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        for m in MODELS:
            path, imatrix = f"{folder}/{m['name']}.gguf", f"{folder}/{m['name']}.imatrix.gguf"
            write_model(m, path)
            write_imatrix(m, imatrix)
            index = {name: i for i, (name, _) in enumerate(m["tensors"])}
            combinations = [(t, imp, []) for t in FILE_TYPES for imp in (False, True)]
            combinations += [(t, False, f) for t in ("Q4_K_M", "Q2_K", "F16") for f in FLAG_SETS]
            for file_type, importance, flags in combinations:
                if m["name"] == "ragged-72" and "--output-tensor-type" in flags:
                    continue  # blocks of 32 do not fit: a dry run says nothing, the real one dies
                args = ["--dry-run"] + flags + (["--imatrix", imatrix] if importance else [])
                run = subprocess.run(command + args + [path, file_type], capture_output=True, text=True)
                text = run.stdout + run.stderr
                rows = re.findall(r"\]\s+(\S+)\s+- \[.*?\], type =\s+(\w+), size = .*?(?:\((\w+)\))?\n", text)
                if run.returncode != 0 or len(rows) != len(m["tensors"]):
                    golden["runs"].append({"model": m["name"], "file_type": file_type, "importance": importance,
                                           "flags": flags, "refused": True})
                    print(m["name"], file_type, importance, flags, "refused:", text.strip().splitlines()[-1:], len(rows))
                    continue
                m["order"] = [index[name] for name, _, _ in rows]
                chosen = ""
                for _, before, after in rows:
                    name = (after or before).lower()
                    if name not in golden["types"]:
                        golden["types"].append(name)
                    chosen += LETTERS[golden["types"].index(name)]
                golden["runs"].append({"model": m["name"], "file_type": file_type, "importance": importance,
                                       "flags": flags, "types": chosen})
            print(m["name"], "done")
    pathlib.Path(out).write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
