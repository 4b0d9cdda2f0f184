"""Writes testdata/tokenizers: small vocabularies and what they give.

    python tools/make_tokenizer_goldens.py TEXT_FILE testdata/tokenizers

Ids and decoded texts are those of the packages tokenizers and sentencepiece,
whose versions are recorded in the files. TEXT_FILE trains the vocabularies.
"""

import io
import json
import os
import sys

import sentencepiece
import tokenizers
from tokenizers import (Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "clients"))
from check_tokenizers import AWKWARD  # noqa: E402

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SLASH_TAIL = TAIL.replace(r"[\r\n]*", r"[\r\n/]*", 1)
LEAD = r"[^\r\n\p{L}\p{N}]?"
UP = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOW = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}" + TAIL
QWEN35 = (CONTRACTIONS + "|" + LEAD + r"[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (LEAD + UP + "*" + LOW + "+|" + LEAD + UP + "+" + LOW + r"*|\p{N}" +
          SLASH_TAIL)
GPT4O = (LEAD + UP + "*" + LOW + "+" + CONTRACTIONS + "?|" + LEAD + UP + "+" +
         LOW + "*" + CONTRACTIONS + r"?|\p{N}{1,3}" + SLASH_TAIL)
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
          r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
           r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
SEED = (CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}{1}"
        r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
               "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
               "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CJK = "[一-龥\u0800-一가-\ud7ff]+"


def split(pattern, behavior="Isolated", invert=False, literal=False):
    return {"type": "Split",
            "pattern": {"String" if literal else "Regex": pattern},
            "behavior": behavior, "invert": invert}


def byte_level(prefix=False, use_regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix,
            "trim_offsets": True, "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def punctuation(behavior):
    return {"type": "Punctuation", "behavior": behavior}


# name, tokenizer.ggml.pre or "" if there is none, pre_tokenizer
CASES = [
    ("gpt2", "gpt-2", byte_level(use_regex=True)),
    ("gpt2 with prefix", "", byte_level(True, True)),
    ("llama3", "llama-bpe", sequence(split(LLAMA3), byte_level())),
    ("qwen2", "qwen2", sequence(split(QWEN2), byte_level())),
    ("qwen3.5", "qwen35", sequence(split(QWEN35), byte_level())),
    ("tekken", "tekken", sequence(split(TEKKEN), byte_level())),
    ("gpt-4o", "gpt-4o", sequence(split(GPT4O), byte_level())),
    ("cl100k", "", sequence(split(CL100K), byte_level())),
    ("bailing", "bailingmoe", sequence(split(BAILING), byte_level())),
    ("seed", "seed-coder", sequence(split(SEED), byte_level())),
    ("starcoder", "starcoder",
     sequence(digits(True), byte_level(use_regex=True))),
    ("deepseek v3", "deepseek-v3",
     sequence(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"),
              split(DEEPSEEK_V3), byte_level())),
    ("deepseek coder", "deepseek-coder",
     sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
              split(CJK), digits(True), byte_level())),
    ("falcon", "falcon",
     sequence(punctuation("Contiguous"), byte_level(use_regex=True),
              digits(False), split("[0-9][0-9][0-9]"))),
    ("bloom", "bloom", sequence(split(BLOOM), byte_level())),
    ("viking", "viking", sequence(split(BLOOM), digits(True), byte_level())),
    ("superbpe", "superbpe",
     sequence(split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))"), byte_level())),
    ("whitespace", "", sequence({"type": "Whitespace"}, byte_level())),
    ("whitespace split", "",
     sequence({"type": "WhitespaceSplit"}, byte_level())),
    ("constructs 1", "", sequence(
        split(r"(?<=a)b|(?<!\d)\d{2}|^.|.$|\b\w+\b"), byte_level())),
    ("constructs 2", "", sequence(
        split(r"a+?b|\p{L}{2,3}?|(?>\d+)x?|\h{2}|[a-z&&[^aeiou]]+|[[:punct:]]"
              r"|(?i)k+(?-i)A"), byte_level())),
] + [
    ("split %s%s" % (behavior, " inverted" if invert else ""), "",
     sequence(split(r"\s|[a-e]", behavior, invert), byte_level()))
    for behavior in ("Removed", "Isolated", "MergedWithPrevious",
                     "MergedWithNext", "Contiguous")
    for invert in (False, True)
]


