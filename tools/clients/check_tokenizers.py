"""Compares `tokenize` with the `tokenizers` package, and with llama-tokenize.

    python tools/clients/check_tokenizers.py TOKENIZE FOLDER [--text FILE ...]
        [--gguf FILE.gguf [--llama-tokenize "COMMAND"]] [--seed N] [--random N]

FOLDER holds a tokenizer.json. Checks ids and decoded texts on the given
files and on random awkward texts; with --gguf also that the file gives the
ids of the folder, or with --llama-tokenize those of that program.
"""

import argparse
import array
import random
import subprocess
import sys

import tokenizers

AWKWARD = [
    "", " ", "  ", "\n", "\r\n", "\t", "\0", "a\0b", " a", "a ", "  a  b  ",
    "I've been 'told he's there, 'RE you sure? 'M not sure I'LL make it, 'D",
    "We'Ve a'lL don\u2019t 'ſ it'ſ", "123 1234 12345 3.14 1,000,000 ²³ ½ ٣٤٥",
    "\r\n\r\n \r\n\t\r\n", "a\n\n\nb\n \n  c", "x   \n\n   y", "\u3000全角　空白",
    "我想在apple工作1314151天～", "こんにちは、世界！カタカナ", "안녕하세요 세계",
    "កាន់តែពិសេសអាច😁", "नमस्ते दुनिया", "สวัสดีชาวโลก", "שלום עולם", "مرحبا",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ 🦙🦙", "👨‍👩‍👧‍👦🏳️‍🌈",
    "e\u0301 é a\u0308\u0323 \u0301x", "Ǆ ǅ ǆ ʼn ﬁ ß ẞ İ ı", "ŉ\u00a0nbsp\u2003em",
    "<s></s><unk><|endoftext|><|begin_of_text|> <s> x </s>", "<bos><eos><pad>",
    "<start_of_turn>user\nhi<end_of_turn>\n", "<|assistant|> a <|user|>\nb",
    "<0x0A><0xFF> ▁▁ ▁a", "=======\n------\n''''''```````\"\"\"\"......!!!!!!",
    "def f(x):\n\treturn x**2  # comment\n", "http://example.com/a?b=c&d=%20",
    "\x01\x02\x1f\x7f\x80\x9f", "\ufeffBOM", "\U0010ffff\ue000\ufffd",
    "a" * 300, " " * 300, "\n" * 40, "ab" * 200, "1" * 50, "!?" * 60,
    "ԱԲԳ ᏣᎳᎩ Ꮳꮳ ⰀⰁ 𐐀𐐨 𞤀𞤢", "ᲀ\u1c89\u1c8a \ua7cb\ua7da \U00010d40",
]

POOLS = [
    "abcdefghijklmnopqrstuvwxyzABCDEFG", "0123456789", " \t\n\r\v\f\u00a0\u3000",
    "'\"!?.,;:-_()[]{}<>|/\\@#$%^&*+=~`", "éèñüßøåçĞığŠ", "我想在工作天世界中文字",
    "こんにちはカタカナー", "안녕하세요", "кириллица", "ελληνικά", "العربية", "हिन्दी",
    "\u0301\u0308\u200d\ufe0f\u0323\u20dd", "😀🚀🦙👨👩🏳🌈✅", "²³¹½¼Ⅷ٣৪", "\0\x01\x1b\x7f\x85",
    "'s't're've'm'll'd'S'LL", "▁Ġ", "<|endoftext|>", "<s></s>",
]


def random_text(rng):
    out = []
    for _ in range(rng.randint(1, 40)):
        if rng.random() < 0.08:
            c = rng.randint(0, 0x10FFFF)
            out.append("\ufffd" if 0xD800 <= c < 0xE000 else chr(c))
        elif rng.random() < 0.05:
            out.append(rng.choice(POOLS[-4:]))
        else:
            pool = rng.choice(POOLS)
            out += rng.choices(pool, k=rng.randint(1, 6))
    return "".join(out)


