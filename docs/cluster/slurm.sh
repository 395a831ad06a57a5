#!/bin/bash
# A study on SLURM: sbatch docs/cluster/slurm.sh studies/quickstart.yaml
# One Ray node a SLURM node; the store is a folder that all of them mount. Submitted again after a
# time limit it does what is missing.
#SBATCH --job-name=stn-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail
study=${1:?usage: sbatch slurm.sh STUDY [STORE]}
store=${2:-$PWD/results}

export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
# A token of this job alone, readable by its owner alone; all nodes mount the home folder.
export RAY_AUTH_TOKEN_PATH=$HOME/.ray/stn-$SLURM_JOB_ID
mkdir -p -m 700 "$HOME/.ray"
(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))

stop() { rm -f "$RAY_AUTH_TOKEN_PATH"; }
trap stop EXIT

srun --nodes=1 --ntasks=1 -w "$head" --overlap \
  ray start --head --block --node-ip-address="$address" --port="$port" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false &
sleep 20
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" --overlap \
    ray start --block --address="$address:$port" --num-cpus="$SLURM_CPUS_PER_TASK" &
  sleep 20
fi
srun --nodes=1 --ntasks=1 -w "$head" --overlap \
  stn-bench run "$study" --address "$address:$port" --results "$store"
