#!/usr/bin/env python3
"""Records what llama.cpp's converter makes of model folders.

    tools/make_arch_goldens.py LLAMA_CPP_DIR

LLAMA_CPP_DIR is a checkout of llama.cpp (recorded with build b11549, gguf-py
of the same tree, transformers 5.23.0, torch 2.15.0). Needs torch,
transformers and safetensors.

Each case is one of the models in testdata/arch with another config.json, a
README.md, a generation_config.json or another folder name. For each family
testdata/configs/<family>.json gets the cases with the metadata (key, type,
value) and tensors (name, type, shape, CRC-32 of the data) of the GGUF file,
and some fields of the configuration as transformers understands it. The
tokenizer's keys are left out: they have goldens of their own.

The converter knows no dense layers in Qwen3-MoE; here it is told of the three
tensors of such a layer, which it then names as it names them elsewhere.
"""

import contextlib
import io
import json
import logging
import os
import shutil
import sys
import tempfile
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIXTURES = os.path.join(ROOT, "testdata", "arch")
OUT = os.path.join(ROOT, "testdata", "configs")


# ---------------------------------------------------------------- the cases

def changed(config, drop=(), **members):
    config = {k: v for k, v in config.items() if k not in drop}
    config.update(members)
    return config


def older(config):
    """The form that transformers wrote before version 5."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    if "full_attention" in rope:
        config["rope_theta"] = rope["full_attention"]["rope_theta"]
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        config.pop("layer_types", None)
        config["sliding_window_pattern"] = 6
    else:
        config["rope_theta"] = rope.pop("rope_theta")
        if rope.get("rope_type") != "default":
            config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] in ("llama", "mistral"):
        config.pop("head_dim", None)
    return config


def scaled(config, **scaling):
    return changed(older(config), ("rope_scaling",), rope_scaling=scaling)


LONG = [2.0 + 0.3 * i for i in range(8)]
SHORT = [1.0 + 0.1 * i for i in range(8)]

CARD_LISTS = """---
license: apache-2.0
license_link: https://example.org/LICENSE # a comment
language:
- en
- no
- "fr"
base_model:
- meta-llama/Llama-3.1-8B
- https://huggingface.co/org/Some-Model-7B-v2
- https://example.org/x
datasets: [HuggingFaceFW/fineweb-edu, 'foo/bar-v1.2']
tags:
  - text-generation
  - 4bit
pipeline_tag: text-generation
extra_gated_prompt: >-
  long text: with a colon
  and more

  and a paragraph
extra_gated_fields:
  First Name: text
widget:
- text: "several
    lines \\
    quoted"
  example_title: x
model-index:
- name: z
  results:
  - task: {type: text-generation, name: "a, b"}
    metrics:
    - type: acc
      value: 0.5
inference: false
---
# body
license: mit
"""

CARD_WORDS = """---
license: other
license_name: gemma
model_name: Foo Bar
model_creator: Someone
model_type: llama
base_model: google/gemma-2-2b-it
language: en
tags: []
version: "1.0"
---
"""

CARD_MAPS = """---
license:
- mit
- apache-2.0
base_model:
- name: X Y
  organization: Org
  version: "2"
  repo_url: http://example.org
- gpt2
dataset_sources: foo
url: http://example.org/a
doi: 10.1/2
description: |
  line one
  line two
