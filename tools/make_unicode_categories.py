"""Writes formats/regex/unicode_categories.inc: the general category of
every code point as the regular expressions of the `tokenizers` package see it.

    python tools/make_unicode_categories.py > \
        formats/regex/unicode_categories.inc
"""

import tokenizers
from tokenizers import Regex, pre_tokenizers

NAMES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po "
         "Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs").split()


def members(name, text):
    """The characters of `text` in category `name`."""
    kept = pre_tokenizers.Split(Regex(r"\p{%s}" % name), "removed")
    rest = {c for piece, _ in kept.pre_tokenize_str(text) for c in piece}
    return [ord(c) for c in text if c not in rest]


def main():
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    category = ["Cn"] * 0x110000
    for name in NAMES:
        if name == "Cs":
            continue
        for c in members(name, text):
            assert category[c] == "Cn"
            category[c] = name
    category[0xD800:0xE000] = ["Cs"] * 0x800
    print("// Made by: python tools/make_unicode_categories.py")
    print("// from the package tokenizers %s. Runs of one general category:"
          % tokenizers.__version__)
    print("// first, last, category; code points not listed are Cn.")
    first = 0
    for c in range(1, 0x110001):
        if c == 0x110000 or category[c] != category[first]:
            if category[first] != "Cn":
                print("CATEGORY_RUN(0x%04x, 0x%04x, %s)"
                      % (first, c - 1, category[first]))
            first = c


if __name__ == "__main__":
    main()
