#!/bin/sh
# Runs one cell of a study in a container, with the commands and the limits of a pod.
#
#     images/local.sh IMAGE STUDY CELL STORE [GPUS]               (make local)
set -eu
image=$1 study=$2 cell=$3 store=${4%/} gpus=${5:-}

# The arguments of this script become options of Docker. Folders have the same path inside and
# outside the container, so that paths in messages are valid in both.
set -- --rm --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" \
  --cap-drop ALL --security-opt no-new-privileges
case $store in
s3://*) # the endpoint may be on this machine, and credentials in ~/.aws
  set -- "$@" --network host
  if [ -d "${HOME:-}/.aws" ]; then set -- "$@" --volume "$HOME/.aws:/tmp/.aws:ro"; fi
  ;;
*://*) ;; # unknown; the command reports it
*)
  mkdir -p "$store" # otherwise docker creates it as root
  store=$(cd "$store" && pwd -P)
  set -- "$@" --volume "$store:$store"
  ;;
esac
if [ -f "$study" ]; then
  folder=$(cd "$(dirname "$study")" && pwd -P)
  study=$folder/$(basename "$study")
  [ "$folder" = "$store" ] || set -- "$@" --volume "$folder:$folder:ro"
fi
# Mount the files in environment variables.
for name in AWS_CA_BUNDLE AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_WEB_IDENTITY_TOKEN_FILE \
  MOTIFK8S_DEEPSEA; do
  file=$(printenv "$name") && [ -e "$file" ] || continue
  file=$(cd "$(dirname "$file")" && pwd -P)/$(basename "$file")
  export "$name=$file"
  case " $* " in *" $file:$file"*) continue ;; esac # docker accepts a volume only once
  set -- "$@" --volume "$file:$file:ro"
done
passed='AWS_[A-Z_]*|HTTPS?_PROXY|NO_PROXY|MOTIFK8S_(SSE|SSE_KMS_KEY|DEEPSEA|DEEPSEA_HASH|CHECKPOINT_SECONDS)'
for name in $(env | sed -nE "s/^($passed)=.*/\1/p"); do set -- "$@" --env "$name"; done
set -- "$@" --env MOTIFK8S_STORE="$store" --env MOTIFK8S_IMAGE="$image" --entrypoint python
# As in a pod, a cell that finds no GPU fails.
if [ -n "$gpus" ]; then set -- "$@" --gpus "$gpus" --env MOTIFK8S_GPUS=1; fi
terminal=
if [ -t 0 ] && [ -t 2 ]; then terminal='--interactive --tty'; fi

# shellcheck disable=SC2086 # $terminal is split into words
{
  docker run $terminal "$@" "$image" jobs/dataset.py "$study" "${cell%%/*}"
  docker run $terminal "$@" "$image" jobs/cell.py "$study" "$cell"
}
name='import sys; from motifk8s.study.study import load; print(load(sys.argv[1]).name)'
echo "$store/$(docker run "$@" "$image" -c "$name" "$study")/cells/$cell"