name: My Name
---
"""

NAMES = [
    "Meta-Llama-3.1-8B-Instruct", "Mixtral-8x7B-Instruct-v0.1",
    "gemma-3-270m-it", "bloom-7b1", "Qwen3-30B-A3B-Instruct-2507",
    "phi-3-mini-128k-instruct", "tiny_164K-chat", "Llama-2-164k-hf",
    "my model 7b", "Qwen2.5-0.5B-Instruct-AWQ", "x-164K-mini-v2", "v1-test",
    "q4_k_m-fp16-foo", "Foo--Bar-", "7B", "a-160k-lora-vision",
    "SmolLM2-0.16M", "NAME-iter5-xxl", "ab_C.d-100K-1.5K",
]


def cases(family, config):
    """(name, files, folder name, outtype) of every case of a family."""
    def case(name, config=config, folder="model", outtype="auto", **files):
        files["config.json"] = config
        texts = {file: content if isinstance(content, str)
                 else json.dumps(content) for file, content in files.items()}
        return name, texts, folder, outtype

    yield case("as it is")
    if family != "phi3":
        yield case("older form", older(config))
    for outtype in ("f32", "f16", "bf16"):
        yield case("outtype " + outtype, outtype=outtype)
    if family == "llama2":
        yield case("linear", scaled(config, type="linear", factor=2.5))
        yield case("dynamic", scaled(config, type="dynamic", factor=2.5))
        yield case("yarn", scaled(
            config, type="yarn", factor=4.0, beta_fast=16.0,
            original_max_position_embeddings=64, attention_factor=1.2))
        yield case("defaults", changed(config, (
            "max_position_embeddings", "rms_norm_eps", "rope_parameters",
            "head_dim", "tie_word_embeddings")))
        yield case("unusual keys", changed(config, layer_norm_eps=1e-5,
                                           n_group=2))
        for card in (CARD_LISTS, CARD_WORDS, CARD_MAPS, "no head\n---\n"):
            yield case("card " + str(zlib.crc32(card.encode())),
                       **{"README.md": card})
        for name in NAMES:
            yield case("folder " + name, folder=name)
        for name in ("meta-llama/Llama-2-164K-hf", "./foo-bar", "/a/b/c", "",
                     "a/b-c-v1.2-chat", "plain name here"):
            yield case("path " + name, changed(config, _name_or_path=name))
        yield case("sampling", **{"generation_config.json": {
            "temperature": 1, "top_k": 50, "top_p": None, "min_p": 0.05,
            "repetition_penalty": 1.1, "do_sample": True}})
    if family == "llama3":
        yield case("no model_type", changed(config, ("model_type",)))
        yield case("llama 3.2", changed(
            config, ("rope_parameters",), rope_theta=500000.0,
            max_position_embeddings=131072, rope_scaling={
                "factor": 32.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "rope_type": "llama3",
                "original_max_position_embeddings": 8192}))
    if family == "mistral":
        yield case("window", changed(config, sliding_window=32))
    if family == "qwen2":
        yield case("window", changed(
            config, ("layer_types",), use_sliding_window=True,
            sliding_window=32, max_window_layers=1))
        yield case("yarn", changed(config, rope_parameters={
            "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}))
    if family == "qwen3":
        yield case("embedding model", **{
            "embedding_config.json": {"pooling": "last_token"}})
        yield case("yarn by layer type", changed(
            config, layer_types=["full_attention"] * 3, rope_parameters={
                "full_attention": {"rope_type": "yarn", "factor": 2.0,
                                   "rope_theta": 5000.0}}))
    if family == "qwen3_moe":
        yield case("num_experts", changed(
            config, ("num_local_experts",), num_experts=8))
    if family == "gemma3_text":
        yield case("pattern 3", changed(older(config),
                                        sliding_window_pattern=3))
        yield case("pattern 1", changed(older(config),
                                        sliding_window_pattern=1))
        yield case("linear", changed(older(config), rope_scaling={
            "rope_type": "linear", "factor": 8.0}))
        yield case("linear by its older name", changed(
            older(config), rope_scaling={"type": "linear", "factor": 8.0}))
        yield case("flat rope_parameters", changed(
            config, rope_parameters={"rope_type": "default",
                                     "rope_theta": 77777.0}))
        yield case("final cap", changed(config, final_logit_softcapping=30.0))
        text = changed(older(config), ("architectures", "vocab_size_"))
        yield case("multimodal", {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3", "text_config": text, "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": 32,
                "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32, "image_size": 28, "patch_size": 14},
            "mm_tokens_per_image": 4, "dtype": "bfloat16"})
    if family == "phi3":
        flat = changed(config, ("rope_parameters",), rope_theta=10000.0,
                       max_position_embeddings=131072, sliding_window=262144)
        for kind in ("longrope", "su", "yarn"):
            yield case(kind, changed(flat, rope_scaling={
                "type": kind, "long_factor": LONG, "short_factor": SHORT}))
        yield case("attention factor", changed(flat, rope_scaling={
            "type": "longrope", "long_factor": LONG, "short_factor": SHORT,
            "attention_factor": 1.5}))
        yield case("partial", changed(
            flat, partial_rotary_factor=0.75, rope_scaling={
                "type": "longrope", "long_factor": LONG[:6],
                "short_factor": SHORT[:6]}))
        yield case("window", changed(config, sliding_window=2047))
        yield case("no original length", changed(
            config, ("original_max_position_embeddings",)))


# ------------------------------------------------------------ the converter

def load_converter(llama_cpp):
    sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
    import importlib.util
    import gguf
    import conversion.gemma, conversion.llama, conversion.phi, conversion.qwen
    from conversion.base import TextModel

    def subclasses(cls):
        for sub in cls.__subclasses__():
            yield sub
            yield from subclasses(sub)
    for cls in [TextModel, *subclasses(TextModel)]:
        if "set_vocab" in vars(cls):
            cls.set_vocab = lambda self: None
    gguf.MODEL_TENSORS[gguf.MODEL_ARCH.QWEN3MOE] += [
        gguf.MODEL_TENSOR.FFN_GATE, gguf.MODEL_TENSOR.FFN_DOWN,
        gguf.MODEL_TENSOR.FFN_UP]
    spec = importlib.util.spec_from_file_location(
        "converter", os.path.join(llama_cpp, "convert_hf_to_gguf.py"))
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    return converter


def read_gguf(path):
    from gguf import GGUFReader, GGUFValueType
    reader = GGUFReader(path)
    metadata = []
    for key, field in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        value = field.contents()
        kind = field.types[-1].name.lower()
        if field.types[0] == GGUFValueType.ARRAY:
            kind += "[]"
        if kind == "float32":
            value = float(value)
        metadata.append([key, kind, value])
    tensors = [[t.name, t.tensor_type.name.lower(),
                [int(n) for n in reversed(t.shape)],
                zlib.crc32(t.data.tobytes())] for t in reader.tensors]
    return metadata, tensors


def understood(folder):
    """Fields of the configuration as transformers computes with them."""
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    try:
        config = AutoConfig.from_pretrained(folder).get_text_config()
    except Exception:
        return None
    rope = config.rope_parameters
    layered = "full_attention" in rope and "full_attention" in getattr(
        config, "layer_types", ())
    main = rope["full_attention"] if layered else rope
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is None:
        types = ["sliding_attention" if window and config.model_type != "llama"
                 else "full_attention"] * config.num_hidden_layers
    sliding = [bool(window) and t == "sliding_attention" for t in types]
    scale = 1.0
    if main["rope_type"] in ("yarn", "longrope"):
        scale = ROPE_INIT_FUNCTIONS[main["rope_type"]](
            config, "cpu", layer_type="full_attention" if layered else None)[1]
    return {
        "n_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "ffn_size": config.intermediate_size,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "head_dim": getattr(config, "head_dim", None)
                    or config.hidden_size // config.num_attention_heads,
        "context_length": config.max_position_embeddings,
        "norm_eps": config.rms_norm_eps,
        "rope_theta": main["rope_theta"],
        "rope_theta_local": rope["sliding_attention"]["rope_theta"]
                            if config.model_type == "gemma3_text"
                            else main["rope_theta"],
        "rope_type": main["rope_type"],
        "rope_factor": main.get("factor"),
        "attention_factor": scale,
        "sliding_window": window if any(sliding) else 0,
        "layer_is_sliding": sliding if any(sliding) else [],
        "tied": config.tie_word_embeddings,
    }


def record(converter, family, name, files, folder_name, outtype):
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, folder_name)
        os.makedirs(folder)
        for file in ("model.safetensors", "tokenizer.json",
                     "tokenizer_config.json"):
            os.symlink(os.path.join(FIXTURES, family, file),
                       os.path.join(folder, file))
        for file, content in files.items():
            with open(os.path.join(folder, file), "w") as f:
                f.write(content)
        out = os.path.join(parent, "out.gguf")
        sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", out,
                    "--outtype", outtype]
        with contextlib.redirect_stderr(io.StringIO()):
            converter.main()
        metadata, tensors = read_gguf(out)
        listing = "".join(f"{n} {t} {s} {c}\n" for n, t, s, c in tensors)
        case = {"name": name, "files": files, "folder": folder_name,
                "outtype": outtype, "metadata": metadata,
                "tensors_crc32": zlib.crc32(listing.encode())}
        if name == "as it is":
            case["tensors"] = tensors
        case["config"] = understood(folder)
        return case


def main():
    converter = load_converter(os.path.abspath(sys.argv[1]))
    logging.disable(logging.CRITICAL)
    os.makedirs(OUT, exist_ok=True)
    for family in sorted(os.listdir(FIXTURES)):
        path = os.path.join(FIXTURES, family, "config.json")
        if not os.path.exists(path):
            continue
        with open(path) as f:
            config = json.load(f)
        recorded = [record(converter, family, *case)
                    for case in cases(family, config)]
        with open(os.path.join(OUT, family + ".json"), "w") as f:
            f.write('{"made_by": "tools/make_arch_goldens.py",\n "family": '
                    + json.dumps(family) + ',\n "cases": [\n')
            f.write(",\n".join(json.dumps(case) for case in recorded))
            f.write("\n]}\n")
        print(family, len(recorded), "cases")


if __name__ == "__main__":
    main()
