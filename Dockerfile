# alignbook with TensorFlow's CUDA build: JupyterLab on the notebooks.
#
#   docker build --tag alignbook .
#   docker run --rm --init --gpus all --publish 127.0.0.1:8888:8888 --volume alignbook:/home/node/.cache/huggingface alignbook
#
# The CUDA libraries come from PyPI, by hash; of the host the image needs the driver and NVIDIA's container toolkit.
# Without a GPU, and on arm64, as in Docker on a Mac: docker build --build-arg BUILD=cpu, and docker run without --gpus all.
# compose.yaml has both.

FROM node:22.23.3-bookworm-slim AS system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ git python3 python3-venv \
    && rm --recursive --force /var/lib/apt/lists/*
# What the container toolkit brings in: the driver, and nvidia-smi, which set-up and doctor ask.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM system AS alignbook
ARG BUILD=cuda
USER node
# Made by this user, so that they belong to it: the folder of downloaded weights also where it is a volume.
RUN mkdir --parents /home/node/alignbook /home/node/.cache/huggingface
WORKDIR /home/node/alignbook
COPY --chown=node:node . .
RUN npm run setup -- "--$BUILD" --quiet \
    && rm --recursive --force /home/node/.cache/pip /home/node/.npm
EXPOSE 8888
HEALTHCHECK --start-period=60s \
    CMD ["node", "-e", "fetch('http://127.0.0.1:8888/api').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# The token that JupyterLab asks for is in the address that it prints.
CMD ["npm", "run", "--silent", "lab", "--", "--ip=0.0.0.0", "--no-browser"]
