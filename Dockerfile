# For NVIDIA GPUs. The driver and the container toolkit are the host's:
#
#   docker build -t mtl-jax:cuda12 .
#   docker run --rm --gpus=all -v "$PWD/runs:/work/runs" -v "$HOME/tensorflow_datasets:/data" \
#       --shm-size=8g mtl-jax:cuda12 train --config=branched --config.data.data_dir=/data
#
# JAX brings its own CUDA libraries, so the base needs none.
FROM python:3.12-slim

RUN useradd --create-home mtl
WORKDIR /opt/mtl_jax
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY mtl_jax mtl_jax
COPY configs configs
COPY input_pipeline input_pipeline
RUN pip install --no-cache-dir '.[cuda12,video,hub,kubernetes]'

USER mtl
WORKDIR /work
ENV XLA_PYTHON_CLIENT_PREALLOCATE=true \
    TFDS_DATA_DIR=/data
ENTRYPOINT ["mtl"]
CMD ["doctor"]
