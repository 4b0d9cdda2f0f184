"""Models as build targets: quantized, measured, released.

    load("//tools:narrow.bzl", "model_gate_test", "model_release", "quantized_model")

    quantized_model(name = "q4", model = ":gemma", to = "Q4_K_M", shards = 8)
    model_gate_test(
        name = "q4_gate",
        original = ":gemma",
        candidate = ":q4",
        texts = {":wiki": "wiki"},
        limits = {"max-kld": "0.05"},
    )

Every step is an action with declared inputs and outputs: nothing depends on
time, place or number of threads, so outputs are taken from a cache, local or
remote, wherever inputs and flags are the same (docs/bazel.md). A GGUF file is
made in parts: one action plans, one an output part converts, one joins them.
A part's plan changes only when its own tensors do, so after a change of one
override the other parts are found in the cache.

A model is a label with the files of one folder (config.json, safetensors,
tokenizer), or of one GGUF file.
"""

NarrowModelInfo = provider(
    doc = "A model that other rules can measure.",
    fields = {"path": "what narrow is given", "files": "depset of its files"},
)

_PROGRAM = {
    # Of the target's configuration: the program is not built twice.
    "_narrow": attr.label(
        default = "//converter:narrow",
        executable = True,
        cfg = "target",
    ),
}

def _model_of(target):
    """Path and files of a model: of ours, or of a folder's files."""
    if NarrowModelInfo in target:
        return target[NarrowModelInfo]
    files = target[DefaultInfo].files
    listed = files.to_list()
    for file in listed:
        if file.basename == "config.json":
            return NarrowModelInfo(path = file.dirname, files = files)
    for file in listed:
        if file.extension == "gguf":
            return NarrowModelInfo(path = file.path, files = files)
    fail("%s has neither a config.json nor a GGUF file" % target.label)

def _run(ctx, arguments, inputs, outputs, mnemonic, message):
    ctx.actions.run(
        executable = ctx.executable._narrow,
        arguments = [arguments],
        inputs = inputs,
        outputs = outputs,
        mnemonic = mnemonic,
        progress_message = "%s %s" % (message, ctx.label),
        env = {"LC_ALL": "C"},
    )

def _type_flags(ctx, arguments):
    arguments.add("--to", ctx.attr.to)
    for row in ctx.attr.tensor_types:
        arguments.add("--tensor-type", row)
    if ctx.attr.output_tensor_type:
        arguments.add("--output-tensor-type", ctx.attr.output_tensor_type)
    if ctx.attr.token_embedding_type:
        arguments.add("--token-embedding-type", ctx.attr.token_embedding_type)
    if ctx.attr.strict:
        arguments.add("--mode", "strict")

def _convert_whole(ctx, model, out):
    arguments = ctx.actions.args()
    arguments.add("convert")
    arguments.add(model.path)
    _type_flags(ctx, arguments)
    inputs = [model.files]
    if ctx.file.imatrix:
        arguments.add("--imatrix", ctx.file.imatrix)
        inputs.append(depset([ctx.file.imatrix]))
    arguments.add("--out", out)
    arguments.add("-q")
    arguments.add("--no-manifest")
    _run(ctx, arguments, depset(transitive = inputs), [out], "NarrowConvert", "Converting")

