"""Checks the directories that `narrow convert --to hf` writes.

    python tools/clients/check_hf_export.py NARROW [FOLDER ...]
        [--gguf FILE.gguf ...] [--original FOLDER] [--text FILE ...]
        [--shard SIZE] [--random N] [--seed N] [--no-logits]

FOLDER, a Hugging Face model, goes to GGUF in its own type and back. The
directory that comes out must give transformers the logits and the token ids
of the one that went in, and make the same GGUF tensors again.

A --gguf file, quantized or not, becomes a directory in float32 and a GGUF
file again: its tensors must be the numbers that the `gguf` package decodes
from the file. With --original, token ids are compared with that folder's.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from check_tokenizers import AWKWARD, random_text

logging.disable_progress_bar()
GGUF_TYPE = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}

LOST = ("query_pre_attn_scalar", "sliding_window", "layer_types",
        "norm_topk_prob", "rope_parameters", "model_type")


class Check:
    def __init__(self, args):
        self.args = args
        self.bad = 0
        rng = random.Random(args.seed)
        self.texts = AWKWARD + [random_text(rng) for _ in range(args.random)]
        self.texts += [open(name, encoding="utf-8", newline="").read()
                       for name in args.text]

    def say(self, ok, what):
        self.bad += not ok
        print("  %s%s" % ("" if ok else "DIFFERENT: ", what), flush=True)

    def narrow(self, *words):
        done = subprocess.run([self.args.narrow, "convert", *words, "--quiet"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(done.stdout.decode())
        for line in done.stdout.decode().splitlines():
            print("  " + line)

    def same_tokens(self, ours, theirs):
        a = AutoTokenizer.from_pretrained(ours)
        b = AutoTokenizer.from_pretrained(theirs)
        added = [t.content for t in b.added_tokens_decoder.values()]
        rng = random.Random(self.args.seed)
        texts = list(self.texts)
        for text in self.texts[:100]:
            for token in rng.sample(added, min(4, len(added))):
                at = rng.randint(0, len(text))
                text = text[:at] + token + text[at:]
            texts.append(text)
        bad = [t for t in texts
               if a(t)["input_ids"] != b(t)["input_ids"]]
        self.say(not bad, "token ids of %d texts%s" % (
            len(texts), "" if not bad else ": %d, first %r: %s, expected %s" % (
                len(bad), bad[0][:80], a(bad[0])["input_ids"][:40],
                b(bad[0])["input_ids"][:40])))
        bad = 0
        for text in texts:
            ids = b(text)["input_ids"]
            bad += a.decode(ids) != b.decode(ids)
        self.say(not bad, "decoded texts" + (": %d" % bad if bad else ""))
        for name in ("bos_token_id", "eos_token_id", "unk_token_id",
                     "pad_token_id"):
            ours_id, theirs_id = getattr(a, name), getattr(b, name)
            if ours_id != theirs_id:
                print("  note: %s %s, was %s" % (name, ours_id, theirs_id))
        if b.chat_template is not None:
            self.say(a.chat_template == b.chat_template, "chat template")

    def same_logits(self, ours, theirs):
        a = AutoModelForCausalLM.from_pretrained(ours)
        b = AutoModelForCausalLM.from_pretrained(theirs)
        self.say(a.dtype == b.dtype, "dtype %s" % a.dtype)
        n = min(b.config.vocab_size, a.config.vocab_size)
        ids = torch.randint(0, n, (2, 96),
                            generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            x, y = a(ids).logits, b(ids).logits
        if x.shape != y.shape:
            print("  note: %d rows of logits, were %d" % (
                x.shape[-1], y.shape[-1]))
            y = y[..., :x.shape[-1]]
        # What GGUF cannot hold may be another value than the original's; with
        # the original's the logits must be the same.
        lost = []
        for key in LOST:
            p, q = getattr(a.config, key, None), getattr(b.config, key, None)
            if p != q:
                lost.append("%s is %s, was %s" % (key, p, q))
        if lost and not torch.equal(x, y):
            print("  note: %s; the original's config is taken" % "; ".join(lost))
            a = AutoModelForCausalLM.from_pretrained(
                ours, config=AutoConfig.from_pretrained(theirs))
            with torch.no_grad():
                x = a(ids).logits[..., :y.shape[-1]]
        difference = (x.float() - y.float()).abs().max().item()
        self.say(torch.equal(x, y), "logits of %d tokens%s" % (
            ids.numel(), "" if torch.equal(x, y) else
            ": largest difference %g of %g" % (
                difference, y.float().abs().max())))
    def same_checkpoint(self, ours, theirs):
        def tensors(folder):
            out = {}
            for name in sorted(os.listdir(folder)):
                if name.endswith(".safetensors") and name != "expected.safetensors":
                    with safe_open(os.path.join(folder, name), "pt") as f:
                        out.update({k: f.get_tensor(k) for k in f.keys()})
            return out
        a, b = tensors(ours), tensors(theirs)
        self.say(set(a) == set(b), "names of %d tensors%s" % (
            len(b), "" if set(a) == set(b) else
            ": %s" % sorted(set(a) ^ set(b))[:6]))
        bad = [k for k in a if k in b and not (
            a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]))]
        self.say(not bad, "tensors of the checkpoint%s" % (
            ": %d, %s" % (len(bad), bad[:4]) if bad else ""))

    def same_gguf(self, ours, theirs, exactly):
        a, b = GGUFReader(ours), GGUFReader(theirs)
        x = {t.name: t for t in a.tensors}
        bad, off_by_one = [], 0
        scales = {} if exactly else {
            t.name: t.data for t in b.tensors if t.name.endswith(".scale")}
        for t in b.tensors:
            if t.name in scales:
                continue
            if t.name not in x:
                bad.append(t.name)
                continue
            if exactly:
                same = (x[t.name].tensor_type == t.tensor_type and
                        np.array_equal(x[t.name].data, t.data))
            else:
                p = dequantize(x[t.name].data, x[t.name].tensor_type)
                q = dequantize(t.data, t.tensor_type)
                scale = scales.get(t.name[:-len("weight")] + "scale")
                if scale is not None:  # one a matrix
                    q = q * scale.reshape(-1, *[1] * (q.ndim - 1))
                    q = q.reshape(p.shape)
                same = np.array_equal(p, q)
                if not same and t.name.endswith("norm.weight"):
                    # Gemma's 1 + w goes through w and back in float32.
                    same = np.allclose(p, q, rtol=2e-7, atol=1e-7)
                    off_by_one += same
            if not same:
                bad.append(t.name)
        bad += [n for n in x if n not in {t.name for t in b.tensors}]
        self.say(not bad, "%d GGUF tensors%s%s" % (
            len(b.tensors), ": %d, %s" % (len(bad), bad[:4]) if bad else "",
            ", %d norms to the last place" % off_by_one if off_by_one else ""))
        keys = []
        for key in list(b.fields) + [k for k in a.fields if k not in b.fields]:
            p, q = a.fields.get(key), b.fields.get(key)
            if p is None or q is None or p.contents() != q.contents():
                keys.append(key + (" (lost)" if p is None else
                                   " (new)" if q is None else ""))
        keys = [k for k in keys if not k.startswith(("GGUF.", "general."))]
        if exactly and keys:
            print("  note: other metadata: %s" % ", ".join(keys))

    def folder(self, folder):
        print(folder)
        config = json.load(open(os.path.join(folder, "config.json")))
        dtype = config.get("dtype", config.get("torch_dtype", "bfloat16"))
        kind = GGUF_TYPE[getattr(torch, dtype)]
        with tempfile.TemporaryDirectory() as tmp:
            first, hf, again = (tmp + "/first.gguf", tmp + "/hf",
                                tmp + "/again.gguf")
            self.narrow(folder, "--to", kind, "--outtype", kind.lower(),
                        "--out", first)
            self.narrow(first, "--to", "hf", "--out", hf,
                        "--max-shard-size", self.args.shard)
            self.same_checkpoint(hf, folder)
            if not self.args.no_logits:
                self.same_logits(hf, folder)
            self.same_tokens(hf, folder)
            self.narrow(hf, "--to", kind, "--outtype", kind.lower(),
                        "--out", again)
            self.same_gguf(again, first, exactly=True)

    def gguf(self, path):
        print(path)
        with tempfile.TemporaryDirectory() as tmp:
            hf, again = tmp + "/hf", tmp + "/again.gguf"
            self.narrow(path, "--to", "hf", "--dtype", "f32", "--out", hf,
                        "--max-shard-size", self.args.shard)
            self.narrow(hf, "--to", "F32", "--outtype", "f32", "--out", again)
            self.same_gguf(again, path, exactly=False)
            if not self.args.no_logits:
                model = AutoModelForCausalLM.from_pretrained(hf)
                with torch.no_grad():
                    logits = model(torch.arange(16)[None]).logits
                self.say(bool(torch.isfinite(logits).all()), "loads")
            if self.args.original:
                self.same_tokens(hf, self.args.original)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("narrow")
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--gguf", nargs="*", default=[])
    parser.add_argument("--original")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--shard", default="5GB")
    parser.add_argument("--random", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-logits", action="store_true")
    args = parser.parse_args()
    check = Check(args)
    for folder in args.folders:
        try:
            check.folder(folder)
        except Exception as error:
            check.say(False, "failed: %s" % error)
    for path in args.gguf:
        try:
            check.gguf(path)
        except Exception as error:
            check.say(False, "failed: %s" % error)
    print("%d differences" % check.bad)
    return 1 if check.bad else 0


if __name__ == "__main__":
    sys.exit(main())
