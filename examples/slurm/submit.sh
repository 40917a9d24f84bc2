#!/usr/bin/env bash
# Runs a study on a Slurm cluster: a job makes the data sets, an array has one task for each
# unfinished cell, and a last job aggregates. Finished cells are not repeated, so the same command
# resumes a study.
#
#     examples/slurm/submit.sh STUDY STORE [OPTION OF SBATCH ...]
#
#     STUDY     a built-in study or a study file
#     STORE     a folder that the login node and all nodes share, or s3://bucket/prefix
#     OPTIONs   for the cells, such as --partition=gpu --time=4:00:00 --cpus-per-task=8
#
# Environment:
#     MOTIFK8S          the command (default: motifk8s); with a container, for example
#                       "apptainer exec --nv motifk8s.sif motifk8s"
#     GPUS              GPUs of a cell (default: 1; 0: none)
#     AT_ONCE           cells that run at the same time (default: as many as Slurm starts)
#     REQUEUES          how often a cell that was stopped is queued again (default: 20)
#     LOGS              folder for the output of jobs (default: slurm-logs)
#     SBATCH_ACCOUNT, SBATCH_PARTITION, ...: options for all jobs, which sbatch reads itself
set -euo pipefail

(($# >= 2)) || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
study=$1 store=$2
shift 2
read -ra motifk8s <<<"${MOTIFK8S:-motifk8s}"
logs=${LOGS:-slurm-logs}
for command in sbatch "${motifk8s[0]}"; do
  command -v "$command" >/dev/null || { echo "submit.sh: no command $command here" >&2; exit 2; }
done

# The jobs read the copy of the study that plan keeps in the store, so a change of its file between
# now and the last cell changes nothing. One cell is DATASET/MODEL/TRIAL, without spaces.
outputs=$(mktemp -d)
trap 'rm -r "$outputs"' EXIT
json=$("${motifk8s[@]}" plan "$study" --store "$store" --json --outputs "$outputs")
read -ra cells <<<"$(tr -d '"[]' <<<"$json" | tr ',' ' ')"
study=$(<"$outputs/study") name=$(<"$outputs/name")
mkdir -p "$logs"

# job OPTION ... -- ARGUMENT OF MOTIFK8S ...: submits a job, prints its number.
job() {
  local options=() wrap
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  printf -v wrap '%q ' srun "${motifk8s[@]}" "$@" --store "$store"
  sbatch --parsable --output="$logs/%x-%j.log" "${options[@]}" --wrap="$wrap"
}

after=()
if ((${#cells[@]})); then
  data=$(job --job-name="$name-data" -- dataset "$study")
  # Slurm sends SIGTERM when it preempts a cell, and here 120 s before its time limit. The cell then
  # saves a checkpoint and exits with 75. It also does so when the store does not answer for long.
  gpus=()
  ((${GPUS:-1})) && gpus=("--gpus=${GPUS:-1}")
  array=$(sbatch --parsable --job-name="$name" --output="$logs/%x-%A_%a.log" --open-mode=append \
    --array="0-$((${#cells[@]} - 1))${AT_ONCE:+%$AT_ONCE}" --requeue --signal=TERM@120 \
    --dependency="afterok:$data" --kill-on-invalid-dep=yes "${gpus[@]}" "$@" <<END
#!/usr/bin/env bash
cells=(${cells[*]})
code=0
srun --cpus-per-task="\${SLURM_CPUS_PER_TASK:-1}" ${motifk8s[*]@Q} cell ${study@Q} \\
  "\${cells[SLURM_ARRAY_TASK_ID]}" --store ${store@Q} --threads "\${SLURM_CPUS_PER_TASK:-1}" || code=\$?
if ((code == 75 && \${SLURM_RESTART_COUNT:-0} < ${REQUEUES:-20})); then
  exec scontrol requeue "\$SLURM_JOB_ID"
fi
exit "\$code"
END
  )
  after=(--dependency="afterany:$array")
  echo "$name: ${#cells[@]} cells in the array $array, after the data sets in job $data"
fi
last=$(job --job-name="$name-aggregate" "${after[@]}" -- aggregate "$study")
echo "$name: tables, figures and report in job $last, in $store/$name"
echo "see the jobs:  squeue --me"
echo "see the cells: ${motifk8s[*]} status $name --store $store"
echo "see the logs:  ls $logs"
