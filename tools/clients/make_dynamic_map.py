#!/usr/bin/env python3
"""Prints formats/packing/bitsandbytes/dynamic_map.inc.

    python3 tools/clients/make_dynamic_map.py > formats/packing/bitsandbytes/dynamic_map.inc

The table of 256 numbers is bitsandbytes' (0.50.2 is the version it was made
with), since files carry it: a table computed in another order of float32
operations differs in last bits. Each number is printed so that it reads back
as the same float32; the SHA-256 is that of the little-endian bytes.
"""

import hashlib

from bitsandbytes.functional import create_dynamic_map

SHA256 = "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c"


def main() -> None:
    table = create_dynamic_map().numpy()
    digest = hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"another table than that of 0.50.2: {digest}")
    print("// Made by tools/clients/make_dynamic_map.py: bitsandbytes 0.50.2's")
    print("// signed dynamic map. SHA-256 of its little-endian float32:")
    print("// " + SHA256[:32])
    print("// " + SHA256[32:])
    words = [f"{float(x).hex()}f," for x in table]
    for i in range(0, 256, 3):
        print("    " + " ".join(words[i:i + 3]))


if __name__ == "__main__":
    main()
