#!/usr/bin/env python3
"""Records the gradients that torch gives at the outputs of linear layers.

    tools/make_backward_goldens.py --norms testdata/backward testdata/arch/gemma2 testdata/arch/mixtral
    tools/make_backward_goldens.py /tmp/goldens testdata/arch/* testdata/arch_options/*

OUT FOLDER...: each folder is a model with an expected.safetensors (see testdata/arch/BUILD). OUT/<name>.safetensors
gets the windows and a label for every position, drawn with a fixed seed, and of the sum of -log p(label) over all
positions the gradient at the output of every linear layer: 'gradient.<GGUF name>' [tokens, outputs], and for experts
'gradient.<GGUF name>.<expert>' of the tokens that 'tokens.<GGUF name>.<expert>' lists. With --norms their squared
norms instead, under 'norm.', for small files. Rows of queries and keys are in the order of GGUF. Needs torch,
transformers and safetensors (recorded with torch 2.15.0 and transformers 5.23.0, float32, eager attention).
"""

import argparse
import collections
import os
import re

import safetensors.torch
import torch
import transformers

INTERLEAVED = ("llama", "mistral", "mixtral")
LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}


class Recorder:
    """Keeps the outputs of torch.nn.functional.linear, by weight."""

    def __init__(self, model):
        self.names = {}
        for name, parameter in model.named_parameters():
            if ".experts." in name:
                for expert in range(parameter.shape[0]):
                    self.names[parameter[expert].data_ptr()] = (name, expert)
            else:
                self.names[parameter.data_ptr()] = (name, -1)
        # A tied output matrix has the embedding's name.
        self.names[model.lm_head.weight.data_ptr()] = ("lm_head.weight", -1)
        self.outputs = {}
        self.linear = torch.nn.functional.linear

    def __enter__(self):
        def linear(x, weight, bias=None):
            y = self.linear(x, weight, bias)
            y.retain_grad()
            key = self.names[weight.data_ptr()]
            assert key not in self.outputs, key
            self.outputs[key] = y
            return y

        torch.nn.functional.linear = linear
        return self

    def __exit__(self, *_):
        torch.nn.functional.linear = self.linear


def interleaved(rows, n_heads):
    """Columns of each head from halves to pairs."""
    n, width = rows.shape
    return rows.reshape(n, n_heads, 2, width // n_heads // 2).transpose(2, 3).reshape(n, width)


def gradients(folder):
    expected = safetensors.torch.load_file(os.path.join(folder, "expected.safetensors"))
    ids = expected["input_ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    model.train(False)
    config = model.config
    labels = torch.randint(config.vocab_size, ids.shape, generator=torch.Generator().manual_seed(7))
    chosen = {}
    for name, module in model.named_modules():
        if type(module).__name__.endswith("TopKRouter"):
            module.register_forward_hook(lambda _m, _i, out, name=name: chosen.update({name: out[2]}))
    with Recorder(model) as recorder:
        logits = model(input_ids=ids, use_cache=False).logits
    loss = -torch.log_softmax(logits.double(), -1).gather(-1, labels[..., None]).sum()
    loss.backward()

    out = {"input_ids": ids, "labels": labels, "loss": loss.detach()}
    for (name, expert), y in recorder.outputs.items():
        g = y.grad.reshape(-1, y.shape[-1])
        if name == "lm_head.weight":
            out["gradient.output.weight"] = g
            continue
        layer, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name).groups()
        if expert < 0:
            gguf = LAYERS[rest[: -len(".weight")]]
            if config.model_type in INTERLEAVED and gguf in ("attn_q", "attn_k"):
                g = interleaved(g, config.num_attention_heads if gguf == "attn_q" else config.num_key_value_heads)
            out[f"gradient.blk.{layer}.{gguf}.weight"] = g
            continue
        # The rows of an expert: by place in the choice, then by token.
        router = name[: name.index("experts")] + "gate"
        tokens = torch.where((chosen[router] == expert).T)[1]
        order = torch.argsort(tokens)
        parts = {"ffn_down_exps": g}
        if rest.endswith("gate_up_proj"):
            parts = dict(zip(("ffn_gate_exps", "ffn_up_exps"), g.chunk(2, -1)))
        for gguf, part in parts.items():
            out[f"gradient.blk.{layer}.{gguf}.weight.{expert}"] = part[order]
            out[f"tokens.blk.{layer}.{gguf}.weight.{expert}"] = tokens[order]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--norms", action="store_true")
    parser.add_argument("out")
    parser.add_argument("folders", nargs="+")
    args = parser.parse_args()
    for folder in args.folders:
        if not os.path.exists(os.path.join(folder, "expected.safetensors")):
            continue
        tensors = collections.OrderedDict()
        for key, value in gradients(folder).items():
            if args.norms and key.startswith("gradient."):
                key, value = "norm." + key[len("gradient."):], value.double().square().sum(-1).float()
            tensors[key] = value.contiguous()
        name = os.path.basename(os.path.normpath(folder))
        metadata = {"torch": torch.__version__, "transformers": transformers.__version__}
        safetensors.torch.save_file(tensors, os.path.join(args.out, name + ".safetensors"), metadata)
        print(name, float(tensors["loss"]), len(tensors))


if __name__ == "__main__":
    main()
