# A container for `make run` and `make test`, with the packages of the lock file.
#
#   docker build --tag resnet-lightning .                        # for CPUs
#   docker build --tag resnet-lightning --build-arg DEVICE=cuda .  # for NVIDIA GPUs too: `docker run --gpus all ...`
#   docker run --rm resnet-lightning make run
#   docker run --rm resnet-lightning make test
#
# To keep the runs and the data, for any user:
#   docker run --rm --user "$(id -u)" -v "$PWD/runs:/project/runs" -v "$PWD/data:/project/data" resnet-lightning \
#     lightning fit --config cifar10_resnet20
# Worker processes of streamed folders need more shared memory than Docker gives: `--shm-size 4g`.

ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# torch.compile calls g++. run.json names the commit, which git shows to other users only in a folder marked as safe.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ git make \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory /project

# A user who is only a number, as with --user, has neither a home nor a name.
ENV HOME=/tmp USER=researcher PATH=/project/.venv/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /project

# The CPU builds of torch are in an index of its own. For them the lock file has versions and no hashes; all other
# packages are checked against their hashes, and what only CUDA needs is left out.
ARG DEVICE=cpu
COPY requirements-dev.lock ./
RUN case "$DEVICE" in cpu | cuda) ;; *) echo "DEVICE is '$DEVICE', but must be cpu or cuda" >&2; exit 1;; esac
RUN python -m venv .venv \
 && cp requirements-dev.lock /tmp/packages.txt \
 && if [ "$DEVICE" = cpu ]; then \
      grep -oE '^(torch|torchvision)==[^ ]+' requirements-dev.lock > /tmp/torch.txt \
      && .venv/bin/pip install --no-deps --index-url https://download.pytorch.org/whl/cpu --requirement /tmp/torch.txt \
      && awk '/^[a-z]/ {left_out = /^((torch|torchvision|triton)==|cuda-|nvidia-)/} !left_out' requirements-dev.lock \
         > /tmp/packages.txt; \
    fi \
 && .venv/bin/pip install --no-deps --require-hashes --requirement /tmp/packages.txt

# The marks are those of the Makefile, which installs nothing as long as they are newer than the lock files.
COPY . .
RUN .venv/bin/pip install --no-deps --no-build-isolation --editable . \
 && .venv/bin/pip check \
 && touch .venv/.run .venv/.dev

CMD ["make", "run"]