def _convert_parts(ctx, model, out):
    n = ctx.attr.shards
    folder = ctx.label.name + ".plans/"
    matrix = [ctx.file.imatrix] if ctx.file.imatrix else []
    head = ctx.actions.declare_file(folder + "head.plan")
    plans = []
    for k in range(1, n + 1):
        plans.append(ctx.actions.declare_file(
            folder + "part-%s-of-%s.plan" % (_five(k), _five(n)),
        ))

    arguments = ctx.actions.args()
    arguments.add("convert")
    arguments.add(model.path)
    _type_flags(ctx, arguments)
    if matrix:
        arguments.add("--imatrix", ctx.file.imatrix)
    arguments.add("--shards", n)
    arguments.add("--write-plans", head.dirname)
    arguments.add("-q")
    _run(
        ctx,
        arguments,
        depset(matrix, transitive = [model.files]),
        [head] + plans,
        "NarrowPlan",
        "Planning",
    )

    parts = []
    for k in range(n):
        part = ctx.actions.declare_file(
            ctx.label.name + ".parts/part-%s-of-%s" % (_five(k + 1), _five(n)),
        )
        arguments = ctx.actions.args()
        arguments.add("convert")
        arguments.add(model.path)
        arguments.add("--plan", plans[k])
        if matrix:
            arguments.add("--imatrix", ctx.file.imatrix)
        arguments.add("--out", part)
        arguments.add("-q")
        _run(
            ctx,
            arguments,
            depset([plans[k]] + matrix, transitive = [model.files]),
            [part],
            "NarrowPart",
            "Converting part %d of %d of" % (k + 1, n),
        )
        parts.append(part)

    arguments = ctx.actions.args()
    arguments.add("merge")
    arguments.add(head)
    arguments.add_all(parts)
    arguments.add("--out", out)
    arguments.add("-q")
    arguments.add("--no-manifest")
    _run(ctx, arguments, depset([head] + parts), [out], "NarrowMerge", "Merging")

def _five(n):
    return ("00000" + str(n))[-5:]

def _recipe_flags(ctx, model, arguments):
    arguments.add("quantize")
    arguments.add(model.path)
    arguments.add("--recipe", ctx.file.recipe)
    arguments.add_all(ctx.files.calibration, before_each = "--calibration")

def _quantize(ctx, model, out):
    """A packed model in one action: calibrated solvers see a block at a time."""
    arguments = ctx.actions.args()
    _recipe_flags(ctx, model, arguments)
    arguments.add("--out", out.path)
    arguments.add("-q")
    arguments.add("--no-manifest")
    _run(
        ctx,
        arguments,
        depset([ctx.file.recipe] + ctx.files.calibration, transitive = [model.files]),
        [out],
        "NarrowQuantize",
        "Quantizing",
    )

def _quantize_parts(ctx, model, out):
    """A packed model by parts of its layers, for recipes without calibration."""
    n = ctx.attr.shards
    parts = []
    for k in range(1, n + 1):
        part = ctx.actions.declare_file(
            ctx.label.name + ".parts/part-%s-of-%s" % (_five(k), _five(n)),
        )
        arguments = ctx.actions.args()
        _recipe_flags(ctx, model, arguments)
        arguments.add("--shard", "%d/%d" % (k, n))
        arguments.add("--out", part)
        arguments.add("-q")
        arguments.add("--no-manifest")
        _run(
            ctx,
            arguments,
            depset([ctx.file.recipe], transitive = [model.files]),
            [part],
            "NarrowPart",
            "Quantizing part %d of %d of" % (k, n),
        )
        parts.append(part)

    arguments = ctx.actions.args()
    arguments.add("merge")
    arguments.add_all(parts)
    arguments.add("--model", model.path)
    arguments.add("--out", out.path)
    arguments.add("-q")
    arguments.add("--no-manifest")
    _run(
        ctx,
        arguments,
        depset(parts, transitive = [model.files]),
        [out],
        "NarrowMerge",
        "Merging",
    )

def _quantized_model_impl(ctx):
    model = _model_of(ctx.attr.model)
    if bool(ctx.attr.to) == bool(ctx.file.recipe):
        fail("give one of: to (a file type), recipe (of narrow quantize)")
    if ctx.attr.to:
        out = ctx.actions.declare_file(ctx.label.name + ".gguf")
        if ctx.attr.shards < 1:
            fail("shards is %d" % ctx.attr.shards)
        elif ctx.attr.shards == 1:
            _convert_whole(ctx, model, out)
        else:
            _convert_parts(ctx, model, out)
    else:
        out = ctx.actions.declare_directory(ctx.label.name)
        if ctx.attr.shards > 1 and not ctx.files.calibration:
            _quantize_parts(ctx, model, out)
        else:
            _quantize(ctx, model, out)
    return [
        DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out])),
        NarrowModelInfo(path = out.path, files = depset([out])),
    ]