def train(lines, model, pre, vocab_size, **options):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                  **options)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def byte_level_base(lines):
    tokenizer = train(
        lines, models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False),
        600, special_tokens=["<|bos|>", "<|eos|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    return json.loads(tokenizer.to_str())


def outcome(tokenizer, texts):
    ids = [tokenizer.encode(text).ids for text in texts]
    return {"ids": ids, "decoded": [tokenizer.decode(x) for x in ids]}


def write(folder, name, value):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def pipelines(folder, lines, texts):
    base = byte_level_base(lines)
    cases = []
    for name, pre, section in CASES:
        tokenizer = Tokenizer.from_str(
            json.dumps({**base, "pre_tokenizer": section}))
        cases.append({"name": name, "pre": pre,
                      "pre_tokenizer": json.dumps(section),
                      **outcome(tokenizer, texts)})
    write(folder, "pipelines.json", {
        "made_by": "tokenizers " + tokenizers.__version__, "texts": texts,
        "cases": cases})
    write(folder, "byte_level.json", {**base, "pre_tokenizer": "PRE"})
    return base


def sentencepiece_like(folder, lines, texts):
    """A Llama 2 tokenizer.json and a Gemma one, over one vocabulary."""
    bytes_ = ["<0x%02X>" % b for b in range(256)]
    tokenizer = train(
        [line.replace(" ", "▁") for line in lines],
        models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        pre_tokenizers.Split("▁", "merged_with_next"), 700,
        special_tokens=["<unk>", "<s>", "</s>"] + bytes_, limit_alphabet=100)
    value = json.loads(tokenizer.to_str())
    value["added_tokens"] = value["added_tokens"][:3]
    value["added_tokens"].append(
        {"id": len(value["model"]["vocab"]), "content": "<tool>",
         "single_word": False, "lstrip": True, "rstrip": True,
         "normalized": False, "special": False})
    value["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    gemma = dict(value, normalizer=space, pre_tokenizer=split(
        " ", "MergedWithPrevious", literal=True))
    llama = dict(value, pre_tokenizer=None, normalizer={
        "type": "Sequence",
        "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]})
    llama["decoder"] = {"type": "Sequence", "decoders":
                        value["decoder"]["decoders"] +
                        [{"type": "Strip", "content": " ", "start": 1,
                          "stop": 0}]}
    for name, section in (("gemma", gemma), ("llama", llama)):
        write(os.path.join(folder, name), "tokenizer.json", section)
        tokenizer = Tokenizer.from_str(json.dumps(section))
        write(os.path.join(folder, name), "expected.json", {
            "made_by": "tokenizers " + tokenizers.__version__, "texts": texts,
            **outcome(tokenizer, texts)})


def sentencepiece_model(folder, lines, texts):
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=buffer, vocab_size=900,
        model_type="bpe", byte_fallback=True, character_coverage=0.999,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        num_threads=1, minloglevel=2)
    folder = os.path.join(folder, "sentencepiece")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
        file.write(buffer.getvalue())
    model = sentencepiece.SentencePieceProcessor(
        model_proto=buffer.getvalue())
    write(folder, "config.json", {"architectures": ["LlamaForCausalLM"],
                                  "vocab_size": model.vocab_size() + 4,
                                  "bos_token_id": 1, "eos_token_id": 2})
    # The library drops NUL and what follows; texts with one are left out.
    texts = [text for text in texts if "\0" not in text and text]
    write(folder, "expected.json", {
        "made_by": "sentencepiece " + sentencepiece.__version__,
        "texts": texts, "ids": [[1] + model.encode(x) for x in texts]})


def main():
    source, folder = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip()][:1500]
    texts = [text for text in AWKWARD if len(text) < 250]
    texts.append(" ".join(lines[3:5])[:1200])
    pipelines(folder, lines, texts)
    sentencepiece_like(folder, lines, texts)
    sentencepiece_model(folder, lines, texts)


if __name__ == "__main__":
    main()
