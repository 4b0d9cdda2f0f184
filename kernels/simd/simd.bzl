"""Libraries of one source compiled once for each instruction set."""

_ISAS = {
    "avx2": [
        "-mavx2",
        "-mfma",
        "-mf16c",
    ],
    "avx512": [
        "-mavx2",
        "-mfma",
        "-mf16c",
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mprefer-vector-width=512",
        # GCC 12's own intrinsics begin with an undefined vector.
        "-Wno-uninitialized",
        "-Wno-maybe-uninitialized",
    ],
}

def simd_library(name, srcs, hdrs = [], copts = [], deps = [], testonly = False, **kwargs):
    """Compiles `srcs` for AVX2 and for AVX-512.

    Their code stands in namespace NARROW_SIMD of kernels/simd/lanes.h, which
    is another one in each, and they include nothing that defines an inline
    function elsewhere: the linker keeps one copy of such a function, maybe
    the one that needs AVX-512. <name>_isolation_test looks for such copies.

    Args:
      name: the library that has both.
      srcs: sources.
      hdrs: headers for all.
      copts: flags added for each.
      deps: libraries of headers.
      testonly: as for cc_library.
      **kwargs: as for cc_library.
    """
    for isa, flags in _ISAS.items():
        native.cc_library(
            name = name + "_" + isa,
            srcs = srcs + hdrs,
            copts = ["-O3"] + flags + copts,
            deps = deps + ["//kernels/simd:lanes"],
            testonly = testonly,
            visibility = ["//visibility:private"],
        )
    native.cc_library(
        name = name,
        testonly = testonly,
        deps = [name + "_" + isa for isa in _ISAS],
        **kwargs
    )
    native.genrule(
        name = name + "_symbols",
        testonly = True,
        srcs = [name + "_" + isa for isa in _ISAS],
        outs = [name + "_symbols.txt"],
        cmd = "for file in $(SRCS); do case $$file in *.a) " +
              "nm -C --defined-only $$file;; esac; done > $@",
    )
    native.sh_test(
        name = name + "_isolation_test",
        size = "small",
        srcs = ["//kernels/simd:isolation_test.sh"],
        args = ["$(location %s_symbols)" % name],
        data = [name + "_symbols"],
    )