quantized_model = rule(
    implementation = _quantized_model_impl,
    doc = "NAME.gguf, or for a recipe the folder NAME.",
    attrs = dict(
        _PROGRAM,
        model = attr.label(mandatory = True, allow_files = True),
        to = attr.string(doc = "file type, as narrow convert --to"),
        imatrix = attr.label(allow_single_file = True),
        shards = attr.int(default = 1, doc = "parts, an action each; not of calibrated recipes"),
        tensor_types = attr.string_list(doc = "PATTERN=TYPE, the first that is found decides"),
        output_tensor_type = attr.string(),
        token_embedding_type = attr.string(),
        strict = attr.bool(doc = "fail where a tensor would get another type"),
        recipe = attr.label(allow_single_file = True, doc = "of narrow quantize"),
        calibration = attr.label_list(allow_files = True, doc = "texts, for a recipe"),
    ),
)

_MEASURE = dict(
    _PROGRAM,
    original = attr.label(mandatory = True, allow_files = True),
    texts = attr.label_keyed_string_dict(
        mandatory = True,
        allow_files = True,
        doc = "a text's file and its name in reports",
    ),
    context = attr.int(default = 512, doc = "tokens of a window"),
    chunks = attr.int(default = 0, doc = "windows of each text; 0: all"),
    limits = attr.string_dict(doc = "of narrow validate: {\"max-kld\": \"0.05\"}"),
    early_stop = attr.bool(doc = "stop when every limit is decided"),
)

# Verdicts are results, not errors: exit codes 3 and 4 are a limit that is
# exceeded, and one that needs more text.
_MEASURE_COMMAND = """
status_file=$1; table=$2; shift 2
"$@" >"$table"
status=$?
echo $status >"$status_file"
case $status in 0|3|4) exit 0 ;; *) cat "$table"; exit $status ;; esac
"""

def _measure(ctx, candidates, outputs, flags):
    """One action: the original goes through every text once."""
    original = _model_of(ctx.attr.original)
    inputs = [original.files]
    arguments = ctx.actions.args()
    arguments.add_all(outputs.fixed)
    arguments.add(ctx.executable._narrow)
    arguments.add("validate")
    arguments.add(original.path)
    for candidate in candidates:
        arguments.add(candidate.path)
        inputs.append(candidate.files)
    for text, name in ctx.attr.texts.items():
        for file in text.files.to_list():
            arguments.add("--text", "%s=%s" % (name, file.path))
        inputs.append(text.files)
    arguments.add("--context", ctx.attr.context)
    if ctx.attr.chunks > 0:
        arguments.add("--chunks", ctx.attr.chunks)
    for flag, value in ctx.attr.limits.items():
        arguments.add("--" + flag, value)
    if ctx.attr.early_stop:
        arguments.add("--early-stop")
    arguments.add("-q")
    for flag, file in flags.items():
        arguments.add("--" + flag, file)
    ctx.actions.run_shell(
        command = _MEASURE_COMMAND,
        arguments = [arguments],
        inputs = depset(transitive = inputs),
        tools = [ctx.executable._narrow],
        outputs = outputs.fixed + flags.values(),
        mnemonic = "NarrowValidate",
        progress_message = "Measuring for %s" % ctx.label,
        env = {"LC_ALL": "C"},
    )

def _model_gate_test_impl(ctx):
    name = ctx.label.name
    status = ctx.actions.declare_file(name + ".status")
    table = ctx.actions.declare_file(name + ".txt")
    report = ctx.actions.declare_file(name + ".json")
    if not ctx.attr.limits:
        fail("a gate without limits")
    _measure(
        ctx,
        [_model_of(ctx.attr.candidate)],
        struct(fixed = [status, table]),
        {"json": report},
    )
    script = ctx.actions.declare_file(name + ".sh")
    ctx.actions.write(script, """#!/bin/sh
cat '{table}'
status=$(cat '{status}')
case $status in
0) echo PASSED ;;
3) echo 'FAILED: a limit is exceeded' ;;
4) echo 'UNDECIDED: give more text, or a wider limit' ;;
esac
exit "$status"
""".format(table = table.short_path, status = status.short_path), is_executable = True)
    return [DefaultInfo(
        executable = script,
        files = depset([script, report]),
        runfiles = ctx.runfiles([status, table, report]),
    )]

