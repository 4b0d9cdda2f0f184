"""Writes testdata/lora: tiny models, adapters of every kind that we merge, and
what PEFT's merge_and_unload makes of them.

    python tools/clients/make_lora_goldens.py testdata/lora

Needs peft beside requirements.txt.
"""

import pathlib
import shutil
import sys

import peft
import torch
import transformers


def llama(dtype):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, attention_bias=True,
        max_position_embeddings=32, bos_token_id=1, eos_token_id=2)
    model = transformers.LlamaForCausalLM(config)
    for p in model.parameters():
        p.data.normal_(0, 0.5)
    return model.to(dtype)


def gpt2(dtype):
    torch.manual_seed(2)
    config = transformers.GPT2Config(
        vocab_size=24, n_embd=16, n_layer=1, n_head=2, n_positions=8, n_inner=20,
        bos_token_id=1, eos_token_id=2)
    model = transformers.GPT2LMHeadModel(config)
    for p in model.parameters():
        p.data.normal_(0, 0.5)
    return model.to(dtype)


VARIANTS = {
    "plain": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])),
    "bf16": ("llama-bf16", llama, torch.bfloat16, dict(
        r=3, lora_alpha=8, target_modules="all-linear")),
    "patterns": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "k_proj", "up_proj"],
        rank_pattern={"k_proj": 2, "layers.0.mlp.up_proj": 6}, alpha_pattern={"^model.*up_proj": 3.5})),
    "dora": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=["o_proj", "gate_proj"])),
    "embedding": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head", "norm"])),
    "bias": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"], lora_bias=True)),
    "all_bias": ("llama", llama, torch.float32, dict(
        r=4, lora_alpha=8, target_modules=["q_proj"], bias="all")),
    "gpt2": ("gpt2-base", gpt2, torch.float32, dict(
        r=4, lora_alpha=8, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
}


def save(model, folder):
    model.save_pretrained(folder)
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            file.unlink()


def main():
    out = pathlib.Path(sys.argv[1])
    print("peft", peft.__version__, "torch", torch.__version__, "transformers", transformers.__version__)
    for name, (base, make, dtype, options) in VARIANTS.items():
        model = make(dtype)
        save(model, out / base)
        shutil.rmtree(out / name, ignore_errors=True)
        adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options))
        torch.manual_seed(3)
        for key, p in adapted.named_parameters():
            if "lora" in key or p.requires_grad:
                p.data = torch.randn_like(p) * 0.3 + (1 if "magnitude" in key else 0)
        adapted.save_pretrained(out / name, save_embedding_layers=False)
        (out / name / "README.md").unlink()
        # As a user merges it: the model as it was, the adapter as it is saved.
        merged = peft.PeftModel.from_pretrained(make(dtype), out / name).merge_and_unload()
        save(merged, out / "merged")
        (out / "merged" / "model.safetensors").rename(out / name / "merged.safetensors")
        (out / "merged").rmdir()


if __name__ == "__main__":
    main()
