"""Fuzz targets: a function that must bear any bytes, and seeds for it."""

def fuzz_target(name, srcs, seeds, deps = [], **kwargs):
    """A libFuzzer binary under --config=fuzz, elsewhere a test.

    The test feeds every seed, and damaged copies of it that are the same in
    every run, to LLVMFuzzerTestOneInput.

    Args:
      name: name of the target.
      srcs: sources; one defines LLVMFuzzerTestOneInput.
      seeds: a filegroup of small inputs.
      deps: libraries.
      **kwargs: as for cc_test.
    """
    native.cc_test(
        name = name,
        srcs = srcs,
        args = ["$(locations %s)" % seeds],
        data = [seeds],
        deps = deps + ["//tools/fuzz:memory_file"] + select({
            "//tools/fuzz:engine": [],
            "//conditions:default": ["//tools/fuzz:replay"],
        }),
        linkopts = select({
            "//tools/fuzz:engine": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        **kwargs
    )
