"""Libraries of CUDA sources, compiled by nvcc under --define=cuda=1."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

# Machine code for these, and PTX of the last for what comes after it.
_ARCHITECTURES = ["80", "90"]

# Numbers on the card must be the CPU's: products are not contracted (source
# that wants one rounding calls fmaf), subnormals are kept, quotients and roots
# are correctly rounded. The last three are nvcc's defaults, spelled out.
_NUMERIC_FLAGS = [
    "-fmad=false",
    "-ftz=false",
    "-prec-div=true",
    "-prec-sqrt=true",
]

def _targets(ctx):
    chosen = ctx.var.get("cuda_archs", ",".join(_ARCHITECTURES)).split(",")
    flags = []
    for arch in chosen:
        flags.append("-gencode=arch=compute_%s,code=sm_%s" % (arch, arch))
    last = chosen[-1]
    flags.append("-gencode=arch=compute_%s,code=compute_%s" % (last, last))
    for arch in ctx.attr.extra_archs:
        flags.append("-gencode=arch=compute_%s,code=sm_%s" % (arch, arch))
    return flags

def _compile(ctx, cuda_home, src, headers):
    object = ctx.actions.declare_file("_nvcc/%s/%s.o" % (ctx.label.name, src.basename))
    arguments = ctx.actions.args()
    arguments.add_all(["-std=c++17", "-O3", "-lineinfo", "-x", "cu", "-c", src.path])
    arguments.add_all(["-o", object.path, "-I."])
    arguments.add("-I" + ctx.genfiles_dir.path)
    arguments.add_all(_targets(ctx) + _NUMERIC_FLAGS)
    arguments.add_all(["--expt-relaxed-constexpr", "-DNARROW_CUDA=1"])
    arguments.add_all(["-Xcompiler", "-fPIC,-ffp-contract=off,-fno-math-errno,-Wall"])
    arguments.add_all(["-Werror", "all-warnings"])
    arguments.add_all(ctx.attr.copts)
    ctx.actions.run(
        executable = cuda_home + "/bin/nvcc",
        arguments = [arguments],
        inputs = depset([src], transitive = [headers]),
        outputs = [object],
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin"},
        mnemonic = "Nvcc",
        progress_message = "Compiling %s for the GPU" % src.short_path,
    )
    return object

def _cuda_library_impl(ctx):
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    cuda_home = ctx.var.get("cuda_home", "/usr/local/cuda")
    dependencies = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    )
    headers = depset(
        ctx.files.hdrs + ctx.files.textual_hdrs,
        transitive = [dependencies.compilation_context.headers],
    )
    objects = depset([_compile(ctx, cuda_home, src, headers) for src in ctx.files.srcs])
    linking, _ = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        name = ctx.label.name,
        feature_configuration = features,
        cc_toolchain = toolchain,
        compilation_outputs = cc_common.create_compilation_outputs(
            objects = objects,
            pic_objects = objects,
        ),
        linking_contexts = [dependencies.linking_context],
        user_link_flags = [
            "-L%s/lib64" % cuda_home,
            "-lcudart_static",
            "-lpthread",
            "-ldl",
            "-lrt",
        ],
        disallow_dynamic_library = True,
    )
    own = cc_common.create_compilation_context(
        headers = depset(ctx.files.hdrs + ctx.files.textual_hdrs),
    )
    compilation = cc_common.merge_cc_infos(cc_infos = [
        CcInfo(compilation_context = own),
        CcInfo(compilation_context = dependencies.compilation_context),
    ]).compilation_context
    return [
        DefaultInfo(files = objects),
        CcInfo(compilation_context = compilation, linking_context = linking),
    ]

# A target of its own for each .cu: nvcc takes its time. --define=cuda_home=DIR
# names another toolkit than /usr/local/cuda, --define=cuda_archs=90 shortens
# the list of targets while working.
cuda_library = rule(
    implementation = _cuda_library_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu", ".cc"]),
        "hdrs": attr.label_list(allow_files = True),
        "textual_hdrs": attr.label_list(allow_files = True),
        "copts": attr.string_list(),
        "extra_archs": attr.string_list(doc = "Such as 90a, for wgmma."),
        "deps": attr.label_list(providers = [CcInfo]),
        "_cc_toolchain": attr.label(
            default = Label("@bazel_tools//tools/cpp:current_cc_toolchain"),
        ),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