model_gate_test = rule(
    implementation = _model_gate_test_impl,
    test = True,
    doc = "Passes if the candidate keeps all limits at the error rate.",
    attrs = dict(
        _MEASURE,
        candidate = attr.label(mandatory = True, allow_files = True),
    ),
)

def _model_report_impl(ctx):
    name = ctx.label.name
    status = ctx.actions.declare_file(name + ".status")
    table = ctx.actions.declare_file(name + ".txt")
    flags = {}
    for extension, flag in [("json", "json"), ("html", "html"), ("md", "markdown")]:
        flags[flag] = ctx.actions.declare_file(name + "." + extension)
    _measure(
        ctx,
        [_model_of(candidate) for candidate in ctx.attr.candidates],
        struct(fixed = [status, table]),
        flags,
    )
    outputs = [table] + flags.values()
    return [DefaultInfo(files = depset(outputs), runfiles = ctx.runfiles(outputs))]

model_report = rule(
    implementation = _model_report_impl,
    doc = "All candidates in one pass over the original: NAME.html, .md, .json, .txt.",
    attrs = dict(
        _MEASURE,
        candidates = attr.label_list(mandatory = True, allow_files = True),
    ),
)

_SUMS_COMMAND = """
out=$1; shift
for path in "$@"; do
  folder=$(dirname "$path")
  (cd "$folder" && find -L "$(basename "$path")" -type f | LC_ALL=C sort | xargs sha256sum)
done >"$out"
"""

def _release_sums_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    arguments = ctx.actions.args()
    arguments.add(out)
    arguments.add_all(ctx.files.files, expand_directories = False)
    ctx.actions.run_shell(
        command = _SUMS_COMMAND,
        arguments = [arguments],
        inputs = ctx.files.files,
        outputs = [out],
        mnemonic = "NarrowSums",
        progress_message = "Hashing %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

_release_sums = rule(
    implementation = _release_sums_impl,
    attrs = {"files": attr.label_list(allow_files = True)},
)

def model_release(
        name,
        model,
        texts,
        types = [],
        recipes = {},
        imatrix = None,
        calibration = [],
        shards = 1,
        limits = {},
        gate_limits = {},
        context = 512,
        chunks = 0,
        visibility = None):
    """What is published of one model.

    Makes NAME-TYPE.gguf for every type and the folder NAME-KEY for every
    recipe (key: label of a recipe), a test NAME-…_gate of each that has
    limits, the report NAME_report and the hashes NAME_sha256; NAME is all of
    it but the tests.

    Args:
      limits: of every target, as flags of narrow validate without dashes.
      gate_limits: by type or key, instead of `limits`.
    """
    outputs = []
    for suffix in list(types) + list(recipes.keys()):
        target = "%s-%s" % (name, suffix)
        outputs.append(":" + target)
        if suffix in recipes:
            quantized_model(
                name = target,
                model = model,
                recipe = recipes[suffix],
                calibration = calibration,
                shards = shards,
                visibility = visibility,
            )
        else:
            quantized_model(
                name = target,
                model = model,
                to = suffix,
                imatrix = imatrix,
                shards = shards,
                visibility = visibility,
            )
        wanted = gate_limits.get(suffix, limits)
        if wanted:
            model_gate_test(
                name = target + "_gate",
                original = model,
                candidate = ":" + target,
                texts = texts,
                limits = wanted,
                context = context,
                chunks = chunks,
            )
    model_report(
        name = name + "_report",
        original = model,
        candidates = outputs,
        texts = texts,
        context = context,
        chunks = chunks,
        visibility = visibility,
    )
    _release_sums(
        name = name + "_sha256",
        files = outputs,
        visibility = visibility,
    )
    native.filegroup(
        name = name,
        srcs = outputs + [":" + name + "_report", ":" + name + "_sha256"],
        visibility = visibility,
    )
