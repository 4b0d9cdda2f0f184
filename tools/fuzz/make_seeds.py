#!/usr/bin/env python3
"""Makes testdata/fuzz: the smallest whole files of each kind, from which fuzzing starts.

    pip install gguf==0.19.0 numpy
    tools/fuzz/make_seeds.py testdata/fuzz

model/*.gguf     one block, width 32, a few tokens: byte-level BPE, SentencePiece, experts, Gemma's shapes
imatrix/*.gguf   an importance matrix with a dense entry and one of two experts, of which one saw nothing
imatrix/*.dat    the same in the older format
"""
import pathlib
import struct
import sys

import gguf
import numpy as np

WIDTH, HEADS, INNER = 32, 2, 32
RANDOM = np.random.default_rng(1)


def tensor(*shape):
    return RANDOM.standard_normal(shape, dtype=np.float32)


def add_bpe(writer):
    tokens = ["<s>", "</s>", "a", "b", "Ġ", "ab", "Ġab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b", "Ġ ab"])
    return len(tokens)


def add_sentencepiece(writer):
    tokens = ["<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "▁a"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0, 0, 0, 0, -1, -2, -3])
    writer.add_token_types([2, 3, 3, 6, 1, 1, 1])
    return len(tokens)


def write_model(path, arch, add_tokenizer, n_experts, dtype):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(WIDTH // HEADS)
    writer.add_value_length(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    if n_experts:
        writer.add_expert_count(n_experts)
        writer.add_expert_used_count(1)
    if arch.startswith("gemma"):
        writer.add_sliding_window(8)
    n_tokens = add_tokenizer(writer)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def add(name, *shape):
        data = tensor(*shape)
        if len(shape) > 1 and dtype is not None:
            writer.add_tensor(name, gguf.quants.quantize(data, dtype), raw_dtype=dtype)
        else:
            writer.add_tensor(name, data)

    add("token_embd.weight", n_tokens, WIDTH)
    add("output_norm.weight", WIDTH)
    add("blk.0.attn_norm.weight", WIDTH)
    add("blk.0.attn_q.weight", WIDTH, WIDTH)
    add("blk.0.attn_k.weight", WIDTH // HEADS, WIDTH)
    add("blk.0.attn_v.weight", WIDTH // HEADS, WIDTH)
    add("blk.0.attn_output.weight", WIDTH, WIDTH)
    add("blk.0.ffn_norm.weight", WIDTH)
    if arch == "gemma3":
        for name in ("post_attention_norm", "post_ffw_norm"):
            add(f"blk.0.{name}.weight", WIDTH)
        for name in ("attn_q_norm", "attn_k_norm"):
            add(f"blk.0.{name}.weight", WIDTH // HEADS)
    if n_experts:
        add("blk.0.ffn_gate_inp.weight", n_experts, WIDTH)
        for name in ("gate", "up"):
            add(f"blk.0.ffn_{name}_exps.weight", n_experts, INNER, WIDTH)
        add("blk.0.ffn_down_exps.weight", n_experts, WIDTH, INNER)
    else:
        for name in ("gate", "up"):
            add(f"blk.0.ffn_{name}.weight", INNER, WIDTH)
        add("blk.0.ffn_down.weight", WIDTH, INNER)
    finish(writer)


def write_importance_gguf(path):
    writer = gguf.GGUFWriter(path, "")
    writer.kv_data[0].clear()
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text"])
    writer.add_uint32("imatrix.chunk_count", 2)
    writer.add_uint32("imatrix.chunk_size", 8)
    writer.add_tensor("blk.0.attn_q.weight.in_sum2", tensor(1, 8) ** 2)
    writer.add_tensor("blk.0.attn_q.weight.counts", np.full((1, 1), 16, dtype=np.float32))
    experts = tensor(2, 8) ** 2
    experts[1] = 0
    writer.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", experts)
    writer.add_tensor("blk.0.ffn_up_exps.weight.counts", np.array([[5], [0]], dtype=np.float32))
    finish(writer)


def write_importance_dat(path):
    out = struct.pack("<i", 2)
    for name, n_values in ((b"blk.0.attn_q.weight", 8), (b"blk.0.ffn_up_exps.weight", 16)):
        out += struct.pack("<i", len(name)) + name + struct.pack("<ii", 2, n_values)
        out += (tensor(n_values) ** 2).tobytes()
    path.write_bytes(out + struct.pack("<ii", 2, 4) + b"text")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder = pathlib.Path(sys.argv[1])
    for name in ("model", "imatrix"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    q4, q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
    write_model(folder / "model/bpe.gguf", "llama", add_bpe, 0, None)
    write_model(folder / "model/sentencepiece-q4_0.gguf", "llama", add_sentencepiece, 0, q4)
    write_model(folder / "model/experts.gguf", "llama", add_bpe, 2, q8)
    write_model(folder / "model/gemma3.gguf", "gemma3", add_sentencepiece, 0, q8)
    write_importance_gguf(folder / "imatrix/matrix.gguf")
    write_importance_dat(folder / "imatrix/matrix.dat")


if __name__ == "__main__":
    main()