def run(binary, args, data):
    done = subprocess.run([binary, *args], input=data, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout, done.stderr.decode().strip()


def ids_of(binary, source, text, *flags):
    out, note = run(binary, ["ids", source, *flags], text.encode())
    ids = array.array("i")
    ids.frombytes(out)
    return ids.tolist(), note


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y),
                min(len(a), len(b)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("folder")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--gguf")
    parser.add_argument("--llama-tokenize")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=2000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    reference = tokenizers.Tokenizer.from_file(args.folder + "/tokenizer.json")
    texts = [open(name, encoding="utf-8", newline="").read()
             for name in args.text]
    small = AWKWARD + [random_text(rng) for _ in range(args.random)]
    bad = 0
    for text in texts:
        expected = reference.encode(text).ids
        ids, note = ids_of(args.binary, args.folder, text)
        at = first_difference(ids, expected)
        same = ids == expected
        bad += not same
        print("text of %d bytes: %s; %s" % (
            len(text.encode()), "equal" if same else
            "DIFFERENT at %d: %r, expected %r" % (
                at, reference.decode(ids[at - 3:at + 5], False),
                reference.decode(expected[at - 3:at + 5], False)), note))
        out, _ = run(args.binary, ["text", args.folder],
                     array.array("i", expected).tobytes())
        if out.decode() != reference.decode(expected):
            bad += 1
            print("  decoded text DIFFERENT")
    for special in (True, False):
        bad += check_batch(args, args.folder, reference, small, special)
    if args.gguf:
        bad += check_gguf(args, texts, small, reference)
    print("%d differences" % bad)
    return 1 if bad else 0


def batch(binary, source, texts, *flags):
    """Ids and decoded texts of many small texts."""
    data = bytearray()
    for text in texts:
        raw = text.encode()
        data += len(raw).to_bytes(4, "little") + raw
    out, _ = run(binary, ["batch", source, *flags], bytes(data))
    result, pos = [], 0
    while pos < len(out):
        n = int.from_bytes(out[pos:pos + 4], "little")
        ids = array.array("i")
        ids.frombytes(out[pos + 4:pos + 4 + 4 * n])
        pos += 4 + 4 * n
        n = int.from_bytes(out[pos:pos + 4], "little")
        result.append((ids.tolist(), out[pos + 4:pos + 4 + n]))
        pos += 4 + n
    assert len(result) == len(texts)
    return result


def check_batch(args, source, reference, texts, special):
    flags = [] if special else ["--no-special", "--no-parse"]
    reference.encode_special_tokens = not special
    bad = 0
    for text, (ids, decoded) in zip(
            texts, batch(args.binary, source, texts, *flags)):
        expected = reference.encode(text, add_special_tokens=special).ids
        back = reference.decode(expected)
        if ids != expected or decoded.decode() != back:
            bad += 1
            if bad <= 5:
                print("DIFFERENT %r\n  ids %s\n  not %s\n  text %r\n  not  %r"
                      % (text, ids, expected, decoded, back))
    print("%d small texts, special %s: %d differences"
          % (len(texts), special, bad))
    reference.encode_special_tokens = False
    return bad


def llama_ids(command, gguf, text):
    done = subprocess.run(
        [*command.split(), "-m", gguf, "--stdin", "--ids", "--log-disable",
         "--no-escape"],
        input=text.encode(), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, check=True)
    line = done.stdout.decode().splitlines()[-1]
    return [int(x) for x in line.strip("[]").split(",") if x.strip()]


def check_gguf(args, texts, small, reference):
    bad = 0
    for text in texts:
        ids, note = ids_of(args.binary, args.gguf, text)
        expected = (llama_ids(args.llama_tokenize, args.gguf, text)
                    if args.llama_tokenize else reference.encode(text).ids)
        same = ids == expected
        bad += not same
        print("gguf, text of %d bytes: %s; %s" % (
            len(text.encode()), "equal" if same else "DIFFERENT at %d"
            % first_difference(ids, expected), note))
    n_bad = 0
    sample = small[:150] if args.llama_tokenize else small
    got = batch(args.binary, args.gguf, sample)
    for text, (ids, _) in zip(sample, got):
        if args.llama_tokenize and not text:
            continue
        expected = (llama_ids(args.llama_tokenize, args.gguf, text)
                    if args.llama_tokenize else reference.encode(text).ids)
        if ids != expected:
            n_bad += 1
            if n_bad <= 5:
                print("gguf DIFFERENT %r\n  ids %s\n  not %s"
                      % (text, ids, expected))
    print("gguf, %d small texts: %d differences" % (len(sample), n_bad))
    return bad + n_bad


if __name__ == "__main__":
    sys.exit(main())
