#!/bin/bash
# Makes a Llama model directory of any size that takes no disk: config.json, a
# tokenizer, and model.safetensors of BF16 zeros as a sparse file.
#
#   make_sparse_model.sh OUT_DIR N_LAYERS HIDDEN FFN
#
# HIDDEN is a multiple of 64. 8 GB: N_LAYERS 32, HIDDEN 3072, FFN 12288 (with a
# vocabulary of 2048).
set -euo pipefail
out=$1 n_layers=$2 hidden=$3 ffn=$4
tokenizer=$(dirname "$0")/../testdata/tiny-llama
mkdir -p "$out"
cp "$tokenizer"/tokenizer.json "$tokenizer"/tokenizer_config.json "$out"
chmod u+w "$out"/*

cat >"$out/config.json" <<EOF
{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
 "torch_dtype": "bfloat16", "hidden_size": $hidden,
 "intermediate_size": $ffn, "num_hidden_layers": $n_layers,
 "num_attention_heads": $((hidden / 64)),
 "num_key_value_heads": $((hidden / 64)), "vocab_size": 2048,
 "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
 "rope_theta": 10000.0, "tie_word_embeddings": true,
 "bos_token_id": 0, "eos_token_id": 1}
EOF

header= offset=0
add() {  # NAME ROWS COLS; ROWS 0 for a vector
  local name=$1 rows=$2 cols=$3 shape n
  if [ "$rows" -eq 0 ]; then
    shape=$cols n=$((cols * 2))
  else
    shape=$rows,$cols n=$((rows * cols * 2))
  fi
  header+="${header:+,}\"$name\":{\"dtype\":\"BF16\",\"shape\":[$shape],\
\"data_offsets\":[$offset,$((offset + n))]}"
  offset=$((offset + n))
}
add model.embed_tokens.weight 2048 "$hidden"
for ((i = 0; i < n_layers; i++)); do
  p=model.layers.$i
  add $p.input_layernorm.weight 0 "$hidden"
  add $p.mlp.down_proj.weight "$hidden" "$ffn"
  add $p.mlp.gate_proj.weight "$ffn" "$hidden"
  add $p.mlp.up_proj.weight "$ffn" "$hidden"
  add $p.post_attention_layernorm.weight 0 "$hidden"
  for m in k o q v; do add $p.self_attn.${m}_proj.weight "$hidden" "$hidden"; done
done
add model.norm.weight 0 "$hidden"
header="{$header}"
while [ $((${#header} % 8)) -ne 0 ]; do header+=' '; done

n=${#header} length=
for ((i = 0; i < 8; i++)); do
  length+=$(printf '\\x%02x' $((n >> (8 * i) & 255)))
done
{ printf "$length"; printf '%s' "$header"; } >"$out/model.safetensors"
truncate -s $((8 + n + offset)) "$out/model.safetensors"
